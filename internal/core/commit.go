package core

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/why"
)

// Bounds of a lane: a queue of changes with the goroutine that commits them. If the queue is
// full, a change is refused with ErrBusy. A change of more than maxQueuedBytes is accepted only
// into an empty queue, and a change of more than maxBatchBytes is committed in a batch of its
// own.
const (
	maxQueued      = 8192     // changes in the queue
	maxQueuedBytes = 16 << 20 // bytes of them
	maxBatch       = 1024     // changes in one batch
	maxBatchBytes  = 4 << 20  // bytes of them
)

// committer commits changes in groups. Each lane has one goroutine. While the goroutine runs
// Store.Apply, further changes are queued; then it applies these changes together as one batch. No
// timer delays a batch: a single change is applied at once.
type committer struct {
	store   Store
	bus     Bus
	now     func() time.Time
	observe func(changes int, took time.Duration)
	lanes   []*lane
	done    sync.WaitGroup
	pending sync.Pool     // pool of *pending; not global, because synctest forbids sharing channels between tests
	applied atomic.Uint64 // batches that the store has applied
}

type lane struct {
	wake chan struct{} // channel of capacity 1 that wakes the lane's goroutine; closed when the lane is closed

	mu     sync.Mutex // guards the fields below
	queue  []*pending
	bytes  int // of the changes in the queue
	closed bool
	slow   chan struct{} // channel that is closed while a batch takes longer than slowBatch
}

// slowBatch is the time after the start of a batch from which callers in the queue watch their
// contexts. Most changes are committed earlier, so their callers need no timer.
const slowBatch = 250 * time.Millisecond

// pending is a queued change and its result. done receives one element when
// outcome and err are set.
type pending struct {
	change  *Change
	bytes   int       // about its size in memory
	until   time.Time // when the caller gives up; zero: the caller never gives up
	outcome *Outcome
	err     error
	done    chan struct{} // capacity 1
}

func newCommitter(store Store, bus Bus, now func() time.Time, observe func(int, time.Duration)) *committer {
	c := &committer{store: store, bus: bus, now: now, observe: observe}
	c.pending.New = func() any { return &pending{done: make(chan struct{}, 1)} }
	for range store.Lanes() {
		l := &lane{wake: make(chan struct{}, 1), slow: make(chan struct{})}
		c.lanes = append(c.lanes, l)
		c.done.Add(1)
		go func() {
			defer c.done.Done()
			c.run(l)
		}()
	}
	return c
}

// close refuses new changes with ErrBusy and waits until the queued ones are applied.
func (c *committer) close() {
	for _, l := range c.lanes {
		l.mu.Lock()
		if !l.closed {
			l.closed = true
			close(l.wake)
		}
		l.mu.Unlock()
	}
	c.done.Wait()
}

// commit queues a change and returns its outcome when the batch is durable. It returns ErrBusy if
// the lane's queue is full or closed, or if ctx ends while the change is still queued and the batch
// before it takes longer than slowBatch. Once the lane's goroutine has taken the change, the end of
// ctx does not cancel the change, because only the goroutine knows the outcome. The deadline of ctx
// is passed to the store in Batch.Until.
func (c *committer) commit(ctx context.Context, change *Change) (*Outcome, error) {
	p := c.pending.Get().(*pending)
	defer c.pending.Put(p)
	p.change, p.bytes = change, change.size()
	p.until, _ = ctx.Deadline()
	l := c.lanes[LaneOf(change.Key, len(c.lanes))]
	slow, ok := l.put(p)
	if !ok {
		return nil, ErrBusy.Because(why.Busy, "problem", "the queue of changes is full")
	}
	select {
	case <-p.done:
	case <-slow:
		select {
		case <-p.done:
		case <-ctx.Done():
			if l.withdraw(p) {
				return nil, ErrBusy
			}
			<-p.done
		}
	}
	outcome, err := p.outcome, p.err
	p.change, p.outcome, p.err = nil, nil, nil
	return outcome, err
}

// put appends p to the lane's queue. It returns the channel that is closed when a batch is slow, or
// false if the queue is full or the lane is closed.
func (l *lane) put(p *pending) (slow <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.queue) >= maxQueued || len(l.queue) > 0 && l.bytes+p.bytes > maxQueuedBytes {
		return nil, false
	}
	l.queue = append(l.queue, p)
	l.bytes += p.bytes
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return l.slow, true
}

// isSlow closes l.slow, so that the callers in the queue begin to watch their contexts.
func (l *lane) isSlow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.slow:
	default:
		close(l.slow)
	}
}

// isQuick undoes isSlow for later callers.
func (l *lane) isQuick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.slow:
		l.slow = make(chan struct{})
	default:
	}
}

// withdraw removes p from the lane's queue. It returns false if the lane's goroutine has
// already taken p.
func (l *lane) withdraw(p *pending) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.queue, p)
	if i < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	l.bytes -= p.bytes
	return true
}

// putBack returns the changes of a batch that was not written to the head of the queue, if their
// callers wait longer than moment. It returns the other changes.
func (l *lane) putBack(batch []*pending) (rest []*pending) {
	soon := time.Now().Add(moment)
	l.mu.Lock()
	defer l.mu.Unlock()
	var young []*pending
	for _, p := range batch {
		if p.until.After(soon) {
			young = append(young, p)
			l.bytes += p.bytes
		} else {
			rest = append(rest, p)
		}
	}
	l.queue = slices.Insert(l.queue, 0, young...)
	return rest
}

// take removes changes from the head of the queue and returns them: at most maxBatch changes with
// maxBatchBytes in all, but at least one if the queue is not empty. It overwrites batch and returns
// its memory, to save an allocation.
func (l *lane) take(batch []*pending) []*pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, bytes := 0, 0
	for n < min(len(l.queue), maxBatch) {
		if bytes += l.queue[n].bytes; bytes > maxBatchBytes && n > 0 {
			break
		}
		l.bytes -= l.queue[n].bytes
		n++
	}
	batch = append(batch[:0], l.queue[:n]...)
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	return batch
}

// run applies the changes in the lane's queue, batch by batch, until the lane is closed and its
// queue is empty.
func (c *committer) run(l *lane) {
	slow := time.AfterFunc(slowBatch, l.isSlow)
	slow.Stop() // the timer starts with a batch
	var batch []*pending
	for open := true; open; {
		_, open = <-l.wake
		for {
			// Let the callers of the last batch run first. They may queue their next changes,
			// which makes the next batch larger.
			runtime.Gosched()
			if batch = l.take(batch); len(batch) == 0 {
				break
			}
			slow.Reset(slowBatch)
			c.apply(l, batch)
			slow.Stop()
			l.isQuick()
		}
	}
}

// moment is the shortest remaining time in which it is worthwhile to try a failed write again.
const moment = time.Second

// apply writes a batch to the store, publishes its events and wakes the callers. If the store
// is unavailable until the first caller's deadline has passed, apply puts the changes of
// callers with later deadlines back into the queue.
func (c *committer) apply(l *lane, batch []*pending) {
	changes := make([]*Change, len(batch))
	var until time.Time // the earliest of all
	for i, p := range batch {
		changes[i] = p.change
		if !p.until.IsZero() && (until.IsZero() || p.until.Before(until)) {
			until = p.until
		}
	}
	start := c.now()
	outcomes, err := c.store.Apply(context.Background(), Batch{At: start.UnixMilli(), Check: rand.Uint32(), Until: until, Changes: changes, Owned: true})
	if c.observe != nil {
		c.observe(len(batch), c.now().Sub(start))
	}
	if err != nil {
		if errors.Is(err, ErrUnavailable) && !until.IsZero() && time.Now().After(until) {
			batch = l.putBack(batch)
		}
		err = batchError(err)
		for _, p := range batch {
			p.err = err
			p.done <- struct{}{}
		}
		return
	}
	c.applied.Add(1)
	c.announce(outcomes)
	for i, p := range batch {
		p.outcome = &outcomes[i]
		p.done <- struct{}{}
	}
}

// announce publishes the events of the applied changes if the bus has a subscriber. It is
// called before the callers get their answers.
func (c *committer) announce(outcomes []Outcome) {
	if !c.bus.Listening() {
		return
	}
	var hs []*Happening
	for i := range outcomes {
		if o := &outcomes[i]; o.Status == Applied {
			for j := range o.Change.Events {
				hs = append(hs, o.happening(&o.Change.Events[j]))
			}
		}
	}
	if len(hs) > 0 {
		c.bus.Publish(hs)
	}
}

// happening returns an event of an applied change together with the rows that the event refers
// to.
func (o *Outcome) happening(e *Event) *Happening {
	c := o.Change
	h := &Happening{Event: *e, Revision: o.Revision, Properties: c.Properties}
	if e.Kind.ChangesMembers() {
		h.Members = c.Members
	}
	for i := range c.Messages {
		if c.Messages[i].ID == e.MessageID {
			h.Message = &c.Messages[i]
		}
	}
	for i := range c.Rewrites {
		if c.Rewrites[i].ID == e.MessageID {
			h.Message = &c.Rewrites[i].Message
		}
	}
	return h
}

// batchError converts an error of Store.Apply to a 503 error if nothing was written, and
// returns any other error unchanged. ErrUnknown is not converted: the batch may have been
// written, and SDKs repeat a request after a 503, so a message could be stored twice.
func batchError(err error) error {
	if errors.Is(err, ErrStorageFull) {
		return &Error{Code: Unavailable, Message: "The server is short of disk space and refuses writes.", Why: why.Because(why.DiskFull), Cause: err}
	}
	if errors.Is(err, ErrUnavailable) {
		return &Error{Code: Unavailable, Message: ErrBusy.Message, Why: why.Because(why.StoreAway), Cause: err}
	}
	return err
}
