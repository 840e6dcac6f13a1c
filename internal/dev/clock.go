package dev

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// MaxAhead is the most that a Clock can be ahead of the real time: ten years.
const MaxAhead = 10 * 365 * 24 * time.Hour

// Clock shows the real time plus an offset, which Advance increases. It is safe for
// concurrent use.
type Clock struct {
	base  func() time.Time
	ahead atomic.Int64 // the offset, a time.Duration

	mu    sync.Mutex // guards wakes and writes of ahead
	wakes []func()
}

// NewClock returns a clock that shows the time that base returns, until Advance is called.
func NewClock(base func() time.Time) *Clock { return &Clock{base: base} }

// Now returns the time that the clock shows.
func (c *Clock) Now() time.Time { return c.base().Add(c.Ahead()) }

// Ahead returns how far the clock is ahead of the real time.
func (c *Clock) Ahead() time.Duration { return time.Duration(c.ahead.Load()) }

// Advance moves the clock forward by d and then calls the functions that were registered
// with Wake. It fails, and does not move the clock, if d is negative or the clock would
// be ahead by more than MaxAhead.
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

// move adds d to the clock's offset and returns the functions that Wake registered.
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

// Wake registers a function. Every later call of Advance calls the function after it has moved
// the clock and before it returns.
func (c *Clock) Wake(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakes = append(c.wakes[:len(c.wakes):len(c.wakes)], f)
}
