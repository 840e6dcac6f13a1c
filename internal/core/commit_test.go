package core_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// gate is a store whose Apply calls wait until the test lets them continue.
type gate struct {
	core.Store
	shut  atomic.Bool
	calls chan *call // calls of Apply that wait while shut is true
	loads atomic.Int64
	stale atomic.Int64 // number of changes to report as stale without applying them

	mu      sync.Mutex // guards batches
	batches []int      // their sizes
}

// call is a call of Apply that waits for the test. If the test sends an error to the call,
// Apply returns that error and does not call the store.
type call struct {
	changes []*core.Change
	turn    chan error
}

func gated(t *testing.T, bus core.Bus) (*house, *gate) {
	t.Helper()
	g := &gate{calls: make(chan *call)}
	h := newHouse(t, bus, func(s core.Store) core.Store {
		g.Store = s
		return g
	})
	return h, g
}

// gateLanes is the number of lanes of a service on a gate, so that two threads can have different
// lanes.
const gateLanes = 2

func (g *gate) Lanes() int { return gateLanes }

func (g *gate) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	if g.shut.Load() {
		c := &call{changes: b.Changes, turn: make(chan error)}
		g.calls <- c
		if err := <-c.turn; err != nil {
			return nil, err
		}
	}
	g.mu.Lock()
	g.batches = append(g.batches, len(b.Changes))
	g.mu.Unlock()
	if g.stale.Add(-int64(len(b.Changes))) >= 0 {
		results := make([]core.Outcome, len(b.Changes))
		for i := range results {
			results[i].Status = core.Stale
		}
		return results, nil
	}
	return g.Store.Apply(ctx, b)
}

func (g *gate) Thread(ctx context.Context, id string) (*core.Thread, error) {
	g.loads.Add(1)
	return g.Store.Thread(ctx, id)
}

func (g *gate) sizes() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.batches)
}

// open lets all waiting and later Apply calls run.
func (g *gate) open(waiting ...*call) {
	g.shut.Store(false)
	for _, c := range waiting {
		c.turn <- nil
	}
}

// until waits until done returns true. Another goroutine than the waiting one must make done return
// true.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for !done() {
		if t.Context().Err() != nil {
			t.Fatalf("%s did not happen", what)
		}
		runtime.Gosched()
	}
}

// sending is a call of SendMessage that runs in another goroutine.
type sending struct {
	id   int64
	err  error
	done chan struct{}
}

func (h *house) start(caller, thread string, cmd core.SendMessage) *sending {
	s := &sending{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.id, s.err = h.SendMessage(context.Background(), caller, thread, cmd)
	}()
	return s
}

func TestWhatGathersIsOneBatch(t *testing.T) {
	h, g := gated(t, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	g.shut.Store(true)
	first := h.start(ann, thread, text("first"))
	one := <-g.calls
	if len(one.changes) != 1 {
		t.Errorf("a lone send is in a batch of %d", len(one.changes))
	}
	const n = 40
	var rest []*sending
	for i := range n { // the sends are queued one after another, so that their order is known
		rest = append(rest, h.start(ann, thread, text(fmt.Sprint(i))))
		until(t, "a send into the queue", func() bool { return h.Queued(thread) == i+1 })
	}
	one.turn <- nil
	<-first.done
	two := <-g.calls
	var got, want []string
	for i, c := range two.changes {
		got, want = append(got, c.Messages[0].Content), append(want, fmt.Sprint(i))
	}
	equal(t, "the second batch", got, want)
	if len(got) != n || h.Queued(thread) != 0 {
		t.Errorf("%d changes in the second batch and %d in the queue, want %d and none", len(got), h.Queued(thread), n)
	}
	g.open(two)
	last := first.id
	for i, s := range rest {
		<-s.done
		if s.err != nil || s.id <= last {
			t.Errorf("send %d: id %d after %d, %v", i, s.id, last, s.err)
		}
		last = s.id
	}
}

// inLane creates threads until a new thread's lane is the lane of key (if same is true) or a
// different lane (if same is false), and returns that thread's id. A lane is the queue of
// changes for a part of the keys.
func (h *house) inLane(t *testing.T, caller, key string, same bool) string {
	t.Helper()
	for {
		id := h.thread(t, caller)
		if (core.LaneOf(id, gateLanes) == core.LaneOf(key, gateLanes)) == same {
			return id
		}
	}
}

// TestCreatesInOneBatch applies, in one batch, several requests to create a thread with the
// same token. It checks that the thread is created once and that each caller gets the same
// answer.
func TestCreatesInOneBatch(t *testing.T) {
	h, g := gated(t, nil)
	ann := h.user(t)
	id := h.ThreadIDFor(ann, "token")
	other := h.inLane(t, ann, id, true)
	g.shut.Store(true)
	before := h.start(ann, other, text("keeps the lane busy"))
	waiting := <-g.calls
	const n = 20
	var made [n]core.ThreadProperties
	var creates sync.WaitGroup
	for i := range n {
		creates.Go(func() {
			var err error
			if made[i], _, err = h.CreateThread(t.Context(), ann, core.CreateThread{Topic: "topic " + fmt.Sprint(i), Token: "token"}); err != nil {
				t.Error(err)
			}
		})
		until(t, "a create into the queue", func() bool { return h.Queued(id) == i+1 })
	}
	g.open(waiting)
	<-before.done
	creates.Wait()
	for i := range made {
		equal(t, fmt.Sprintf("answer %d", i), made[i], core.ThreadProperties{ID: id, Properties: core.Properties{
			Topic: "topic 0", CreatedBy: ann, CreatedOn: start.UnixMilli(),
		}})
	}
	if sizes := g.sizes(); sizes[len(sizes)-1] != n {
		t.Errorf("the batches had %v changes, want the last to have %d", sizes, n)
	}
}

// startUntil calls SendMessage with ctx in another goroutine and returns without waiting for
// it.
func (h *house) startUntil(ctx context.Context, caller, thread string, cmd core.SendMessage) *sending {
	s := &sending{done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.id, s.err = h.SendMessage(ctx, caller, thread, cmd)
	}()
	return s
}

// TestGivingUpInTheQueue cancels sends while a lane is blocked. It checks that a send that is still
// in the queue is refused at once and never written, and that a send that the lane has already
// taken waits for its outcome.
func TestGivingUpInTheQueue(t *testing.T) {
	h, g := gated(t, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	g.shut.Store(true)
	ctx, giveUp := context.WithCancel(t.Context())
	taken := h.startUntil(ctx, ann, thread, text("taken"))
	waiting := <-g.calls
	queued := h.startUntil(ctx, ann, thread, text("never"))
	until(t, "a send into the queue", func() bool { return h.Queued(thread) == 1 })
	giveUp()
	<-queued.done
	wantError(t, "a send that gave up in the queue", queued.err, core.Unavailable, busy)
	if n := h.Queued(thread); n != 0 {
		t.Errorf("%d changes in the queue, want none", n)
	}
	g.open(waiting)
	if <-taken.done; taken.err != nil {
		t.Errorf("a send that gave up when it was taken: %v", taken.err)
	}
	equal(t, "messages", h.contents(t, ann, thread)[0], "taken")
}

// TestAwayUntilTheFirstGivesUp sends two messages in one batch and keeps the store unavailable
// until the deadline of the first caller. It checks that the first send is refused and that the
// second, which has a later deadline, is tried again.
func TestAwayUntilTheFirstGivesUp(t *testing.T) {
	h, g := gated(t, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	g.shut.Store(true)
	first := h.start(ann, thread, text("keeps the lane busy"))
	waiting := <-g.calls
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	long, cancel2 := context.WithTimeout(t.Context(), time.Hour)
	defer cancel2()
	patient := h.startUntil(long, ann, thread, text("patient"))
	until(t, "a send into the queue", func() bool { return h.Queued(thread) == 1 })
	hasty := h.startUntil(short, ann, thread, text("hasty"))
	until(t, "another send into the queue", func() bool { return h.Queued(thread) == 2 })
	waiting.turn <- nil
	<-first.done
	both := <-g.calls
	if len(both.changes) != 2 {
		t.Fatalf("a batch of %d, want 2", len(both.changes))
	}
	<-short.Done()
	until(t, "the end of the first caller's patience", func() bool {
		deadline, _ := short.Deadline()
		return time.Now().After(deadline)
	})
	both.turn <- core.ErrUnavailable
	<-hasty.done
	wantError(t, "the send that gave up", hasty.err, core.Unavailable, busy)
	again := <-g.calls
	equal(t, "the batch after it", again.changes[0].Messages[0].Content, "patient")
	// The store refuses the change before the caller's deadline. The service must then refuse the
	// change and not try it again for ever.
	again.turn <- core.ErrUnavailable
	<-patient.done
	wantError(t, "a send that the store refuses at once", patient.err, core.Unavailable, busy)
	g.open()
}

func TestLaneBounds(t *testing.T) {
	h, g := gated(t, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	other := h.inLane(t, ann, thread, false)
	g.shut.Store(true)
	first := h.start(ann, thread, text("first"))
	waiting := <-g.calls
	for i := range core.MaxQueued {
		c := &core.Change{Key: thread, Thread: thread, Revision: 1, Caller: ann,
			Messages: []core.Message{{Kind: core.Text, Sender: ann, Content: "queued"}}}
		if !h.Enqueue(c) {
			t.Fatalf("change %d is refused, the bound is %d", i+1, core.MaxQueued)
		}
	}
	_, err := h.SendMessage(t.Context(), ann, thread, text("never"))
	wantError(t, "a send to a full queue", err, core.Unavailable, busy)
	second := h.start(ann, other, text("another lane has room"))
	(<-g.calls).turn <- nil
	if <-second.done; second.err != nil {
		t.Errorf("a send in another lane: %v", second.err)
	}

	g.open(waiting)
	if <-first.done; first.err != nil {
		t.Error(first.err)
	}
	until(t, "room in the queue", func() bool { return h.Queued(thread) < core.MaxQueued })
	id := h.send(t, ann, thread, "last") // behind all that was queued
	m, err := h.Message(t.Context(), ann, thread, id)
	if want := uint64(2 + 1 + core.MaxQueued + 1); err != nil || m.Sequence != want {
		t.Errorf("the last message has sequence %d, %v; want %d", m.Sequence, err, want)
	}
	for _, n := range g.sizes() {
		if n > core.MaxBatch {
			t.Errorf("a batch of %d changes, the bound is %d", n, core.MaxBatch)
		}
	}
}

// TestLaneBoundsInBytes fills the queue of a lane with large changes. It checks that the queue
// refuses changes beyond its bound in bytes, that each batch stays within the bound of a batch, and
// that a change that is larger than both bounds is written when the queue is empty.
func TestLaneBoundsInBytes(t *testing.T) {
	h, g := gated(t, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	g.shut.Store(true)
	first := h.start(ann, thread, text("first"))
	waiting := <-g.calls
	const size = 1 << 20
	content := strings.Repeat("x", size)
	change := func(messages int) *core.Change {
		c := &core.Change{Key: thread, Thread: thread, Revision: 1, Caller: ann}
		for range messages {
			c.Messages = append(c.Messages, core.Message{Kind: core.Text, Sender: ann, Content: content})
			c.Events = append(c.Events, core.Event{Kind: core.MessageReceived, Actor: ann})
		}
		return c
	}
	queued := 0
	for h.Enqueue(change(1)) {
		if queued++; queued*size > core.MaxQueuedBytes {
			t.Fatalf("%d MiB are queued, the bound is %d MiB", queued, core.MaxQueuedBytes>>20)
		}
	}
	if (queued+1)*(size+1024) < core.MaxQueuedBytes {
		t.Errorf("only %d MiB were queued, the bound is %d MiB", queued, core.MaxQueuedBytes>>20)
	}
	_, err := h.SendMessage(t.Context(), ann, thread, core.SendMessage{Content: content, Kind: core.Text})
	wantError(t, "a large send to a full queue", err, core.Unavailable, busy)
	g.open(waiting)
	if <-first.done; first.err != nil {
		t.Error(first.err)
	}
	until(t, "an empty queue", func() bool { return h.Queued(thread) == 0 })
	if !h.Enqueue(change(2 * core.MaxQueuedBytes / size)) {
		t.Error("a change above the bound was refused by an empty queue")
	}
	until(t, "an empty queue", func() bool { return h.Queued(thread) == 0 })
	h.send(t, ann, thread, "last") // behind all that was queued
	for _, n := range g.sizes() {
		if n > core.MaxBatchBytes/size {
			t.Errorf("a batch of %d changes of 1 MiB, the bound is %d MiB", n, core.MaxBatchBytes>>20)
		}
	}
	v, err := h.store.View(t.Context(), thread, ann)
	if want := uint64(2 + 1 + queued + 32 + 1); err != nil || v.Head.LastSequence != want {
		t.Errorf("the last message has sequence %d, %v; want %d", v.Head.LastSequence, err, want)
	}
}

func TestCloseFinishesWhatWasAccepted(t *testing.T) {
	h, g := gated(t, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	g.shut.Store(true)
	sends := []*sending{h.start(ann, thread, text("0"))}
	waiting := <-g.calls
	for i := range 5 {
		sends = append(sends, h.start(ann, thread, text(fmt.Sprint(i+1))))
		until(t, "a send into the queue", func() bool { return h.Queued(thread) == i+1 })
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		h.Close()
	}()
	until(t, "the end of the lane", func() bool { return h.Closing(thread) })
	_, err := h.SendMessage(t.Context(), ann, thread, text("never"))
	wantError(t, "a send after Close", err, core.Unavailable, busy)
	select {
	case <-closed:
		t.Error("Close returned before what was accepted is done")
	default:
	}
	g.open(waiting)
	<-closed
	for i, s := range sends {
		if <-s.done; s.err != nil {
			t.Errorf("send %d: %v", i, s.err)
		}
	}
	equal(t, "messages", h.contents(t, ann, thread), []string{"5", "4", "3", "2", "1", "0", "topicUpdated", "participantAdded"})
	_, err = h.CreateUser(t.Context())
	wantError(t, "a create after Close", err, core.Unavailable, busy)
}

func TestErrorOfApplyIsTheWholeBatchs(t *testing.T) {
	lost := errors.New("connection lost during commit")
	for _, c := range []struct {
		name    string
		err     error
		message string // the message of the refusal; empty: the outcome is unknown, so the call fails with an error that is not a refusal
	}{
		{"unknown outcome", lost, ""},
		{"wrapped", fmt.Errorf("apply: %w", lost), ""},
		{"deadline", context.DeadlineExceeded, ""},
		{"disk full", core.ErrStorageFull, "The server is short of disk space"},
		{"database gone", fmt.Errorf("apply: %w", core.ErrUnavailable), "The server is currently unable to handle the request."},
		{"disk full, wrapped", fmt.Errorf("%w of 5 bytes", core.ErrStorageFull), "The server is short of disk space"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var bus recorder
			h, g := gated(t, &bus)
			ann := h.user(t)
			thread := h.thread(t, ann)
			published := len(bus.all())
			g.shut.Store(true)
			first := h.start(ann, thread, text("first"))
			one := <-g.calls
			var rest []*sending
			for i := range 3 {
				rest = append(rest, h.start(ann, thread, text("never")))
				until(t, "a send into the queue", func() bool { return h.Queued(thread) == i+1 })
			}
			one.turn <- nil
			two := <-g.calls
			two.turn <- c.err
			if <-first.done; first.err != nil {
				t.Errorf("the batch before: %v", first.err)
			}
			for i, s := range rest {
				<-s.done
				if !errors.Is(s.err, c.err) {
					t.Errorf("send %d of the batch: error %v, want %v in it", i, s.err, c.err)
				}
				if c.message != "" {
					wantError(t, "send", s.err, core.Unavailable, c.message)
				} else if e := (*core.Error)(nil); errors.As(s.err, &e) {
					t.Errorf("send %d is refused with %v: SDKs would repeat it, and it may be written", i, e)
				}
			}
			g.open()
			h.send(t, ann, thread, "after")
			equal(t, "messages", h.contents(t, ann, thread), []string{"after", "first", "topicUpdated", "participantAdded"})
			if n := len(bus.all()) - published; n != 2 {
				t.Errorf("%d events were published, want those of the two sends that are written", n)
			}
		})
	}
}

// recorder is a slow bus that records the published events.
type recorder struct {
	mu     sync.Mutex // guards events
	events []core.Event
}

func (r *recorder) Publish(hs []*core.Happening) {
	for range 100 { // let a caller run whose answer came before Publish returned; this must not happen
		runtime.Gosched()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range hs {
		r.events = append(r.events, h.Event)
	}
}

func (r *recorder) Listening() bool { return true }

// Subscribe panics: the tests with this bus do not subscribe.
func (r *recorder) Subscribe(int) core.Subscription { panic("nobody subscribes") }

func (r *recorder) all() []core.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[:len(r.events):len(r.events)]
}

func TestPublishedBeforeAnswered(t *testing.T) {
	var bus recorder
	h := newHouse(t, &bus, nil)
	ann := h.user(t)
	threads := []string{h.thread(t, ann), h.thread(t, ann), h.thread(t, ann)}
	const senders, each = 6, 15
	together(senders, func(i int) {
		thread := threads[i%len(threads)]
		for range each {
			id, err := h.SendMessage(t.Context(), ann, thread, text("x"))
			if err != nil {
				t.Error(err)
				return
			}
			found := false
			for _, e := range bus.all() {
				found = found || e.Thread == thread && e.MessageID == id
			}
			if !found {
				t.Errorf("the sender has id %d and the bus has no event of it", id)
				return
			}
		}
	})
	next := map[string]uint64{}
	for _, e := range bus.all() {
		if next[e.Thread]++; e.Number != next[e.Thread] {
			t.Fatalf("event %d of %s was published where %d should be", e.Number, e.Thread, next[e.Thread])
		}
	}
	for _, thread := range threads {
		if want := uint64(1 + senders/len(threads)*each); next[thread] != want {
			t.Errorf("%d events of %s were published, want %d", next[thread], thread, want)
		}
	}
	log, err := storetest.Events(t.Context(), h.store)
	if err != nil || len(log) != len(bus.all()) {
		t.Errorf("the log has %d events, %v; the bus %d", len(log), err, len(bus.all()))
	}
}

func TestStaleIsDecidedByTheEngine(t *testing.T) {
	h, g := gated(t, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	h.send(t, ann, thread, "the head is cached from here on")
	g.stale.Store(1)
	batches, loads := len(g.sizes()), g.loads.Load()
	h.send(t, ann, thread, "the engine decides")
	if n := len(g.sizes()) - batches; n != 2 || g.loads.Load() != loads {
		t.Errorf("%d batches and %d loads, want 2 batches and no load: the engine has the rows", n, g.loads.Load()-loads)
	}
	if left := g.stale.Load(); left != -1 {
		t.Errorf("the counter of stale changes ends at %d, want -1", left)
	}
}

// TestPatience runs operations on an engine that reports every change as stale. It checks that the
// operations fail with 503 after Options.Patience and write nothing.
func TestPatience(t *testing.T) {
	ctx := t.Context()
	g := &gate{calls: make(chan *call)}
	h := newHouseWith(t, nil, func(s core.Store) core.Store {
		g.Store = s
		return g
	}, core.Options{Patience: time.Millisecond})
	ann := h.user(t)
	thread := h.thread(t, ann)
	operations := map[string]func() error{
		"send": func() error { _, err := h.SendMessage(ctx, ann, thread, text("never")); return err },
		"create": func() error {
			_, _, err := h.CreateThread(ctx, ann, core.CreateThread{Topic: "never", Token: "never"})
			return err
		},
		"user":   func() error { _, err := h.CreateUser(ctx); return err },
		"revoke": func() error { return h.RevokeTokens(ctx, ann) },
	}
	g.stale.Store(1 << 40)
	for name, do := range operations {
		wantError(t, name, do(), core.Unavailable, busy)
	}
	g.stale.Store(0)
	if th, err := h.store.Thread(ctx, h.ThreadIDFor(ann, "never")); th != nil || err != nil {
		t.Errorf("a create that never held left %+v, %v", th, err)
	}
	if u, err := h.User(ctx, ann); err != nil || u.Generation != 1 {
		t.Errorf("a revoke that never held left generation %d, %v", u.Generation, err)
	}
	equal(t, "messages", h.contents(t, ann, thread), []string{"topicUpdated", "participantAdded"})
}

// failing is a store whose reads fail while the test has set an error.
type failing struct {
	core.Store
	err atomic.Pointer[error]
}

func (f *failing) failure() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *failing) Thread(ctx context.Context, id string) (*core.Thread, error) {
	if err := f.failure(); err != nil {
		return nil, err
	}
	return f.Store.Thread(ctx, id)
}

func (f *failing) View(ctx context.Context, thread, member string) (core.View, error) {
	if err := f.failure(); err != nil {
		return core.View{}, err
	}
	return f.Store.View(ctx, thread, member)
}

func (f *failing) Users(ctx context.Context, ids []string) ([]core.User, error) {
	if err := f.failure(); err != nil {
		return nil, err
	}
	return f.Store.Users(ctx, ids)
}

func (f *failing) Messages(ctx context.Context, q core.MessagesQuery) (core.MessagesPage, error) {
	if err := f.failure(); err != nil {
		return core.MessagesPage{}, err
	}
	return f.Store.Messages(ctx, q)
}

func TestErrorsOfTheStorePassThrough(t *testing.T) {
	ctx := t.Context()
	var r *failing
	h := newHouse(t, nil, func(s core.Store) core.Store {
		r = &failing{Store: s}
		return r
	})
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann) // from now on the cache has ann but not bob
	disk := errors.New("disk on fire")
	r.err.Store(&disk)
	for name, do := range map[string]func() error{
		"get thread": func() error { _, err := h.Thread(ctx, ann, thread); return err },
		"send":       func() error { _, err := h.SendMessage(ctx, ann, thread, text("x")); return err },
		"list":       func() error { _, err := h.ListMessages(ctx, ann, thread, core.ListMessages{Limit: 1}); return err },
		"get":        func() error { _, err := h.Message(ctx, ann, thread, 1); return err },
		"user":       func() error { _, err := h.User(ctx, bob); return err },
		"live user":  func() error { _, err := h.LiveUser(ctx, ann); return err },
		"revoke":     func() error { return h.RevokeTokens(ctx, bob) },
	} {
		err := do()
		var refusal *core.Error
		if !errors.Is(err, disk) || errors.As(err, &refusal) {
			t.Errorf("%s: error %v, want %v in it and no refusal", name, err, disk)
		}
	}
}
