package dev

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/confab-chat/confab/internal/rest"
)

// Bounds of faults.
const (
	MaxFaults     = 100              // rules at a time; one more is refused
	MaxDelay      = 30 * time.Second // a whole answer may take a minute
	MaxRetryAfter = 24 * time.Hour
)

// Faults are the rules in force. They are safe for concurrent use.
type Faults struct {
	operations []string
	closed     chan struct{}
	close      func()

	mu       sync.Mutex   // guards what follows
	rules    []rest.Fault // Times is how many requests they have left, or rest.Always
	requests map[string]int
}

// NewFaults returns an empty set of rules for the given operations.
func NewFaults(operations []string) *Faults {
	f := &Faults{operations: operations, closed: make(chan struct{}), requests: map[string]int{}}
	f.close = sync.OnceFunc(func() { close(f.closed) })
	return f
}

// Add appends a rule and returns it with Times filled in. It refuses an invalid rule.
func (f *Faults) Add(r rest.Fault) (rest.Fault, error) {
	if err := f.check(r); err != nil {
		return rest.Fault{}, err
	}
	if r.Times == 0 {
		r.Times = 1
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.rules) >= MaxFaults {
		return rest.Fault{}, fmt.Errorf("there are %d faults already, and no more at a time: clear them", MaxFaults)
	}
	f.rules = append(f.rules, r)
	return r, nil
}

func (f *Faults) check(r rest.Fault) error {
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
	case r.Drop != "" && r.Drop != rest.DropBefore && r.Drop != rest.DropAfter:
		return fmt.Errorf("drop is %q or %q, and %q is neither", rest.DropBefore, rest.DropAfter, r.Drop)
	case r.RetryAfter != 0 && r.Status == 0:
		return fmt.Errorf("retryAfter goes with a status")
	case r.RetryAfter < 0 || r.RetryAfter > MaxRetryAfter:
		return fmt.Errorf("retryAfter is at most %v, and %v is not", MaxRetryAfter, r.RetryAfter)
	case r.Delay < 0 || r.Delay > MaxDelay:
		return fmt.Errorf("delay is at most %v, and %v is not", MaxDelay, r.Delay)
	case r.Times < rest.Always:
		return fmt.Errorf("times is a count or always, and %d is neither", r.Times)
	}
	return nil
}

// Known fails unless name is an operation or empty, which stands for all. The error
// suggests the operation that may have been meant and lists all.
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

// letters returns the letters of a name in lower case: those of sendMessage and
// SEND_MESSAGE are the same.
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// List returns the rules that still have requests to hit, in the order in which they
// are tried. Times is how many are left.
func (f *Faults) List() []rest.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.rules)
}

// Clear removes all rules. Requests already delayed stay delayed.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Requests counts the requests of each operation, with those that had a fault or were
// refused.
func (f *Faults) Requests() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.requests)
}

// Next counts a request and returns its fault, if it has one: the first rule that
// matches, whose Times then drops by one.
func (f *Faults) Next(operation string) (rest.Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests[operation]++
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
	return rest.Fault{}, false
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

// Close ends all delays. A server calls it before it waits for its requests.
func (f *Faults) Close() { f.close() }
