package limits

import (
	"cmp"
	"slices"
	"time"
)

// Rule is a rate limit of a profile in a form that a console can show.
type Rule struct {
	Name   string
	Scope  string // which requests count together: "by a user", "in a thread" or "by a user in a thread"
	Count  int    // maximum number of requests in the window
	Window time.Duration
}

// Rules returns the rate limits of the profile.
func (p Profile) Rules() (all []Rule) {
	for _, r := range profiles[p].rates {
		for _, w := range r.windows {
			all = append(all, Rule{r.name, scopeNames[r.scope], w.count, w.span})
		}
	}
	return all
}

// Use says how much of a limit is used. User is empty if the limit does not count by user,
// and Thread is empty if it does not count by thread.
type Use struct {
	User, Thread string
	Limit        string // the same text as in Refusal.Limit
	Used, Of     int64
	Over         bool          // the limit refuses the next request
	Resets       time.Duration // time until the oldest counted request leaves the window
}

// Nearest sorts uses by the share of the limit that is used, the greatest share first. It returns
// at most the first n.
func Nearest(all []Use, n int) []Use {
	slices.SortFunc(all, func(a, b Use) int {
		return cmp.Or(cmp.Compare(float64(b.Used)/float64(b.Of), float64(a.Used)/float64(a.Of)), cmp.Compare(a.User, b.User), cmp.Compare(a.Thread, b.Thread), cmp.Compare(a.Limit, b.Limit))
	})
	return all[:min(n, len(all))]
}

// Near returns at most n users and threads that are nearest to a limit, with their use of the
// limit. It leaves out uses below half of the limit.
func (l *Limiter) Near(n int) (all []Use) {
	for i := range l.shards {
		all = l.shards[i].near(l, all)
		if len(all) > 16*n { // bounds the memory if very many users or threads are near a limit
			all = Nearest(all, n)
		}
	}
	return Nearest(all, n)
}

// near appends to all the uses of the shard that have reached at least half of their limit, and
// returns the extended slice.
func (s *shard) near(l *Limiter, all []Use) []Use {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.advance(l.now().Sub(l.start), l.longest)
	for _, generation := range []map[key]*counter{s.young, s.old} {
		for k, c := range generation {
			for j, w := range k.limit.windows {
				used, oldest := c.within(w, t)
				if 2*used < w.count {
					continue
				}
				all = append(all, Use{
					User: k.user, Thread: k.thread, Limit: k.limit.texts[j], Used: int64(used), Of: int64(w.count),
					Over: used >= w.count, Resets: oldest + w.span - t,
				})
			}
		}
	}
	return all
}

// within returns the number of counted times in the window that ends at t, and the oldest of
// them.
func (c *counter) within(w window, t time.Duration) (used int, oldest time.Duration) {
	for used < min(c.n, w.count) && c.latest(used+1)+w.span > t {
		used++
		oldest = c.latest(used)
	}
	return used, oldest
}

// Limit returns the number of bytes that a user may write in an hour.
func (w *Written) Limit() int64 { return w.limit }

// Near returns at most n users who are nearest to the limit of bytes. It leaves out users who are
// below half of the limit.
func (w *Written) Near(n int) (all []Use) {
	w.mu.Lock()
	defer w.mu.Unlock()
	since := w.now().Sub(w.start)
	w.last = max(w.last, int64(since/partLength))
	for _, generation := range []map[string]*volume{w.young, w.old} {
		for user, v := range generation {
			v.advance(w.last)
			var total int64
			first := w.last - parts
			for p := w.last; p >= w.last-parts; p-- {
				if b := v.bytes[(p+int64(len(v.bytes)))%int64(len(v.bytes))]; b > 0 {
					total += b
					first = p
				}
			}
			if 2*total < w.limit {
				continue
			}
			all = append(all, Use{
				User: user, Limit: "bytes written per hour by a user", Used: total, Of: w.limit, Over: total >= w.limit,
				Resets: max(time.Duration(first+parts+1)*partLength-since, 0),
			})
		}
	}
	return Nearest(all, n)
}
