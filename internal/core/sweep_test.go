package core_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
)

// badThreads is a store that fails to write changes of some threads. It counts the attempts.
type badThreads struct {
	*pebble.Store
	threads map[string]int
	err     error // error that Apply returns for changes of these threads; nil: errDisk
}

var errDisk = errors.New("a bad block")

func (f *badThreads) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	for _, c := range b.Changes {
		if _, bad := f.threads[c.Thread]; bad {
			f.threads[c.Thread]++
			return nil, cmp.Or(f.err, errDisk)
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

// TestThreadsBehindFailingOnesExpire uses 120 threads whose deletion fails, and 120 threads that
// expire after them. It checks that the later threads are deleted, that the failing threads are
// tried less and less often, and that they are deleted when their failure is over.
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

// TestLongErasureHoldsUpNobody erases a user with 3,000 messages in one thread. It checks that in
// the first sweep, a thread expires and another user is erased completely.
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

// TestErasureOfFailingThreads erases ten users. One of them has a thread whose changes fail. It
// checks that the other users, and the other threads of that user, are erased meanwhile, and the
// failing thread as soon as its changes succeed.
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

// deleted returns how many of the threads with these ids are deleted.
func (h *house) deleted(t *testing.T, ids []string) (n int) {
	t.Helper()
	for _, id := range ids {
		if h.inspect(t, id).DeletedOn != 0 {
			n++
		}
	}
	return n
}

func (h *house) userState(t *testing.T, user string) core.UserState {
	t.Helper()
	us, err := h.store.Users(context.Background(), []string{user})
	if err != nil || len(us) != 1 {
		t.Fatalf("read the user: %v, %v", us, err)
	}
	return us[0].State
}

// TestPausesOfThreadsThatAreGone uses a thread whose deletion fails until another server deletes
// it, and listed threads that another server deletes before the sweep reaches them. It checks that
// no thread is counted as waiting afterwards.
func TestPausesOfThreadsThatAreGone(t *testing.T) {
	ctx := t.Context()
	f := &badThreads{threads: map[string]int{}}
	var o *orphaned
	h := newHouse(t, nil, func(s core.Store) core.Store {
		f.Store = s.(*pebble.Store)
		o = &orphaned{Store: f}
		return o
	})
	ann := h.user(t)
	month := h.kept(t, ann, 30)
	h.pass(31 * day)
	f.threads[month] = 0
	waiting := func() int { return h.SweepCounts()[core.SweepRetention].Waiting }
	if _, err := h.Sweep(ctx); !errors.Is(err, errDisk) || waiting() != 1 {
		t.Fatalf("a sweep of a failing thread: %v, and %d wait; want a bad block, and 1", err, waiting())
	}
	p := h.inspect(t, month).Properties
	p.DeletedOn = h.now.Load()
	h.behind(t, &core.Change{Key: month, Thread: month, Revision: h.inspect(t, month).Revision, Properties: &p})
	if _, err := h.Sweep(ctx); err != nil || waiting() != 0 {
		t.Errorf("a sweep after another server has deleted the thread: %v, and %d wait; want none", err, waiting())
	}
	for n := range 50 {
		o.first = append(o.first, core.Expiry{Thread: fmt.Sprint("19:gone-", n), On: int64(n + 1)})
	}
	if _, err := h.Sweep(ctx); err != nil || waiting() != 0 {
		t.Errorf("a sweep that finds listed threads deleted: %v, and %d wait; want none", err, waiting())
	}
}

// unreadable is a store whose list of expiring threads begins with threads that cannot be read. It
// counts the attempts to read them.
type unreadable struct {
	orphaned
	tries map[string]int
}

func (u *unreadable) Thread(ctx context.Context, id string) (*core.Thread, error) {
	if strings.HasPrefix(id, "19:bad-") {
		u.tries[id]++
		return nil, errDisk
	}
	return u.Store.Thread(ctx, id)
}

// TestMoreFailuresThanPauses uses slightly more failing threads than MaxPaused. It checks that all
// of them are tried, but none of them in every sweep.
func TestMoreFailuresThanPauses(t *testing.T) {
	u := &unreadable{tries: map[string]int{}}
	h := newHouse(t, nil, func(s core.Store) core.Store {
		u.Store = s
		return u
	})
	const bad, sweeps = core.MaxPaused + 20, core.MaxPaused/100 + 60
	for n := range bad {
		u.first = append(u.first, core.Expiry{Thread: fmt.Sprint("19:bad-", n), On: int64(n + 1)})
	}
	for range sweeps { // the clock stands still between these sweeps
		if next, err := h.Sweep(t.Context()); !errors.Is(err, errDisk) || !next.IsZero() {
			t.Fatalf("a sweep of failing threads: next %v, %v", next, err)
		}
	}
	if len(u.tries) != bad {
		t.Errorf("%d of %d threads were tried", len(u.tries), bad)
	}
	for id, tries := range u.tries {
		if tries > 20 {
			t.Fatalf("thread %s was tried %d times in %d sweeps", id, tries, sweeps)
		}
	}
}

// outage is a store that refuses all batches while err is not nil. It counts the attempts.
type outage struct {
	*pebble.Store
	err   error
	tries int
}

func (o *outage) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	o.tries++
	if o.err != nil {
		return nil, o.err
	}
	return o.Store.Apply(ctx, b)
}

// TestOutageOfTheStore makes the whole store fail while threads expire and users are erased. It
// checks that no thread or user has to wait for this reason: as soon as the store works again, one
// sweep does all the work.
func TestOutageOfTheStore(t *testing.T) {
	for name, err := range map[string]error{
		"full": core.ErrStorageFull, "away": core.ErrUnavailable, "lost": core.ErrUnknown, "busy": core.ErrBusy, "late": context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			o := &outage{}
			h := newHouse(t, nil, func(s core.Store) core.Store {
				o.Store = s.(*pebble.Store)
				return o
			})
			ann := h.user(t)
			var users, threads []string
			for range 5 {
				u := h.user(t)
				users = append(users, u)
				for range 3 {
					h.send(t, u, h.thread(t, ann, u), private)
				}
				threads = append(threads, h.kept(t, ann, 30))
				if err := h.DeleteUser(t.Context(), u); err != nil {
					t.Fatal(err)
				}
			}
			h.pass(31 * day)
			o.err, o.tries = fmt.Errorf("the store: %w", err), 0
			const sweeps = 30
			for range sweeps {
				if next, err := h.Sweep(t.Context()); err == nil || !next.IsZero() {
					t.Fatalf("a sweep while the store fails: next %v, %v", next, err)
				}
				h.pass(time.Second)
			}
			if o.tries != 2*sweeps {
				t.Errorf("%d sweeps tried %d batches, want one for retention and one for erasure in each", sweeps, o.tries)
			}
			for _, k := range []core.SweepKind{core.SweepRetention, core.SweepErasure} {
				if c := h.SweepCounts()[k]; c.Waiting != 0 || c.Failed != sweeps {
					t.Errorf("%v counted %+v; want %d failures, and nothing that waits", k, c, sweeps)
				}
			}
			o.err = nil
			if next, err := h.Sweep(t.Context()); err != nil || !next.IsZero() {
				t.Errorf("the sweep when the store works again: next %v, %v; want no work to be left", next, err)
			}
			if n := h.deleted(t, threads); n != len(threads) {
				t.Errorf("it deleted %d of %d threads", n, len(threads))
			}
			for _, u := range users {
				if got := h.userState(t, u); got != core.UserDeleted {
					t.Errorf("user %s is %v when the store works again", u, got)
				}
			}
		})
	}
}

// TestCancelledSweep cancels a sweep. It checks that the threads and users that the sweep has tried
// do not have to wait: the next sweep handles them.
func TestCancelledSweep(t *testing.T) {
	h, f := newBadThreads(t)
	ann, bob := h.user(t), h.user(t)
	h.send(t, bob, h.thread(t, ann, bob), private)
	month := h.kept(t, ann, 30)
	if err := h.DeleteUser(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	h.pass(31 * day)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.threads[month] = 0
	h.Sweep(ctx)
	delete(f.threads, month)
	if _, err := h.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if h.deleted(t, []string{month}) != 1 || h.userState(t, bob) != core.UserDeleted {
		t.Error("what a cancelled sweep tried still waits")
	}
}

// TestThreadThatSeemsAnOutage uses threads whose changes fail with the error of an unavailable
// store, while messages of a client are stored. It checks that all other threads expire or are
// erased, and that the failing threads are tried less and less often.
func TestThreadThatSeemsAnOutage(t *testing.T) {
	h, f := newBadThreads(t)
	ann, bob := h.user(t), h.user(t)
	bad := []string{h.kept(t, ann, 30), h.kept(t, ann, 30), h.thread(t, ann, bob)}
	h.pass(time.Minute)
	var good, shared []string
	for range 30 {
		good = append(good, h.kept(t, ann, 30))
		thread := h.thread(t, ann, bob)
		h.send(t, bob, thread, private)
		shared = append(shared, thread)
	}
	if err := h.DeleteUser(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	h.pass(31 * day)
	f.err = core.ErrUnavailable
	for _, id := range bad {
		f.threads[id] = 0
	}
	const sweeps = 100
	busy := h.thread(t, ann)
	for range sweeps {
		h.Sweep(t.Context())
		h.send(t, ann, busy, "hello")
		h.pass(time.Second)
	}
	if n := h.deleted(t, good); n != len(good) {
		t.Errorf("%d of %d threads that do not fail were deleted", n, len(good))
	}
	for _, thread := range shared {
		for _, m := range h.allMessages(t, ann, thread) {
			if m.Content == private {
				t.Error("a message is left in a thread that does not fail")
			}
		}
	}
	for _, id := range bad {
		if tries := f.threads[id]; tries < 3 || tries > 15 {
			t.Errorf("thread %s was tried %d times in %d s, want 3 to 15", id, tries, sweeps)
		}
	}
	f.threads = nil
	h.pass(time.Hour)
	h.erase(t, bob)
	if n := h.deleted(t, bad[:2]); n != 2 {
		t.Errorf("when all works, %d of 2 threads are deleted", n)
	}
}

// badUsers is a store that fails to write the row of one user. It counts the attempts, and the
// reads of users' lists of threads.
type badUsers struct {
	*pebble.Store
	user         string
	tries, reads int
}

func (f *badUsers) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	for _, c := range b.Changes {
		if f.user != "" && c.Key == f.user {
			f.tries++
			return nil, errDisk
		}
	}
	return f.Store.Apply(ctx, b)
}

func (f *badUsers) ThreadsOf(ctx context.Context, user, after string, limit int) ([]string, error) {
	f.reads++
	return f.Store.ThreadsOf(ctx, user, after, limit)
}

// TestLastWriteOfAnErasureFails makes the write fail that completes a user's erasure. It checks
// that the write is tried less and less often, and that the user's threads are not read again for
// it.
func TestLastWriteOfAnErasureFails(t *testing.T) {
	f := &badUsers{}
	h := newHouse(t, nil, func(s core.Store) core.Store {
		f.Store = s.(*pebble.Store)
		return f
	})
	ann, bob := h.user(t), h.user(t)
	for range 3 {
		h.send(t, bob, h.thread(t, ann, bob), private)
	}
	if err := h.DeleteUser(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	h.pass(time.Hour)
	f.user, f.reads = bob, 0
	sweeps := 0
	for next := time.UnixMilli(h.now.Load()); !next.IsZero() && next.UnixMilli() <= h.now.Load(); sweeps++ {
		if sweeps == 20 {
			t.Fatalf("after %d sweeps at the same time the next one is due now, and the write was tried %d times", sweeps, f.tries)
		}
		next, _ = h.Sweep(t.Context())
	}
	for range 60 {
		h.Sweep(t.Context())
		h.pass(time.Second)
	}
	if f.tries < 3 || f.tries > 10 || f.reads != 1 {
		t.Errorf("in 60 s the write was tried %d times, and the threads were read %d times; want 3 to 10, and 1", f.tries, f.reads)
	}
	if c := h.SweepCounts()[core.SweepErasure]; c.Waiting != 1 {
		t.Errorf("counted %+v, want one user that waits", c)
	}
	f.user = ""
	h.pass(time.Hour)
	if next, err := h.Sweep(t.Context()); err != nil || !next.IsZero() || h.userState(t, bob) != core.UserDeleted {
		t.Errorf("when the write works: next %v, %v; the user is %v", next, err, h.userState(t, bob))
	}
}

// slow is a store in which each read of a thread takes a second. A read of the thread whose id is
// in stuck returns only when its context ends.
type slow struct {
	*pebble.Store
	on    atomic.Bool
	pass  func(time.Duration)
	stuck string
}

func (s *slow) Thread(ctx context.Context, id string) (*core.Thread, error) {
	if !s.on.Load() {
		return s.Store.Thread(ctx, id)
	}
	began := time.Now()
	defer func() { s.pass(time.Since(began)) }()
	if id == s.stuck {
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", core.ErrUnavailable, ctx.Err())
	}
	time.Sleep(time.Second) // of the bubble's clock
	return s.Store.Thread(ctx, id)
}

// TestTurnsEnd uses a store in which each thread takes a second and one thread takes for ever. It
// checks that each sweep ends within a bound, and that retention and erasure are both completed.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		h := newHouse(t, nil, func(e core.Store) core.Store {
			s.Store = e.(*pebble.Store)
			return s
		})
		s.pass = h.pass
		ann, bob := h.user(t), h.user(t)
		s.stuck = h.kept(t, ann, 30)
		h.pass(time.Minute)
		var threads []string
		for range 10 {
			threads = append(threads, h.kept(t, ann, 30))
			h.send(t, bob, h.thread(t, ann, bob), private)
		}
		if err := h.DeleteUser(t.Context(), bob); err != nil {
			t.Fatal(err)
		}
		h.pass(31 * day)
		s.on.Store(true)
		// A sweep may take the time of one item for retention and of one item for erasure, and
		// a little more.
		const bound = 2*core.DefaultPatience + 5*time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		for range 40 {
			began := time.Now()
			h.Sweep(ctx)
			if took := time.Since(began); took > bound {
				t.Fatalf("a sweep took %v, more than %v", took, bound)
			}
			h.pass(time.Second)
		}
		s.on.Store(false)
		if n := h.deleted(t, threads); n != len(threads) || h.userState(t, bob) != core.UserDeleted {
			t.Errorf("%d of %d threads are deleted, and the user is %v", n, len(threads), h.userState(t, bob))
		}
	})
}
