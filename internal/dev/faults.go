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

// Limits of the fault rules that Faults.Add accepts.
const (
	MaxFaults     = 100              // greatest number of rules that apply at the same time
	MaxDelay      = 30 * time.Second // greatest delay of a rule; less than the minute in which a response must be written
	MaxRetryAfter = 24 * time.Hour
)

// LiveSocket is the operation of a fault that ends all open live connections. Unlike the other
// operations, it is not a kind of request.
const LiveSocket = "live socket"

// Faults holds the fault rules of a server and counts the server's requests. It implements
// rest.Faults and is safe for concurrent use.
type Faults struct {
	operations []string
	closed     chan struct{}
	close      func()

	mu       sync.Mutex     // guards the fields below
	rules    []rest.Fault   // the active rules; their Times is the number of requests left, or rest.Always
	requests map[string]int // number of requests of each operation
	cut      func() int     // ends the live connections and returns their number; nil: the server has no live connections
}

// NewFaults returns a Faults without rules. operations are the names that a rule may have.
func NewFaults(operations []string) *Faults {
	f := &Faults{operations: operations, closed: make(chan struct{}), requests: map[string]int{}}
	f.close = sync.OnceFunc(func() { close(f.closed) })
	return f
}

// Live registers the function cut, which Cut calls. cut must close the live connections and
// return how many it has closed.
func (f *Faults) Live(cut func() int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
}

// Cut applies a rule whose operation is LiveSocket: it ends all open live connections without a
// closing message, and returns how many there were. It fails for an invalid rule.
func (f *Faults) Cut(r rest.Fault) (int, error) {
	if err := checkCut(r); err != nil {
		return 0, err
	}
	f.mu.Lock()
	cut := f.cut
	f.mu.Unlock()
	if cut == nil {
		return 0, nil
	}
	return cut(), nil
}

// checkCut fails unless the rule is {Operation: LiveSocket, Drop: rest.DropAfter}. The error
// says how to write the rule.
func checkCut(r rest.Fault) error {
	switch {
	case r.Operation != LiveSocket:
		return fmt.Errorf("only %q can be cut, and %q is an operation of requests", LiveSocket, r.Operation)
	case r.Status != 0 || r.RetryAfter != 0:
		return fmt.Errorf("%q takes no status and no retryAfter, because its response has begun: to refuse new connections, name their operation", LiveSocket)
	case r.Delay != 0:
		return fmt.Errorf("%q takes no delay, because it is cut at once: to delay new connections, name their operation", LiveSocket)
	case r.Drop == rest.DropBefore:
		return fmt.Errorf("%q takes the drop %q only, because it is open: to drop new connections, name their operation", LiveSocket, rest.DropAfter)
	case r.Drop != rest.DropAfter:
		return fmt.Errorf("%q takes the drop %q, and %q is not", LiveSocket, rest.DropAfter, r.Drop)
	case r.Times != 0 && r.Times != 1:
		return fmt.Errorf("%q is cut once for each fault that is added, so times is 1", LiveSocket)
	}
	return nil
}

// Add appends a rule and returns it, with Times set to 1 if it was 0. It fails for an invalid rule,
// and if Faults already has MaxFaults rules. It does not append a rule for LiveSocket but applies
// the rule at once, like Cut.
func (f *Faults) Add(r rest.Fault) (rest.Fault, error) {
	if r.Operation == LiveSocket {
		if _, err := f.Cut(r); err != nil {
			return rest.Fault{}, err
		}
		r.Times = 1
		return r, nil
	}
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

// check fails if a rule is invalid.
func (f *Faults) check(r rest.Fault) error {
	if err := known(r.Operation, append(slices.Clone(f.operations), LiveSocket)); err != nil {
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

// Known fails unless name is empty or the name of an operation. The error lists all operations. If
// name differs from an operation's name only in case and in characters other than letters, the
// error suggests that operation.
func (f *Faults) Known(name string) error { return known(name, f.operations) }

// known fails unless name is one of the operations or empty.
func known(name string, operations []string) error {
	if name == "" || slices.Contains(operations, name) {
		return nil
	}
	hint := ""
	for _, o := range operations {
		if letters(o) == letters(name) {
			hint = fmt.Sprintf("did you mean %q? ", o)
		}
	}
	return fmt.Errorf("there is no operation %q: %sthe operations are %s", name, hint, strings.Join(operations, ", "))
}

// letters returns the letters of a name in lower case, for comparing names: "sendmessage" for
// both "sendMessage" and "SEND_MESSAGE".
func letters(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

// List returns the active rules, in the order in which Next tries them. Times is the number of
// requests to which a rule still applies.
func (f *Faults) List() []rest.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.rules)
}

// Clear removes all rules. It does not shorten the delays of requests that are already delayed.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Requests returns the number of requests of each operation since the start, including requests
// to which a fault applied and requests that were refused.
func (f *Faults) Requests() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.requests)
}

// Next counts a request of the operation and returns the first rule that matches it, or false if
// none does. It decrements the rule's Times, unless that is rest.Always, and removes the rule when
// Times becomes 0.
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

// Wait returns after d, or as soon as ctx is done or Close is called.
func (f *Faults) Wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-f.closed:
	}
}

// Close makes every running and later call of Wait return at once. A server that shuts down
// calls it before it waits for running requests. It may be called more than once.
func (f *Faults) Close() { f.close() }
