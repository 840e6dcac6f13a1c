package core

import "context"

// Bounds, for the tests outside.
const (
	MaxQueued = maxQueued
	MaxBatch  = maxBatch
)

// Queued is how many changes wait in the lane of a key.
func (s *Service) Queued(key string) int {
	l := s.commits.lanes[LaneOf(key, len(s.commits.lanes))]
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// Closing says whether the lane of a key refuses by now.
func (s *Service) Closing(key string) bool {
	l := s.commits.lanes[LaneOf(key, len(s.commits.lanes))]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// ThreadIDFor is the id of a create with a token.
func (s *Service) ThreadIDFor(caller, token string) string {
	return threadIDFor(s.resource.ID, caller, token)
}

// Enqueue puts a change into its lane and waits for nothing. It says whether
// there was room.
func (s *Service) Enqueue(c *Change) bool {
	return s.commits.lanes[LaneOf(c.Key, len(s.commits.lanes))].put(&pending{change: c, done: make(chan struct{}, 1)})
}

// Forget drops a user's row from the cache, as want of room would.
func (s *Service) Forget(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users.Remove(u.ID)
}

// RefreshUsers is one round of the refresh of a shared store.
func (s *Service) RefreshUsers(ctx context.Context) error {
	return s.refreshUsers(ctx)
}
