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

// tellPage is the number of missed events that a session reads from the store and writes to
// its client at a time.
const tellPage = 64

// pointers is the number of missed events that a session holds in memory at a time, without their
// messages and members. A session with missed events in more than that many threads holds one event
// for each thread.
const pointers = 8192

// catchUp reads the events that the session has missed from the store and writes them to the
// client. It returns the buffer b, which may have grown. It stops early if the session ends or
// if its client must answer first.
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
	go func() { // cancel the reads from the store when the session ends
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

// acquire puts a value into slot, a channel that limits how many sessions read missed events.
// While slot is full it waits, and writes control bytes and heartbeats. It returns false if
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
// false if the session has ended or the write fails.
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

// missed returns the two cursors between which the session must read missed events from the store.
// Events after the second cursor are in the session's queue.
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

// caughtUp records that the client has all events up to the cursor `to`. The session must still
// read missed events if breakOff or missed has moved s.told, the cursor at which they end,
// meanwhile.
func (s *Session) caughtUp(to core.Cursor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind = s.told != to
	if !ahead(s.at, to) { // keep a later cursor: the client got it from a server ahead of this one
		s.at = to
	}
}

// ahead reports whether the cursor a comes after the cursor b in the same event log.
func ahead(a, b core.Cursor) bool { return a.Epoch == b.Epoch && a.Position > b.Position }

// replay reads the events between two cursors that a session has missed, and writes them to the
// session's client.
type replay struct {
	s        *Session
	from, to core.Cursor

	mu      sync.Mutex // guards the fields below: while deliver writes to the client, a timer may call release
	slots   []chan struct{}
	threads byPosition            // threads with events that the replay has not written yet
	views   map[string]*core.View // each thread with events after the cursor from, by its id, as the user may see it
	// the client took too long, and a timer has released the slots, the threads and the views
	slow bool
}

// slotTime is the time that a session may take to write one page of missed events. A session that
// takes longer loses its slots, which are the right to read missed events, to other sessions. It
// starts over when it gets slots again.
const slotTime = time.Second

// release gives up the slots (the rights to read missed events) that r holds, so that other
// sessions can read their missed events.
func (r *replay) release() {
	for _, slot := range r.slots {
		<-slot
	}
	r.slots = nil
}

// deliver writes a page of events, and the control bytes that wait. It returns false if the replay
// must end: because the client must answer first, because the session has ended, or because the
// client took longer than slotTime. If the client took too long, the slots are released already.
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

// unread is a thread with missed events that the session has not written yet.
type unread struct {
	*core.View
	events []core.Event // the next missed events of the thread; all of them have positions in the event log
	next   uint64       // the number of the thread's event that follows the field events; 0 if there is none
}

// errForgotten means that the store no longer knows whether a user may get an event. A member's row
// keeps only the latest times for which the user was in the thread, and the event is older than all
// of them.
var errForgotten = errors.New("the member has been in the thread too often")

// run writes the missed events up to r.to and then records that the session has caught up. It
// returns the buffer b. If the store no longer knows which events the client may get, run tells the
// client of a gap.
func (r *replay) run(ctx context.Context, b []byte) ([]byte, error) {
	b, err := r.write(ctx, b)
	if errors.Is(err, errForgotten) {
		return r.tellGap(b, GapTooMuch), nil
	}
	return b, err
}

// write writes the missed events as run does, but fails with errForgotten at the first event for
// which the store no longer knows whether the client may get it.
func (r *replay) write(ctx context.Context, b []byte) ([]byte, error) {
	why, err := r.gap(ctx, r.from)
	switch {
	case err != nil:
		return b, err
	case ahead(r.from, r.to) && why != GapLost:
		// The client's cursor comes from a server that had read more of the log than this one, so
		// it has all events up to r.to. Telling the client of a gap would move the cursor back, and
		// the client would get events twice. If the log was trimmed after r.to, the hub's feed
		// notices the trim, and breakOff moves r.to.
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
		// A trim of the log may have deleted events before the session could read them.
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
	// the session wrote no event, perhaps because a trim of the log has deleted the missed events
	if r.s.At() == r.from {
		if why, err := r.gap(ctx, r.from); err != nil {
			return b, err
		} else if why != 0 {
			return r.tellGap(b, why), nil
		}
	}
	r.s.caughtUp(r.to)
	return b, nil
}

// stopped reports whether the session must stop to read missed events: because it has ended,
// or because its client must answer first.
func (s *Session) stopped() bool {
	return s.Why() != 0 || s.sink.Full()
}

// errRenewed means that another server has renewed the epoch of the event log and that this
// hub has not noticed it yet.
var errRenewed = errors.New("the epoch of the event log was renewed")

// gap returns the reason why the event log does not have all events after the cursor at, or 0 if it
// has them. It fails with errRenewed if another server has renewed the log's epoch and the hub does
// not know the new one yet.
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
		return 0, errRenewed // the client reconnects with its cursor and is told of the gap then
	case foreign:
		return GapEpoch, nil
	}
	return GapReason(page.Gap), nil
}

// tellGap tells the client that it misses the events up to r.to, and the reason. It moves the
// session's cursor to r.to.
func (r *replay) tellGap(b []byte, why GapReason) []byte {
	r.s.hub.stats.gap(why)
	r.s.hub.log.Debug("a client misses events", "user", r.s.claims.User, "reason", why.String(), "after", r.from.Position, "to", r.to.Position)
	b, all := r.s.deliver(b[:0], []queued{{&Event{Gap: why}, r.to}})
	if all {
		r.s.caughtUp(r.to)
	}
	return b
}

// read loads the next events of a thread that the member may get into t: at most limit events, and
// none after r.to. It returns false if the thread has no more events. It fails with errForgotten if
// the member's row no longer tells whether the user was in the thread at the first of these events.
func (r *replay) read(ctx context.Context, t *unread, limit int) (bool, error) {
	if t.Member == nil { // the store was restored to an older state after the replay began
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

// tell reads the messages and members of events, and returns the events as the user may see them
// now. It leaves out events that the user may not see. It fails with errForgotten if the member's
// row no longer tells whether the user was in the thread at an event.
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
		// the event names its actor, whose display name is in the thread's list of members
		if hp.Message == nil || hp.Message.Sender == "" {
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

// older returns a copy of the happening hp with the message's text from before the user left the
// thread, because the message was edited afterwards. It returns nil if the user may not read the
// message.
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

// view returns the thread of the happening hp as the user sees it, at the revision of hp or a later
// one. It reads the view from the store again if the one in r.views is older, because a user who
// has left the thread since the replay began must not get later events.
func (r *replay) view(ctx context.Context, hp *core.Happening) (*core.View, error) {
	v := r.views[hp.Thread]
	if v.Head.Revision >= hp.Revision {
		return v, nil
	}
	now, err := r.s.hub.o.Store.View(ctx, hp.Thread, r.s.claims.User)
	if err != nil {
		return nil, fmt.Errorf("read the user's place in thread %s: %w", hp.Thread, err)
	}
	*v = now // overwrite the stored view too, so that the replay uses the new one for further events of the thread
	return v, nil
}

// byPosition is a heap of threads, ordered by the position of each thread's next event in the event
// log.
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
