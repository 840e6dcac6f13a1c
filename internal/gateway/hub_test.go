package gateway_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is the fixture of these tests: a hub on an embedded store in memory, with methods that
// create users, threads and messages.
type house struct {
	t      *testing.T
	store  core.Store
	hooks  *hookedStore // wraps the field store; the core and the hub use this wrapper
	bus    core.Bus
	core   *core.Service
	tokens *token.Authority
	hub    *gateway.Hub
	ahead  *atomic.Int64 // the time.Duration by which the hub's clock is ahead of the real time
	stop   func()
}

// now returns the time of the hub's clock.
func (h *house) now() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) }

// newHouse returns a fixture with a running hub, for a test in a synctest bubble. The test
// must call stop at its end.
func newHouse(t *testing.T, bounds gateway.Bounds) *house {
	t.Helper()
	key := make([]byte, 64)
	store, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), CacheSize: 1 << 20, Initial: core.Resource{
		ID: "11111111-2222-4333-8444-555555555555", Epoch: "first", Keys: [2]core.AccessKeyRow{{Serial: 1, Secret: key}, {Serial: 1, Secret: append(key[:63:63], 1)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, ahead: new(atomic.Int64), store: store, hooks: &hookedStore{Store: store}, bus: new(local.Bus)}
	h.core, err = core.New(t.Context(), h.hooks, h.bus, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h.tokens, err = token.New(h.core.Resource(), h.core, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	h.hub = gateway.NewHub(gateway.Options{Core: h.core, Store: h.hooks, Bus: h.bus, Keys: h.tokens, Now: h.now, Bounds: bounds})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.hub.Run(ctx) })
	h.stop = func() {
		h.hub.Drain(t.Context())
		cancel()
		running.Wait()
		h.core.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
	return h
}

// user creates a user and returns it.
func (h *house) user() core.User {
	h.t.Helper()
	u, err := h.core.CreateUser(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

// claims returns the claims of a new token of the user u, valid for an hour.
func (h *house) claims(u core.User) token.Claims {
	h.t.Helper()
	text, _, err := h.tokens.Issue(u, token.Chat, time.Hour, h.tokens.Held()[0])
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := h.tokens.Verify(h.t.Context(), text)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// open opens a session of the user u at the cursor from, starts it, and returns it with its
// sink.
func (h *house) open(u core.User, from *core.Cursor, o gateway.SessionOptions) (*gateway.Session, *sink) {
	h.t.Helper()
	k := &sink{}
	s, err := h.hub.Open(h.t.Context(), h.claims(u), from, o, k)
	if err != nil {
		h.t.Fatal(err)
	}
	s.Start(nil)
	return s, k
}

// openBlocked opens a session whose sink takes no byte until the test calls unblock. It
// returns the session and the sink.
func (h *house) openBlocked(u core.User, from *core.Cursor) (*gateway.Session, *sink) {
	h.t.Helper()
	k := &sink{}
	k.block()
	s, err := h.hub.Open(h.t.Context(), h.claims(u), from, gateway.SessionOptions{}, k)
	if err != nil {
		h.t.Fatal(err)
	}
	s.Start(nil)
	return s, k
}

// thread creates a thread with the given users and returns its id. The first user is its creator.
func (h *house) thread(topic string, users ...core.User) string {
	h.t.Helper()
	var ps []core.NewParticipant
	for _, u := range users[1:] {
		ps = append(ps, core.NewParticipant{User: communication.ParseRawID(u.ID)})
	}
	t, _, err := h.core.CreateThread(h.t.Context(), users[0].ID, core.CreateThread{Topic: topic, Participants: ps})
	if err != nil {
		h.t.Fatal(err)
	}
	return t.ID
}

// send sends a text message to a thread and returns the message's id.
func (h *house) send(u core.User, thread, text string) int64 {
	h.t.Helper()
	id, err := h.core.SendMessage(h.t.Context(), u.ID, thread, core.SendMessage{Content: text, Kind: core.Text})
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// sink is a gateway.Sink for tests. It records a word for each event that a session writes.
type sink struct {
	mu     sync.Mutex // guards the fields below
	words  []string
	blocks chan struct{} // if not nil, Write waits until this channel is closed
	closed bool
	last   core.Cursor
	full   func() bool // what Full returns; nil: false

	appended int // events
}

// block makes Write wait until unblock is called.
func (k *sink) block() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.blocks = make(chan struct{})
}

// unblock lets Write continue after block has made it wait.
func (k *sink) unblock() {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.blocks)
	k.blocks = nil
}

func (k *sink) Append(b []byte, e *gateway.Event, at core.Cursor) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = at
	if e == nil {
		return b
	}
	k.appended++
	return append(b, word(e)+"\n"...)
}

// word returns a short text for an event, such as "messageReceived:hello", so that tests can
// compare events.
func word(e *gateway.Event) string {
	switch {
	case e.Gap != 0:
		return "gap:" + e.Gap.String()
	case e.Kind == core.TypingReceived:
		return "typing:" + e.DisplayName
	case e.Message != nil && e.Message.Sender != "":
		return e.Kind.String() + ":" + e.Message.Content
	}
	return e.Kind.String()
}

func (k *sink) Write(b []byte) error {
	k.mu.Lock()
	blocks := k.blocks
	k.mu.Unlock()
	if blocks != nil {
		<-blocks
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.words = append(k.words, strings.Fields(string(b))...)
	return nil
}

// Full returns the result of the function full that the test has set, or false without one.
func (k *sink) Full() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.full != nil && k.full()
}

func (k *sink) End(b []byte, why gateway.Reason) []byte {
	return append(b, "bye:"+why.String()+"\n"...)
}

func (k *sink) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
}

// want fails the test unless the sink, since the last call of want, has recorded exactly the given
// words, one for each event.
func (k *sink) want(t *testing.T, words ...string) {
	t.Helper()
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Equal(k.words, words) {
		t.Errorf("got  %q\nwant %q", k.words, words)
	}
	k.words = nil
}

// TestSessionIsToldWhatHappens opens sessions of two users and checks that each gets the events of
// its user's threads, both while a session is open and after it was closed and opened again.
func TestSessionIsToldWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann, bob := h.user(), h.user()
		s, a := h.open(ann, nil, gateway.SessionOptions{})
		_, b := h.open(bob, nil, gateway.SessionOptions{})
		thread := h.thread("plans", ann, bob)
		h.send(ann, thread, "one")
		a.want(t, "threadCreated", "messageReceived:one")
		b.want(t, "threadCreated", "messageReceived:one")
		from := s.At()
		s.End(gateway.Gone)
		<-s.Done()
		a.want(t, "bye:gone")
		h.send(bob, thread, "two")
		h.thread("other", bob)
		h.send(bob, thread, "three")
		b.want(t, "messageReceived:two", "threadCreated", "messageReceived:three")
		_, a = h.open(ann, &from, gateway.SessionOptions{})
		a.want(t, "messageReceived:two", "messageReceived:three")
		h.send(bob, thread, "four")
		a.want(t, "messageReceived:four")
	})
}

// TestSlowSessionCatchesUp blocks a session's client and sends more messages than the session's
// queue holds. It checks that the client gets every message once and in order when it reads again.
func TestSlowSessionCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{Queue: 2000})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		_, a := h.open(ann, nil, gateway.SessionOptions{})
		a.mu.Lock()
		a.blocks = make(chan struct{})
		a.mu.Unlock()
		var want []string
		for i := range 100 {
			h.send(ann, thread, fmt.Sprint(i))
			want = append(want, fmt.Sprint("messageReceived:", i))
		}
		synctest.Wait()
		close(a.blocks)
		a.want(t, want...)
		if h.hub.Stats().Dropped == 0 {
			t.Error("no queue was dropped")
		}
	})
}

// TestTokensEnd checks that sessions end when their user's tokens are revoked, when the user
// is deleted, and when the token expires.
func TestTokensEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann, bob, cy := h.user(), h.user(), h.user()
		_, a := h.open(ann, nil, gateway.SessionOptions{})
		_, b := h.open(bob, nil, gateway.SessionOptions{})
		_, c := h.open(cy, nil, gateway.SessionOptions{})
		if err := h.core.RevokeTokens(t.Context(), ann.ID); err != nil {
			t.Fatal(err)
		}
		a.want(t, "bye:revoked")
		if err := h.core.DeleteUser(t.Context(), bob.ID); err != nil {
			t.Fatal(err)
		}
		b.want(t, "bye:deleted")
		time.Sleep(time.Hour)
		c.want(t, "bye:expired")
		if n := h.hub.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions are open", n)
		}
	})
}

// TestClockIsSetForward sets the hub's clock forward while a session with a token of one hour is
// open. It checks that the session ends an hour after its start by that clock, both when the clock
// jumps past that time and when it reaches that time by running.
func TestClockIsSetForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		forward := func(d time.Duration) {
			h.ahead.Add(int64(d))
			h.hub.Judge()
		}
		_, k := h.open(h.user(), nil, gateway.SessionOptions{})
		forward(59 * time.Minute)
		k.want(t)
		forward(time.Minute)
		k.want(t, "bye:expired")

		forward(-time.Hour)
		_, k = h.open(h.user(), nil, gateway.SessionOptions{})
		forward(40 * time.Minute)
		time.Sleep(20*time.Minute - time.Second)
		k.want(t)
		time.Sleep(time.Second)
		k.want(t, "bye:expired")
	})
}

// TestStartAfterEnd ends a session before Start is called, as a revocation can. It checks that
// Start writes nothing and that the sink is closed once.
func TestStartAfterEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		k := &sink{}
		s, err := h.hub.Open(t.Context(), h.claims(h.user()), nil, gateway.SessionOptions{}, k)
		if err != nil {
			t.Fatal(err)
		}
		h.hub.EndAll(gateway.Revoked)
		if s.Start([]byte("hello\n")) {
			t.Error("an ended session started")
		}
		<-s.Done()
		k.want(t)
		if !k.closed {
			t.Error("the sink is open")
		}
	})
}

// TestDrainWaitsForGoodbyes drains a hub while a client reads no byte. It checks that Drain
// interrupts the session's write, and that it returns once the client was told of the end and the
// sink is closed.
func TestDrainWaitsForGoodbyes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		k := &interruptible{sink: sink{blocks: make(chan struct{})}}
		s, err := h.hub.Open(t.Context(), h.claims(ann), nil, gateway.SessionOptions{}, k)
		if err != nil {
			t.Fatal(err)
		}
		s.Start(nil)
		h.send(ann, thread, "one")
		synctest.Wait()
		h.hub.Drain(t.Context())
		if !k.closed {
			t.Error("Drain has returned, and the sink is open")
		}
		k.want(t, "messageReceived:one", "bye:draining")
	})
}

// interruptible is a gateway.Sink for tests whose Write waits until Interrupt is called.
type interruptible struct{ sink }

// Interrupt implements gateway.Interrupter. It lets Write return.
func (k *interruptible) Interrupt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.blocks)
}

// TestTyping sends a typing notification and checks that the users in the thread are told of
// it and that no other user is.
func TestTyping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann, bob, eve := h.user(), h.user(), h.user()
		thread := h.thread("plans", ann, bob, eve)
		if err := h.core.RemoveParticipant(t.Context(), ann.ID, thread, communication.ParseRawID(eve.ID)); err != nil {
			t.Fatal(err)
		}
		_, b := h.open(bob, nil, gateway.SessionOptions{})
		_, e := h.open(eve, nil, gateway.SessionOptions{})
		synctest.Wait() // wait until the hub listens to the bus, because typing notifications are not in the log
		if err := h.core.Typing(t.Context(), ann.ID, thread, "Ann"); err != nil {
			t.Fatal(err)
		}
		b.want(t, "typing:Ann")
		e.want(t)
	})
}

// TestFullClient opens one session at an old cursor and one at the present cursor. Their clients
// take three events at a time and must answer before they get more. The test checks that each event
// is written once.
func TestFullClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		at, err := h.hub.At(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		live := &narrow{room: 3}
		old := &narrow{room: 3}
		var sessions []*gateway.Session
		open := func(k *narrow) {
			s, err := h.hub.Open(t.Context(), h.claims(ann), &at, gateway.SessionOptions{}, k)
			if err != nil {
				t.Fatal(err)
			}
			s.Start(nil)
			sessions = append(sessions, s)
		}
		open(live)
		var want []string
		for i := range 10 {
			h.send(ann, thread, fmt.Sprint(i))
			want = append(want, fmt.Sprint("messageReceived:", i))
		}
		open(old)
		for i := 0; i < 10; i += 3 {
			for j, k := range []*narrow{live, old} {
				k.want(t, want[i:min(i+3, 10)]...)
				k.mu.Lock()
				k.room += 3
				k.mu.Unlock()
				sessions[j].Wake()
			}
		}
	})
}

// narrow is a sink that accepts as many events as its field room says. After that its method Full
// returns true.
type narrow struct {
	sink
	room int
}

func (k *narrow) Append(b []byte, e *gateway.Event, at core.Cursor) []byte {
	if e != nil {
		k.mu.Lock()
		k.room--
		k.mu.Unlock()
	}
	return k.sink.Append(b, e, at)
}

func (k *narrow) Full() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.room <= 0
}

// TestGap opens a session at a cursor of another epoch of the event log and checks that its
// client is told of a gap and then of new events.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		_, a := h.open(ann, &core.Cursor{Epoch: "other", Position: 1}, gateway.SessionOptions{})
		h.send(ann, thread, "one")
		a.want(t, "gap:epoch", "messageReceived:one")
		_, b := h.open(ann, &core.Cursor{Epoch: "first", Position: 1, Check: 7}, gateway.SessionOptions{})
		b.want(t, "gap:lost")
		_, c := h.open(ann, &core.Cursor{Epoch: "first", Position: 1000, Check: 7}, gateway.SessionOptions{})
		c.want(t, "gap:lost")
		h.send(ann, thread, "two")
		c.want(t, "messageReceived:two")
	})
}
