package core

import (
	"context"
	"maps"
	"reflect"
	"slices"
)

// Bounds of a lane (one of the Service's queues of changes), for the tests in package
// core_test.
const (
	MaxQueued      = maxQueued
	MaxQueuedBytes = maxQueuedBytes
	MaxBatch       = maxBatch
	MaxBatchBytes  = maxBatchBytes
)

// MaxPaused is the greatest number of failed threads, or of failed users, that a Service
// remembers between sweeps.
const MaxPaused = maxPaused

// MaxIssued is the greatest number of users for whom a Service remembers the time of the latest
// token before it stores these times.
const MaxIssued = maxIssued

// Noted returns the number of users for whom the service remembers the time of the latest token and
// has not stored it yet.
func (s *Service) Noted() int {
	s.issued.mu.Lock()
	defer s.issued.mu.Unlock()
	return len(s.issued.at)
}

// Queued returns the number of changes that wait in the lane for this key. A lane is a queue of
// changes with the goroutine that commits them.
func (s *Service) Queued(key string) int {
	l := s.commits.lanes[LaneOf(key, len(s.commits.lanes))]
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// Closing reports whether the lane (queue of changes) for this key refuses changes because the
// Service is being closed.
func (s *Service) Closing(key string) bool {
	l := s.commits.lanes[LaneOf(key, len(s.commits.lanes))]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Enqueue puts a change into its lane (queue of changes) without waiting for the outcome. It
// returns false if the lane is full.
func (s *Service) Enqueue(c *Change) bool {
	_, ok := s.commits.lanes[LaneOf(c.Key, len(s.commits.lanes))].put(&pending{change: c, bytes: c.size(), done: make(chan struct{}, 1)})
	return ok
}

// Forget removes a user from the cache.
func (s *Service) Forget(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users.Remove(u.ID)
}

// RefreshUsers reads the cached rows of active users from the store again, once.
func (s *Service) RefreshUsers(ctx context.Context) error {
	return s.refreshUsers(ctx)
}

// CleanHTML returns an HTML message with everything removed that a message may not have.
func CleanHTML(s string, images bool) string {
	cleaned, err := cleanHTML(s, images, MaxHTMLGrowth*len(s))
	if err != nil {
		panic(err)
	}
	return cleaned
}

// CheckHTML fails if an HTML message has more than limit bytes after cleaning, or too many tags.
func CheckHTML(s string, limit int) error {
	_, err := cleanHTML(s, true, limit)
	return err
}

// CachedThread returns a thread from the cache, or nil. consistent is true if the thread's fields
// that are computed from its members are right.
func (s *Service) CachedThread(id string) (t *Thread, consistent bool) {
	t, ok := s.threads.Get(id)
	if !ok {
		return nil, true
	}
	var members []Member
	for _, m := range t.Members() {
		members = append(members, *m)
	}
	want := NewThread(t.Head, members)
	return t, t.bytes == want.bytes && t.Roster.equal(&want.Roster)
}

// equal reports whether two rosters have the same members and sums. Their indexes may consist of
// different numbers of maps.
func (r Roster) equal(other *Roster) bool {
	index := func(x memberIndex) map[string]*Member {
		all := map[string]*Member{}
		for _, shard := range x {
			maps.Copy(all, shard)
		}
		return all
	}
	same := slices.EqualFunc(r.present, other.present, func(a, b *Member) bool { return reflect.DeepEqual(a, b) }) &&
		slices.EqualFunc(r.former, other.former, func(a, b *Member) bool { return reflect.DeepEqual(a, b) }) &&
		reflect.DeepEqual(index(r.byUser), index(other.byUser))
	return same && r.order == other.order && r.users == other.users && r.growth == other.growth && r.kept == other.kept
}
