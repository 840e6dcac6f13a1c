package gateway_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// hookedStore is a store for tests. A test can run its own code before a read of the store, or make
// a read find nothing or report a gap (missing events).
type hookedStore struct {
	core.Store
	lost   atomic.Bool            // if true, the next read of the event log reports a gap: that events are missing
	events atomic.Pointer[func()] // called before ThreadEvents
	users  atomic.Pointer[func()] // called before Users
	empty  atomic.Bool            // View finds nothing
}

func (s *hookedStore) View(ctx context.Context, thread, member string) (core.View, error) {
	if s.empty.Load() {
		return core.View{}, nil
	}
	return s.Store.View(ctx, thread, member)
}

func (s *hookedStore) Log(ctx context.Context, after core.Cursor, limit int) (core.LogPage, error) {
	page, err := s.Store.Log(ctx, after, limit)
	if limit > 1 && s.lost.Swap(false) {
		page = core.LogPage{Gap: core.GapLost, Next: page.Next}
	}
	return page, err
}

func (s *hookedStore) ThreadEvents(ctx context.Context, thread string, from uint64, limit int) ([]core.Event, error) {
	if f := s.events.Load(); f != nil {
		(*f)()
	}
	return s.Store.ThreadEvents(ctx, thread, from, limit)
}

func (s *hookedStore) Users(ctx context.Context, ids []string) ([]core.User, error) {
	if f := s.users.Load(); f != nil {
		(*f)()
	}
	return s.Store.Users(ctx, ids)
}

// TestLogBreaksOff makes the store report that events after the hub's cursor are missing from the
// event log, while one session is quiet, one is blocked, and one waits to read missed events. It
// checks that each session is told of one gap and then of new events.
func TestLogBreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{CatchUps: 1})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		start, err := h.hub.At(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// wait, so that the hub reads the log before the session in the variable catching gives up
		// its slot
		time.Sleep(100 * time.Millisecond)
		h.send(ann, thread, "lost")
		synctest.Wait()
		_, quiet := h.open(ann, nil, gateway.SessionOptions{})
		_, blocked := h.open(ann, nil, gateway.SessionOptions{})
		_, catching := h.openBlocked(ann, &start)
		synctest.Wait()
		_, waiting := h.open(ann, &start, gateway.SessionOptions{}) // for catching
		blocked.block()
		h.send(ann, thread, "one")
		quiet.want(t, "messageReceived:one")
		h.hooks.lost.Store(true)
		time.Sleep(2 * time.Second)
		h.send(ann, thread, "two")
		quiet.want(t, "gap:epoch", "messageReceived:two")
		blocked.unblock()
		blocked.want(t, "messageReceived:one", "gap:epoch", "messageReceived:two")
		catching.unblock()
		catching.want(t, "messageReceived:lost", "gap:epoch", "messageReceived:two")
		waiting.want(t, "gap:epoch", "messageReceived:two")
	})
}

// TestBlockedCatchUpHoldsUpNobody blocks the client of a session that reads missed events. It
// checks that another session of the same user can read its missed events meanwhile, and that
// the blocked client gets every event once when it reads again.
func TestBlockedCatchUpHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{CatchUps: 1})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		start, err := h.store.Tip(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range 100 {
			h.send(ann, thread, fmt.Sprint(i))
			want = append(want, fmt.Sprint("messageReceived:", i))
		}
		_, blocked := h.openBlocked(ann, &start)
		synctest.Wait()
		_, other := h.open(ann, &start, gateway.SessionOptions{})
		time.Sleep(2 * time.Second)
		other.want(t, want...)
		blocked.unblock()
		blocked.want(t, want...)
	})
}

// TestMemberIsGone makes the store lose the user's membership in a thread while a session
// reads the missed events of that thread, as happens if the store is restored from a backup.
// It checks that the session stays open.
func TestMemberIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		start, err := h.store.Tip(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			h.send(ann, thread, fmt.Sprint(i))
		}
		var once atomic.Bool
		change := func() {
			if once.CompareAndSwap(false, true) {
				// a new topic makes the thread's revision newer, so that the session reads the
				// membership again
				topic := "other plans"
				if err := h.core.UpdateThread(t.Context(), ann.ID, thread, core.UpdateThread{Topic: &topic}); err != nil {
					t.Error(err)
				}
				h.hooks.empty.Store(true)
			}
		}
		h.hooks.events.Store(&change)
		s, k := h.open(ann, &start, gateway.SessionOptions{})
		k.want(t, "threadUpdated")
		h.hooks.empty.Store(false)
		h.send(ann, thread, "last")
		k.want(t, "messageReceived:last")
		if s.Why() != 0 {
			t.Errorf("the session ended: %v", s.Why())
		}
	})
}

// pulse is a sink that writes the word "beat" for each heartbeat. Its client does not take the
// word "pong" until the channel free is closed.
type pulse struct {
	sink
	free chan struct{}
}

func (k *pulse) Append(b []byte, e *gateway.Event, at core.Cursor) []byte {
	if e == nil {
		return append(b, "beat\n"...)
	}
	return k.sink.Append(b, e, at)
}

func (k *pulse) Write(b []byte) error {
	if string(b) == "pong\n" {
		<-k.free
	}
	return k.sink.Write(b)
}

// TestWaitingSessionBeats opens a session that must wait to read its missed events until another
// session has read its own. It checks that the client of the waiting session gets heartbeats
// meanwhile.
func TestWaitingSessionBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{CatchUps: 1})
		defer h.stop()
		ann, bob := h.user(), h.user()
		start, err := h.store.Tip(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.thread("plans", ann)
		h.thread("plans", bob)
		time.Sleep(2 * time.Second) // until the hub was told
		answer := make(chan struct{})
		read := func() { <-answer }
		h.hooks.events.Store(&read)
		_, first := h.open(ann, &start, gateway.SessionOptions{})
		synctest.Wait()
		k := &pulse{}
		s, err := h.hub.Open(t.Context(), h.claims(bob), &start, gateway.SessionOptions{}, k)
		if err != nil {
			t.Fatal(err)
		}
		s.Start(nil)
		time.Sleep(2*gateway.Heartbeat + time.Second)
		k.want(t, "beat", "beat")
		close(answer)
		first.want(t, "threadCreated")
		k.want(t, "threadCreated")
	})
}

// TestBlockedControlHoldsUpNobody makes a session write the answer to a ping while it reads
// missed events. Its client does not take the answer. The test checks that another session of
// the same user can read its missed events meanwhile.
func TestBlockedControlHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{CatchUps: 1})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		start, err := h.store.Tip(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range 100 {
			h.send(ann, thread, fmt.Sprint(i))
			want = append(want, fmt.Sprint("messageReceived:", i))
		}
		k := &pulse{free: make(chan struct{})}
		s, err := h.hub.Open(t.Context(), h.claims(ann), &start, gateway.SessionOptions{}, k)
		if err != nil {
			t.Fatal(err)
		}
		var once atomic.Bool
		ping := func() {
			if once.CompareAndSwap(false, true) {
				s.Control([]byte("pong\n"))
			}
		}
		h.hooks.events.Store(&ping)
		s.Start(nil)
		synctest.Wait()
		_, other := h.open(ann, &start, gateway.SessionOptions{})
		time.Sleep(2 * time.Second)
		other.want(t, want...)
		close(k.free)
		synctest.Wait()
		k.want(t, append(append(want[:64:64], "pong"), want[64:]...)...)
	})
}
