package limits

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
)

// Bounds of a Limiter's memory. A counter is some 200 bytes, and up to 8 KB for
// a user who is at the limit.
const (
	shards   = 64
	maxKeys  = 1 << 17 // counters, half of them in the young generations
	maxYoung = maxKeys / shards / 2
)

// Limiter counts requests. It is safe for concurrent use and has no goroutines.
//
// It counts exactly: no window of time, wherever it begins, has more requests
// than its limit. Counters that have been idle for the longest window of the profile
// are dropped as others are used. At the bound on counters, those that have been idle
// the longest are dropped early, and their users may get more than their share; a
// counter in use stays.
type Limiter struct {
	now     func() time.Time
	start   time.Time
	longest time.Duration // of all windows
	byName  map[string][]*limit
	seed    maphash.Seed
	shards  [shards]shard
}

// limit is a rate with its derived values. Its address is part of the keys of its
// counters.
type limit struct {
	rate
	maxCount int           // the highest count of its windows
	longest  time.Duration // of its windows
	texts    []string      // what a refusal says, by window
}

// Refusal is why a request is refused.
type Refusal struct {
	// Limit is the limit that was hit, such as "get message: 50 per 10 s by a
	// user in a thread". If several were, it is the one that holds the longest.
	Limit string
	// RetryAfter is the time, more than 0, until the same request is allowed if
	// nothing else is counted meanwhile.
	RetryAfter time.Duration
}

// New makes a Limiter.
func New(p Profile, now func() time.Time) *Limiter {
	l := &Limiter{now: now, start: now(), byName: map[string][]*limit{}, seed: maphash.MakeSeed()}
	for _, r := range profiles[p].rates {
		m := &limit{rate: r}
		for _, w := range r.windows {
			m.maxCount = max(m.maxCount, w.count)
			m.longest = max(m.longest, w.span)
			m.texts = append(m.texts, r.text(w))
		}
		l.longest = max(l.longest, m.longest)
		for _, operation := range r.operations {
			l.byName[operation] = append(l.byName[operation], m)
		}
	}
	return l
}

// Allow counts a request of a user on a thread, or returns why it is refused and counts
// nothing. An operation without a limit in the profile is allowed. The thread is empty
// for operations on no thread.
//
// An allowed request uses up the budget of the thread, so call Allow only for users
// who are in it.
func (l *Limiter) Allow(operation, user, thread string) (Refusal, bool) {
	all := l.byName[operation]
	if len(all) == 0 {
		return Refusal{}, true
	}
	// The limits of an operation are either all by user alone or all about the
	// thread, so their counters are in one shard, under one lock.
	home := thread
	if all[0].scope == byUser {
		home = user
	}
	s := &l.shards[maphash.String(l.seed, home)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.advance(l.now().Sub(l.start), l.longest)

	var refusal Refusal
	var counters [numScopes]*counter // an operation has a limit for each scope at most
	for i, m := range all {
		c := s.find(m.key(user, thread))
		if c == nil {
			continue
		}
		counters[i] = c
		for j, w := range m.windows {
			if wait := c.wait(w, t); wait > refusal.RetryAfter {
				refusal = Refusal{Limit: m.texts[j], RetryAfter: wait}
			}
		}
	}
	if refusal.RetryAfter > 0 {
		return refusal, false
	}
	for i, m := range all {
		if counters[i] == nil {
			counters[i] = s.add(m.key(user, thread))
		}
		counters[i].count(t, m)
	}
	return Refusal{}, true
}

func (m *limit) key(user, thread string) key {
	switch m.scope {
	case byUser:
		return key{m, user, ""}
	case inThread:
		return key{m, "", thread}
	default:
		return key{m, user, thread}
	}
}

type key struct {
	limit        *limit
	user, thread string
}

// shard is some of the counters, in two generations. A counter that is used moves to
// the young one. A rotation drops the old counters, which were not used since the last
// one, and makes the young ones old.
type shard struct {
	mu         sync.Mutex
	young, old map[key]*counter
	rotatedAt  time.Duration
	last       time.Duration // the latest time seen
}

// advance returns the time, and rotates when that is due. Time never goes back, so
// that counters stay in order.
func (s *shard) advance(t, longest time.Duration) time.Duration {
	s.last = max(s.last, t)
	if s.last-s.rotatedAt >= longest {
		s.rotate()
	}
	return s.last
}

func (s *shard) rotate() {
	// A fresh map, not a cleared one: it should not stay as big as it once was.
	s.young, s.old, s.rotatedAt = map[key]*counter{}, s.young, s.last
}

func (s *shard) find(k key) *counter {
	if c := s.young[k]; c != nil {
		return c
	}
	c := s.old[k]
	if c != nil {
		delete(s.old, k)
		s.put(k, c)
	}
	return c
}

func (s *shard) add(k key) *counter {
	// Clones, because an id may be part of a whole request's text.
	k.user, k.thread = strings.Clone(k.user), strings.Clone(k.thread)
	c := &counter{}
	s.put(k, c)
	return c
}

// put adds a counter to the young ones, and rotates early if they are too many.
func (s *shard) put(k key, c *counter) {
	if len(s.young) >= maxYoung || s.young == nil {
		s.rotate()
	}
	s.young[k] = c
}
