package gateway_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// simStore is the store of a simulation. It tells the model each applied change, and delays
// commits. If sequenced is true, it behaves like PostgreSQL: the events of a committed batch have
// no positions in the log until Sequence is called, and Sequence skips batches that are not
// committed.
type simStore struct {
	core.Store
	sim       *sim
	sequenced bool

	mu    sync.Mutex // guards the fields below, and makes a commit and its record in the model one atomic step
	model *model
	// batches whose events have no positions in the log yet, committed or not, in the order of
	// their numbers
	open   []*simBatch
	placed []core.Event
	floor  core.Cursor
	epoch  string
	last   uint64 // the number of the newest batch
}

// simBatch is a batch of a sequenced simStore whose events have no positions yet.
type simBatch struct {
	core.Placed
	events []core.Event
	ready  bool // it is committed
}

// Shared marks the store as one that several servers use.
func (s *simStore) Shared() {}

// Apply commits a batch. It sometimes sleeps before and after the commit.
func (s *simStore) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	s.sim.sleepSometimes(10, 300*time.Millisecond)
	outcomes, batch, err := s.commit(ctx, b)
	s.sim.sleepSometimes(10, 2*time.Second)
	if batch != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		batch.ready = true
	}
	return outcomes, err
}

// commit applies a batch and records its changes in the model. If the store is sequenced, it also
// returns the batch, whose events have no positions in the log yet.
func (s *simStore) commit(ctx context.Context, b core.Batch) ([]core.Outcome, *simBatch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	outcomes, err := s.Store.Apply(ctx, b)
	if err != nil {
		return outcomes, nil, err
	}
	var batch *simBatch
	for i := range outcomes {
		if outcomes[i].Status != core.Applied {
			continue
		}
		c := outcomes[i].Change
		s.model.apply(c, b.At)
		if !s.sequenced || len(c.Events) == 0 {
			continue
		}
		if batch == nil {
			s.last++
			batch = &simBatch{Placed: core.Placed{Batch: s.last, Check: b.Check}}
			s.open = append(s.open, batch)
		}
		for j := range c.Events {
			batch.events = append(batch.events, c.Events[j])
			batch.Events++
			c.Events[j].Batch, c.Events[j].Position = batch.Batch, core.PlaceOf(batch.Batch)+batch.Events
		}
	}
	return outcomes, batch, nil
}

// Sequence gives positions in the log to the events of committed batches, in the order of the
// batches' numbers. A batch waits for earlier batches with events of the same threads.
func (s *simStore) Sequence(ctx context.Context) (placed []core.Placed, err error) {
	if !s.sequenced {
		return s.Store.Sequence(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	waits := map[string]bool{}
	var open []*simBatch
	for _, b := range s.open {
		if !b.ready || slices.ContainsFunc(b.events, func(e core.Event) bool { return e.Thread != "" && waits[e.Thread] }) {
			for _, e := range b.events {
				waits[e.Thread] = true
			}
			open = append(open, b)
			continue
		}
		for _, e := range b.events {
			e.Position = s.end().Position + 1
			s.placed = append(s.placed, e)
			s.model.place(e)
		}
		b.Last = s.end().Position
		placed = append(placed, b.Placed)
	}
	s.open = open
	return placed, nil
}

// end returns the cursor after the last event that has a position in the event log. The caller
// holds s.mu.
func (s *simStore) end() core.Cursor {
	if n := len(s.placed); n > 0 {
		return core.Cursor{Epoch: s.epoch, Position: s.placed[n-1].Position, Check: s.placed[n-1].Check}
	}
	return core.Cursor{Epoch: s.epoch, Position: s.floor.Position, Check: s.floor.Check}
}

// Tip returns the cursor after the last event that has a position in the event log.
func (s *simStore) Tip(ctx context.Context) (core.Cursor, error) {
	if !s.sequenced {
		return s.Store.Tip(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(), nil
}

// Log returns the events after a cursor that have positions in the log.
func (s *simStore) Log(ctx context.Context, after core.Cursor, limit int) (core.LogPage, error) {
	if !s.sequenced {
		return s.Store.Log(ctx, after, limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	page := core.LogPage{Next: after, Tip: s.end().Position}
	check := s.floor.Check
	if i := int(after.Position) - int(s.floor.Position) - 1; i >= 0 && i < len(s.placed) {
		check = s.placed[i].Check
	}
	switch {
	case after.Epoch != s.epoch:
		page.Gap = core.GapEpoch
	case after.Position < s.floor.Position:
		page.Gap = core.GapTrimmed
	case after.Position > page.Tip || after.Check != check:
		page.Gap = core.GapLost
	default:
		page.Events = slices.Clone(s.placed[after.Position-s.floor.Position:])
		page.Events = page.Events[:min(limit, len(page.Events))]
		if n := len(page.Events); n > 0 {
			page.Next.Position, page.Next.Check = page.Events[n-1].Position, page.Events[n-1].Check
		}
		return page, nil
	}
	page.Next = s.end()
	return page, nil
}

// News returns the user's threads with events after a position of the log.
func (s *simStore) News(ctx context.Context, user string, after uint64, limit int) (news []core.News, err error) {
	if !s.sequenced {
		return s.Store.News(ctx, user, after, limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range s.placed {
		if e.Position <= after || seen[e.Thread] || e.Thread == "" || len(news) == limit {
			continue
		}
		seen[e.Thread] = true
		v, err := s.View(ctx, e.Thread, user)
		if err != nil {
			return nil, err
		}
		if v.Member != nil {
			news = append(news, core.News{View: v, First: e.Number})
		}
	}
	return news, nil
}

// ThreadEvents returns the events of a thread that have positions in the log.
func (s *simStore) ThreadEvents(ctx context.Context, thread string, from uint64, limit int) (events []core.Event, err error) {
	s.sim.sleepSometimes(10, 500*time.Millisecond)
	if !s.sequenced {
		return s.Store.ThreadEvents(ctx, thread, from, limit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.placed {
		if e.Thread == thread && e.Number >= from && len(events) < limit {
			events = append(events, e)
		}
	}
	return events, nil
}

// Tell reads the messages and members of events. It sometimes sleeps first.
func (s *simStore) Tell(ctx context.Context, events []core.Event) ([]core.Happening, error) {
	s.sim.sleepSometimes(10, 500*time.Millisecond)
	return s.Store.Tell(ctx, events)
}

// Users reads users. It sometimes sleeps before it returns.
func (s *simStore) Users(ctx context.Context, ids []string) ([]core.User, error) {
	us, err := s.Store.Users(ctx, ids)
	s.sim.sleepSometimes(20, 2*time.Second)
	return us, err
}

// Trim deletes from the log all events that have positions.
func (s *simStore) Trim(ctx context.Context, day uint32) error {
	if day <= core.DayOf(time.Now().UnixMilli()) {
		return nil // do nothing for later days, because a simulation lasts less than a day
	}
	// hold the lock, because the store deletes all events before the day and no commit of today may
	// happen meanwhile
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.sequenced {
		err := s.Store.Trim(ctx, day)
		tip, tipErr := s.Store.Tip(ctx)
		s.model.trimmed = max(s.model.trimmed, tip.Position)
		return errors.Join(err, tipErr)
	}
	s.floor, s.placed = s.end(), nil
	s.model.trimmed = s.floor.Position
	return nil
}

// RenewEpoch replaces the epoch of the log, and counts the replacement in the model.
func (s *simStore) RenewEpoch(ctx context.Context, was, epoch string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.model.renewed++
	if !s.sequenced {
		return s.Store.RenewEpoch(ctx, was, epoch)
	}
	if s.epoch == was {
		s.epoch = epoch
	}
	return nil
}

// steps returns the number of changes that the store has applied so far.
func (s *simStore) steps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.model.steps
}

// simBus is the bus by which the servers of a simulation tell each other of committed events. It
// loses, doubles and delays some publications, so that events may arrive in another order.
type simBus struct {
	sim  *sim
	loss int // percentage of the calls that are dropped; the same percentage is doubled, and the same is delayed

	mu   sync.Mutex // guards subs
	subs map[*simSubscription]struct{}
}

// simSubscription implements core.Subscription.
type simSubscription struct {
	bus    *simBus
	c      chan []*core.Happening
	missed atomic.Bool
}

func (b *simBus) Subscribe(queue int) core.Subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &simSubscription{bus: b, c: make(chan []*core.Happening, queue)}
	b.subs[s] = struct{}{}
	return s
}

func (b *simBus) Listening() bool { return true }

// Publish sends happenings to each subscription. At random it loses them, sends them twice or
// sends them late, as a bad network would.
func (b *simBus) Publish(hs []*core.Happening) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		switch n := b.sim.n(100); {
		case n < b.loss:
			if b.sim.n(2) == 0 {
				s.missed.Store(true)
			}
		case n < 2*b.loss:
			s.send(hs)
			s.send(hs)
		case n < 3*b.loss:
			time.AfterFunc(time.Duration(b.sim.n(3000))*time.Millisecond, func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				s.send(hs)
			})
		default:
			s.send(hs)
		}
	}
}

// send puts happenings into the channel of a subscription, unless the subscription is closed. If
// the channel is full, it records that the subscription has missed some happenings. The caller
// holds the bus's mu.
func (s *simSubscription) send(hs []*core.Happening) {
	if _, open := s.bus.subs[s]; !open {
		return
	}
	select {
	case s.c <- hs:
	default:
		s.missed.Store(true)
	}
}

func (s *simSubscription) Happenings() <-chan []*core.Happening { return s.c }
func (s *simSubscription) Missed() bool                         { return s.missed.Swap(false) }

func (s *simSubscription) Close() {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	if _, open := s.bus.subs[s]; open {
		delete(s.bus.subs, s)
		close(s.c)
	}
}
