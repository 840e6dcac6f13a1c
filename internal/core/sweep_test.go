package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
)

// badThreads is a store that cannot write changes of some threads. It counts the tries.
type badThreads struct {
	*pebble.Store
	threads map[string]int
}

var errDisk = errors.New("a bad block")

func (f *badThreads) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	for _, c := range b.Changes {
		if _, bad := f.threads[c.Thread]; bad {
			f.threads[c.Thread]++
			return nil, errDisk
		}
	}
	return f.Store.Apply(ctx, b)
}

func newBadThreads(t *testing.T) (*house, *badThreads) {
	t.Helper()
	f := &badThreads{threads: map[string]int{}}
	return newHouse(t, nil, func(s core.Store) core.Store {
		f.Store = s.(*pebble.Store)
		return f
	}), f
}

// TestThreadsBehindFailingOnesExpire has 120 threads whose deletion fails, and 120 that
// expire after them. Those must be deleted, and the failing ones be tried less and less
// often, and again when their disk works.
func TestThreadsBehindFailingOnesExpire(t *testing.T) {
	h, f := newBadThreads(t)
	ctx := context.Background()
	ann := h.user(t)
	for range 120 {
		f.threads[h.kept(t, ann, 30)] = 0
	}
	bad := f.threads
	f.threads = nil
	h.pass(time.Minute)
	var good []string
	for range 120 {
		good = append(good, h.kept(t, ann, 30))
	}
	f.threads = bad
	h.pass(31 * day)
	gone := func(ids []string) (n int) {
		for _, id := range ids {
			if th, err := h.Inspect(ctx, id); err == nil && th.DeletedOn != 0 {
				n++
			}
		}
		return n
	}
	const sweeps = 100 // one a second
	failed := 0
	for range sweeps {
		if _, err := h.Sweep(ctx); errors.Is(err, errDisk) {
			failed++
		}
		h.pass(time.Second)
	}
	if n := gone(good); n != len(good) {
		t.Errorf("%d of %d threads behind the failing ones were deleted", n, len(good))
	}
	for id, tries := range bad {
		if tries < 4 || tries > 10 {
			t.Fatalf("thread %s was tried %d times in %d s, want 4 to 10", id, tries, sweeps)
		}
	}
	c := h.SweepCounts()[core.SweepRetention]
	if c.Done != 120 || c.Failed < 480 || c.Waiting != 120 || c.Turns != sweeps {
		t.Errorf("counted %+v", c)
	}
	t.Logf("%d of %d sweeps failed; %+v", failed, sweeps, c)

	f.threads = nil
	h.pass(time.Hour)
	for range 3 {
		if _, err := h.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for id := range bad {
		if gone([]string{id}) == 0 {
			t.Fatalf("thread %s is not deleted when it can be", id)
		}
	}
	if c := h.SweepCounts()[core.SweepRetention]; c.Waiting != 0 {
		t.Errorf("%d threads wait when all are deleted", c.Waiting)
	}
}

// TestLongErasureHoldsUpNobody erases a user with 3,000 messages in one thread. Meanwhile, a
// thread expires and another user is erased, within a few sweeps.
func TestLongErasureHoldsUpNobody(t *testing.T) {
	h := newHouse(t, nil, nil)
	ctx := context.Background()
	ann, bob, eve := h.user(t), h.user(t), h.user(t)
	long, short := h.thread(t, ann, bob), h.thread(t, ann, eve)
	together(64, func(int) {
		for range 3000 / 64 {
			if _, err := h.SendMessage(ctx, bob, long, text(private)); err != nil {
				t.Error(err)
			}
		}
	})
	h.send(t, eve, short, private)
	for _, user := range []string{bob, eve} {
		if err := h.DeleteUser(ctx, user); err != nil {
			t.Fatal(err)
		}
	}
	month := h.kept(t, ann, 30)
	h.pass(31 * day)
	state := func(user string) core.UserState {
		us, err := h.store.Users(ctx, []string{user})
		if err != nil || len(us) != 1 {
			t.Fatalf("read the user: %v, %v", us, err)
		}
		return us[0].State
	}
	next, err := h.Sweep(ctx)
	if err != nil || next.UnixMilli() != h.now.Load() {
		t.Errorf("the first sweep: next %v, %v; want now", next, err)
	}
	if th, err := h.Inspect(ctx, month); err != nil || th.DeletedOn == 0 {
		t.Errorf("the thread did not expire in the first sweep: %+v, %v", th, err)
	}
	if state(eve) != core.UserDeleted || state(bob) != core.UserDeleting {
		t.Errorf("after the first sweep the user with one message is %v, and the user with 3,000 is %v", state(eve), state(bob))
	}
	h.erase(t, bob)
	for _, m := range h.allMessages(t, ann, long) {
		if m.Content == private {
			t.Fatal("a message of the erased user is left")
		}
	}
}

// TestErasureOfFailingThreads erases ten users, one of whom has a thread that fails. The
// others are erased, the rest of that user too, and the thread when it can be.
func TestErasureOfFailingThreads(t *testing.T) {
	h, f := newBadThreads(t)
	ctx := context.Background()
	ann := h.user(t)
	var users, threads []string
	for range 10 {
		u := h.user(t)
		users = append(users, u)
		for range 30 {
			thread := h.thread(t, ann, u)
			h.send(t, u, thread, private)
			threads = append(threads, thread)
		}
	}
	for _, u := range users {
		if err := h.DeleteUser(ctx, u); err != nil {
			t.Fatal(err)
		}
	}
	h.pass(time.Hour)
	bad := threads[3]
	f.threads[bad] = 0
	for range 60 {
		h.Sweep(ctx)
		h.pass(time.Second)
	}
	us, err := h.store.Users(ctx, users)
	if err != nil {
		t.Fatal(err)
	}
	deleted := map[core.UserState]int{}
	for _, u := range us {
		deleted[u.State]++
	}
	if diff := fmt.Sprint(deleted); deleted[core.UserDeleted] != 9 || deleted[core.UserDeleting] != 1 {
		t.Errorf("the users are %s, want 9 deleted", diff)
	}
	for _, thread := range threads {
		for _, m := range h.allMessages(t, ann, thread) {
			if m.Content == private && thread != bad {
				t.Fatal("a message is left in a thread that does not fail")
			}
		}
	}
	if n := f.threads[bad]; n < 3 || n > 10 {
		t.Errorf("the failing thread was tried %d times in 60 s, want 3 to 10", n)
	}
	c := h.SweepCounts()[core.SweepErasure]
	if c.Done != 9 || c.Failed == 0 || c.Waiting != 1 {
		t.Errorf("counted %+v", c)
	}
	f.threads = nil
	h.pass(time.Hour)
	h.erase(t, users[0])
	for _, m := range h.allMessages(t, ann, bad) {
		if m.Content == private {
			t.Error("a message is left in the thread that failed")
		}
	}
}
