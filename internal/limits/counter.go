package limits

import "time"

// counter records the times of the latest requests of a user, or in a thread, in a ring buffer,
// in order. The buffer grows until it can hold all requests of the longest window. A window is
// a period in which the number of requests is limited.
type counter struct {
	times []time.Duration
	next  int // index for the next time
	n     int // number of times
}

// latest returns the time of the i-th latest request. i is from 1 (the latest request) to n.
func (c *counter) latest(i int) time.Duration {
	i = c.next - i
	if i < 0 {
		i += len(c.times)
	}
	return c.times[i]
}

// wait returns how long after t the window stays full, so that no further request is allowed.
// It returns 0 or less if a request is allowed at t.
func (c *counter) wait(w window, t time.Duration) time.Duration {
	if c.n < w.count {
		return 0
	}
	return c.latest(w.count) + w.span - t
}

// count adds a request at time t. If the oldest request no longer counts in any window, count
// overwrites it; otherwise it makes a full ring larger. A ring with the greatest size never has
// to grow: if its oldest request still counted, the new request would have been refused.
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
