package limits

import "time"

// counter is a ring buffer of the times of the latest requests, in order. It grows until
// it holds all requests of the longest window, at most to the highest count of its
// limit.
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

// wait returns how long after t the window stays full; 0 or less means it is not full.
func (c *counter) wait(w window, t time.Duration) time.Duration {
	if c.n < w.count {
		return 0
	}
	return c.latest(w.count) + w.span - t
}

// count adds an allowed request at t. It overwrites the oldest one if that is out of all
// windows, and grows the ring otherwise. A ring of maximal size never grows: if its
// oldest request were still in a window, the new one would have been refused.
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

// grow doubles a full ring, up to maxCount.
func (c *counter) grow(maxCount int) {
	times := make([]time.Duration, min(max(2*c.n, 4), maxCount))
	k := copy(times, c.times[c.next:])
	copy(times[k:], c.times[:c.next])
	c.times, c.next = times, c.n
}
