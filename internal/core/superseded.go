package core

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Superseded is a version of a message that was replaced by an edit or a deletion. It is kept while
// a former member of the thread may still read it: a former member sees each message as it was when
// the member left (docs/contract/chat.md §7.3). If the message was deleted later, a tombstone (a
// version without content) with the old sequence takes its place.
type Superseded struct {
	Message        // content of the version; ID, CreatedOn, Sender and Kind are the same as in the present row
	Until   uint64 // the sequence of the version that replaced this one
}

// SupersededKey identifies a superseded version of a message. Within a thread, keys are ordered
// by message id and then by sequence.
type SupersededKey struct {
	Thread   string
	ID       int64
	Sequence uint64
}

// Key returns the key of the superseded version.
func (r *ThreadSuperseded) Key() SupersededKey {
	return SupersededKey{Thread: r.Thread, ID: r.ID, Sequence: r.Sequence}
}

// Span has two sequences of a message: that of a superseded version, and Until, the sequence of the
// version that replaced it.
type Span struct{ Sequence, Until uint64 }

// SeesVersion reports whether the member may read a superseded version of a message. This is true
// if the member has left and the message had this version when the member left.
func (m *Member) SeesVersion(v *Superseded) bool {
	return m.Left != nil && v.Sequence <= m.Left.Sequence && m.Left.Sequence < v.Until && v.CreatedOn >= m.VisibleFrom()
}

// ReadsOlder reports whether a happening is about a message that was edited after the member had
// left the thread, so that the member may read only a superseded version of it. Hears returns false
// for such a happening. A caller that tells the member of the event must read the superseded
// version from the store, with MessagesQuery.Reader.
func (m *Member) ReadsOlder(h *Happening) bool {
	return (h.Kind == MessageReceived || h.Kind == MessageEdited) && h.Message != nil && h.Message.DeletedOn == 0 &&
		m.Left != nil && m.InThreadAt(h.Number) && h.Message.Sequence > m.Left.Sequence && h.Message.CreatedOn >= m.VisibleFrom()
}

// keepFor sets Keep of a rewrite if a former member of t may still read the replaced version.
func (r *Rewrite) keepFor(t *Thread) {
	first, _ := slices.BinarySearchFunc(t.former, max(r.OldSequence, 1), lastSequence)
	for _, m := range t.former[first:] {
		if r.CreatedOn <= m.Left.On && r.CreatedOn >= m.VisibleFrom() {
			r.Keep = true
			return
		}
	}
}

// lastSequence compares the LastSequence of m, for searches in Roster.former.
func lastSequence(m *Member, sequence uint64) int { return cmp.Compare(m.LastSequence(), sequence) }

// maxVersions is the greatest number of superseded versions of a message. A change of the
// message reads all of them, so they must not grow every time that somebody leaves the thread
// and the message is edited. When there are more, the oldest is deleted, and a former member
// who could read only that version no longer sees the message.
const maxVersions = 256

// supersede adds to change c the superseded versions that the rewrite w causes. w already has
// its new sequence, and old is the row that it replaces. If w deletes the message, all its
// superseded versions become tombstones.
func (a *assigner) supersede(c *Change, w *Rewrite, old *Message) {
	key := MessageKey{c.Thread, w.ID}
	if w.How == Delete {
		for _, v := range a.Superseded[key] {
			c.Superseded = append(c.Superseded, w.tombstoneAt(v))
		}
	}
	if !w.Keep {
		return
	}
	at := Span{old.Sequence, w.Sequence}
	if w.How == Delete {
		c.Superseded = append(c.Superseded, w.tombstoneAt(at))
	} else {
		v := Superseded{*old, at.Until}
		v.Fingerprint = Fingerprint{} // the message's present row has it
		c.Superseded = append(c.Superseded, v)
	}
	all := append(slices.Clip(a.Superseded[key]), at)
	if len(all) > maxVersions {
		c.DropSuperseded = append(slices.Clip(c.DropSuperseded), SupersededKey{c.Thread, w.ID, all[0].Sequence})
		all = all[1:]
	}
	a.Superseded[key] = all
}

// tombstoneAt returns the tombstone that replaces a superseded version when r deletes the
// message. at has the sequences of that version. The tombstone has the version number of the
// deletion, so that a client that has the message notices the change.
func (r *Rewrite) tombstoneAt(at Span) Superseded {
	v := Superseded{r.Message, at.Until}
	v.Sequence, v.Fingerprint = at.Sequence, Fingerprint{}
	return v
}

// dropSuperseded removes the superseded versions with these keys from the state, because a
// change deletes them.
func (s *BatchState) dropSuperseded(keys []SupersededKey) {
	for _, k := range keys {
		key := MessageKey{k.Thread, k.ID}
		if all := s.Superseded[key]; len(all) > 0 {
			s.Superseded[key] = slices.DeleteFunc(slices.Clone(all), func(v Span) bool { return v.Sequence == k.Sequence })
		}
	}
}

// drop deletes superseded versions of a thread. unwanted returns, for the thread as it is
// when the change is decided, a function that selects the versions to delete.
func (s *Service) drop(ctx context.Context, thread string, versions []ThreadSuperseded, unwanted func(*Thread) func(*Superseded) bool) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := rows.Thread(thread)
		if err != nil || t == nil || t.DeletedOn != 0 {
			return &Change{}, err
		}
		c, unwanted := changeOf(t), unwanted(t)
		for i := range versions {
			if unwanted(&versions[i].Superseded) {
				c.DropSuperseded = append(c.DropSuperseded, versions[i].Key())
			}
		}
		return c, nil
	})
	return err
}

// superseded returns up to sweepPage superseded versions of one thread with keys greater than
// after. A key that has only a thread comes before all versions of the thread. superseded fails if
// the store takes longer than s.patience.
func (s *Service) superseded(ctx context.Context, after SupersededKey) ([]ThreadSuperseded, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.store.Superseded(ctx, after, sweepPage)
}

// supersededThreads returns up to sweepPage ids, greater than after, of threads with superseded
// versions. It fails if the store takes longer than s.patience.
func (s *Service) supersededThreads(ctx context.Context, after string) ([]string, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.store.SupersededThreads(ctx, after, sweepPage)
}

// readerless returns a function that reports whether a superseded version of t has no reader: no
// member who has left may read it.
func readerless(t *Thread) func(*Superseded) bool {
	return func(v *Superseded) bool {
		first, _ := slices.BinarySearchFunc(t.former, v.Sequence, lastSequence)
		for _, m := range t.former[first:] {
			if m.LastSequence() >= v.Until {
				break
			}
			if m.SeesVersion(v) {
				return false
			}
		}
		return true
	}
}

// The time from one walk over all superseded versions to the next: walkEvery after a walk without
// errors, walkAgain after a walk with an error. A walk finds versions without readers that a
// process did not delete because it was killed.
const (
	walkEvery = 24 * time.Hour
	walkAgain = 10 * time.Minute
)

// maxReleased is the greatest number of threads in Service.released. If more threads are released,
// the next sweep reads the superseded versions of all threads.
const maxReleased = 10_000

// release records that a member of a thread may no longer read superseded versions of the thread's
// messages, so that Sweep looks for versions without readers.
func (s *Service) release(thread string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.released) < maxReleased {
		s.released[thread] = struct{}{}
	} else {
		s.walkNow = true
	}
}

// nextReleased removes a thread from those that release has recorded and returns it, or "" if there
// is none. walk is true if release had too many threads to record, so that Sweep must read all
// threads.
func (s *Service) nextReleased() (thread string, walk bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	walk, s.walkNow = s.walkNow, false
	for thread = range s.released {
		delete(s.released, thread)
		return thread, walk
	}
	return "", walk
}

// supersededWalk says how far a Service has come in its search for superseded versions that nobody
// may read any more. The Service searches one thread at a time.
type supersededWalk struct {
	place SupersededKey // the last key that was read in the current thread; zero: no thread is being read

	// The fields below belong to the walk over all threads with superseded versions.
	due     time.Time // when it begins; zero: now
	threads []string  // the next ones, in order
	listed  string    // id of the last thread that the store has listed
	last    bool      // no thread follows these
	bad     bool      // a thread failed in this walk
}

// sweepSuperseded deletes superseded versions that nobody may read any more. It searches the
// threads that release has recorded, and from time to time all threads. A turn ends after a page of
// a thread, and the next turn continues after that page. sweepSuperseded returns the present time
// if work is left, or the zero time.
func (s *Service) sweepSuperseded(ctx context.Context) (next time.Time, err error) {
	ends := s.now().Add(turnTime)
	w := &s.walk
	var errs []error
	for {
		if w.place == (SupersededKey{}) {
			thread, err := s.nextToRelease(ctx)
			if err != nil {
				return time.Time{}, few(append(errs, fmt.Errorf("list threads with superseded messages: %w", err)))
			}
			if thread == "" {
				return time.Time{}, few(errs)
			}
			w.place = SupersededKey{Thread: thread}
		}
		next, err := s.releasePage(ctx, w.place)
		if err != nil {
			errs = append(errs, fmt.Errorf("superseded messages of thread %s: %w", w.place.Thread, err))
			if ctx.Err() != nil || storeWide(err) {
				return time.Time{}, few(errs) // stop here; the next sweep reads this page again
			}
			// Continue with the other threads. A later walk deletes the remaining superseded
			// versions of this thread.
			w.bad = true
			if again := s.now().Add(walkAgain); again.Before(w.due) {
				w.due = again
			}
		}
		w.place = next
		if s.over(ends) {
			return s.now(), few(errs)
		}
	}
}

// nextToRelease returns the next thread in which to search for versions without readers: one that
// release has recorded, or the next one of the walk over all threads if the walk is due. It returns
// "" if no thread is left.
func (s *Service) nextToRelease(ctx context.Context) (string, error) {
	w := &s.walk
	thread, walk := s.nextReleased()
	if walk {
		*w = supersededWalk{}
	}
	if thread != "" || s.now().Before(w.due) {
		return thread, nil
	}
	if len(w.threads) == 0 && !w.last {
		threads, err := s.supersededThreads(ctx, w.listed)
		if err != nil {
			return "", err
		}
		if w.threads, w.last = threads, len(threads) < sweepPage; len(threads) > 0 {
			w.listed = threads[len(threads)-1]
		}
	}
	if len(w.threads) == 0 {
		wait := walkEvery
		if w.bad {
			wait = walkAgain
		}
		*w = supersededWalk{due: s.now().Add(wait)}
		return "", nil
	}
	thread, w.threads = w.threads[0], w.threads[1:]
	return thread, nil
}

// releasePage reads the page of a thread's superseded versions after a key, and deletes the
// versions that nobody may read. It returns the key of the page's last version, or the zero key
// after the last page or an error.
func (s *Service) releasePage(ctx context.Context, after SupersededKey) (SupersededKey, error) {
	page, err := s.superseded(ctx, after)
	if err == nil && len(page) > 0 {
		err = s.drop(ctx, after.Thread, page, readerless)
	}
	if err != nil || len(page) < sweepPage {
		return SupersededKey{}, err
	}
	return page[len(page)-1].Key(), nil
}
