package limits

import "time"

// MaxKeys is the largest number of counters of a Limiter.
const MaxKeys = maxKeys

// Counters returns the number of counters and the total capacity (room) of their ring buffers.
func (l *Limiter) Counters() (counters, room int) {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		for _, generation := range []map[key]*counter{s.young, s.old} {
			counters += len(generation)
			for _, c := range generation {
				room += len(c.times)
			}
		}
		s.mu.Unlock()
	}
	return counters, room
}

// Consistent reports whether a profile has two properties on which Allow relies. First, all
// counters of an operation are in one shard, a part of the counters with its own lock. Second, each
// operation has at most one limit per scope.
func Consistent(p Profile) bool {
	for _, all := range New(p, time.Now).byName {
		seen := map[scope]bool{}
		for _, m := range all {
			if seen[m.scope] || (m.scope == byUser) != (all[0].scope == byUser) {
				return false
			}
			seen[m.scope] = true
		}
	}
	return true
}

// MaxWriters is the number of recently active users at which a Written drops the counts of idle
// users.
const MaxWriters = maxWriters

// Users returns the number of users whose byte counts w has in memory.
func (w *Written) Users() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.young) + len(w.old)
}
