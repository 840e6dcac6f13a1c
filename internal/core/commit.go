package core

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// Bounds of a lane. A full queue refuses, and nothing of the refused is written.
const (
	maxQueued = 8192 // changes that wait
	maxBatch  = 1024 // changes in one Apply
)

// committer is the group commit: a lane per share of the keys, each with one
// goroutine that applies whatever has gathered while its last Apply ran. There
// are no timers: a lone sender waits for nobody.
type committer struct {
	store   Store
	bus     Bus
	now     func() time.Time
	observe func(changes int, took time.Duration)
	lanes   []*lane
	done    sync.WaitGroup
	pending sync.Pool // of *pending; here, since a channel must not leave its synctest bubble
}

type lane struct {
	wake chan struct{} // of capacity 1: there is something in the queue, or closed

	mu     sync.Mutex // guards what follows
	queue  []*pending
	closed bool
}

type pending struct {
	change  *Change
	outcome Outcome
	err     error
	done    chan struct{} // of capacity 1
}

func newCommitter(store Store, bus Bus, now func() time.Time, observe func(int, time.Duration)) *committer {
	c := &committer{store: store, bus: bus, now: now, observe: observe}
	c.pending.New = func() any { return &pending{done: make(chan struct{}, 1)} }
	for range store.Lanes() {
		l := &lane{wake: make(chan struct{}, 1)}
		c.lanes = append(c.lanes, l)
		c.done.Add(1)
		go func() {
			defer c.done.Done()
			c.run(l)
		}()
	}
	return c
}

// close lets the lanes finish what they hold and refuses the rest.
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

// commit waits for the outcome of the change, durable if it was applied. It takes
// no context: once a change is in the queue its fate is the lane's, and an answer
// before that would be a guess.
func (c *committer) commit(change *Change) (Outcome, error) {
	p := c.pending.Get().(*pending)
	defer c.pending.Put(p)
	p.change = change
	if !c.lanes[LaneOf(change.Key, len(c.lanes))].put(p) {
		return Outcome{}, ErrBusy
	}
	<-p.done
	outcome, err := p.outcome, p.err
	p.change, p.outcome, p.err = nil, Outcome{}, nil
	return outcome, err
}

func (l *lane) put(p *pending) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.queue) >= maxQueued {
		return false
	}
	l.queue = append(l.queue, p)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// take moves the queue, or its first maxBatch changes, into batch.
func (l *lane) take(batch []*pending) []*pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.queue), maxBatch)
	batch = append(batch[:0], l.queue[:n]...)
	rest := copy(l.queue, l.queue[n:])
	clear(l.queue[rest:])
	l.queue = l.queue[:rest]
	return batch
}

func (c *committer) run(l *lane) {
	var batch []*pending
	for open := true; open; {
		_, open = <-l.wake
		for {
			// The senders that the last batch has just answered are runnable
			// now: letting them go first is what fills the next batch.
			runtime.Gosched()
			if batch = l.take(batch); len(batch) == 0 {
				break
			}
			c.apply(batch)
		}
	}
}

func (c *committer) apply(batch []*pending) {
	changes := make([]*Change, len(batch))
	for i, p := range batch {
		changes[i] = p.change
	}
	start := c.now()
	outcomes, err := c.store.Apply(context.Background(), Batch{At: start.UnixMilli(), Changes: changes})
	if c.observe != nil {
		c.observe(len(batch), c.now().Sub(start))
	}
	if err != nil {
		err = batchError(err)
		for _, p := range batch {
			p.err = err
			p.done <- struct{}{}
		}
		return
	}
	c.announce(outcomes)
	for i, p := range batch {
		p.outcome = outcomes[i]
		p.done <- struct{}{}
	}
}

// announce tells the bus before anyone is answered: whoever has an answer finds
// its event under way.
func (c *committer) announce(outcomes []Outcome) {
	var events []Event
	for _, o := range outcomes {
		if o.Status == Applied {
			events = append(events, o.Change.Events...)
		}
	}
	if len(events) > 0 {
		c.bus.Publish(events)
	}
}

// batchError says 503 only when certainly nothing was committed: SDKs repeat a
// request after a 503, and a send would be doubled.
func batchError(err error) error {
	if errors.Is(err, ErrStorageFull) {
		return &Error{Code: Unavailable, Message: "The server is short of disk space and refuses writes.", Cause: err}
	}
	if errors.Is(err, ErrUnavailable) {
		return &Error{Code: Unavailable, Message: ErrBusy.Message, Cause: err}
	}
	return err
}
