package sse

import (
	"strconv"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// sink writes the events of a session to a Conn. It implements gateway.Sink.
type sink struct {
	user    string
	threads []string
	quoted  []byte           // user as a JSON string
	binding *gateway.Binding // makes the texts of cursors that have the same epoch as the field last
	last    core.Cursor      // the cursor in the id field that was written last

	mu     sync.Mutex // guards the fields below it until the session has started
	conn   Conn       // set by attach
	closed bool
}

// newSink returns the sink for a stream of a user's events. threads are the ids of the threads
// that the client has asked for; empty means all.
func newSink(user string, threads []string) *sink {
	return &sink{user: user, threads: threads, quoted: appendString(nil, user)}
}

var _ interface {
	gateway.Sink
	gateway.Interrupter
} = (*sink)(nil)

// Append appends to b the server-sent message for an event, for a gap (missing events) or for a
// heartbeat.
func (k *sink) Append(b []byte, e *gateway.Event, at core.Cursor) []byte {
	switch {
	case e == nil && at == k.last:
		return append(b, ":\n\n"...)
	case e == nil:
		return append(k.appendID(b, at), '\n')
	case e.Gap != 0:
		b = append(k.appendID(b, at), "event: gap\ndata: {\"reason\":"...)
		return append(appendString(b, e.Gap.String()), "}\n\n"...)
	case e.Kind == core.TypingReceived:
		return appendEvent(b, e, k.quoted)
	}
	return appendEvent(k.appendID(b, at), e, k.quoted)
}

// appendID appends the field id of a server-sent event, whose value is the text of the cursor at.
func (k *sink) appendID(b []byte, at core.Cursor) []byte {
	k.last = at
	return append(k.appendCursor(append(b, "id: "...), at), '\n')
}

// appendCursor appends the text of the cursor at.
func (k *sink) appendCursor(b []byte, at core.Cursor) []byte {
	if k.binding == nil || k.binding.Epoch != at.Epoch {
		k.binding = gateway.NewBinding(at.Epoch, k.user, k.threads)
	}
	return k.binding.Append(b, at)
}

// hello returns the first message of a stream. It has the cursor at which the stream begins
// and the time at which the token expires, which ends the stream.
func (k *sink) hello(at core.Cursor, expires time.Time) []byte {
	b := append(k.appendID(nil, at), "event: hello\ndata: {\"user\":"...)
	b = append(append(b, k.quoted...), `,"cursor":"`...)
	b = append(k.appendCursor(b, at), `","expiresOn":`...)
	return append(appendTime(b, expires), "}\n\n"...)
}

// attach gives the sink its connection. Call it before Session.Start. It returns false if the
// session has ended already; the caller must then close the connection.
func (k *sink) attach(c Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conn = c
	return !k.closed
}

// Write writes messages to the connection.
func (k *sink) Write(b []byte) error { return k.conn.Write(b) }

// Interrupt makes a Write that waits for the client fail soon.
func (k *sink) Interrupt() { k.conn.Interrupt() }

// Full returns false, because clients of this protocol answer nothing.
func (k *sink) Full() bool { return false }

// End appends the message bye, unless the client has hung up or an injected fault cuts the
// connection.
func (k *sink) End(b []byte, why gateway.Reason) []byte {
	if why == gateway.Gone || why == gateway.Dropped {
		k.conn.Abort()
		return nil
	}
	return appendBye(b, why)
}

// appendBye appends bye, the last message of a stream, with the reason for its end.
func appendBye(b []byte, why gateway.Reason) []byte {
	b = appendString(append(b, "event: bye\ndata: {\"reason\":"...), why.String())
	b = strconv.AppendInt(append(b, `,"delay":`...), why.Delay().Milliseconds(), 10)
	return append(b, "}\n\n"...)
}

// Close closes the connection, if there is one.
func (k *sink) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.conn != nil {
		k.conn.Close()
	}
}
