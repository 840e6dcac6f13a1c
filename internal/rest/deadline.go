package rest

import (
	"context"
	"sync"
	"time"
)

// deadline is a context that ends when its parent ends, or at a given time. Unlike a context of
// context.WithDeadline, it starts a timer only when somebody waits for its end, because most
// operations are over before anybody does.
type deadline struct {
	context.Context // the parent
	until           time.Time

	mu     sync.Mutex      // guards the fields below
	timed  context.Context // the context with the timer; nil until somebody calls Done
	cancel context.CancelFunc
}

var _ context.Context = (*deadline)(nil)

// set sets the parent and the end time of the context. Goroutines that wait for the end of the
// context are released.
func (d *deadline) set(parent context.Context, until time.Time) {
	d.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Context, d.until, d.timed, d.cancel = parent, until, nil, nil
}

// end releases the goroutines that wait for the end of the context, and stops its timer.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel != nil {
		d.cancel()
	}
}

// waited returns the context with the timer. If there is none, it makes one if start is true and
// returns nil if start is false.
func (d *deadline) waited(start bool) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timed == nil && start {
		d.timed, d.cancel = context.WithDeadline(d.Context, d.until)
	}
	return d.timed
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (until time.Time, ok bool) { return d.until, true }

// Done implements context.Context. The first call starts the timer that ends the context.
func (d *deadline) Done() <-chan struct{} { return d.waited(true).Done() }

// Err implements context.Context.
func (d *deadline) Err() error {
	if timed := d.waited(false); timed != nil {
		return timed.Err()
	}
	if err := d.Context.Err(); err != nil || time.Now().Before(d.until) {
		return err
	}
	return context.DeadlineExceeded
}

// Value implements context.Context. If there is a context with a timer, Value passes the key on to
// it. This lets package context recognise a context that it made itself, so it needs no goroutine
// for each context that is derived from this one.
func (d *deadline) Value(key any) any {
	if timed := d.waited(false); timed != nil {
		return timed.Value(key)
	}
	return d.Context.Value(key)
}
