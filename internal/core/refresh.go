package core

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Shared marks a Store to which other processes write as well. A Service with such
// a store reads the cached rows of active users again every refreshEvery.
type Shared interface {
	Store

	// Shared does nothing; it only marks the type.
	Shared()
}

// Ages of cached rows in a store to which other processes write. The Service reads the rows of
// active users again every refreshEvery. A token that another process has revoked is accepted for
// at most freshFor. A user whom another process has removed from a thread may send typing
// notifications for at most freshFor. While the store cannot be reached, a cached user row is used
// until it is trustedFor old.
const (
	refreshEvery = time.Second
	freshFor     = 2 * time.Second
	trustedFor   = 10 * time.Second
)

// cachedUser is a user's row and the time at which the row was read.
type cachedUser struct {
	User
	read time.Time
}

// refresh reads the rows of active users again every refreshEvery, until the context ends.
func (s *Service) refresh(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.refreshUsers(ctx) // an error is ignored: the cached rows then become too old, and User reads the store
		}
	}
}

// refreshUsers reads the rows of all users that were looked up since the last call of refreshUsers.
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
