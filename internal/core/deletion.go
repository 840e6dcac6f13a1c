package core

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// DefaultGrace is the default of Options.Grace: the time after a user's deletion during
// which its tokens may still leave threads, and delete those that it has created or is alone
// in. Test suites of 2021 delete a user first and its threads afterwards.
const DefaultGrace = 30 * time.Second

// finishPurges deletes the rows of deleted threads, if the store leaves some behind.
func (s *Service) finishPurges(ctx context.Context) error {
	if p, ok := s.store.(Purger); ok {
		return p.FinishPurges(ctx)
	}
	return nil
}

// trimEvery is the time between two calls of Store.Trim, also after one that failed. A
// call may hold up readers and writers of events for a moment.
const trimEvery = 10 * time.Minute

// trimEvents gives positions to all committed events, and every ten minutes deletes the
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

// earlier returns the earlier of two times. If a or b is the zero time, earlier returns
// the other time.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sweepThreads deletes at most sweepPage expired threads. It returns the time of the next
// expiry, the current time if more threads may have expired already, or the zero time if no
// other thread is known to expire. A thread that could not be deleted waits, and those after
// it are looked at.
func (s *Service) sweepThreads(ctx context.Context) (next time.Time, err error) {
	now := s.now()
	list, err := s.store.Expiring(ctx, sweepPage+len(s.expiryPauses))
	if err != nil {
		s.swept.update(SweepRetention, func(c *SweepCount) { c.Failed++ })
		return time.Time{}, fmt.Errorf("list threads that expire: %w", err)
	}
	full := len(list) == sweepPage+len(s.expiryPauses)
	var errs []error
	tried, deleted := 0, 0
	for _, e := range list {
		if now.UnixMilli() < e.On {
			next, full = time.UnixMilli(e.On), false
			break
		}
		if s.expiryPauses.waits(e.Thread, now) {
			continue
		}
		if tried++; tried > sweepPage {
			full = true
			break
		}
		expired, err := s.expire(ctx, e.Thread)
		if err != nil {
			errs = append(errs, fmt.Errorf("expire thread %s: %w", e.Thread, err))
		}
		if expired {
			deleted++
			delete(s.expiryPauses, e.Thread)
		} else { // also one that does not expire after all must not be the first for ever
			s.expiryPauses.failed(e.Thread, now)
		}
	}
	s.swept.update(SweepRetention, func(c *SweepCount) {
		c.Done += uint64(deleted)
		c.Failed += uint64(len(errs))
		c.Waiting = len(s.expiryPauses)
	})
	if full && deleted > 0 {
		next = s.now()
	}
	return next, few(errs)
}

// expire deletes a thread if it has expired, and reports whether it did. The event
// has no actor. Unverified: that an expired thread is like one that a participant
// has deleted.
func (s *Service) expire(ctx context.Context, thread string) (expired bool, err error) {
	o, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := rows.Thread(thread)
		if err != nil || t == nil || !t.expired(s.now().UnixMilli()) {
			return &Change{}, err
		}
		return purge(t, ""), nil
	})
	return err == nil && o.Status == Applied, err
}

// sweepUsers erases the deleted users whose grace is over. They take turns of userSteps
// steps, and have sweepSteps together; the next sweep goes on with the user after the last
// one. It returns the time at which the next steps or the next grace is due.
func (s *Service) sweepUsers(ctx context.Context) (next time.Time, err error) {
	users, err := s.store.Deleting(ctx)
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
	steps, erased := sweepSteps, 0
	for _, u := range users {
		if s.Leaving(u) {
			next = earlier(next, time.UnixMilli(u.DeletedAt).Add(s.grace))
			continue
		}
		if s.erasurePauses.waits(u.ID, now) {
			continue
		}
		if steps <= 0 {
			next = earlier(next, now)
			continue
		}
		s.lastErased = u.ID
		turn := min(steps, userSteps)
		left, ended, err := s.erase(ctx, u, turn)
		steps -= max(turn-left, 1)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("erase user %s: %w", u.ID, err))
		case ended:
			erased++
			delete(s.erasurePauses, u.ID)
			continue
		}
		if !s.erasurePauses.waits(u.ID, now) {
			next = earlier(next, now)
		}
	}
	s.swept.update(SweepErasure, func(c *SweepCount) {
		c.Done += uint64(erased)
		c.Failed += uint64(len(errs))
		c.Waiting = len(s.erasurePauses)
	})
	return next, few(errs)
}

// forgetErasures forgets the progress of users that another server has erased.
func (s *Service) forgetErasures(deleting []User) {
	still := make(map[string]bool, len(deleting))
	for _, u := range deleting {
		still[u.ID] = true
	}
	maps.DeleteFunc(s.erasures, func(id string, _ *erasure) bool { return !still[id] })
	maps.DeleteFunc(s.erasurePauses, func(id string, _ *pause) bool { return !still[id] })
}

// erasure is the progress of a user's erasure in this process. If a thread fails, the
// erasure continues with the next thread. The stored progress, User.ErasedTo, then
// stays before the failed thread, so that a later pass tries that thread again.
type erasure struct {
	after   string   // id of the last thread that was tried
	erased  string   // id up to which no thread failed
	threads []string // the next ones, in order
	last    bool     // no thread follows these
	// The messages of threads[0] from this sequence on are erased. 0: none is, and the user
	// may still be in the thread.
	before uint64
	failed bool // a thread failed in this pass
}

// erase removes the user's messages, display names, metadata and receipts from the threads
// of its list, and all endpoints of the user. Messages become tombstones. A thread without
// another participant is deleted. erase takes at most the given number of steps, each a
// thread or a page of messages, and returns how many are left. After the last thread, erase
// sets the user's state to UserDeleted, or, if a thread failed, begins a new pass after a
// pause.
func (s *Service) erase(ctx context.Context, u User, steps int) (left int, ended bool, err error) {
	e := s.erasures[u.ID]
	if e == nil {
		e = &erasure{after: u.ErasedTo, erased: u.ErasedTo}
		if err := s.eraseEndpoints(ctx, u.ID); err != nil {
			s.erasurePauses.failed(u.ID, s.now())
			return steps, false, err
		}
		s.erasures[u.ID] = e
	}
	var errs []error
	for steps > 0 {
		if len(e.threads) == 0 && !e.last {
			if e.threads, err = s.store.ThreadsOf(ctx, u.ID, e.after, sweepPage); err != nil {
				s.erasurePauses.failed(u.ID, s.now())
				errs = append(errs, err)
				break
			}
			e.last = len(e.threads) < sweepPage
		}
		if len(e.threads) == 0 {
			ended = true
			break
		}
		id := e.threads[0]
		left, done, err := s.eraseFrom(ctx, e, id, u.ID, steps)
		steps = left
		if err != nil {
			e.failed = true
			errs = append(errs, fmt.Errorf("thread %s: %w", id, err))
		}
		if err == nil && !done {
			break // the steps are used up
		}
		e.after, e.threads, e.before = id, e.threads[1:], 0
		if !e.failed {
			e.erased = id
		}
	}
	failed := e.failed
	if ended {
		delete(s.erasures, u.ID)
		if failed {
			s.erasurePauses.failed(u.ID, s.now())
		}
	}
	if u.ErasedTo != e.erased || ended {
		u.ErasedTo = e.erased
		errs = append(errs, s.progress(ctx, u, ended && !failed))
	}
	return steps, ended && !failed, few(errs)
}

// progress stores u.ErasedTo unless the stored value is greater, or sets the state
// UserDeleted if the erasure has ended.
func (s *Service) progress(ctx context.Context, u User, ended bool) error {
	return s.changeUser(ctx, u.ID, nil, func(now *User) error {
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

// eraseFrom removes a user's data from one thread, in at most the given number of steps: each
// is a page of messages. It returns how many are left, and whether the thread is done. The
// user leaves the thread first, so that it cannot write new messages meanwhile.
func (s *Service) eraseFrom(ctx context.Context, e *erasure, thread, user string, steps int) (left int, done bool, err error) {
	if e.before == 0 {
		_, err := s.change(ctx, func(rows Rows) (*Change, error) {
			t, err := rows.Thread(thread)
			if err != nil || t == nil {
				return &Change{}, err
			}
			return decideErase(t, user), nil
		})
		if err != nil {
			return steps - 1, false, err
		}
	}
	// Read from the newest message to the oldest. An erased message gets a sequence
	// greater than all before, so this loop does not read it again.
	for ; steps > 0; steps-- {
		page, err := s.store.Messages(ctx, MessagesQuery{Thread: thread, Before: e.before, Limit: sweepPage})
		if err != nil {
			return steps - 1, false, err
		}
		var ids []int64
		for i := range page.Messages {
			if mentions(&page.Messages[i], user) {
				ids = append(ids, page.Messages[i].ID)
			}
		}
		if err := s.eraseMessages(ctx, thread, ids, user); err != nil {
			return steps - 1, false, err
		}
		if e.before = page.Next; e.before == 0 {
			return steps - 1, true, nil
		}
	}
	return 0, false, nil
}

// mentions reports whether a message has content or a display name of the user.
func mentions(m *Message, user string) bool {
	if m.Sender == user && (m.DeletedOn == 0 || m.SenderDisplayName != "") {
		return true
	}
	return slices.ContainsFunc(m.Participants, func(p MessageParticipant) bool { return p.User == user && p.DisplayName != "" })
}

// eraseMessages erases the user from these messages of a thread in one change.
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

// eraseMessage adds the rewrite of one message to c. The user's own message becomes
// a tombstone without a display name. In a system message the user's display name
// is removed in place, without a new version.
func eraseMessage(c *Change, m Message, user string) {
	w := Rewrite{Message: m, ReadVersion: m.Version, OldSequence: m.Sequence, How: InPlace}
	if m.Sender == user && m.DeletedOn == 0 {
		w = tombstone(m)
		c.Events = append(c.Events, Event{Kind: MessageDeleted, Actor: user})
	}
	if m.Sender == user {
		w.SenderDisplayName = ""
	}
	w.Participants = slices.Clone(m.Participants)
	for i := range w.Participants {
		if w.Participants[i].User == user {
			w.Participants[i].DisplayName = ""
		}
	}
	c.Rewrites = append(c.Rewrites, w)
}

// decideErase returns the change that removes a user's display name, metadata and
// receipt from a thread. A participant also leaves the thread, and the last one
// deletes it.
func decideErase(t *Thread, user string) *Change {
	c := changeOf(t)
	m := t.Member(user)
	if m == nil {
		return c
	}
	bare := *m
	bare.DisplayName, bare.Metadata = "", nil
	switch {
	case t.DeletedOn != 0:
		if m.DisplayName != "" || len(m.Metadata) > 0 {
			c.Members = []Member{bare}
		}
		return c
	case !m.Present():
		c.Members = []Member{bare}
	case len(t.Participants()) == 1:
		c = purge(t, user)
		c.Members = []Member{bare}
		return c
	default:
		c = leave(t, user, bare)
	}
	c.DropReceipts = []string{user}
	return c
}
