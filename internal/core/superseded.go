package core

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Superseded is a version of a message that was replaced by an edit or a deletion. It is kept
// while a former member of the thread may still read it: a former member sees each message as
// it was when the member left (docs/contract/chat.md §7.3). If the message was deleted later,
// the version is a tombstone (without content) at the old sequence.
type Superseded struct {
	Message        // ID, CreatedOn, Sender and Kind are those of the message's present row
	Until   uint64 // the sequence of the version that replaced it
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

// Span has the sequence of a superseded version (Sequence) and of the version that replaced it
// (Until).
type Span struct{ Sequence, Until uint64 }

// SeesVersion reports whether the member may read a superseded version of a message. This is so
// if the member has left and the message had this version at the time.
func (m *Member) SeesVersion(v *Superseded) bool {
	return m.Left != nil && v.Sequence <= m.Left.Sequence && m.Left.Sequence < v.Until && v.CreatedOn >= m.VisibleFrom()
}

// ReadsOlder reports whether a happening is about a message that was edited after the member
// had left the thread, so that the member may read only a superseded version of it. Hears
// returns false for such a happening. To tell the member of the event, read the superseded
// version from the store with MessagesQuery.Reader.
func (m *Member) ReadsOlder(h *Happening) bool {
	return (h.Kind == MessageReceived || h.Kind == MessageEdited) && h.Message != nil && h.Message.DeletedOn == 0 &&
		m.Left != nil && m.InThreadAt(h.Number) && h.Message.Sequence > m.Left.Sequence && h.Message.CreatedOn >= m.VisibleFrom()
}

// keepFor sets Keep and Former of a rewrite, depending on which former members of t may still
// read versions of the message.
func (r *Rewrite) keepFor(t *Thread) {
	for i := range t.Members {
		m := &t.Members[i]
		// Skip members who may read no version of the message, for example because they left
		// before the message was created.
		if m.Left == nil || m.Left.Sequence == 0 || r.CreatedOn > m.Left.On || r.CreatedOn < m.VisibleFrom() {
			continue
		}
		r.Keep = r.Keep || r.OldSequence <= m.Left.Sequence
	}
}

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
		c.Superseded = append(c.Superseded, Superseded{*old, at.Until})
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
	v.Sequence = at.Sequence
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

// drop deletes the given superseded versions of a thread for which unwanted returns true.
func (s *Service) drop(ctx context.Context, thread string, versions []ThreadSuperseded, unwanted func(*Thread, *Superseded) bool) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := rows.Thread(thread)
		if err != nil || t == nil || t.DeletedOn != 0 {
			return &Change{}, err
		}
		c := changeOf(t)
		for i := range versions {
			if unwanted(t, &versions[i].Superseded) {
				c.DropSuperseded = append(c.DropSuperseded, versions[i].Key())
			}
		}
		return c, nil
	})
	return err
}

// superseded returns up to sweepPage superseded versions with keys greater than after. A key
// without a message id is less than all keys of its thread. superseded fails if the store takes
// longer than s.patience.
func (s *Service) superseded(ctx context.Context, after SupersededKey) ([]ThreadSuperseded, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.store.Superseded(ctx, after, sweepPage)
}

// readerless reports whether no former member of t may read the superseded version.
func readerless(t *Thread, v *Superseded) bool {
	for i := range t.Members {
		if t.Members[i].SeesVersion(v) {
			return false
		}
	}
	return true
}

// The time from one walk over all superseded versions to the next: walkEvery after a walk
// without errors, walkAgain after other walks. A walk finds versions without readers that a
// process did not delete because it was killed.
const (
	walkEvery = 24 * time.Hour
	walkAgain = 10 * time.Minute
)

// maxReleased is the greatest number of threads in Service.released. If there are more, the
// next sweep looks at the superseded versions of all threads.
const maxReleased = 10_000

// release notes that a member of a thread may no longer read superseded versions of its
// messages, so that Sweep looks for versions to delete.
func (s *Service) release(thread string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.released) < maxReleased {
		s.released[thread] = struct{}{}
	} else {
		s.walkNow = true
	}
}

// nextReleased returns one of the threads that release has noted, and forgets it. walk reports
// whether there were too many threads to note, so that all threads must be looked at.
func (s *Service) nextReleased() (thread string, found, walk bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	walk, s.walkNow = s.walkNow, false
	for thread = range s.released {
		delete(s.released, thread)
		return thread, true, walk
	}
	return "", false, walk
}

// supersededWalk is the progress of a Service's walk over all superseded versions.
type supersededWalk struct {
	after SupersededKey
	due   time.Time // when a walk begins; zero: now
	bad   bool      // a version could not be deleted in this walk
}

// sweepSuperseded deletes superseded versions that nobody may read any more. It looks at the
// threads that release has noted, and from time to time at all threads. It returns the current
// time if it has more to do now, or the zero time if not.
func (s *Service) sweepSuperseded(ctx context.Context) (next time.Time, err error) {
	ends := s.now().Add(turnTime)
	w := &s.walk
	var errs []error
	for {
		thread, found, walk := s.nextReleased()
		if walk {
			w.due = time.Time{}
		}
		if !found {
			break
		}
		if err := s.releaseVersions(ctx, thread); err != nil {
			errs = append(errs, fmt.Errorf("superseded messages of thread %s: %w", thread, err))
			if ctx.Err() != nil || storeWide(err) {
				s.release(thread) // the next sweep finds out whether the store works again
				return time.Time{}, few(errs)
			}
			w.due = earlier(w.due, s.now().Add(walkAgain)) // which finds what is left
		}
		if s.over(ends) {
			return s.now(), few(errs)
		}
	}
	for !s.now().Before(w.due) {
		page, err := s.superseded(ctx, w.after)
		if err != nil {
			return time.Time{}, few(append(errs, fmt.Errorf("list superseded messages: %w", err)))
		}
		for _, versions := range byThread(page) {
			if err := s.drop(ctx, versions[0].Thread, versions, readerless); err != nil {
				errs = append(errs, fmt.Errorf("superseded messages of thread %s: %w", versions[0].Thread, err))
				if ctx.Err() != nil || storeWide(err) {
					return time.Time{}, few(errs) // the next sweep begins with this page again
				}
				w.bad = true
			}
		}
		if len(page) == sweepPage {
			w.after = page[len(page)-1].Key()
		} else {
			wait := walkEvery
			if w.bad {
				wait = walkAgain
			}
			*w = supersededWalk{due: s.now().Add(wait)}
		}
		if s.over(ends) {
			return s.now(), few(errs)
		}
	}
	return time.Time{}, few(errs)
}

// releaseVersions deletes the superseded versions of a thread's messages that nobody may read
// any more.
func (s *Service) releaseVersions(ctx context.Context, thread string) error {
	for after := (SupersededKey{Thread: thread}); ; {
		page, err := s.superseded(ctx, after)
		if err != nil {
			return err
		}
		of := byThread(page)
		if len(of) == 0 || of[0][0].Thread != thread {
			return nil
		}
		if err := s.drop(ctx, thread, of[0], readerless); err != nil {
			return err
		}
		if len(of) > 1 || len(page) < sweepPage {
			return nil
		}
		after = page[len(page)-1].Key()
	}
}

// byThread splits a page of superseded versions into one part for each thread, in order.
func byThread(page []ThreadSuperseded) (parts [][]ThreadSuperseded) {
	for i := 0; i < len(page); {
		n := i + 1
		for n < len(page) && page[n].Thread == page[i].Thread {
			n++
		}
		parts, i = append(parts, page[i:n]), n
	}
	return parts
}
