package chattest

import (
	"time"

	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/rest"
)

// Fault is a rule that makes requests fail. It has a Status, a Drop or a Delay. A Delay can be
// combined with a Status or a Drop: the server waits first. The fields equal those of a type in the
// server's package rest, to which Add converts a Fault.
type Fault struct {
	// Operation is the name of the operation that the fault applies to. If it is empty, the fault
	// applies to the requests of every operation. The operations are "create thread", "list threads", "get thread",
	// "update thread", "delete thread", "send message", "list messages", "get message", "update
	// message", "delete message", "list participants", "add participants", "update participant", "remove participant",
	// "send read receipt", "list read receipts", "send typing notification", "upload image", "delete
	// image", "get image", "create user", "get user", "delete user", "issue token", "revoke tokens", "exchange token", "list
	// assignments", "update assignments", "get assignment", "put assignment", "delete assignment" and "open event stream".
	//
	// The operation LiveSocket means all live connections that are open. A fault with this
	// operation can only have the Drop DropAfter: Add closes the connections at once, as DropLive
	// does.
	Operation string
	// Status, from 400 to 599, is the status of a response that the server sends instead of
	// carrying out the operation. The response has the body that the server's own errors have.
	Status int
	// RetryAfter is the Retry-After header of the response with Status. It is rounded up to whole
	// seconds, and is at most a day.
	RetryAfter time.Duration
	// Delay is the time, at most 30 seconds, that the server waits before it does anything else
	// with the request. The wait ends early if the client disconnects.
	Delay time.Duration
	// Drop makes the server close the connection, or with HTTP/2 the stream, without a response.
	// HTTP clients such as net/http may then repeat a GET on their own.
	Drop Drop
	// Times is the number of requests that the fault applies to. 0 means 1.
	Times int
}

// LiveSocket is the Operation of a fault that closes all live connections that are open.
const LiveSocket = dev.LiveSocket

// Always is the value of Fault.Times for a fault that applies to all requests until Clear.
const Always = rest.Always

// Drop selects whether the server closes the connection before or after it carries out the
// operation. The zero value means that the server does not close the connection.
type Drop = rest.Drop

// The values of Fault.Drop that close the connection.
const (
	// DropBefore closes the connection without carrying out the operation.
	DropBefore = rest.DropBefore
	// DropAfter carries out the operation and then closes the connection, so that the response is
	// lost.
	DropAfter = rest.DropAfter
)

// Faults is the list of the active faults of a server.
type Faults struct {
	t      failer
	faults *dev.Faults
}

// Add appends a fault to the list. To each request the server applies one fault at most: the first
// in the list that has the operation of the request and has been applied fewer than Times times.
// Add fails the test if the fault is invalid, for example for an unknown operation, or if there are
// already 100 faults.
func (f *Faults) Add(r Fault) {
	f.t.Helper()
	if _, err := f.faults.Add(rest.Fault(r)); err != nil {
		f.t.Fatalf("chattest: add a fault: %v", err)
	}
}

// DropLive ends all live connections of the server that are open, such as those of
// chat.Client.Events, and returns their number. Clients receive no message with a reason, as when
// the network fails, and may connect again at once. To prevent new connections, first add a fault
// with the Operation "open event stream". DropLive leaves no fault in the list.
func (f *Faults) DropLive() int {
	f.t.Helper()
	n, err := f.faults.Cut(rest.Fault{Operation: LiveSocket, Drop: DropAfter})
	if err != nil {
		f.t.Fatalf("chattest: drop the live connections: %v", err)
	}
	return n
}

// Left returns the faults that still apply to requests. The field Times of each is the number of
// requests to which the fault still applies.
func (f *Faults) Left() []Fault {
	var left []Fault
	for _, r := range f.faults.List() {
		left = append(left, Fault(r))
	}
	return left
}

// Clear removes all faults of the server.
func (f *Faults) Clear() { f.faults.Clear() }
