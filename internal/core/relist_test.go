package core_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// haltedRelist is a store whose Relist fails while halted is true. When a call finds nothing more
// to move, haltedRelist sends to the channel settled.
type haltedRelist struct {
	core.Store
	halted  atomic.Bool
	settled chan struct{}
}

var errHalted = errors.New("halted")

func (s *haltedRelist) Relist(ctx context.Context, limit int) (bool, error) {
	if s.halted.Load() {
		return false, errHalted
	}
	more, err := s.Store.Relist(ctx, limit)
	if !more && err == nil {
		select {
		case s.settled <- struct{}{}:
		default:
		}
	}
	return more, err
}

// TestLargeThreadMovesInLists sends to a thread with many participants, and checks that the service
// moves the thread's list entries without a sweep. Then it stops these moves, erases one
// participant, removes another and deletes the thread. It checks that all lists are right at any
// time.
func TestLargeThreadMovesInLists(t *testing.T) {
	s := &haltedRelist{settled: make(chan struct{}, 1)}
	h := newHouse(t, nil, func(engine core.Store) core.Store {
		s.Store = engine
		return s
	})
	us := h.people(t, core.MaxMoves+20)
	slices.Sort(us)
	ann, bob, eve := us[0], us[len(us)/2], us[len(us)-1]
	big := h.thread(t, ann, us[1:]...)
	h.pass(3 * time.Minute)
	small := h.thread(t, ann, bob, eve)
	first := func(what string, want map[string]string) {
		t.Helper()
		for user, thread := range want {
			page, err := h.ListThreads(t.Context(), user, core.ThreadsCursor{}, 0, 10)
			if err != nil || len(page.Threads) != 2 || page.Threads[0].Thread != thread {
				t.Errorf("%s: the list of %s is %+v, %v; want %s first", what, user, page.Threads, err, thread)
			}
		}
		if _, err := h.store.(core.Checker).Check(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	first("at first", map[string]string{ann: small, bob: small, eve: small})
	h.pass(time.Minute)
	h.send(t, ann, big, "moves the thread in all lists")
	<-s.settled
	first("after a message", map[string]string{ann: big, bob: big, eve: big})

	s.halted.Store(true)
	h.pass(time.Minute)
	h.send(t, ann, small, "moves the small thread")
	h.pass(time.Minute)
	h.send(t, ann, big, "does not move the large one yet")
	first("before the entries are moved", map[string]string{ann: big, bob: big, eve: big})
	if _, err := h.Sweep(t.Context()); !errors.Is(err, errHalted) {
		t.Errorf("a sweep that cannot move entries: %v", err)
	}
	h.remove(t, ann, big, eve)
	if err := h.DeleteUser(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	h.pass(core.DefaultGrace + time.Minute)
	for range 20 { // a sweep that cannot move list entries still does all its other work
		if _, err := h.Sweep(t.Context()); !errors.Is(err, errHalted) {
			t.Fatalf("a sweep that cannot move entries: %v", err)
		}
	}
	if state := h.userState(t, bob); state != core.UserDeleted {
		t.Errorf("the user has state %v", state)
	}
	h.pass(time.Second)
	h.send(t, ann, small, "moves the small thread again")
	first("after one has left", map[string]string{ann: small, eve: small})
	if err := h.DeleteThread(t.Context(), ann, big); err != nil {
		t.Fatal(err)
	}
	first("after the deletion", map[string]string{ann: small, eve: small})
	s.halted.Store(false)
	if _, err := h.Sweep(t.Context()); err != nil {
		t.Errorf("a sweep that moves entries: %v", err)
	}
	if more, err := h.store.Relist(t.Context(), 1); more || err != nil {
		t.Errorf("there is more to move after the sweep: %v, %v", more, err)
	}
	first("at last", map[string]string{ann: small, eve: small})
}
