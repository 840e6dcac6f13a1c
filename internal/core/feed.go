package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Feed passes every event of the log to a function once, in the order of positions. The bus
// delivers events together with the rows that they refer to; if the bus loses an event, the
// feed reads it from the store. Typing notifications are not in the log, and the feed passes
// them on as the bus delivers them. A Feed must be the only reader of its subscription.
type Feed struct {
	store Store
	bus   Bus
	now   func() time.Time
	fail  func(error)

	mu     sync.Mutex // guards the fields below
	at     Cursor
	behind time.Time // when the feed noticed that the log has events after its cursor; zero: the log has none

	// Only Run uses the fields below.

	heard    <-chan []*Happening     // channel of the events that the bus delivers; nil without a bus
	pending  map[uint64]*Happening   // events from the bus, by position, that wait until the events before them were passed on
	unplaced map[uint64][]*Happening // events from the bus without a position, by batch, received since the last call of Store.Sequence
	asked    map[uint64][]*Happening // events from the bus without a position, by batch, received before the last call of Store.Sequence
}

// FeedOptions has the options of NewFeed. The zero value is valid.
type FeedOptions struct {
	Now    func() time.Time // time.Now
	Failed func(error)      // called with the error each time the store cannot be read; the feed then tries again
}

// feedQueue is the number of published batches that the bus holds for a feed. When the queue is
// full, the bus drops batches and the feed reads the log.
const feedQueue = 1024

// feedPage is the number of events that a feed reads from the log at a time.
const feedPage = 512

// feedHeld bounds the events from the bus that a feed holds until the events before them have
// arrived. It counts events, or batches whose events have no positions yet.
const feedHeld = 16 << 10

// feedLook is the time between two reads of the log. These reads find events that the bus has
// dropped and events that other servers have committed.
const feedLook = time.Second

// NewFeed returns a feed of the events after a cursor. If bus is nil, the feed only reads the
// log.
func NewFeed(store Store, bus Bus, from Cursor, o FeedOptions) *Feed {
	f := &Feed{store: store, bus: bus, at: from, now: o.Now, fail: o.Failed}
	if f.now == nil {
		f.now = time.Now
	}
	if f.fail == nil {
		f.fail = func(error) {}
	}
	return f
}

// GapError is the error of Feed.Run if the log does not continue at the feed's cursor, for
// example because the events after it were deleted.
type GapError struct{ Reason GapReason }

// Error returns a text that says why the log does not continue at the feed's cursor.
func (e *GapError) Error() string {
	return fmt.Sprintf("the event log does not continue the cursor: %s", e.Reason)
}

// Position returns the cursor after the last event that was passed on, or the first cursor if
// none was.
func (f *Feed) Position() Cursor {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

// Behind returns how long the log has had events after the feed's cursor, or 0 if it has none.
func (f *Feed) Behind() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.behind.IsZero() {
		return 0
	}
	return f.now().Sub(f.behind)
}

// Run calls to with the events after the feed's cursor, in order, until ctx ends; then it returns
// the error of ctx. It also calls to with each typing notification, as soon as it arrives. The
// function to must not keep the slice.
//
// Run returns a *GapError if the log does not continue at the cursor. While the store fails, Run
// tries again whenever the bus delivers events, and at least once a second. Until the store works
// again, Run passes on no event whose position in the log is unknown.
func (f *Feed) Run(ctx context.Context, to func([]*Happening)) error {
	f.pending, f.unplaced, f.asked = map[uint64]*Happening{}, map[uint64][]*Happening{}, map[uint64][]*Happening{}
	missed := func() bool { return false }
	if f.bus != nil {
		sub := f.bus.Subscribe(feedQueue)
		defer sub.Close()
		f.heard, missed = sub.Happenings(), sub.Missed
	}
	now := make(chan struct{})
	close(now)
	ticks := time.NewTicker(feedLook)
	defer ticks.Stop()
	for look := true; ; {
		again := now
		if err := f.advance(ctx, look, to); err != nil {
			again = nil
			var gap *GapError
			if errors.As(err, &gap) || ctx.Err() != nil {
				return err
			}
			f.setBehind(true) // while the feed cannot read the log, it assumes that the log has further events
			f.fail(err)
		}
		look = false
		if len(f.unplaced) == 0 {
			again = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case hs := <-f.heard:
			f.take(hs, to)
			f.takeAll(to)
		// A batch was committed during the last call of Store.Sequence, so call it again.
		case <-again:
		case <-ticks.C:
			look = true
		}
		look = missed() || look
	}
}

// takeAll calls take with all events that the bus has already delivered.
func (f *Feed) takeAll(to func([]*Happening)) {
	for {
		select {
		case hs := <-f.heard:
			f.take(hs, to)
		default:
			return
		}
	}
}

// take keeps events from the bus until the events before them were passed on. If it already keeps
// feedHeld events, it drops further ones. That many events wait only while the log cannot be read;
// the feed will later read the dropped events from the log. take passes typing notifications to the
// function to at once.
func (f *Feed) take(hs []*Happening, to func([]*Happening)) {
	var typing []*Happening
	for _, h := range hs {
		switch {
		case h.Kind == TypingReceived:
			typing = append(typing, h)
		case len(f.pending)+len(f.unplaced)+len(f.asked) >= feedHeld: // dropped
		case h.Batch != 0:
			f.unplaced[h.Batch] = append(f.unplaced[h.Batch], h)
		case h.Position > f.at.Position:
			f.pending[h.Position] = h
		}
	}
	if len(typing) > 0 {
		to(typing)
	}
}

// advance passes on the events in memory that directly follow the cursor. It also reads the log if
// look is true, or if an event is missing among the events from the bus.
func (f *Feed) advance(ctx context.Context, look bool, to func([]*Happening)) error {
	if look || len(f.unplaced)+len(f.asked) > 0 {
		for batch, hs := range f.unplaced {
			f.asked[batch] = append(f.asked[batch], hs...)
		}
		clear(f.unplaced)
		placed, err := f.store.Sequence(ctx)
		if err != nil {
			return fmt.Errorf("give positions to events: %w", err)
		}
		// Sequence may have given positions to batches that were committed while it ran. By now the
		// bus has delivered most of them, so the feed takes them from the bus and need not read the
		// log.
		f.takeAll(to)
		look = f.place(placed) || look || len(f.asked) > 0
	}
	f.handOn(f.ready(), to)
	if look || len(f.pending) > 0 {
		return f.read(ctx, to)
	}
	return nil
}

// place is called with batches that have got their positions. It moves their happenings to
// f.pending, keyed by position. It reports whether another server has committed one of the batches.
func (f *Feed) place(placed []Placed) (others bool) {
	for _, p := range placed {
		hs := append(f.asked[p.Batch], f.unplaced[p.Batch]...)
		delete(f.asked, p.Batch)
		delete(f.unplaced, p.Batch)
		others = others || uint64(len(hs)) < p.Events
		for _, h := range hs {
			_, index := BatchOf(h.Position)
			own := *h // h is shared
			own.Batch, own.Position = 0, p.Last-p.Events+index
			f.pending[own.Position] = &own
		}
	}
	return others
}

// ready returns the pending happenings that follow the cursor without a gap, and removes them
// from f.pending.
func (f *Feed) ready() (run []*Happening) {
	for next := f.at.Position + 1; ; next++ {
		h, ok := f.pending[next]
		if !ok {
			return run
		}
		delete(f.pending, next)
		run = append(run, h)
	}
}

// handOn calls to with consecutive happenings and moves the cursor after the last of them.
func (f *Feed) handOn(run []*Happening, to func([]*Happening)) {
	if len(run) == 0 {
		return
	}
	to(run)
	last := run[len(run)-1]
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at.Position, f.at.Check = last.Position, last.Check
	f.behind = time.Time{}
}

// read reads the log from the cursor to the end and passes its events on. If the bus has
// delivered an event with its rows, read uses these; otherwise it loads the rows from the
// store. It returns a *GapError if the log does not continue at the cursor.
func (f *Feed) read(ctx context.Context, to func([]*Happening)) error {
	for {
		page, err := f.store.Log(ctx, f.at, feedPage)
		if err != nil {
			return fmt.Errorf("read the event log: %w", err)
		}
		if page.Gap != 0 {
			return &GapError{page.Gap}
		}
		f.setBehind(page.Tip > page.Next.Position || len(page.Events) > 0)
		run, err := f.tell(ctx, page.Events)
		if err != nil {
			return err
		}
		f.handOn(run, to)
		f.handOn(f.ready(), to)
		if len(page.Events) < feedPage {
			break
		}
	}
	// Delete the events that were passed on. Keep the later ones until the cursor reaches them.
	for position := range f.pending {
		if position <= f.at.Position {
			delete(f.pending, position)
		}
	}
	clear(f.asked) // no event is lost: the log has these events now, or a later read of the log finds them
	f.setBehind(false)
	return nil
}

// setBehind records whether the log has events after the cursor, and since when.
func (f *Feed) setBehind(behind bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !behind {
		f.behind = time.Time{}
	} else if f.behind.IsZero() {
		f.behind = f.now()
	}
}

// tell returns the events of a page of the log with their rows. It takes an event and its rows from
// the bus if the bus has delivered them, and otherwise reads the rows from the store.
func (f *Feed) tell(ctx context.Context, events []Event) ([]*Happening, error) {
	type key struct {
		thread string
		number uint64
	}
	brought := map[key]*Happening{}
	// Use events from the bus that had no position when they arrived. Another server may have given
	// them positions, so that the page of the log contains them.
	for _, unplaced := range []map[uint64][]*Happening{f.asked, f.unplaced} {
		for _, hs := range unplaced {
			for _, h := range hs {
				brought[key{h.Thread, h.Number}] = h
			}
		}
	}
	run := make([]*Happening, len(events))
	var missing []Event
	for i, e := range events {
		if h := f.pending[e.Position]; h != nil && h.Check == e.Check {
			run[i] = h
		} else if h := brought[key{e.Thread, e.Number}]; h != nil && h.Check == e.Check {
			own := *h // h is shared
			own.Event = e
			run[i] = &own
		} else {
			missing = append(missing, e)
		}
	}
	if len(missing) > 0 {
		told, err := f.store.Tell(ctx, missing)
		if err != nil {
			return nil, fmt.Errorf("read the rows of %d events: %w", len(missing), err)
		}
		for i := range run {
			if run[i] == nil {
				run[i], told = &told[0], told[1:]
			}
		}
	}
	for _, e := range events {
		delete(f.pending, e.Position)
	}
	return run, nil
}
