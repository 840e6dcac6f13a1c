package chattest

import (
	"time"

	"github.com/confab-chat/confab/internal/dev"
)

// Fault is a rule: what goes wrong with which requests. It has a Status or a
// Drop, or a Delay, which may come with either and is waited out first.
type Fault struct {
	// Operation is hit; empty is every one. The operations are "create thread",
	// "list threads", "get thread", "update thread", "delete thread", "send
	// message", "list messages", "get message", "update message", "delete
	// message", "list participants", "add participants", "remove participant",
	// "send read receipt", "list read receipts", "send typing notification",
	// "create user", "delete user", "issue token", "revoke tokens" and "exchange
	// token".
	Operation string
	// Status, from 400 to 599, is answered in place of carrying the operation
	// out, as the server words its own refusals.
	Status int
	// RetryAfter is the header of that name, with a Status. A part of a second
	// counts as a whole one; at most a day.
	RetryAfter time.Duration
	// Delay is waited out before anything else, or until the client goes; at
	// most 30 seconds.
	Delay time.Duration
	// Drop ends the connection without an answer, or over HTTP/2 the request's
	// stream. HTTP clients, net/http among them, may repeat a GET then by themselves.
	Drop Drop
	// Times is how many requests are hit. Zero is one.
	Times int
}

// Always as Fault.Times hits all requests until Clear.
const Always = -1

// Drop says when a connection is ended.
type Drop string

// The moments of a drop.
const (
	// DropBefore: the operation is not carried out.
	DropBefore Drop = "before"
	// DropAfter: the operation is carried out, and its answer is lost.
	DropAfter Drop = "after"
)

// Faults are the rules in force on a server.
type Faults struct {
	t      failer
	faults *dev.Faults
}

// Add puts a rule behind those that are there. A request is hit by the first
// rule that matches it and has times left. A rule that cannot be meant, such as
// one of an operation that there is not, ends the test; so does the 101st.
func (f *Faults) Add(r Fault) {
	f.t.Helper()
	if _, err := f.faults.Add(dev.Fault{
		Operation: r.Operation, Status: r.Status, RetryAfter: r.RetryAfter, Delay: r.Delay, Drop: dev.Drop(r.Drop), Times: r.Times,
	}); err != nil {
		f.t.Fatalf("chattest: add a fault: %v", err)
	}
}

// Left are the rules that still have requests to hit, with Times as what is
// left of them. It is empty when everything went wrong that was to go wrong.
func (f *Faults) Left() []Fault {
	var left []Fault
	for _, r := range f.faults.List() {
		left = append(left, Fault{
			Operation: r.Operation, Status: r.Status, RetryAfter: r.RetryAfter, Delay: r.Delay, Drop: Drop(r.Drop), Times: r.Times,
		})
	}
	return left
}

// Clear takes all rules away.
func (f *Faults) Clear() { f.faults.Clear() }
