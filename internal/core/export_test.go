package core

import "context"

// Limits of a lane, which is one of the Service's queues of changes, for the tests in
// package core_test.
const (
	MaxQueued      = maxQueued
	MaxQueuedBytes = maxQueuedBytes
	MaxBatch       = maxBatch
	MaxBatchBytes  = maxBatchBytes
)

// MaxPaused is the greatest number of pauses of a kind.
const MaxPaused = maxPaused

// Queued returns the number of changes that wait in the lane of a key.
func (s *Service) Queued(key string) int {
	l := s.commits.lanes[LaneOf(key, len(s.commits.lanes))]
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// Closing reports whether the lane of a key refuses changes because the Service is
// closing.
func (s *Service) Closing(key string) bool {
	l := s.commits.lanes[LaneOf(key, len(s.commits.lanes))]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// ThreadIDFor returns the id of a thread that is created with a token.
func (s *Service) ThreadIDFor(caller, token string) string {
	return threadIDFor(s.resource.ID, caller, token)
}

// Enqueue puts a change into the lane of its key without waiting for the outcome. It
// returns false if the lane is full.
func (s *Service) Enqueue(c *Change) bool {
	return s.commits.lanes[LaneOf(c.Key, len(s.commits.lanes))].put(&pending{change: c, bytes: c.size(), done: make(chan struct{}, 1)})
}

// Forget removes a user from the cache.
func (s *Service) Forget(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users.Remove(u.ID)
}

// RefreshUsers reads the active users of a shared store again, once.
func (s *Service) RefreshUsers(ctx context.Context) error {
	return s.refreshUsers(ctx)
}

// CleanHTML returns an HTML message without what is not allowed in one.
func CleanHTML(s string, images bool) string {
	cleaned, fits := cleanHTML(s, images, MaxHTMLGrowth*len(s))
	if !fits {
		panic("cleaned HTML is longer than MaxHTMLGrowth allows")
	}
	return cleaned
}

// CleanHTMLFits reports whether an HTML message has at most limit bytes when it is cleaned.
func CleanHTMLFits(s string, limit int) bool {
	_, fits := cleanHTML(s, true, limit)
	return fits
}
