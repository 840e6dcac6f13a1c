package limits

import "time"

// MaxKeys is the bound on counters.
const MaxKeys = maxKeys

// Counters is how many counters there are, and the room in their rings.
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

// Consistent says whether the limits of every operation of a profile are kept in
// one shard, and are one at most for each scope, as Allow takes for granted.
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
