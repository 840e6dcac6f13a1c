package gateway_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

var (
	simSeeds = flag.Int("seeds", 25, "number of simulations that TestSimulation runs")
	simSeed  = flag.Uint64("seed", 0, "the only simulation that TestSimulation runs, and prints")
)

// TestSimulation runs simulations of writers and readers on servers with unreliable buses and
// slow commits. It checks that each reader gets each event that it may see, once and in order,
// and no other event. The goroutines of a simulation run in any order, so a seed that has
// failed may need several runs (-count) to fail again.
func TestSimulation(t *testing.T) {
	first, last := uint64(1), uint64(*simSeeds)
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
}

// freshness is the longest time after a commit for which the hub may use the rows that came with
// the commit. To tell an event later than that, the hub reads the rows again.
const freshness = 12 * time.Second

// sim is one simulation.
type sim struct {
	t      *testing.T
	store  *simStore
	bus    *simBus
	bounds gateway.Bounds
	finish chan struct{} // closed when each client must open its last session of the simulation
	sweep  chan struct{} // semaphore of capacity 1, held by a goroutine while it calls Sweep

	rand struct {
		sync.Mutex
		*rand.Rand
	}

	mu      sync.Mutex // guards the fields below
	servers []*server
	users   []string
	gone    map[string]time.Time // deleted users
	threads []string
	sent    map[string][]sentMessage // by thread
	text    int                      // the number in the text of the newest message
	trace   []string
}

// sentMessage is a message that a writer has sent.
type sentMessage struct {
	id     int64
	sender string
}

// server is one of the servers of a simulation: a core and a hub on the shared store.
type server struct {
	core *core.Service
	hub  *gateway.Hub
	stop func()
}

// n returns a random number below limit.
func (s *sim) n(limit int) int {
	s.rand.Lock()
	defer s.rand.Unlock()
	return s.rand.IntN(limit)
}

// sleepSometimes sleeps in the given percentage of its calls, for a random time below limit.
func (s *sim) sleepSometimes(percent int, limit time.Duration) {
	if s.n(100) < percent {
		time.Sleep(time.Duration(s.n(int(limit/time.Millisecond))) * time.Millisecond)
	}
}

// note adds a line to the trace that a failed simulation prints. It does nothing unless the test
// got a seed on the command line.
func (s *sim) note(format string, args ...any) {
	if *simSeed == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trace = append(s.trace, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// keys implements gateway.Keys. It accepts every access key.
type keys struct{}

func (keys) HasKey(string) bool { return true }

// simulate runs one simulation, whose random numbers come from seed.
func simulate(t *testing.T, seed uint64) {
	s := &sim{t: t, finish: make(chan struct{}), sweep: make(chan struct{}, 1), gone: map[string]time.Time{}, sent: map[string][]sentMessage{}}
	s.rand.Rand = rand.New(rand.NewPCG(seed, 0))
	inner, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), CacheSize: 1 << 20, Initial: core.Resource{
		ID: "11111111-2222-4333-8444-555555555555", Epoch: "first",
		Keys: [2]core.AccessKeyRow{{Serial: 1, Secret: make([]byte, 64)}, {Serial: 1, Secret: append(make([]byte, 63), 1)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := &model{threads: map[string]*modelThread{}, gone: map[string]int{}}
	s.store = &simStore{Store: inner, sim: s, model: m, sequenced: seed%2 == 0, epoch: "first"}
	s.bus = &simBus{sim: s, loss: []int{0, 5, 33}[s.n(3)], subs: map[*simSubscription]struct{}{}}
	s.bounds = gateway.Bounds{Queue: 1 + s.n(5000), Queues: 1000 + int64(s.n(20000)), CatchUps: 1 + s.n(2)}
	for range 1 + s.n(3) {
		s.servers = append(s.servers, s.serve())
	}
	for range 4 {
		u, err := s.servers[0].core.CreateUser(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.users = append(s.users, u.ID)
	}
	var writers, readers sync.WaitGroup
	var clients []*client
	for range 3 {
		writers.Go(func() {
			for range 30 {
				s.act(seed)
			}
		})
	}
	for i := range 6 {
		c := &client{s: s, user: s.users[i%len(s.users)], last: make(chan struct{})}
		clients = append(clients, c)
		readers.Go(c.live)
	}
	writers.Wait()
	time.Sleep(5 * time.Second) // wait until all batches are committed and their events have positions in the log
	close(s.finish)
	for _, c := range clients {
		<-c.last
	}
	time.Sleep(2*gateway.Heartbeat + 5*time.Second) // wait until all clients have received all events and a heartbeat
	tip, err := s.store.Tip(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.servers {
		r.stop()
	}
	readers.Wait()
	if err := inner.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range clients {
		faults := append(c.faults, m.check(c.user, c.only, c.start, c.log, c.at)...)
		if c.came && !c.dead && c.at != tip {
			faults = append(faults, fmt.Sprintf("the client ends at %+v, the log at %+v", c.at, tip))
		}
		for _, fault := range faults {
			t.Errorf("seed %d, user %s: %s", seed, c.user[len(c.user)-6:], fault)
		}
	}
	if t.Failed() {
		t.Logf("run it again: go test ./internal/gateway -run TestSimulation -count=20 -seed=%d\n%s", seed, strings.Join(s.trace, "\n"))
	}
}

// serve starts a server on the store.
func (s *sim) serve() *server {
	var store core.Store = s.store
	c, err := core.New(context.Background(), store, s.bus, core.Options{Grace: new(time.Second), ThreadCache: 1 + s.n(2)*(1<<20)})
	if err != nil {
		s.t.Fatal(err)
	}
	hub := gateway.NewHub(gateway.Options{Core: c, Store: store, Bus: s.bus, Keys: keys{}, Bounds: s.bounds})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { hub.Run(ctx) })
	return &server{c, hub, func() {
		hub.Drain(ctx)
		cancel()
		running.Wait()
		c.Close()
	}}
}

// pick returns a random server and its index.
func (s *sim) pick() (int, *server) {
	i := s.n(len(s.servers))
	s.mu.Lock()
	defer s.mu.Unlock()
	return i, s.servers[i]
}

// some returns a random element of the slice all, or the zero value if all is empty.
func some[T any](s *sim, all []T) (one T) {
	if len(all) > 0 {
		one = all[s.n(len(all))]
	}
	return one
}

// act makes a random change as a random user on a random server. It is no fault if the server
// refuses the change.
func (s *sim) act(seed uint64) {
	s.sleepSometimes(70, []time.Duration{20 * time.Millisecond, time.Second, 5 * time.Second}[s.n(3)])
	ctx := context.Background()
	index, r := s.pick()
	s.mu.Lock()
	users, threads := slices.Clone(s.users), slices.Clone(s.threads)
	s.text++
	text := fmt.Sprint("text", s.text)
	s.mu.Unlock()
	user, other, thread := some(s, users), some(s, users), some(s, threads)
	s.mu.Lock()
	sent := slices.Clone(s.sent[thread])
	s.mu.Unlock()
	message := some(s, sent)
	name := func(id string) string { return id[max(0, len(id)-6):] }
	participant := func(id string) core.NewParticipant {
		now := time.Now().UnixMilli()
		share := []int64{0, now, now - 1000, now - 10_000, now + 5000}[s.n(5)]
		return core.NewParticipant{User: communication.ParseRawID(id), ShareHistory: share}
	}
	var what string
	var err error
	switch n := s.n(100); {
	case n < 5 && len(threads) < 4 || len(threads) == 0:
		what = "create"
		var t core.ThreadProperties
		cmd := core.CreateThread{Topic: text, Participants: []core.NewParticipant{participant(other), participant(some(s, users))}}
		if t, _, err = r.core.CreateThread(ctx, user, cmd); err == nil {
			s.mu.Lock()
			s.threads = append(s.threads, t.ID)
			s.mu.Unlock()
		}
	case n < 40:
		what = "send"
		var id int64
		if id, err = r.core.SendMessage(ctx, user, thread, core.SendMessage{Content: text, Kind: core.Text}); err == nil {
			s.mu.Lock()
			s.sent[thread] = append(s.sent[thread], sentMessage{id, user})
			s.mu.Unlock()
		}
	case n < 54:
		what = "edit"
		err = r.core.UpdateMessage(ctx, message.sender, thread, message.id, core.UpdateMessage{Content: &text})
	case n < 61:
		what = "delete"
		err = r.core.DeleteMessage(ctx, message.sender, thread, message.id)
	case n < 66:
		what = "read"
		err = r.core.SendReceipt(ctx, user, thread, message.id)
	case n < 78:
		what = "add " + name(other)
		_, err = r.core.AddParticipants(ctx, user, thread, []core.NewParticipant{participant(other)})
	case n < 88:
		what = "remove " + name(other)
		err = r.core.RemoveParticipant(ctx, user, thread, communication.ParseRawID(other))
	case n < 92:
		what = "topic"
		err = r.core.UpdateThread(ctx, user, thread, core.UpdateThread{Topic: &text})
	case n < 94:
		what = "metadata"
		err = r.core.UpdateThread(ctx, user, thread, core.UpdateThread{Metadata: map[string]*string{"key": &text}})
	case n < 95:
		what = "delete thread"
		err = r.core.DeleteThread(ctx, user, thread)
	case n < 96:
		what = "restart"
		r.stop()
		r = s.serve()
		s.mu.Lock()
		stop := s.servers[index].stop
		s.servers[index] = r
		s.mu.Unlock()
		stop() // if another writer has restarted the server meanwhile, this stops the newer server
	case n < 97 && seed%4 < 2 && len(s.gone) == 0:
		what = "delete user"
		if err = r.core.DeleteUser(ctx, user); err == nil {
			s.mu.Lock()
			s.gone[user] = time.Now()
			s.mu.Unlock()
		}
	case n < 98 && seed%8 == 2:
		what = "renew"
		var tip core.Cursor
		if tip, err = s.store.Tip(ctx); err == nil {
			err = s.store.RenewEpoch(ctx, tip.Epoch, text)
		}
	case n < 99 && seed%8 >= 6:
		what = "trim"
		err = s.store.Trim(ctx, core.DayOf(time.Now().UnixMilli())+1)
	default:
		what = "sweep"
		// call Sweep only once at a time, because it has a mutex, and synctest's clock stands still
		// while a goroutine waits for one
		s.sweep <- struct{}{}
		_, err = r.core.Sweep(ctx)
		<-s.sweep
	}
	s.note("%s in %s, %s, server %d: %s: %v", name(user), name(thread), what, index, text, err)
}

// client is a reader in a simulation. It opens a session, leaves, and opens another one at the
// cursor that it has reached, again and again.
type client struct {
	s    *sim
	user string
	only string        // the id of the only thread whose events the client asks for, or empty
	last chan struct{} // closed when the client's last session has started, or its user was deleted
	came bool          // it has had a session
	dead bool          // its user was deleted

	start core.Cursor // the cursor of the client's first session
	at    core.Cursor // the cursor of the last event or gap that the client has received
	log   []received

	faults []string
}

// live opens sessions one after another, until the simulation ends or the user is deleted.
func (c *client) live() {
	for done := false; !done; {
		select {
		case <-c.s.finish:
			done = true
		default:
		}
		if !c.visit(done) {
			break
		}
		c.s.sleepSometimes(60, []time.Duration{100 * time.Millisecond, 20 * time.Second}[c.s.n(2)])
	}
	if c.dead {
		close(c.last)
	}
}

// visit opens one session and waits for its end. If last is true, the client reads without delay
// and stays until the server ends the session. visit returns false if the user was deleted.
func (c *client) visit(last bool) bool {
	s := c.s
	var from *core.Cursor
	o := gateway.SessionOptions{}
	if c.came {
		from = &c.at
	} else if s.n(4) == 0 {
		s.mu.Lock()
		threads := slices.Clone(s.threads)
		s.mu.Unlock()
		c.only = some(s, threads)
	}
	if c.only != "" {
		o.Threads = []string{c.only}
	}
	k := &simSink{c: c, opened: time.Now(), last: last, dies: -1}
	if !last && s.n(3) == 0 {
		k.dies = s.n(20)
	}
	if !last && s.n(3) == 0 {
		k.window, k.quick = 1+s.n(4), s.n(2) == 0
	}
	if !last {
		k.slow = []int{0, 20, 100}[s.n(3)]
	}
	claims := token.Claims{User: c.user, Generation: 1, Expires: time.Now().Add(time.Hour)}
	index, r := s.pick()
	session, err := r.hub.Open(context.Background(), claims, from, o, k)
	if err != nil {
		var refused *gateway.OpenError
		if errors.As(err, &refused) && refused.Why == gateway.Deleted {
			c.dead = true
			return false
		}
		time.Sleep(time.Second)
		return c.again(last)
	}
	if !c.came {
		c.came, c.start, c.at = true, session.At(), session.At()
	}
	s.note("%s opens a session on server %d at %d: window %d, dies after %d", c.user[len(c.user)-6:], index, c.at.Position, k.window, k.dies)
	k.session = session
	session.Start(nil)
	if last {
		close(c.last)
		<-session.Done()
		return true
	}
	select {
	case <-session.Done():
	case <-time.After(time.Duration(s.n([]int{15_000, 40_000}[s.n(2)])) * time.Millisecond): // the longer one has heartbeats
		session.End(gateway.Gone)
		<-session.Done()
		s.mu.Lock()
		deleted := s.gone[c.user]
		s.mu.Unlock()
		if !deleted.IsZero() && time.Since(deleted) > freshness && session.Why() == gateway.Gone && k.dies != 0 {
			c.faults = append(c.faults, "the session stayed open after its user was deleted")
		}
	}
	return true
}

// again returns the result of visit after a session was refused. If last is true, it calls visit
// again, because the client's last session must open. Otherwise it returns true, and the client
// tries again later.
func (c *client) again(last bool) bool { return !last || c.visit(last) }

// simSink is the sink of a client's session in a simulation. It records the events and gaps that
// the session writes.
type simSink struct {
	c       *client
	session *gateway.Session
	opened  time.Time
	last    bool
	dies    int  // number of events after which the connection breaks; -1 means that it does not break
	window  int  // number of events that the client takes before it must answer; 0 means any number
	quick   bool // true if the client often answers at once after Full has returned true
	slow    int  // percentage of writes that take long

	written []received // appended since the last Write

	mu       sync.Mutex // guards unanswered
	open     int        // number of events that the client has not answered
	awaiting bool       // true while the client is about to answer
}

func (k *simSink) Append(b []byte, e *gateway.Event, at core.Cursor) []byte {
	g := received{at: at, fresh: k.opened.Add(-freshness)}
	if e != nil && e.Gap != 0 {
		g.gap = e.Gap
	} else if e != nil {
		g.Event, g.topic = e.Event, e.Properties.Topic
		if e.Message != nil {
			g.content = e.Message.Content
		}
		var members []string
		for _, m := range e.Members {
			members = append(members, m.User)
		}
		slices.Sort(members)
		g.members = strings.Join(members, " ")
	}
	k.written = append(k.written, g)
	if k.window > 0 && e != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.open++
	}
	return append(b, '.')
}

// Full reports whether the client must answer before it gets more events. If so, it makes the
// client answer some time later.
func (k *simSink) Full() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.window == 0 || k.open < k.window {
		return false
	}
	if k.quick && k.c.s.n(3) == 0 {
		k.open = 0
		go k.session.Wake()
		return true
	}
	if !k.awaiting {
		k.awaiting = true
		time.AfterFunc(time.Duration(k.c.s.n([]int{500, 500, 500, 20_000}[k.c.s.n(4)]))*time.Millisecond, func() {
			k.mu.Lock()
			k.open, k.awaiting = 0, false
			k.mu.Unlock()
			k.session.Wake()
		})
	}
	return true
}

// Write hands the appended events to the client. If the client's connection is to break at one of
// them, Write fails there.
func (k *simSink) Write([]byte) error {
	k.c.s.sleepSometimes(k.slow, 2*time.Second)
	steps := k.c.s.store.steps()
	written := k.written
	k.written = nil
	for _, g := range written {
		if k.dies == 0 {
			return errors.New("the connection is broken")
		}
		if k.dies > 0 {
			k.dies--
		}
		g.steps = steps
		k.c.log = append(k.c.log, g)
		k.c.at = g.at
		k.c.s.note("%s gets %s %d %q gap %v at %d", k.c.user[len(k.c.user)-6:], g.Kind, g.Number, g.content, g.gap, g.at.Position)
	}
	return nil
}

func (k *simSink) End(b []byte, _ gateway.Reason) []byte { return b }
func (k *simSink) Close()                                {}
