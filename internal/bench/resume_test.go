package bench_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// resume measures how long a session takes to read the events that its user has missed.
type resume struct {
	engine  string
	store   core.Store
	threads int // of the user
	news    int // number of threads with one message that the user has missed
	rounds  int
	memory  bool // measure the memory too
	// number of pairs of other users, whose latency is measured meanwhile; each pair has its own
	// thread; 0 means none
	pairs int
	rate  float64       // their sends in a second
	span  time.Duration // duration of a measurement of the other users' latency
	out   io.Writer
}

// run prints the time, the number of calls of the store and the memory that a session needs to read
// missed events. It returns a text for each figure that exceeds its limit.
func (o resume) run(t *testing.T) (missed []string) {
	t.Helper()
	ctx := t.Context()
	store := &countedStore{Store: o.store}
	bus := new(local.Bus)
	c, err := core.New(ctx, store, bus, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tokens, err := token.New(c.Resource(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	hub := gateway.NewHub(gateway.Options{Core: c, Store: store, Bus: bus, Keys: tokens})
	running, stop := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { hub.Run(running) })
	defer following.Wait()
	defer stop()

	ann, bob := newUser(t, c), newUser(t, c)
	threads := make([]string, o.threads)
	err = together(o.threads, 512, func(i int) error {
		made, _, err := c.CreateThread(ctx, bob.ID, core.CreateThread{Topic: fmt.Sprint("thread ", i), Participants: []core.NewParticipant{{User: communication.ParseRawID(ann.ID)}}})
		if err == nil {
			threads[i] = made.ID
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	claims := token.Claims{User: ann.ID, Key: keyOf(t, tokens, ann), Generation: ann.Generation, Scopes: token.Chat, Expires: time.Now().Add(time.Hour)}
	if _, err := store.Sequence(ctx); err != nil { // give positions to the threads
		t.Fatal(err)
	}
	from, err := store.Tip(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for n := range o.news {
		if _, err := c.SendMessage(ctx, bob.ID, threads[n*len(threads)/o.news], core.SendMessage{Kind: core.Text, Content: "hello"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Sequence(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := hub.At(ctx); err != nil { // after this call the hub follows the log
		t.Fatal(err)
	}
	again := func() error {
		k := &countingSink{want: o.news, all: make(chan struct{})}
		s, err := hub.Open(ctx, claims, &from, gateway.SessionOptions{}, k)
		if err != nil {
			return err
		}
		s.Start(nil)
		select {
		case <-k.all:
		case <-s.Done():
			return fmt.Errorf("the session ended: %v", s.Why())
		case <-time.After(time.Minute):
			return fmt.Errorf("fewer than %d events", o.news)
		}
		s.End(gateway.Gone)
		<-s.Done()
		return nil
	}
	var took []time.Duration
	var calls int64
	var most, garbage uint64
	for range o.rounds + 1 {
		var peak func() (held, allocated uint64)
		if o.memory {
			peak = watchHeap()
		}
		before, start := store.calls.Load(), time.Now()
		if err := again(); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(start))
		calls = store.calls.Load() - before
		if o.memory {
			held, allocated := peak()
			most, garbage = max(most, held), allocated
		}
	}
	took = took[1:] // warm now
	slices.Sort(took)
	median := took[len(took)/2]
	fmt.Fprintf(o.out, "resume of %d threads, %d with news, %14s: %7.2f ms, %d calls of the store", o.threads, o.news, o.engine, float64(median.Microseconds())/1000, calls)
	if o.memory {
		fmt.Fprintf(o.out, ", %.1f MB of memory in use (bar 16), %.1f MB allocated\n", float64(most)/(1<<20), float64(garbage)/(1<<20))
		if most > 16<<20 {
			missed = append(missed, fmt.Sprintf("%.1f MB of memory for a resume of %d threads, want at most 16", float64(most)/(1<<20), o.threads))
		}
		if o.pairs > 0 {
			missed = append(missed, o.others(t, c, hub, tokens, again)...)
		}
		return missed
	}
	fmt.Fprintln(o.out, " (bar 10 ms)")
	if median > 10*time.Millisecond {
		missed = append(missed, fmt.Sprintf("%s: %v for a resume, want at most 10 ms", o.engine, median))
	}
	return missed
}

// others measures the latency of messages between other users twice: while nothing else happens,
// and while one user resumes a session repeatedly, which the function again does. It returns a text
// if the ratio of the two latencies exceeds its limit.
func (o resume) others(t *testing.T, c *core.Service, hub *gateway.Hub, tokens *token.Authority, again func() error) (missed []string) {
	t.Helper()
	ctx := t.Context()
	var mu sync.Mutex // guards arrived
	var arrived []time.Duration
	senders, threads := make([]core.User, o.pairs), make([]string, o.pairs)
	for i := range o.pairs {
		reader := newUser(t, c)
		senders[i] = newUser(t, c)
		made, _, err := c.CreateThread(ctx, senders[i].ID, core.CreateThread{Topic: "others", Participants: []core.NewParticipant{{User: communication.ParseRawID(reader.ID)}}})
		if err != nil {
			t.Fatal(err)
		}
		threads[i] = made.ID
		claims := token.Claims{User: reader.ID, Key: keyOf(t, tokens, reader), Generation: reader.Generation, Scopes: token.Chat, Expires: time.Now().Add(time.Hour)}
		s, err := hub.Open(ctx, claims, nil, gateway.SessionOptions{}, timingSink(func(sent time.Time) {
			mu.Lock()
			defer mu.Unlock()
			arrived = append(arrived, time.Since(sent))
		}))
		if err != nil {
			t.Fatal(err)
		}
		s.Start(nil)
		defer func() {
			s.End(gateway.Gone)
			<-s.Done()
		}()
	}
	p99 := func() float64 {
		mu.Lock()
		arrived = nil
		mu.Unlock()
		var sent atomic.Int64
		pace(t, o.rate, o.span, func(n int) error {
			sent.Add(1)
			_, err := c.SendMessage(ctx, senders[n%o.pairs].ID, threads[n%o.pairs], core.SendMessage{Kind: core.Text, Content: time.Now().Format(time.RFC3339Nano)})
			return err
		})
		until(t, "all has arrived", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return int64(len(arrived)) == sent.Load()
		})
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(arrived)
		return float64(arrived[(len(arrived)-1)*99/100].Microseconds()) / 1000
	}
	var quiet, busy, ratios []float64
	resumes := 0
	for range o.rounds {
		q := p99()
		stop := make(chan struct{})
		var resuming sync.WaitGroup
		resuming.Go(func() {
			ticks := time.NewTicker(resumePause)
			defer ticks.Stop()
			for {
				select {
				case <-stop:
					return
				case <-ticks.C:
					if err := again(); err != nil {
						t.Error(err)
						return
					}
					resumes++
				}
			}
		})
		b := p99()
		close(stop)
		resuming.Wait()
		quiet, busy, ratios = append(quiet, q), append(busy, b), append(ratios, b/q)
	}
	fmt.Fprintf(o.out, "meanwhile %.0f sends/s of others, %14s: p99 to the reader %.2f ms, without a resume %.2f ms: %.2f times (bar 2; %.2f to %.2f; %d resumes)\n",
		o.rate, o.engine, middle(busy), middle(quiet), middle(ratios), slices.Min(ratios), slices.Max(ratios), resumes)
	if r := middle(ratios); r > 2 {
		missed = append(missed, fmt.Sprintf("%s: others' p99 is %.2f times as long during a resume of %d threads, want at most 2", o.engine, r, o.threads))
	}
	return missed
}

// resumePause is the time between the begins of two resumes of the user beside whom others send. A
// resume that takes longer is followed by the next one at once.
const resumePause = 50 * time.Millisecond

// timingSink is a gateway.Sink. For each message it calls the function with the time at which the
// message was sent. The content of a message is that time.
type timingSink func(sent time.Time)

// Append calls k if the event is about a message whose content is a time.
func (k timingSink) Append(b []byte, e *gateway.Event, _ core.Cursor) []byte {
	if e == nil || e.Message == nil || e.Gap != 0 {
		return b
	}
	if sent, err := time.Parse(time.RFC3339Nano, e.Message.Content); err == nil {
		k(sent)
	}
	return append(b, e.Message.Content...)
}

// Write implements gateway.Sink. It does nothing.
func (timingSink) Write([]byte) error { return nil }

// End implements gateway.Sink. It appends nothing to b.
func (timingSink) End(b []byte, _ gateway.Reason) []byte { return b }

// Full implements gateway.Sink. It returns false.
func (timingSink) Full() bool { return false }

// Close implements gateway.Sink. It does nothing.
func (timingSink) Close() {}

// watchHeap runs the garbage collector repeatedly until the returned function is called. The
// function returns two numbers of bytes since the start: the largest increase of live objects, and
// the total of allocations.
func watchHeap() (peak func() (held, allocated uint64)) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	start, most := m, m.HeapAlloc
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}()
	return func() (held, allocated uint64) {
		close(stop)
		<-stopped
		return most - start.HeapAlloc, m.TotalAlloc - start.TotalAlloc
	}
}

// newUser creates a user.
func newUser(t *testing.T, c *core.Service) core.User {
	t.Helper()
	u, err := c.CreateUser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// keyOf returns the id of the access key with which the tokens of a user are signed.
func keyOf(t *testing.T, tokens *token.Authority, u core.User) string {
	t.Helper()
	text, _, err := tokens.Issue(u, token.Chat, time.Hour, tokens.Held()[0])
	if err != nil {
		t.Fatal(err)
	}
	claims, err := tokens.Verify(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return claims.Key
}

// countedStore is a core.Store that counts the calls that a session makes to read missed events.
type countedStore struct {
	core.Store
	calls atomic.Int64
}

// News counts the call and passes it to the store.
func (s *countedStore) News(ctx context.Context, user string, after uint64, limit int) ([]core.News, error) {
	s.calls.Add(1)
	return s.Store.News(ctx, user, after, limit)
}

// ThreadEvents counts the call and passes it to the store.
func (s *countedStore) ThreadEvents(ctx context.Context, thread string, from uint64, limit int) ([]core.Event, error) {
	s.calls.Add(1)
	return s.Store.ThreadEvents(ctx, thread, from, limit)
}

// Tell counts the call and passes it to the store.
func (s *countedStore) Tell(ctx context.Context, events []core.Event) ([]core.Happening, error) {
	s.calls.Add(1)
	return s.Store.Tell(ctx, events)
}

// View counts the call and passes it to the store.
func (s *countedStore) View(ctx context.Context, thread, user string) (core.View, error) {
	s.calls.Add(1)
	return s.Store.View(ctx, thread, user)
}

// countingSink is a gateway.Sink that counts events. It closes the channel all when it has received
// the number of events that it wants.
type countingSink struct {
	want, got int
	all       chan struct{}
}

// Append counts an event.
func (k *countingSink) Append(b []byte, e *gateway.Event, _ core.Cursor) []byte {
	if e == nil {
		return b
	}
	if e.Gap != 0 {
		panic("a gap: " + e.Gap.String())
	}
	if k.got++; k.got == k.want {
		close(k.all)
	}
	return append(b, e.Message.Content...)
}

// Write implements gateway.Sink. It does nothing.
func (*countingSink) Write([]byte) error { return nil }

// End implements gateway.Sink. It appends nothing to b.
func (*countingSink) End(b []byte, _ gateway.Reason) []byte { return b }

// Full implements gateway.Sink. It returns false.
func (*countingSink) Full() bool { return false }

// Close implements gateway.Sink. It does nothing.
func (*countingSink) Close() {}

// embedded opens an embedded store in memory and closes it at the end of the test.
func embedded(t *testing.T) core.Store {
	t.Helper()
	s, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), Initial: resumeResource})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var resumeResource = core.Resource{
	ID: "11111111-2222-4333-8444-555555555555", Epoch: "bench",
	Keys: [2]core.AccessKeyRow{{Serial: 1, Secret: make([]byte, 64)}, {Serial: 1, Secret: []byte(strings.Repeat("x", 64))}},
}

// TestResumeFigures prints how long a client needs to resume its event stream and how often the
// store is called, for each kind of store. It also prints the memory that a client in 100,000
// threads needs.
func TestResumeFigures(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" {
		t.Skip("set TEST_FIGURES=1 to measure: it takes three minutes")
	}
	fmt.Println()
	missed := resume{engine: "embedded store", store: embedded(t), threads: 200, news: 3, rounds: rounds(101), out: os.Stdout}.run(t)
	if address := database(t); address != "" {
		s, err := postgres.Open(t.Context(), address, postgres.Options{Initial: resumeResource})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		missed = append(missed, resume{engine: "PostgreSQL", store: s, threads: 200, news: 3, rounds: rounds(101), out: os.Stdout}.run(t)...)
		missed = append(missed, resume{engine: "PostgreSQL", store: s, threads: 100_000, news: 3, rounds: rounds(5), memory: true, pairs: rounds(20), rate: 100, span: 2 * time.Second, out: os.Stdout}.run(t)...)
	}
	disk, err := pebble.Open(t.TempDir(), pebble.Options{Initial: resumeResource})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	missed = append(missed, resume{engine: "embedded store", store: disk, threads: 100_000, news: 3, rounds: rounds(5), memory: true, pairs: rounds(20), rate: 100, span: 2 * time.Second, out: os.Stdout}.run(t)...)
	for _, m := range missed {
		fmt.Println("bar missed:", m)
	}
}

// TestResumeRuns resumes a session with missed events in a few threads. It checks that the memory
// is below its limit and that the number of calls of the store is smaller than the number of
// threads.
func TestResumeRuns(t *testing.T) {
	var out strings.Builder
	missed := resume{engine: "embedded store", store: embedded(t), threads: 20, news: 2, rounds: 1, memory: true, pairs: 2, rate: 100, span: 120 * time.Millisecond, out: &out}.run(t)
	missed = slices.DeleteFunc(missed, func(m string) bool { return strings.Contains(m, "others' p99") }) // depends on the machine
	if len(missed) > 0 || !strings.Contains(out.String(), " 4 calls of the store") || !strings.Contains(out.String(), "meanwhile 100 sends/s") {
		t.Errorf("missed %v:\n%s", missed, cmp.Or(out.String(), "no line"))
	}
}
