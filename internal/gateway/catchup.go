package gateway

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// tellPage is the number of events whose rows a session that catches up reads at a time.
const tellPage = 64

// pointers is the number of events that a session that catches up holds, without rows, if
// it has news in fewer threads.
const pointers = 8192

// catchUp writes the events that the session has missed, from the store, and returns the
// buffer b. It stops early if the session ends or its client is full.
func (s *Session) catchUp(b []byte) []byte {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	poke := make(chan struct{}, 1)
	s.mu.Lock()
	s.poke = poke
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.poke = nil
	}()
	r := &replay{s: s}
	defer r.release()
	for _, slot := range []chan struct{}{s.user.catching, s.hub.slots} {
		if !s.acquire(slot, poke) {
			return b
		}
		r.slots = append(r.slots, slot)
	}
	go func() { // end the reads with the session
		select {
		case <-s.ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	s.hub.stats.catchUps.Add(1)
	r.from, r.to = s.missed()
	b, err := r.run(ctx, b)
	if err != nil && ctx.Err() == nil {
		s.hub.log.Error("read the events that a session has missed", "user", s.claims.User, "error", err)
		s.End(Away)
	}
	return b
}

// acquire takes a slot. Meanwhile it writes control bytes and heartbeats. It returns false if
// the session ends first.
func (s *Session) acquire(slot, poke chan struct{}) bool {
	s.hub.stats.waiting.Add(1)
	defer s.hub.stats.waiting.Add(-1)
	for {
		select {
		case slot <- struct{}{}:
			return true
		case <-s.ending:
			return false
		case <-poke:
			if !s.flushControl() {
				return false
			}
		}
	}
}

// flushControl writes the control bytes that wait, and a heartbeat if one is due. It returns
// false if the session has ended.
func (s *Session) flushControl() bool {
	s.mu.Lock()
	b, beat, at, why := s.control, s.beating, s.at, s.why
	if why == 0 {
		s.control, s.beating = nil, false
	}
	s.mu.Unlock()
	if why != 0 {
		return false
	}
	if beat {
		b = s.sink.Append(b, nil, at)
	}
	if len(b) > 0 {
		if err := s.sink.Write(b); err != nil {
			s.End(WhyOf(err))
			return false
		}
	}
	return true
}

// missed returns the cursors between which the session must read events from the store.
// What comes later is queued.
func (s *Session) missed() (from, to core.Cursor) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped {
		s.dropped, s.told = false, s.hub.at
	}
	s.behind = true
	return s.at, s.told
}

// caughtUp records that the session has all events up to the cursor `to`. The session
// stays behind if breakOff or missed has set another end meanwhile.
func (s *Session) caughtUp(to core.Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind = s.told != to
	if !ahead(s.at, to) { // the cursor may come from a server that is ahead of this one
		s.at = to
	}
}

// ahead reports whether the cursor a comes later than b in the same log.
func ahead(a, b core.Cursor) bool { return a.Epoch == b.Epoch && a.Position > b.Position }

// replay reads the events of a session between two cursors.
type replay struct {
	s        *Session
	from, to core.Cursor

	mu      sync.Mutex // guards the fields below while the client is written to
	slots   []chan struct{}
	threads byPosition            // those with events that were not delivered yet
	views   map[string]*core.View // of all threads with news, by id
	slow    bool                  // slots, threads and views were given up
}

// slotTime is the time for which a session that catches up may write one page and keep its
// slots. After that time others get the slots, and the session starts over behind them.
const slotTime = time.Second

// release gives the slots back.
func (r *replay) release() {
	for _, slot := range r.slots {
		<-slot
	}
	r.slots = nil
}

// deliver writes a page of events, and the control bytes that wait. It reports false if the
// replay must end: the client takes no more now, or the session has ended, or the client was
// too slow. In the last case the slots were given back.
func (r *replay) deliver(b []byte, events []queued) ([]byte, bool) {
	writing := true
	patience := time.AfterFunc(slotTime, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if writing {
			r.release()
			r.threads, r.views, r.slow = nil, nil, true
		}
	})
	defer patience.Stop()
	b, all := r.s.deliver(b, events)
	r.s.flushControl()
	r.mu.Lock()
	defer r.mu.Unlock()
	writing = false
	return b, all && !r.slow
}

// unread is a thread with events that were not delivered yet.
type unread struct {
	*core.View
	events []core.Event // the next ones, with positions
	next   uint64       // number of the event after them; 0: there is none
}

// errForgotten means that a member may have been in a thread when an event happened, but that
// its row no longer says so.
var errForgotten = errors.New("the member has been in the thread too often")

// run writes the events, and then moves the session to the end. It returns the buffer.
func (r *replay) run(ctx context.Context, b []byte) ([]byte, error) {
	b, err := r.write(ctx, b)
	if errors.Is(err, errForgotten) {
		return r.tellGap(b, GapTooMuch), nil
	}
	return b, err
}

// write does what run says. It fails with errForgotten when it comes to events of which nobody
// knows whether the client may get them.
func (r *replay) write(ctx context.Context, b []byte) ([]byte, error) {
	why, err := r.gap(ctx, r.from)
	switch {
	case err != nil:
		return b, err
	case ahead(r.from, r.to) && why != GapLost:
		// The client has all up to r.to from a server that is ahead of this one. A gap would
		// move it back, and it would get events twice. If the log was trimmed after r.to, the
		// feed will find that, and breakOff will move r.to.
		r.s.caughtUp(r.to)
		return b, nil
	case why != 0:
		return r.tellGap(b, why), nil
	}
	news, err := r.s.hub.o.Store.News(ctx, r.s.claims.User, r.from.Position, r.s.hub.bounds.News+1)
	if err != nil {
		return b, fmt.Errorf("read which threads have news: %w", err)
	}
	if len(news) > r.s.hub.bounds.News {
		return r.tellGap(b, GapTooMuch), nil
	}
	page := max(1, pointers/max(1, len(news)))
	r.views = make(map[string]*core.View, len(news))
	for i := range news {
		n := &news[i]
		if n.Member == nil || !r.s.wants(n.Head.ID) {
			continue
		}
		r.views[n.Head.ID] = &n.View
		t := &unread{View: &n.View, next: n.First}
		if ok, err := r.read(ctx, t, page); err != nil {
			return b, err
		} else if ok {
			r.threads = append(r.threads, t)
		}
	}
	heap.Init(&r.threads)
	for len(r.threads) > 0 {
		var events []core.Event
		for len(r.threads) > 0 && len(events) < tellPage {
			t := r.threads[0]
			events, t.events = append(events, t.events[0]), t.events[1:]
			if len(t.events) == 0 {
				if ok, err := r.read(ctx, t, page); err != nil {
					return b, err
				} else if !ok {
					heap.Pop(&r.threads)
					continue
				}
			}
			heap.Fix(&r.threads, 0)
		}
		told, err := r.tell(ctx, events)
		if err != nil {
			return b, err
		}
		// A trim may have deleted events before they were read.
		if why, err := r.gap(ctx, r.s.At()); err != nil {
			return b, err
		} else if why != 0 {
			return r.tellGap(b, why), nil
		}
		var all bool
		if b, all = r.deliver(b[:0], told); !all || r.s.stopped() {
			return b, nil
		}
	}
	if r.s.At() == r.from { // nothing was told, perhaps because a trim has deleted it
		if why, err := r.gap(ctx, r.from); err != nil {
			return b, err
		} else if why != 0 {
			return r.tellGap(b, why), nil
		}
	}
	r.s.caughtUp(r.to)
	return b, nil
}

// stopped reports whether a session that catches up must stop: it has ended, or its client
// must answer first.
func (s *Session) stopped() bool {
	return s.Why() != 0 || s.sink.Full()
}

// errRenewed means that the epoch was renewed and that the hub does not know it yet.
var errRenewed = errors.New("the epoch of the event log was renewed")

// gap returns why the log does not continue a cursor of the session, or 0.
func (r *replay) gap(ctx context.Context, at core.Cursor) (GapReason, error) {
	foreign := r.from.Epoch != r.to.Epoch
	if foreign {
		at = r.to
	}
	page, err := r.s.hub.o.Store.Log(ctx, at, 1)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the event log: %w", err)
	case page.Gap == core.GapEpoch:
		return 0, errRenewed // the client comes back with its cursor, and is told of the gap then
	case foreign:
		return GapEpoch, nil
	}
	return GapReason(page.Gap), nil
}

// tellGap tells the client that it misses events up to r.to.
func (r *replay) tellGap(b []byte, why GapReason) []byte {
	r.s.hub.stats.gap(why)
	r.s.hub.log.Debug("a client misses events", "user", r.s.claims.User, "reason", why.String(), "after", r.from.Position, "to", r.to.Position)
	b, all := r.s.deliver(b[:0], []queued{{&Event{Gap: why}, r.to}})
	if all {
		r.s.caughtUp(r.to)
	}
	return b
}

// read loads the next events of a thread that the member may get, up to r.to. It returns
// false if there are none. It fails with errForgotten if the member may have been in the thread
// at the first of them.
func (r *replay) read(ctx context.Context, t *unread, limit int) (bool, error) {
	if t.Member == nil { // the store was put back to an older state since the replay began
		return false, nil
	}
	if t.Member.Forgot(t.next) {
		return false, errForgotten
	}
	last := t.Member.LastEvent()
	for t.next != 0 && (last == 0 || t.next <= last) {
		events, err := r.s.hub.o.Store.ThreadEvents(ctx, t.Head.ID, t.next, limit)
		if err != nil {
			return false, fmt.Errorf("read the events of thread %s: %w", t.Head.ID, err)
		}
		t.next = 0
		if len(events) == limit {
			t.next = events[limit-1].Number + 1
		}
		if i := slices.IndexFunc(events, func(e core.Event) bool { return e.Position > r.to.Position }); i >= 0 {
			events, t.next = events[:i], 0
		}
		t.events = slices.DeleteFunc(events, func(e core.Event) bool {
			return e.Position <= r.from.Position || !t.Member.InThreadAt(e.Number)
		})
		if len(t.events) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// tell returns the events with their rows, as far as the user may see them now. It fails with
// errForgotten if the user could see one of them when the replay began, and nobody knows now.
func (r *replay) tell(ctx context.Context, events []core.Event) (told []queued, err error) {
	happenings, err := r.s.hub.o.Store.Tell(ctx, events)
	if err != nil {
		return nil, fmt.Errorf("read the rows of %d events: %w", len(events), err)
	}
	for i := range happenings {
		hp := &happenings[i]
		v, err := r.view(ctx, hp)
		if err != nil {
			return nil, err
		}
		if v.Member != nil && v.Member.Forgot(hp.Number) {
			return nil, errForgotten
		}
		if v.Member != nil && v.Member.ReadsOlder(hp) {
			if hp, err = r.older(ctx, hp); err != nil {
				return nil, err
			}
		} else if v.Member == nil || !v.Member.Hears(hp) {
			hp = nil
		}
		if hp == nil {
			continue
		}
		var roster *core.Thread
		if hp.Message == nil || hp.Message.Sender == "" { // the event names its actor
			if roster, err = r.s.hub.o.Core.ThreadSince(ctx, hp.Thread, hp.Revision); err != nil {
				return nil, fmt.Errorf("read who is in thread %s: %w", hp.Thread, err)
			}
		}
		at := r.to
		at.Position, at.Check = hp.Position, hp.Check
		told = append(told, queued{newEvent(hp, roster).forMember(v.Member), at})
	}
	return told, nil
}

// older returns a copy of a happening with the message as the user may read it, who has left the
// thread before the message was edited, or nil if the user may not read it.
func (r *replay) older(ctx context.Context, hp *core.Happening) (*core.Happening, error) {
	page, err := r.s.hub.o.Store.Messages(ctx, core.MessagesQuery{Thread: hp.Thread, Reader: r.s.claims.User, IDs: []int64{hp.MessageID}})
	if err != nil {
		return nil, fmt.Errorf("read message %d of thread %s as it was: %w", hp.MessageID, hp.Thread, err)
	}
	if len(page.Messages) == 0 || page.Messages[0].DeletedOn != 0 {
		return nil, nil
	}
	own := *hp
	own.Message = &page.Messages[0]
	return &own, nil
}

// view returns the user's view of a happening's thread, as it was when the rows of the
// happening were read or later. The member may have left since the replay began: then it
// must not get what was written afterwards.
func (r *replay) view(ctx context.Context, hp *core.Happening) (*core.View, error) {
	v := r.views[hp.Thread]
	if v.Head.Revision >= hp.Revision {
		return v, nil
	}
	now, err := r.s.hub.o.Store.View(ctx, hp.Thread, r.s.claims.User)
	if err != nil {
		return nil, fmt.Errorf("read the user's place in thread %s: %w", hp.Thread, err)
	}
	*v = now // the replay reads further events of the thread by it
	return v, nil
}

// byPosition is a heap of threads by the position of their next event.
type byPosition []*unread

func (h byPosition) Len() int { return len(h) }
func (h byPosition) Less(i, j int) bool {
	return cmp.Less(h[i].events[0].Position, h[j].events[0].Position)
}
func (h byPosition) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *byPosition) Push(x any) { *h = append(*h, x.(*unread)) }

// Pop implements heap.Interface.
func (h *byPosition) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}
