package dev

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// MaxAhead is how far a Clock goes ahead of the real time at most: ten years.
const MaxAhead = 10 * 365 * 24 * time.Hour

// Clock is a real clock and an offset that only grows. It is safe for
// concurrent use.
type Clock struct {
	base  func() time.Time
	ahead atomic.Int64 // a time.Duration

	mu    sync.Mutex // guards what follows, and changes of ahead
	wakes []func()
}

// NewClock makes a clock that shows what base shows until it is advanced.
func NewClock(base func() time.Time) *Clock { return &Clock{base: base} }

// Now is the time on the clock.
func (c *Clock) Now() time.Time { return c.base().Add(c.Ahead()) }

// Ahead is how far the clock was advanced in all.
func (c *Clock) Ahead() time.Duration { return time.Duration(c.ahead.Load()) }

// Advance moves the clock forward and returns when all that waits for a time on
// it has looked at it again. It refuses to go back, and to go further than
// MaxAhead; then nothing has moved.
func (c *Clock) Advance(d time.Duration) error {
	wakes, err := c.move(d)
	if err != nil {
		return err
	}
	for _, wake := range wakes {
		wake()
	}
	return nil
}

func (c *Clock) move(d time.Duration) ([]func(), error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case d < 0:
		return nil, fmt.Errorf("the clock goes forward only, and %v is negative", d)
	case d > MaxAhead-c.Ahead():
		return nil, fmt.Errorf("the clock is %v ahead of the real time and goes no further than %v", c.Ahead(), MaxAhead)
	}
	c.ahead.Add(int64(d))
	return c.wakes, nil
}

// Wake has f called after every advance, before Advance returns, by the
// goroutine that called it.
func (c *Clock) Wake(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakes = append(c.wakes[:len(c.wakes):len(c.wakes)], f)
}
