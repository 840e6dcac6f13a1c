package limits

import "time"

// counter is a ring buffer of the times of the latest requests, in order. It grows
// until it holds all requests of the longest window (a window is a period in which the
// number of requests is limited).
type counter struct {
	times []time.Duration
	next  int // index for the next time
	n     int // number of times
}

// latest returns the time of the i-th latest request; i is from 1, the latest, to n.
func (c *counter) latest(i int) time.Duration {
	i = c.next - i
	if i < 0 {
		i += len(c.times)
	}
	return c.times[i]
}

// wait returns how long after t no further request fits in the window. It returns 0 or
// less if one fits at t.
func (c *counter) wait(w window, t time.Duration) time.Duration {
	if c.n < w.count {
		return 0
	}
	return c.latest(w.count) + w.span - t
}

// count adds a request at time t. It overwrites the oldest request if that no longer
// counts in any window, and makes the ring larger otherwise. A ring of maximal size
// never has to grow: if its oldest request still counted, the new one would have been
// refused.
func (c *counter) count(t time.Duration, m *limit) {
	if c.n == len(c.times) && (c.n == 0 || c.latest(c.n)+m.longest > t) {
		c.grow(m.maxCount)
	}
	c.times[c.next] = t
	c.n = min(c.n+1, len(c.times))
	if c.next++; c.next == len(c.times) {
		c.next = 0
	}
}

// grow doubles the capacity of a full ring, up to maxCount.
func (c *counter) grow(maxCount int) {
	times := make([]time.Duration, min(max(2*c.n, 4), maxCount))
	k := copy(times, c.times[c.next:])
	copy(times[k:], c.times[:c.next])
	c.times, c.next = times, c.n
}
