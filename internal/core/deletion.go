package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// DefaultGrace is how long a deleted user's tokens may still clean up: test
// suites of 2021 delete the user first and its threads afterwards.
const DefaultGrace = 30 * time.Second

// sweepPage is how many rows the clean-up reads at a time.
const sweepPage = 100

// Sweep deletes the threads that have expired by their retention policies, and erases
// the users whose grace is over. It does one page of each and returns when the
// next one is due, or the zero time. All that it needs is in the store, every
// step can be done again, and a step that another server did is found done.
func (s *Service) Sweep(ctx context.Context) (next time.Time, err error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	thread, errThreads := s.sweepThreads(ctx)
	user, errUsers := s.sweepUsers(ctx)
	return earlier(thread, user), errors.Join(errThreads, errUsers)
}

// earlier returns the earlier of two times; a zero one does not count.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sweepThreads deletes at most one page of expired threads. The next one is due now if
// this one was full and a thread of it was deleted.
func (s *Service) sweepThreads(ctx context.Context) (next time.Time, err error) {
	threads, err := s.store.Expiring(ctx, sweepPage)
	if err != nil {
		return time.Time{}, fmt.Errorf("list threads that expire: %w", err)
	}
	var errs []error
	gone := 0
	for _, e := range threads {
		if s.now().UnixMilli() < e.On {
			return time.UnixMilli(e.On), errors.Join(errs...)
		}
		expired, err := s.expire(ctx, e.Thread)
		if err != nil {
			errs = append(errs, fmt.Errorf("expire thread %s: %w", e.Thread, err))
		}
		if expired {
			gone++
		}
	}
	if len(threads) == sweepPage && gone > 0 {
		next = s.now()
	}
	return next, errors.Join(errs...)
}

// expire deletes a thread in nobody's name if it has expired, and reports whether it
// did. Unverified: that an expired thread is like one that a participant has deleted.
func (s *Service) expire(ctx context.Context, thread string) (expired bool, err error) {
	o, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := rows.Thread(thread)
		if err != nil || t == nil || !t.expired(s.now().UnixMilli()) {
			return &Change{}, err
		}
		c := changeOf(t)
		c.Purge = true
		c.Events = []Event{{Kind: ThreadDeleted}}
		return c, nil
	})
	return o.Status == Applied, err
}

// sweepUsers erases every user whose grace is over from one page of its threads.
func (s *Service) sweepUsers(ctx context.Context) (next time.Time, err error) {
	users, err := s.store.Deleting(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("list users in deletion: %w", err)
	}
	maps.DeleteFunc(s.erasures, func(id string, _ *erasure) bool { // another server has finished it
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

// erasure is how far a user's deletion has come in this process. It goes on
// behind a thread that fails; the stored progress does not, so that the thread's
// turn comes again.
type erasure struct {
	after  string // a thread
	failed bool
}

// erase removes the user's content, display names, metadata and receipts from
// one page of the threads that it was ever in. Its messages become tombstones; a
// thread that it is alone in is deleted. The next page is due now, or at the
// next sweep if a thread of the list failed.
func (s *Service) erase(ctx context.Context, u User) (next time.Time, err error) {
	e := s.erasures[u.ID]
	if e == nil {
		e = &erasure{after: u.ErasedTo}
		s.erasures[u.ID] = e
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
	if err := s.progress(ctx, u, end && !failed); err != nil {
		errs = append(errs, err)
	}
	if !end {
		next = s.now()
	}
	return next, errors.Join(errs...)
}

// progress stores how far a user's deletion has come, or that it has ended.
func (s *Service) progress(ctx context.Context, u User, ended bool) error {
	_, err := s.changeUser(ctx, u.ID, func(now User) (User, error) {
		if now.State != UserDeleting { // another server was faster
			return now, nil
		}
		now.ErasedTo = max(now.ErasedTo, u.ErasedTo)
		if ended {
			now.State, now.ErasedTo = UserDeleted, ""
		}
		return now, nil
	})
	return err
}

// eraseFrom removes a user from one thread. It leaves first: from then on nothing
// of it can be written there.
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
	// From the newest message down: rewritten ones move above the place where
	// this began, so it ends.
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

// mentions says whether a message holds content or a name of the user.
func mentions(m *Message, user string) bool {
	if m.Sender == user && (m.DeletedOn == 0 || m.SenderDisplayName != "") {
		return true
	}
	return slices.ContainsFunc(m.Participants, func(p MessageParticipant) bool { return p.User == user && p.DisplayName != "" })
}

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

// eraseMessage makes the user's own message a tombstone without a name; from a
// system message only the name goes, in its place.
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

// decideErase is pure: the member's row loses its name and metadata, its
// receipt is deleted, and if it is still in the thread it leaves; the last one to
// leave deletes the thread.
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
		c.Members, c.Purge = []Member{bare}, true
		c.Events = []Event{{Kind: ThreadDeleted, Actor: user}}
		return c
	default:
		c = leave(t, user, bare)
	}
	c.DropReceipts = []string{user}
	return c
}
