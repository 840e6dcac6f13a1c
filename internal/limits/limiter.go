package limits

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
)

// Bounds of a Limiter's memory. A counter takes about 200 bytes, and up to 8 KB if its requests
// reach the limit.
const (
	shards   = 64
	maxKeys  = 1 << 17              // maximum number of counters in all shards together
	maxYoung = maxKeys / shards / 2 // maximum number of counters in the young generation of a shard
)

// Limiter applies the rate limits of a profile. It is safe for concurrent use and starts no
// goroutines.
//
// Its windows slide, and it counts exactly: no period of a window's length has more requests than
// the limit, whenever the period begins. When a counter is used, the Limiter may drop counters that
// were idle for the longest window of the profile. If the Limiter has too many counters, it drops
// the longest idle ones even if they were idle for a shorter time; their users may then exceed the
// limits.
type Limiter struct {
	now     func() time.Time
	start   time.Time
	longest time.Duration       // length of the longest window of all limits
	byName  map[string][]*limit // the limits of each operation
	seed    maphash.Seed
	shards  [shards]shard
}

// limit is a rate limit together with values that New computes from the rate limit. The key of a
// counter contains a pointer to the limit.
type limit struct {
	rate
	maxCount int           // highest count of its windows
	longest  time.Duration // longest of its windows
	texts    []string      // the text Refusal.Limit of each window
}

// Refusal describes why a request was refused: which limit it exceeds, and when to try again.
type Refusal struct {
	// Limit describes the exceeded limit, such as "get message: 50 per 10 s by a user in a
	// thread". If the request exceeds several limits, Limit is the one with the longest
	// wait.
	Limit string
	// RetryAfter is the time, more than 0, after which the same request is allowed if no other
	// request is counted before.
	RetryAfter time.Duration
}

// Wait returns RetryAfter as text for a sentence, in whole seconds and rounded up.
func (r Refusal) Wait() string {
	return ((r.RetryAfter + time.Second - 1) / time.Second * time.Second).String()
}

// New returns a Limiter for the profile. now returns the current time.
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

// Limits reports whether the profile limits the operation.
func (l *Limiter) Limits(operation string) bool { return len(l.byName[operation]) > 0 }

// Allow counts a request and returns true if no limit is exceeded. Otherwise it counts nothing
// and returns the exceeded limit and false. An operation without a limit in the profile is
// always allowed. thread is empty for operations that concern no thread.
//
// Some limits count the requests of all users of a thread together, so call Allow only for
// participants of the thread.
func (l *Limiter) Allow(operation, user, thread string) (Refusal, bool) {
	all := l.byName[operation]
	if len(all) == 0 {
		return Refusal{}, true
	}
	// One lock is enough: the counters of an operation are either all by user or all by thread, so
	// they are all in one shard.
	shardKey := thread
	if all[0].scope == byUser {
		shardKey = user
	}
	s := &l.shards[maphash.String(l.seed, shardKey)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.advance(l.now().Sub(l.start), l.longest)

	var refusal Refusal
	var counters [numScopes]*counter // an operation has at most one limit per scope
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

// key returns the key under which requests of the user in the thread are counted.
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

// shard is a part of the counters with its own lock. It has two generations of counters. A
// counter that is used moves to the young generation. A rotation drops the old generation,
// because its counters were not used since the last rotation, and makes the young generation
// the old one.
type shard struct {
	mu         sync.Mutex
	young, old map[key]*counter
	rotatedAt  time.Duration // the time of the last rotation, since the start of the limiter
	last       time.Duration // the latest time that advance returned
}

// advance returns t or, if the clock was set back, the latest time so far, because the times in a
// counter must not decrease. If the last rotation was at least the duration longest ago, advance
// calls rotate, which drops unused counters.
func (s *shard) advance(t, longest time.Duration) time.Duration {
	s.last = max(s.last, t)
	if s.last-s.rotatedAt >= longest {
		s.rotate()
	}
	return s.last
}

// rotate drops the counters that were not used since the previous call of rotate.
func (s *shard) rotate() {
	// Make a new map, because a cleared map would keep its memory.
	s.young, s.old, s.rotatedAt = map[key]*counter{}, s.young, s.last
}

// find returns the counter of a key and marks it as used. It returns nil if the key has no counter.
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

// add creates the counter of a key.
func (s *shard) add(k key) *counter {
	// Copy the ids, because they may be parts of a longer string, which the map would keep in
	// memory.
	k.user, k.thread = strings.Clone(k.user), strings.Clone(k.thread)
	c := &counter{}
	s.put(k, c)
	return c
}

// put adds a counter to the young generation, which has the recently used counters. If that
// generation is full, put first calls rotate, which drops unused counters.
func (s *shard) put(k key, c *counter) {
	if len(s.young) >= maxYoung || s.young == nil {
		s.rotate()
	}
	s.young[k] = c
}
