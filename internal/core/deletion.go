package core

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// DefaultGrace is the default of Options.Grace: the time after a user's deletion during which
// the user's tokens may still be used to leave threads, and to delete threads that the user has
// created or is alone in. Microsoft's test suites of 2021 delete a user first and its threads
// afterwards.
const DefaultGrace = 30 * time.Second

// finishPurges deletes rows of deleted threads that the store has not deleted yet. It does
// nothing unless the store is a Purger.
func (s *Service) finishPurges(ctx context.Context) error {
	if p, ok := s.store.(Purger); ok {
		return p.FinishPurges(ctx)
	}
	return nil
}

// trimEvery is the least time between two calls of Store.Trim, even after a failed call, because a
// call may block readers and writers of events for a moment.
const trimEvery = 10 * time.Minute

// trimEvents gives positions to all committed events. Every ten minutes it also deletes the
// days of the event log that are older than Options.EventsKept.
func (s *Service) trimEvents(ctx context.Context) error {
	if _, err := s.store.Sequence(ctx); err != nil {
		return fmt.Errorf("give positions to events: %w", err)
	}
	now := s.now()
	day := DayOf(now.UnixMilli())
	if since := now.Sub(s.trimmed); day <= s.eventsKept || since >= 0 && since < trimEvery {
		return nil
	}
	s.trimmed = now
	if err := s.store.Trim(ctx, day-s.eventsKept); err != nil {
		return fmt.Errorf("trim the event log: %w", err)
	}
	return nil
}

// earlier returns the earlier of two times. The zero time means no time: if one of the two is zero,
// earlier returns the other one.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sweepThreads deletes at most sweepPage expired threads. It returns the time of the next
// expiry, the current time if more threads may have expired already, or the zero time if no
// other thread is known to expire. If a thread cannot be deleted, sweepThreads continues with
// the next one and tries the failed thread again after a pause.
func (s *Service) sweepThreads(ctx context.Context) (next time.Time, err error) {
	now := s.now()
	ends := now.Add(turnTime)
	limit := sweepPage + len(s.expiryPauses)
	list, err := s.expiring(ctx, limit)
	if err != nil {
		s.swept.update(SweepRetention, func(c *SweepCount) { c.Failed++ })
		return time.Time{}, fmt.Errorf("list threads that expire: %w", err)
	}
	listed := make(map[string]bool, len(list))
	var due []string
	for _, e := range list {
		listed[e.Thread] = true
		if now.UnixMilli() < e.On {
			next = earlier(next, time.UnixMilli(e.On))
		} else if !s.expiryPauses.waits(e.Thread, now) {
			due = append(due, e.Thread)
		}
	}
	// Forget the pauses of threads that are not in the list. The list has the earliest expiries
	// first and space for all paused threads, so a thread that is missing was deleted by
	// another server or expires later now.
	s.expiryPauses.keep(listed)
	s.expiryPauses.sort(due)
	more := next.IsZero() && len(list) == limit
	var errs []error
	deleted := 0
	for i, id := range due {
		if i == sweepPage || i > 0 && s.over(ends) {
			more = true
			break
		}
		expired, expires, err := s.expire(ctx, id)
		if err != nil {
			errs = append(errs, fmt.Errorf("expire thread %s: %w", id, err))
		}
		if err != nil && !s.own(ctx, s.expiryPauses, id, err) {
			more = false // the whole store has failed, so the caller must not sweep again at once
			break
		}
		switch {
		case expired:
			deleted++
			delete(s.expiryPauses, id)
		// A thread that is listed but does not expire gets a pause too. Without a pause it would be
		// the first of every page.
		case err != nil || expires:
			s.expiryPauses.failed(id, s.now())
		default:
			delete(s.expiryPauses, id)
		}
	}
	s.swept.update(SweepRetention, func(c *SweepCount) {
		c.Done += uint64(deleted)
		c.Failed += uint64(len(errs))
		c.Waiting = s.expiryPauses.waiting()
	})
	if more && deleted > 0 {
		next = s.now()
	}
	return next, few(errs)
}

// expiring calls Store.Expiring. It gives up after s.patience.
func (s *Service) expiring(ctx context.Context, limit int) ([]Expiry, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.store.Expiring(ctx, limit)
}

// expire deletes a thread if it has expired, and reports whether it deleted the thread. If not,
// expires reports whether the thread still has a retention policy. The event of the deletion
// has no actor. Unverified: that an expired thread is like one that a participant has deleted.
func (s *Service) expire(ctx context.Context, thread string) (expired, expires bool, err error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	o, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := rows.Thread(thread)
		expires = err == nil && t != nil && t.ExpiresOn() != 0
		if !expires || !t.expired(s.now().UnixMilli()) {
			return &Change{}, err
		}
		return purge(t, ""), nil
	})
	return err == nil && o.Status == Applied, expires, err
}

// sweepUsers erases the data of deleted users whose grace is over. It handles at most
// sweepSteps steps, and at most userSteps of one user. The next sweep continues with the user
// after the last one. sweepUsers returns the time at which it has more to do or the next grace
// ends.
func (s *Service) sweepUsers(ctx context.Context) (next time.Time, err error) {
	ends := s.now().Add(turnTime)
	users, err := s.deleting(ctx)
	if err != nil {
		s.swept.update(SweepErasure, func(c *SweepCount) { c.Failed++ })
		return time.Time{}, fmt.Errorf("list users in deletion: %w", err)
	}
	s.forgetErasures(users)
	slices.SortFunc(users, func(a, b User) int { return cmp.Compare(a.ID, b.ID) })
	after := func(u User, id string) int { return cmp.Compare(u.ID, id) }
	if i, found := slices.BinarySearchFunc(users, s.lastErased, after); found || i < len(users) {
		if found {
			i++
		}
		users = append(slices.Clone(users[i:]), users[:i]...)
	}
	now := s.now()
	var errs []error
	steps, erased, away := sweepSteps, 0, false
	for _, u := range users {
		if s.Leaving(u) {
			next = earlier(next, time.UnixMilli(u.DeletedAt).Add(s.grace))
			continue
		}
		if away || s.erasurePauses.waits(u.ID, now) {
			continue
		}
		if steps <= 0 {
			next = earlier(next, now)
			continue
		}
		s.lastErased = u.ID
		turn := min(steps, userSteps)
		left, ended, lost, err := s.erase(ctx, u, turn, ends)
		steps -= max(turn-left, 1)
		if s.over(ends) {
			steps = 0
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("erase user %s: %w", u.ID, err))
		}
		switch {
		case lost:
			away = true // the whole store has failed, so the loop over users ends
		case ended:
			erased++
			delete(s.erasurePauses, u.ID)
		case !s.erasurePauses.waits(u.ID, now):
			next = earlier(next, now)
		}
	}
	s.swept.update(SweepErasure, func(c *SweepCount) {
		c.Done += uint64(erased)
		c.Failed += uint64(len(errs))
		c.Waiting = s.erasurePauses.waiting()
	})
	return next, few(errs)
}

// deleting calls Store.Deleting. It gives up after s.patience.
func (s *Service) deleting(ctx context.Context) ([]User, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.store.Deleting(ctx)
}

// forgetErasures deletes the progress and the pauses of erasures whose user is not in the list
// deleting. Another server has completed these erasures.
func (s *Service) forgetErasures(deleting []User) {
	still := make(map[string]bool, len(deleting))
	for _, u := range deleting {
		still[u.ID] = true
	}
	maps.DeleteFunc(s.erasures, func(id string, _ *erasure) bool { return !still[id] })
	s.erasurePauses.keep(still)
}

// erasure is the progress of a user's erasure in this process. If a thread fails, the erasure
// continues with the next thread. The stored progress, User.ErasedTo, stays before the failed
// thread, so that a later pass tries that thread again.
type erasure struct {
	after   string        // id of the last thread that was tried
	erased  string        // all threads with ids up to this one were erased without a failure
	threads []string      // the next ones, in order
	last    bool          // no thread follows these
	left    bool          // the user has left threads[0]
	kept    SupersededKey // the superseded versions in threads[0] with keys up to this one are erased
	before  uint64        // the messages of threads[0] with a sequence of at least before are erased; 0: none is erased yet
	failed  bool          // a thread failed in this pass
}

// erase removes the user's messages, display names, metadata and receipts from the threads in
// the user's list of threads, and deletes all endpoints of the user. Messages become
// tombstones. A thread without another participant is deleted.
//
// erase takes at most the given number of steps, each for a thread or a page of messages, and
// returns how many steps are left. After the time ends it begins no further step, but it takes
// at least one. After the last thread it sets the user's state to UserDeleted, or, if a thread
// failed, begins a new pass after a pause. If the whole store fails, away is true, and the next
// call continues with the same thread.
func (s *Service) erase(ctx context.Context, u User, steps int, ends time.Time) (left int, ended, away bool, err error) {
	e := s.erasures[u.ID]
	if e == nil {
		if err := s.eraseEndpoints(ctx, u.ID); err != nil {
			return steps, false, s.userFailed(ctx, u.ID, err), err
		}
		e = &erasure{after: u.ErasedTo, erased: u.ErasedTo}
		s.erasures[u.ID] = e
	}
	var errs []error
	last := false // true when the erasure has handled the user's last thread
	for steps > 0 {
		if len(e.threads) == 0 && !e.last {
			if e.threads, err = s.threadsOf(ctx, u.ID, e.after); err != nil {
				away, errs = s.userFailed(ctx, u.ID, err), append(errs, err)
				break
			}
			e.last = len(e.threads) < sweepPage
		}
		if len(e.threads) == 0 {
			last = true
			break
		}
		id := e.threads[0]
		left, done, err := s.eraseFrom(ctx, e, id, u.ID, steps, ends)
		steps = left
		if err != nil {
			errs = append(errs, fmt.Errorf("thread %s: %w", id, err))
			if away = !s.own(ctx, s.erasurePauses, u.ID, err); away {
				break
			}
			e.failed = true
		}
		if err == nil && !done {
			break // no step or no time is left for this user
		}
		s.erasurePauses.worked(u.ID) // end the user's pause, because the next thread may fail for another reason
		e.after, e.threads, e.left, e.kept, e.before = id, e.threads[1:], false, SupersededKey{}, 0
		if !e.failed {
			e.erased = id
		}
		if s.over(ends) {
			break
		}
	}
	if away {
		return steps, false, true, few(errs)
	}
	if u.ErasedTo != e.erased || last {
		u.ErasedTo = e.erased
		if err := s.progress(ctx, u, last && !e.failed); err != nil {
			// s.erasures still has the progress of this erasure, so the next call only repeats
			// this write.
			away, errs = s.userFailed(ctx, u.ID, err), append(errs, err)
			return steps, false, away, few(errs)
		}
	}
	if last {
		delete(s.erasures, u.ID)
		if e.failed {
			s.erasurePauses.failed(u.ID, s.now())
		}
	}
	return steps, last && !e.failed, false, few(errs)
}

// userFailed begins the next pause of a user after the error err. If the error means that the
// whole store has failed, it begins no pause and returns true.
func (s *Service) userFailed(ctx context.Context, user string, err error) (away bool) {
	if !s.own(ctx, s.erasurePauses, user, err) {
		return true
	}
	s.erasurePauses.failed(user, s.now())
	return false
}

// threadsOf returns a page of the ids of a user's threads, in ascending order, that are greater
// than after. It fails if the store takes longer than s.patience.
func (s *Service) threadsOf(ctx context.Context, user, after string) ([]string, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.store.ThreadsOf(ctx, user, after, sweepPage)
}

// progress stores u.ErasedTo, unless the stored value is already greater. If ended is true, it
// instead sets the user's state to UserDeleted.
func (s *Service) progress(ctx context.Context, u User, ended bool) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.changeUser(ctx, u.ID, nil, nil, func(now *User) error {
		if now.State != UserDeleting { // finished by another server
			return nil
		}
		now.ErasedTo = max(now.ErasedTo, u.ErasedTo)
		if ended {
			now.State, now.ErasedTo = UserDeleted, ""
		}
		return nil
	})
}

// eraseFrom removes a user's data from one thread, in at most the given number of steps; each
// step is a page of messages. It returns how many steps are left, and whether the thread is
// done. After the time ends it begins no further step, but it takes at least one. It removes
// the user from the thread first, so that the user cannot write new messages or edit old ones
// meanwhile.
func (s *Service) eraseFrom(ctx context.Context, e *erasure, thread, user string, steps int, ends time.Time) (left int, done bool, err error) {
	if !e.left {
		if err := s.eraseMember(ctx, thread, user); err != nil {
			return steps - 1, false, err
		}
		e.left, e.kept = true, SupersededKey{Thread: thread}
	}
	for e.kept != (SupersededKey{}) { // the first page does not count as a step, because most threads have at most one page
		if steps <= 0 {
			return steps, false, nil
		}
		e.kept, err = s.eraseSuperseded(ctx, e.kept, user)
		if err != nil {
			return steps - 1, false, err
		}
		if e.kept == (SupersededKey{}) {
			break
		}
		if steps--; s.over(ends) {
			return steps, false, nil
		}
	}
	// Read from the newest message to the oldest. An erased message gets a sequence greater
	// than all others, so this loop does not read it again.
	for steps > 0 {
		e.before, err = s.erasePage(ctx, thread, user, e.before)
		steps--
		if err != nil || e.before == 0 {
			return steps, err == nil, err
		}
		if s.over(ends) {
			break
		}
	}
	return steps, false, nil
}

// eraseSuperseded reads a page of superseded versions of messages with keys greater than after, and
// deletes the versions of messages that the user has sent in the thread of after. Former members
// can then no longer read these versions. It returns the key of the page's last version, the zero
// key after the thread's last page, or after if it fails.
func (s *Service) eraseSuperseded(ctx context.Context, after SupersededKey, user string) (SupersededKey, error) {
	page, err := s.superseded(ctx, after)
	if err != nil {
		return after, err
	}
	var own []ThreadSuperseded
	var last SupersededKey
	if len(page) == sweepPage {
		last = page[len(page)-1].Key()
	}
	for _, v := range page {
		if v.Sender == user {
			own = append(own, v)
		}
	}
	if len(own) == 0 {
		return last, nil
	}
	all := func(*Thread) func(*Superseded) bool { return func(*Superseded) bool { return true } }
	if err := s.drop(ctx, after.Thread, own, all); err != nil {
		return after, err
	}
	return last, nil
}

// eraseMember removes a user from a thread, and deletes the user's display name, metadata and
// receipt there. It does not change messages.
func (s *Service) eraseMember(ctx context.Context, thread, user string) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := rows.Thread(thread)
		if err != nil || t == nil {
			return &Change{}, err
		}
		return decideErase(t, user), nil
	})
	return err
}

// erasePage reads the page of a thread's messages with sequences less than before, and removes
// the user's data from it. It returns the value of before for the next page, 0 after the last
// page, or before if it fails.
func (s *Service) erasePage(ctx context.Context, thread, user string, before uint64) (next uint64, err error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	page, err := s.store.Messages(ctx, MessagesQuery{Thread: thread, Before: before, Limit: sweepPage})
	if err != nil {
		return before, err
	}
	var ids []int64
	for i := range page.Messages {
		if mentions(&page.Messages[i], user) {
			ids = append(ids, page.Messages[i].ID)
		}
	}
	if err := s.eraseMessages(ctx, thread, ids, user); err != nil {
		return before, err
	}
	return page.Next, nil
}

// mentions reports whether an erasure of the user must change the message. It is true if the user
// has sent the message and the message still has content, a display name or a fingerprint, or if
// the message contains the user's display name.
func mentions(m *Message, user string) bool {
	if m.Sender == user && (m.DeletedOn == 0 || m.SenderDisplayName != "" || !m.Fingerprint.IsZero()) {
		return true
	}
	return slices.ContainsFunc(m.Participants, func(p MessageParticipant) bool { return p.User == user && p.DisplayName != "" })
}

// eraseMessages removes the user's data from the messages with these ids, in one change.
func (s *Service) eraseMessages(ctx context.Context, thread string, ids []int64, user string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := rows.Thread(thread)
		if err != nil || t == nil {
			return &Change{}, err
		}
		ms, err := rows.Messages(thread, ids...)
		if err != nil {
			return nil, err
		}
		c := changeOf(t)
		for _, id := range ids {
			if m, ok := ms[id]; ok && mentions(&m, user) {
				eraseMessage(c, m, user)
			}
		}
		return c, nil
	})
	return err
}

// eraseMessage adds the rewrite of one message to c. A message that the user has sent becomes a
// tombstone without a display name and a fingerprint. In a system message the user's display name is removed in
// place, without a new version.
func eraseMessage(c *Change, m Message, user string) {
	w := Rewrite{Message: m, ReadVersion: m.Version, OldSequence: m.Sequence, How: InPlace}
	if m.Sender == user && m.DeletedOn == 0 {
		w = tombstone(m)
		c.Events = append(c.Events, Event{Kind: MessageDeleted, Actor: user})
	}
	if m.Sender == user {
		w.SenderDisplayName, w.Fingerprint = "", Fingerprint{}
	}
	w.Participants = slices.Clone(m.Participants)
	for i := range w.Participants {
		if w.Participants[i].User == user {
			w.Participants[i].DisplayName = ""
		}
	}
	c.Rewrites = append(c.Rewrites, w)
}

// decideErase returns the change that removes a user's display name, metadata and receipt from
// a thread. If the user is a participant, the change also removes the user from the thread; if
// the user is the only participant, the change deletes the thread. The user may read nothing of
// the thread afterwards, so the change keeps no messages for the user to read.
func decideErase(t *Thread, user string) *Change {
	c := changeOf(t)
	m := t.Member(user)
	if m == nil {
		return c
	}
	bare := *m
	bare.DisplayName, bare.Metadata, bare.RoleIDs = "", nil, nil
	switch {
	case t.DeletedOn != 0:
		if m.DisplayName != "" || len(m.Metadata) > 0 || len(m.RoleIDs) > 0 {
			c.Members = []Member{bare}
		}
		return c
	case !m.Present():
		if m.Left != nil && m.Left.Sequence != 0 {
			left := *m.Left
			left.Sequence = 0
			bare.Left, c.Releases = &left, true
		}
		c.Members = []Member{bare}
	case len(t.Participants()) == 1:
		c = purge(t, user)
		c.Members = []Member{bare}
		return c
	default:
		c = leave(t, user, bare)
		c.ForgetMessages = true
	}
	c.DropReceipts = []string{user}
	return c
}
