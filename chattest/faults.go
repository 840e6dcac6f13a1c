package chattest

import (
	"time"

	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/rest"
)

// Fault is a rule that makes requests fail. It has a Status, a Drop or a Delay; a Delay can be
// combined with either and comes first. The fields are repeated here for the documentation: Add and
// Left convert a Fault to the server's own type, which must have the same fields.
type Fault struct {
	// Operation is hit; empty is every one. The operations are "create thread",
	// "list threads", "get thread", "update thread", "delete thread", "send
	// message", "list messages", "get message", "update message", "delete
	// message", "list participants", "add participants", "remove participant",
	// "send read receipt", "list read receipts", "send typing notification",
	// "create user", "delete user", "issue token", "revoke tokens" and "exchange
	// token".
	Operation string
	// Status, from 400 to 599, is returned instead of carrying out the operation, with the body
	// that the server's own errors have.
	Status int
	// RetryAfter is the Retry-After header of a response with Status. It is rounded up to whole
	// seconds; at most a day.
	RetryAfter time.Duration
	// Delay is the time to wait before anything else, unless the client disconnects; at most 30
	// seconds.
	Delay time.Duration
	// Drop closes the connection without a response, or the stream with HTTP/2. HTTP clients such
	// as net/http may then repeat a GET on their own.
	Drop Drop
	// Times is the number of requests that the fault applies to. 0 means 1.
	Times int
}

// Always is the value of Fault.Times for a fault that applies to all requests until Clear.
const Always = rest.Always

// Drop selects when the connection is closed.
type Drop = rest.Drop

// Values of Drop.
const (
	// DropBefore: the operation is not carried out.
	DropBefore = rest.DropBefore
	// DropAfter: the operation is carried out, but its response is lost.
	DropAfter = rest.DropAfter
)

// Faults are the active faults of a server.
type Faults struct {
	t      failer
	faults *dev.Faults
}

// Add appends a fault. The first fault that matches a request and has requests left applies to it.
// Add fails the test if the fault is invalid, for example for an unknown operation, or if there are
// already 100 faults.
func (f *Faults) Add(r Fault) {
	f.t.Helper()
	if _, err := f.faults.Add(rest.Fault(r)); err != nil {
		f.t.Fatalf("chattest: add a fault: %v", err)
	}
}

// Left returns the faults that still have requests left, with the remaining number in Times.
func (f *Faults) Left() []Fault {
	var left []Fault
	for _, r := range f.faults.List() {
		left = append(left, Fault(r))
	}
	return left
}

// Clear removes all faults.
func (f *Faults) Clear() { f.faults.Clear() }
