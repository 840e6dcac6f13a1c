package limits

import "time"

// counter keeps the times of the latest requests of a user, or in a thread, in a ring buffer.
// The buffer grows until it can hold all requests of the longest window. A window is a period
// in which the number of requests is limited.
type counter struct {
	times []time.Duration
	next  int // index in the ring buffer at which the next time is stored
	n     int // number of times in the buffer
}

// latest returns the time of one of the latest requests: the latest one for i = 1, the oldest one
// in the ring buffer for i = n.
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

// count adds a request at time t. If the ring buffer is full, count overwrites the oldest request
// if no window counts it any more; otherwise it makes the buffer larger. A buffer of the greatest
// size never has to grow: while its oldest request still counts, the limit is reached, and further
// requests are refused.
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

// grow doubles the capacity of a full ring buffer, up to maxCount.
func (c *counter) grow(maxCount int) {
	times := make([]time.Duration, min(max(2*c.n, 4), maxCount))
	k := copy(times, c.times[c.next:])
	copy(times[k:], c.times[:c.next])
	c.times, c.next = times, c.n
}
