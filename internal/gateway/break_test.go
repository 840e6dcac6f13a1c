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

// hookedStore is a store whose reads a test can change.
type hookedStore struct {
	core.Store
	lost   atomic.Bool            // the next page of the feed is a gap
	events atomic.Pointer[func()] // called before ThreadEvents
	users  atomic.Pointer[func()] // called before Users
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

// TestLogBreaksOff lets the feed find that the log does not continue its cursor, while one
// session is quiet, one is blocked, and one waits to catch up. It checks that each session
// is told of a gap once and then of what happens.
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
		time.Sleep(100 * time.Millisecond) // the feed looks at the log before catching gives up its slot
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

// TestBlockedCatchUpHoldsUpNobody blocks a session that catches up, and checks that another
// session of the user catches up nevertheless, and that the first gets everything once when
// its client reads again.
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
