package core

import (
	"context"
	"fmt"
	"time"
)

// Shared is a Store that other processes write to as well, so that what a
// Service remembers of users may be old. It reads those again that it is asked
// about, all in one query a second.
type Shared interface {
	Store

	// Users returns the rows of those of the ids that have one.
	Users(ctx context.Context, ids []string) ([]User, error)
}

// How old a remembered row of a user may be, where others write too: a token
// that was revoked elsewhere ends after freshFor at most; without the store
// nobody is let in after trustedFor.
const (
	refreshEvery = time.Second
	freshFor     = 2 * time.Second
	trustedFor   = 10 * time.Second
)

// cachedUser is a user's row and when it was read.
type cachedUser struct {
	User
	read time.Time
}

// refresh keeps the rows of users who are active fresh, until the context ends.
func (s *Service) refresh(ctx context.Context, store Shared) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.refreshUsers(ctx, store) // if it fails the rows grow old, and User says so
		}
	}
}

// refreshUsers reads the rows again that were asked for since the last time.
func (s *Service) refreshUsers(ctx context.Context, store Shared) error {
	s.mu.Lock()
	ids := make([]string, 0, len(s.asked))
	for id := range s.asked {
		ids = append(ids, id)
	}
	clear(s.asked)
	s.mu.Unlock()
	for len(ids) > 0 {
		some := ids[:min(len(ids), 1000)]
		ids = ids[len(some):]
		s.mu.Lock()
		seen := s.userChanges
		s.mu.Unlock()
		read := s.now()
		rows, err := store.Users(ctx, some)
		if err != nil {
			return fmt.Errorf("read %d users again: %w", len(some), err)
		}
		s.mu.Lock()
		if seen == s.userChanges {
			for _, u := range rows {
				s.users.Add(u.ID, cachedUser{u, read})
			}
		}
		s.mu.Unlock()
	}
	return nil
}
