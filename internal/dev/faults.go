package dev

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Bounds of faults.
const (
	MaxFaults     = 100              // rules at a time; one more is refused
	MaxDelay      = 30 * time.Second // a whole answer may take a minute
	MaxRetryAfter = 24 * time.Hour
)

// Always as the times of a Fault: until the faults are cleared.
const Always = -1

// Fault is a rule: what goes wrong with which requests. It has a status, a drop
// or a delay; a delay may come with either of the two others, and before them.
type Fault struct {
	// Operation is the name of the operation that is hit, as in the routes of
	// package rest, such as "send message". Empty is every operation.
	Operation string
	// Status, from 400 to 599, is answered, in the operation's own envelope and
	// without carrying it out.
	Status int
	// RetryAfter goes with a status, in seconds; a part of one counts as a whole.
	RetryAfter time.Duration
	// Delay is how long the request waits before anything else is done.
	Delay time.Duration
	// Drop ends the connection without an answer, or over HTTP/2 the stream.
	Drop Drop
	// Times is how many requests are hit: 0 is one, Always is all to come.
	Times int
}

// Drop says when a connection is ended.
type Drop string

// The moments of a drop.
const (
	Before Drop = "before" // nothing was carried out
	After  Drop = "after"  // the operation was carried out and its answer is lost
)

// Faults are the rules in force. They are safe for concurrent use.
type Faults struct {
	operations []string
	closed     chan struct{}
	close      func()

	mu    sync.Mutex // guards what follows
	rules []Fault    // Times is how many requests they have left, or Always
	asked map[string]int
}

// NewFaults makes an empty set of rules on the operations that there are.
func NewFaults(operations []string) *Faults {
	f := &Faults{operations: operations, closed: make(chan struct{}), asked: map[string]int{}}
	f.close = sync.OnceFunc(func() { close(f.closed) })
	return f
}

// Add puts a rule behind those that are there and returns it with Times filled
// in. A rule that cannot be meant is refused.
func (f *Faults) Add(r Fault) (Fault, error) {
	if err := f.check(r); err != nil {
		return Fault{}, err
	}
	if r.Times == 0 {
		r.Times = 1
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.rules) >= MaxFaults {
		return Fault{}, fmt.Errorf("there are %d faults already, and no more at a time: clear them", MaxFaults)
	}
	f.rules = append(f.rules, r)
	return r, nil
}

func (f *Faults) check(r Fault) error {
	if err := f.Known(r.Operation); err != nil {
		return err
	}
	switch {
	case r.Status == 0 && r.Delay == 0 && r.Drop == "":
		return fmt.Errorf("a fault has a status, a delay or a drop")
	case r.Status != 0 && (r.Status < 400 || r.Status > 599):
		return fmt.Errorf("status is 400 to 599, and %d is not", r.Status)
	case r.Status != 0 && r.Drop != "":
		return fmt.Errorf("a fault has a status or a drop, not both")
	case r.Drop != "" && r.Drop != Before && r.Drop != After:
		return fmt.Errorf("drop is %q or %q, and %q is neither", Before, After, r.Drop)
	case r.RetryAfter != 0 && r.Status == 0:
		return fmt.Errorf("retryAfter goes with a status")
	case r.RetryAfter < 0 || r.RetryAfter > MaxRetryAfter:
		return fmt.Errorf("retryAfter is at most %v, and %v is not", MaxRetryAfter, r.RetryAfter)
	case r.Delay < 0 || r.Delay > MaxDelay:
		return fmt.Errorf("delay is at most %v, and %v is not", MaxDelay, r.Delay)
	case r.Times < Always:
		return fmt.Errorf("times is a count or always, and %d is neither", r.Times)
	}
	return nil
}

// Known refuses the name of no operation, with the one that may have been meant
// and all that there are. Empty is every operation.
func (f *Faults) Known(name string) error {
	if name == "" || slices.Contains(f.operations, name) {
		return nil
	}
	hint := ""
	for _, o := range f.operations {
		if letters(o) == letters(name) {
			hint = fmt.Sprintf("did you mean %q? ", o)
		}
	}
	return fmt.Errorf("there is no operation %q: %sthe operations are %s", name, hint, strings.Join(f.operations, ", "))
}

// letters is a name however it was put together: sendMessage, SEND_MESSAGE.
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// List is the rules that still have requests to hit, in the order they are
// asked. Times is how many are left.
func (f *Faults) List() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.rules)
}

// Clear takes all rules away. Requests that wait go on to wait.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Requests is how many requests there were of each operation: those that had a
// fault, and those that were refused or dropped, too.
func (f *Faults) Requests() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.asked)
}

// Next counts a request and returns its fault, if it has one: the first rule
// that matches, which then has one time less.
func (f *Faults) Next(operation string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[operation]++
	for i := range f.rules {
		r := f.rules[i]
		if r.Operation != "" && r.Operation != operation {
			continue
		}
		switch {
		case r.Times == 1:
			f.rules = slices.Delete(f.rules, i, i+1)
		case r.Times > 1:
			f.rules[i].Times--
		}
		return r, true
	}
	return Fault{}, false
}

// Wait waits out a delay, or until the request has ended or Close is called.
func (f *Faults) Wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-f.closed:
	}
}

// Close lets everything go on that waits. A server calls it before it waits for
// its requests.
func (f *Faults) Close() { f.close() }

// Code names a status that no error of ours has, for the answer's envelope.
func Code(status int) string {
	text := http.StatusText(status)
	if text == "" {
		return fmt.Sprintf("Status%d", status)
	}
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) }), "")
}
