package bench

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/internal/token"
)

// Front measures how many messages per second clients in the same process can send over
// HTTP and TLS, with each store. It compares the rates with those of the same HTTP server
// on a plain log file.
type Front struct {
	Dir      string        // folder for files
	Database string        // URL of an empty PostgreSQL database; empty leaves PostgreSQL out
	Clients  int           // number of connections; 0 means 64
	Pairs    int           // number of rounds, in which each store is measured once; 0 means 5
	Span     time.Duration // duration of each measurement; 0 means two seconds
	Out      io.Writer
}

// Run prints a table of the results. It returns a text for each store whose rate is below
// its limit.
func (o Front) Run(ctx context.Context) (missed []string, err error) {
	o.Clients, o.Pairs, o.Span = cmp.Or(o.Clients, 64), cmp.Or(o.Pairs, 5), cmp.Or(o.Span, 2*time.Second)
	log, err := newRefLog(filepath.Join(o.Dir, "front.log"), lanesOfLog)
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, log.close()) }()
	embedded, err := pebble.Open(filepath.Join(o.Dir, "front"), pebble.Options{Initial: benchResource})
	if err != nil {
		return nil, err
	}
	engines := []struct {
		name  string
		store core.Store
		least float64 // the least rate, as a fraction of the log's
	}{{"preallocated log", newLogStore(log), 0}, {"embedded store", embedded, 0}}
	if o.Database != "" {
		shared, err := postgres.Open(ctx, o.Database, postgres.Options{Initial: benchResource})
		if err != nil {
			return nil, err
		}
		engines = append(engines, struct {
			name  string
			store core.Store
			least float64
		}{"PostgreSQL", shared, 0.35})
	}
	fronts := make([]*front, len(engines))
	for i, e := range engines {
		if fronts[i], err = newFront(ctx, e.store); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		defer func() { err = cmp.Or(err, fronts[i].close()) }()
	}
	rates := make([][]float64, len(engines))
	ratios := make([][]float64, len(engines))
	for range o.Pairs {
		for i, f := range fronts {
			rate, err := f.run(o.Clients, o.Span)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", engines[i].name, err)
			}
			rates[i] = append(rates[i], rate)
			ratios[i] = append(ratios[i], rate/rates[0][len(rates[0])-1])
		}
	}
	fmt.Fprintf(o.Out, "\nsends over HTTP and TLS: %d connections, clients on the same cores, %d rounds of %v, medians\n\n", o.Clients, o.Pairs, o.Span)
	for i, e := range engines {
		ratio := median(ratios[i])
		fmt.Fprintf(o.Out, "%18s %8.0f sends/s  %5.2f\n", e.name, median(rates[i]), ratio)
		if ratio < e.least {
			missed = append(missed, fmt.Sprintf("%s: %.2f of the log behind the same front, want at least %.2f", e.name, ratio, e.least))
		}
	}
	return missed, nil
}

// lanesOfLog is the number of concurrent writers of the plain log file. It equals the number
// of lanes, concurrent writers, of the stores.
const lanesOfLog = 2

var benchResource = core.Resource{
	ID: "11111111-2222-4333-8444-555555555555", Epoch: "bench",
	Keys: [2]core.AccessKeyRow{{Serial: 1, Secret: make([]byte, 64)}, {Serial: 1, Secret: bytes.Repeat([]byte{1}, 64)}},
}

// front is a Confab server for the benchmark Front, which sends messages to it over HTTP. Its
// store has one user, and some threads in which this user is.
type front struct {
	store   core.Store
	core    *core.Service
	server  *httptest.Server
	bearer  string
	threads []string
}

func newFront(ctx context.Context, store core.Store) (*front, error) {
	f := &front{store: store}
	var err error
	if f.core, err = core.New(ctx, store, new(local.Bus), core.Options{}); err != nil {
		return nil, err
	}
	tokens, err := token.New(f.core.Resource(), f.core, nil)
	if err != nil {
		return nil, err
	}
	handler, err := rest.New(rest.Options{Core: f.core, Tokens: tokens})
	if err != nil {
		return nil, err
	}
	user, err := f.core.CreateUser(ctx)
	if err != nil {
		return nil, err
	}
	if f.bearer, _, err = tokens.Issue(user, token.Chat, 24*time.Hour, tokens.Held()[0]); err != nil {
		return nil, err
	}
	for n := range 200 {
		t, _, err := f.core.CreateThread(ctx, user.ID, core.CreateThread{Topic: fmt.Sprint("thread ", n)})
		if err != nil {
			return nil, err
		}
		f.threads = append(f.threads, t.ID)
	}
	f.server = httptest.NewTLSServer(handler)
	return f, nil
}

func (f *front) close() error {
	f.server.Close()
	f.core.Close()
	return f.store.Close()
}

// run sends messages from concurrent clients for the time span and returns the messages per
// second.
func (f *front) run(clients int, span time.Duration) (rate float64, err error) {
	transport := f.server.Client().Transport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.ForceAttemptHTTP2 = clients, false
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	body := `{"content":"` + strings.Repeat("x", messageSize) + `","type":"text"}`
	var failure atomic.Pointer[error]
	s := load(clients, span, func(sender, n int) bool {
		err := f.send(client, f.threads[(sender*31+n)%len(f.threads)], body)
		if err != nil {
			failure.Store(&err)
		}
		return err == nil
	})
	if err := failure.Load(); err != nil {
		return 0, *err
	}
	return s.rate, nil
}

func (f *front) send(client *http.Client, thread, body string) error {
	req, err := http.NewRequest("POST", f.server.URL+"/chat/threads/"+thread+"/messages?api-version=2025-03-15", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+f.bearer)
	req.Header.Set("Content-Type", "application/json")
	var id [16]byte
	rand.Read(id[:])
	req.Header.Set("X-Ms-Client-Request-Id", fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])) // as SDKs do
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusCreated {
		err = fmt.Errorf("status %d of a send: %s", res.StatusCode, answer)
	}
	return err
}

// logStore is a core.Store that appends messages to a plain log file and keeps threads and
// users in memory. It does the least work with which an HTTP server can store messages on a
// disk. It implements only the methods that are needed to create threads and send messages.
type logStore struct {
	core.Store // nil, so that a call of any other method panics
	log        *refLog

	mu       sync.Mutex // guards the fields below
	heads    map[string]*core.Head
	members  map[string][]core.Member
	users    map[string]core.User
	position uint64
}

func newLogStore(log *refLog) *logStore {
	return &logStore{log: log, heads: map[string]*core.Head{}, members: map[string][]core.Member{}, users: map[string]core.User{}}
}

func (s *logStore) Lanes() int { return lanesOfLog }

func (s *logStore) Apply(_ context.Context, b core.Batch) ([]core.Outcome, error) {
	s.mu.Lock()
	state := core.NewBatchState(b)
	state.Heads, state.Users, state.Position = s.heads, s.users, s.position
	outcomes := core.Assign(b, state)
	s.position = state.Position
	var buf []byte
	for _, o := range outcomes {
		if o.Status != core.Applied {
			continue
		}
		if c := o.Change; len(c.Members) > 0 {
			s.members[c.Thread] = c.Members
		}
		for _, m := range o.Change.Messages {
			buf = fmt.Appendf(buf, "%s %d %d %s %s\n", o.Change.Thread, m.ID, m.Sequence, m.Sender, m.Content)
		}
	}
	s.mu.Unlock()
	return outcomes, s.log.write(buf)
}

func (s *logStore) Thread(_ context.Context, id string) (*core.Thread, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.heads[id]
	if h == nil {
		return nil, nil
	}
	return core.NewThread(*h, s.members[id]), nil
}

func (s *logStore) Users(_ context.Context, ids []string) (us []core.User, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		us = append(us, s.users[id])
	}
	return us, nil
}

func (s *logStore) Resource(context.Context) (core.Resource, error) { return benchResource, nil }

func (s *logStore) Close() error { return nil }
