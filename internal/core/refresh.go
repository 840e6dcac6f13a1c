package core

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Shared is a Store that other processes write to as well, so that the rows of
// users which a Service has cached may be old. It reads those again that it is
// asked about, all in one query a second.
type Shared interface {
	Store

	// Shared does nothing.
	Shared()
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
func (s *Service) refresh(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.refreshUsers(ctx) // if it fails the rows grow old, and User says so
		}
	}
}

// refreshUsers reads the rows again that were asked for since the last time.
func (s *Service) refreshUsers(ctx context.Context) error {
	s.mu.Lock()
	ids := slices.Collect(maps.Keys(s.asked))
	clear(s.asked)
	s.mu.Unlock()
	for some := range slices.Chunk(ids, 1000) {
		if _, err := s.loadUsers(ctx, some); err != nil {
			return err
		}
	}
	return nil
}
