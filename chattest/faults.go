package chattest

import (
	"time"

	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/rest"
)

// Fault is a rule by which requests go wrong. It has a Status or a Drop, or a Delay,
// which may come with either and is waited out first. Its fields are written out here
// for the documentation; Add and Left convert it, and compile only while it is the
// server's own struct.
type Fault struct {
	// Operation is hit; empty is every one. The operations are "create thread",
	// "list threads", "get thread", "update thread", "delete thread", "send
	// message", "list messages", "get message", "update message", "delete
	// message", "list participants", "add participants", "remove participant",
	// "send read receipt", "list read receipts", "send typing notification",
	// "create user", "delete user", "issue token", "revoke tokens" and "exchange
	// token".
	Operation string
	// Status, from 400 to 599, is answered instead of carrying the operation out,
	// in the words of the server's own refusals.
	Status int
	// RetryAfter is the header of that name, with a Status. A part of a second
	// counts as a whole one; at most a day.
	RetryAfter time.Duration
	// Delay is waited out before anything else, or until the client goes; at
	// most 30 seconds.
	Delay time.Duration
	// Drop ends the connection without an answer, or over HTTP/2 the request's
	// stream. HTTP clients, net/http among them, may then repeat a GET on their own.
	Drop Drop
	// Times is how many requests are hit. Zero is one.
	Times int
}

// Always as Fault.Times hits all requests until Clear.
const Always = rest.Always

// Drop says when a connection is ended.
type Drop = rest.Drop

// The moments of a drop.
const (
	// DropBefore: the operation is not carried out.
	DropBefore = rest.DropBefore
	// DropAfter: the operation is carried out, and its answer is lost.
	DropAfter = rest.DropAfter
)

// Faults are the rules in force on a server.
type Faults struct {
	t      failer
	faults *dev.Faults
}

// Add appends a rule. A request is hit by the first rule that matches it and has times
// left. An invalid rule, such as one for an unknown operation, ends the test; so does
// the 101st.
func (f *Faults) Add(r Fault) {
	f.t.Helper()
	if _, err := f.faults.Add(rest.Fault(r)); err != nil {
		f.t.Fatalf("chattest: add a fault: %v", err)
	}
}

// Left returns the rules that still have requests to hit; Times is how many. It is
// empty once every rule has been used up.
func (f *Faults) Left() []Fault {
	var left []Fault
	for _, r := range f.faults.List() {
		left = append(left, Fault(r))
	}
	return left
}

// Clear removes all rules.
func (f *Faults) Clear() { f.faults.Clear() }
