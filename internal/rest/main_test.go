package rest

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that shows a fixed time until a test moves it.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// fixture is a Handler with a core.Service and the embedded store in memory.
type fixture struct {
	*Handler
	core   *core.Service
	store  *pebble.Store
	tokens *token.Authority
	clock  *clock
}

const resourceID = "11111111-2222-3333-4444-555555555555"

func newFixture(t testing.TB, tweak func(*Options)) *fixture {
	t.Helper()
	store, err := pebble.Open("store", pebble.Options{FS: vfs.NewMem(), Initial: engineResource})
	if err != nil {
		t.Fatal(err)
	}
	f := newFixtureOn(t, store, tweak)
	f.store = store
	return f
}

// newFixtureOn returns a fixture that uses the given store, of any engine, and closes the store at
// the end of the test. It does not set the fixture's field store, which is only for the embedded
// store.
func newFixtureOn(t testing.TB, store core.Store, tweak func(*Options)) *fixture {
	t.Helper()
	f := &fixture{clock: &clock{t: time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)}}
	t.Cleanup(func() { store.Close() })
	var err error
	f.core, err = core.New(t.Context(), store, new(local.Bus), core.Options{Now: f.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.core.Close)
	f.tokens, err = token.New(f.core.Resource(), f.core, f.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Core: f.core, Tokens: f.tokens, Now: f.clock.now}
	if tweak != nil {
		tweak(&o)
	}
	if f.Handler, err = New(o); err != nil {
		t.Fatal(err)
	}
	return f
}

// user creates a user and a token with the given scopes, and returns the user's id and the token.
func (f *fixture) user(t testing.TB, scopes token.Scopes) (id, bearer string) {
	t.Helper()
	u, err := f.core.CreateUser(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := f.tokens.Issue(u, scopes, 24*time.Hour, f.tokens.Held()[0])
	if err != nil {
		t.Fatal(err)
	}
	return u.ID, text
}

// thread creates a thread with one message and returns the ids of both.
func (f *fixture) thread(t testing.TB, creator string) (thread string, message int64) {
	t.Helper()
	made, _, err := f.core.CreateThread(context.Background(), creator, core.CreateThread{Topic: "topic"})
	if err != nil {
		t.Fatal(err)
	}
	message, err = f.core.SendMessage(context.Background(), creator, made.ID, core.SendMessage{Content: "content", Kind: core.Text})
	if err != nil {
		t.Fatal(err)
	}
	return made.ID, message
}

// written returns the number of bytes written to the store so far. If two calls return
// the same number, nothing was written in between.
func (f *fixture) written() uint64 { return f.store.Stats().Logged }

// sign signs a request with the primary access key (key is 0) or the secondary one (1).
func (f *fixture) sign(t testing.TB, req *http.Request, key int) {
	t.Helper()
	if err := f.tokens.Keys()[key].Sign(req, f.clock.now()); err != nil {
		t.Fatal(err)
	}
}

// join adds a user to a thread.
func (f *fixture) join(t testing.TB, caller, thread, user string) {
	t.Helper()
	if _, err := f.core.AddParticipants(context.Background(), caller, thread, []core.NewParticipant{{User: communication.ParseRawID(user)}}); err != nil {
		t.Fatal(err)
	}
}
