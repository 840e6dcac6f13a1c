package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// DefaultGrace is the time after a user's deletion during which its tokens may still leave
// threads and delete those that it has created. Test suites of 2021 delete a user first and
// its threads afterwards.
const DefaultGrace = 30 * time.Second

// sweepPage is the number of threads or messages that Sweep reads at a time.
const sweepPage = 100

// Sweep deletes threads that have expired by their retention policies, erases deleted
// users whose grace is over, finishes the deletion of large threads, and deletes old days of the event log and old endpoints. It
// deletes at most sweepPage threads, and erases each user from at most sweepPage threads.
// It returns the time at which more work is due, or the zero time if none is known.
// Progress is stored and every step can be repeated, so several servers may call Sweep
// and it may be interrupted at any point.
func (s *Service) Sweep(ctx context.Context) (next time.Time, err error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	thread, errThreads := s.sweepThreads(ctx)
	user, errUsers := s.sweepUsers(ctx)
	return earlier(thread, user), errors.Join(errThreads, errUsers, s.finishPurges(ctx), s.trimEvents(ctx), s.sweepEndpoints(ctx))
}

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

// sweepThreads deletes at most sweepPage expired threads. It returns the time of the
// next expiry, the current time if more threads may have expired already, or the zero
// time if no other thread is known to expire.
func (s *Service) sweepThreads(ctx context.Context) (next time.Time, err error) {
	threads, err := s.store.Expiring(ctx, sweepPage)
	if err != nil {
		return time.Time{}, fmt.Errorf("list threads that expire: %w", err)
	}
	var errs []error
	deleted := 0
	for _, e := range threads {
		if s.now().UnixMilli() < e.On {
			return time.UnixMilli(e.On), errors.Join(errs...)
		}
		expired, err := s.expire(ctx, e.Thread)
		if err != nil {
			errs = append(errs, fmt.Errorf("expire thread %s: %w", e.Thread, err))
		}
		if expired {
			deleted++
		}
	}
	if len(threads) == sweepPage && deleted > 0 {
		next = s.now()
	}
	return next, errors.Join(errs...)
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

// sweepUsers erases each deleted user whose grace is over: it removes the user's
// content from at most sweepPage threads. It returns the time at which the next page or
// the next grace is due.
func (s *Service) sweepUsers(ctx context.Context) (next time.Time, err error) {
	users, err := s.store.Deleting(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("list users in deletion: %w", err)
	}
	maps.DeleteFunc(s.erasures, func(id string, _ *erasure) bool { // finished by another server
		return !slices.ContainsFunc(users, func(u User) bool { return u.ID == id })
	})
	var errs []error
	for _, u := range users {
		due := time.UnixMilli(u.DeletedAt).Add(s.grace)
		if !s.Leaving(u) {
			if due, err = s.erase(ctx, u); err != nil {
				errs = append(errs, fmt.Errorf("erase user %s: %w", u.ID, err))
			}
		}
		next = earlier(next, due)
	}
	return next, errors.Join(errs...)
}

// erasure is the progress of a user's erasure in this process. If a thread fails, the
// erasure continues with the next thread. The stored progress, User.ErasedTo, then
// stays before the failed thread, so that a later pass tries that thread again.
type erasure struct {
	after  string // id of the last thread that was tried
	failed bool   // a thread failed in this pass
}

// erase removes the user's messages, display names, metadata and receipts from the next
// sweepPage threads of its list, and all endpoints of the user. Messages become
// tombstones. A thread without another participant is deleted. After the last thread, erase sets the user's state to
// UserDeleted, or, if a thread failed, begins a new pass at the next sweep. It returns
// the current time if threads remain, else the zero time.
func (s *Service) erase(ctx context.Context, u User) (next time.Time, err error) {
	e := s.erasures[u.ID]
	if e == nil {
		e = &erasure{after: u.ErasedTo}
		s.erasures[u.ID] = e
	}
	if err := s.eraseEndpoints(ctx, u.ID); err != nil {
		return time.Time{}, err
	}
	threads, err := s.store.ThreadsOf(ctx, u.ID, e.after, sweepPage)
	if err != nil {
		return time.Time{}, err
	}
	var errs []error
	for _, id := range threads {
		if err := s.eraseFrom(ctx, id, u.ID); err != nil {
			e.failed = true
			errs = append(errs, fmt.Errorf("thread %s: %w", id, err))
		}
		e.after = id
		if !e.failed {
			u.ErasedTo = id
		}
	}
	end, failed := len(threads) < sweepPage, e.failed
	if end {
		delete(s.erasures, u.ID)
	}
	errs = append(errs, s.progress(ctx, u, end && !failed))
	if !end {
		next = s.now()
	}
	return next, errors.Join(errs...)
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

// eraseFrom removes a user's data from one thread. The user leaves the thread
// first, so that it cannot write new messages meanwhile.
func (s *Service) eraseFrom(ctx context.Context, thread, user string) error {
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := rows.Thread(thread)
		if err != nil || t == nil {
			return &Change{}, err
		}
		return decideErase(t, user), nil
	})
	if err != nil {
		return err
	}
	// Read from the newest message to the oldest. An erased message gets a sequence
	// greater than all before, so this loop does not read it again.
	for before := uint64(0); ; {
		page, err := s.store.Messages(ctx, MessagesQuery{Thread: thread, Before: before, Limit: sweepPage})
		if err != nil {
			return err
		}
		var ids []int64
		for i := range page.Messages {
			if mentions(&page.Messages[i], user) {
				ids = append(ids, page.Messages[i].ID)
			}
		}
		if err := s.eraseMessages(ctx, thread, ids, user); err != nil {
			return err
		}
		if before = page.Next; before == 0 {
			return nil
		}
	}
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
