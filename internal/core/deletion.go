package core

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// DefaultGrace is how long a deleted user's tokens may still clean up: test
// suites of 2021 delete the user first and its threads afterwards.
const DefaultGrace = 30 * time.Second

// sweepPage is how many rows the clean-up reads at a time.
const sweepPage = 100

// Sweep deletes the threads that their retention policies have ended, finishes
// the deletions of users whose grace is over, and returns when the next one is
// due, or the zero time. It is the durable job of design.md §3: all it needs is
// in the store, every step can be done again, and what another node has done
// already is found done.
func (s *Service) Sweep(ctx context.Context) (next time.Time, err error) {
	thread, errThreads := s.sweepThreads(ctx)
	user, errUsers := s.sweepUsers(ctx)
	if next = thread; next.IsZero() || !user.IsZero() && user.Before(next) {
		next = user
	}
	return next, errors.Join(errThreads, errUsers)
}

// sweepThreads goes through one page. The next call sees the next one, if this
// one was full and something of it has gone.
func (s *Service) sweepThreads(ctx context.Context) (next time.Time, err error) {
	threads, err := s.store.Ending(ctx, sweepPage)
	if err != nil {
		return time.Time{}, fmt.Errorf("list threads that end: %w", err)
	}
	var errs []error
	gone := 0
	for _, e := range threads {
		if s.now().UnixMilli() < e.On {
			return time.UnixMilli(e.On), errors.Join(errs...)
		}
		ended, err := s.end(ctx, e.Thread)
		if err != nil {
			errs = append(errs, fmt.Errorf("end thread %s: %w", e.Thread, err))
		}
		if ended {
			gone++
		}
	}
	if len(threads) == sweepPage && gone > 0 {
		next = s.now()
	}
	return next, errors.Join(errs...)
}

// end deletes a thread in nobody's name, if its time has come, and says whether
// it did. Unverified: that a thread ended so is like one that a participant has
// deleted.
func (s *Service) end(ctx context.Context, thread string) (ended bool, err error) {
	c, _, err := s.change(ctx, func() (*Change, error) {
		t, err := s.store.Thread(ctx, thread)
		if err != nil {
			return nil, err
		}
		if t == nil || !t.ended(s.now().UnixMilli()) {
			return nil, errNothingToDo
		}
		c := changeOf(t)
		c.Purge = true
		c.Events = []Event{{Kind: ThreadDeleted}}
		return c, nil
	})
	return err == nil && c.Purge, err
}

func (s *Service) sweepUsers(ctx context.Context) (next time.Time, err error) {
	users, err := s.store.Deleting(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("list users in deletion: %w", err)
	}
	var errs []error
	for _, u := range users {
		if s.Leaving(u) {
			if due := time.UnixMilli(u.DeletedAt).Add(s.grace); next.IsZero() || due.Before(next) {
				next = due
			}
			continue
		}
		if err := s.erase(ctx, u); err != nil {
			errs = append(errs, fmt.Errorf("erase user %s: %w", u.ID, err))
		}
	}
	return next, errors.Join(errs...)
}

// erase takes the user's content, display names, metadata and receipts out of
// every thread it was ever in. Its messages become tombstones; a thread that it
// was the last one in is deleted.
func (s *Service) erase(ctx context.Context, u User) error {
	for before := (ThreadsCursor{}); ; {
		page, err := s.store.Threads(ctx, ThreadsQuery{User: u.ID, Before: before, Limit: sweepPage})
		if err != nil {
			return err
		}
		for _, entry := range page.Threads {
			if err := s.eraseFrom(ctx, entry.Thread, u.ID); err != nil {
				return fmt.Errorf("thread %s: %w", entry.Thread, err)
			}
			before = ThreadsCursor{On: entry.LastMessageOn, Thread: entry.Thread}
		}
		if !page.More {
			break
		}
	}
	c, _, err := s.change(ctx, func() (*Change, error) {
		gone := u
		gone.State = UserDeleted
		return &Change{Key: u.ID, Users: []User{u}, PutUsers: []User{gone}}, nil
	})
	if err == nil {
		s.forget(c.PutUsers)
	}
	return err
}

func (s *Service) eraseFrom(ctx context.Context, thread, user string) error {
	t, err := s.store.Thread(ctx, thread)
	if err != nil {
		return err
	}
	if t == nil {
		return nil
	}
	if t.DeletedOn == 0 {
		if err := s.eraseMessages(ctx, t, user); err != nil {
			return err
		}
	}
	_, _, err = s.change(ctx, func() (*Change, error) {
		t, err := s.store.Thread(ctx, thread)
		if err != nil {
			return nil, err
		}
		return decideErase(t, user)
	})
	return err
}

// eraseMessages goes through the thread from its newest message down. What it
// rewrites moves above the place it started from, so it ends.
func (s *Service) eraseMessages(ctx context.Context, t *Thread, user string) error {
	for before := t.LastSequence + 1; before > 1; {
		page, err := s.store.Messages(ctx, MessagesQuery{Thread: t.ID, Before: before, Limit: sweepPage})
		if err != nil {
			return err
		}
		if len(page.Messages) == 0 {
			return nil
		}
		before = page.Messages[len(page.Messages)-1].Sequence
		for _, m := range page.Messages {
			if !names(m, user) || m.DeletedOn != 0 && m.SenderDisplayName == "" {
				continue
			}
			if err := s.eraseMessage(ctx, t.ID, m.ID, user); err != nil {
				return err
			}
		}
	}
	return nil
}

// names says whether a message holds anything of the user's.
func names(m Message, user string) bool {
	if m.Sender == user {
		return true
	}
	for _, p := range m.Participants {
		if p.User == user && p.DisplayName != "" {
			return true
		}
	}
	return false
}

func (s *Service) eraseMessage(ctx context.Context, thread string, id int64, user string) error {
	_, _, err := s.change(ctx, func() (*Change, error) {
		t, err := s.store.Thread(ctx, thread)
		if err != nil {
			return nil, err
		}
		m, _, err := s.store.Message(ctx, thread, id)
		if err != nil {
			return nil, err
		}
		if t.DeletedOn != 0 || m.ID == 0 {
			return nil, errNothingToDo
		}
		return decideEraseMessage(t, m, user), nil
	})
	return err
}

// decideEraseMessage is pure: the user's own message becomes a tombstone
// without a name; in a system message only the name goes, in its place.
func decideEraseMessage(t *Thread, m Message, user string) *Change {
	c := changeOf(t)
	r := Rewrite{Message: m, Read: m.Version, Was: m.Sequence, InPlace: true}
	if m.Sender == user && m.DeletedOn == 0 {
		r = tombstone(m)
		c.Events = []Event{{Kind: MessageDeleted, Actor: user}}
	}
	if m.Sender == user {
		r.SenderDisplayName = ""
	}
	r.Participants = append([]MessageParticipant(nil), m.Participants...)
	for i := range r.Participants {
		if r.Participants[i].User == user {
			r.Participants[i].DisplayName = ""
		}
	}
	c.Rewrites = []Rewrite{r}
	return c
}

// decideErase is pure: the member's row loses its name and metadata, its
// receipt goes, and if it is still in the thread it leaves; the last one to
// leave deletes the thread.
func decideErase(t *Thread, user string) (*Change, error) {
	m := t.Member(user)
	if m == nil {
		return nil, errNothingToDo
	}
	bare := *m
	bare.DisplayName, bare.Metadata = "", nil
	switch {
	case t.DeletedOn != 0:
		if m.DisplayName == "" && len(m.Metadata) == 0 {
			return nil, errNothingToDo
		}
		c := changeOf(t)
		c.Members = []Member{bare}
		return c, nil
	case !m.Present():
		c := changeOf(t)
		c.Members, c.NoReceipts = []Member{bare}, []string{user}
		return c, nil
	case len(t.Participants()) == 1:
		c := changeOf(t)
		c.Members, c.Purge = []Member{bare}, true
		c.Events = []Event{{Kind: ThreadDeleted, Actor: user}}
		return c, nil
	}
	c := leave(t, user, bare)
	c.NoReceipts = []string{user}
	return c, nil
}
