package rest

import (
	"context"
	"sync"
	"time"
)

// deadline is a context that ends when its parent ends, or at a time. Unlike a context of
// context.WithDeadline it starts a timer only when somebody waits for its end. Most operations are over
// before that.
type deadline struct {
	context.Context // the parent
	until           time.Time

	mu     sync.Mutex      // guards the fields below
	timed  context.Context // the context with the timer; nil until somebody waits
	cancel context.CancelFunc
}

var _ context.Context = (*deadline)(nil)

// set sets the parent and the time. Goroutines that still wait for the end of an earlier parent
// or time are released.
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

// waited returns the context with the timer. It returns nil if there is none and start is false.
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

// Done implements context.Context. It starts the timer.
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

// Value implements context.Context. It passes the key on to the context with the timer, if there is
// one: by a private key package context then finds that context, and needs no goroutine for each
// context that is derived from this one.
func (d *deadline) Value(key any) any {
	if timed := d.waited(false); timed != nil {
		return timed.Value(key)
	}
	return d.Context.Value(key)
}
