package sse

import (
	"strconv"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// sink writes a session to a Conn.
type sink struct {
	user    string
	threads []string
	quoted  []byte           // user as a JSON string
	binding *gateway.Binding // of the epoch of the last cursor
	last    core.Cursor      // the cursor of the last field id

	mu     sync.Mutex // guards the fields below until the session has started
	conn   Conn       // set by attach
	closed bool
}

// newSink returns the sink of a user's stream of events of some threads, or of all if
// there are none.
func newSink(user string, threads []string) *sink {
	return &sink{user: user, threads: threads, quoted: appendString(nil, user)}
}

var _ interface {
	gateway.Sink
	gateway.Interrupter
} = (*sink)(nil)

// Append appends the message of an event, a gap or a heartbeat to b.
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

// appendID appends the field id with the cursor at.
func (k *sink) appendID(b []byte, at core.Cursor) []byte {
	k.last = at
	return append(k.appendCursor(append(b, "id: "...), at), '\n')
}

// appendCursor appends the text of a cursor.
func (k *sink) appendCursor(b []byte, at core.Cursor) []byte {
	if k.binding == nil || k.binding.Epoch != at.Epoch {
		k.binding = gateway.NewBinding(at.Epoch, k.user, k.threads)
	}
	return k.binding.Append(b, at)
}

// hello returns the first message of a stream that begins at a cursor and ends when the
// token expires.
func (k *sink) hello(at core.Cursor, expires time.Time) []byte {
	b := append(k.appendID(nil, at), "event: hello\ndata: {\"user\":"...)
	b = append(append(b, k.quoted...), `,"cursor":"`...)
	b = append(k.appendCursor(b, at), `","expiresOn":`...)
	return append(appendTime(b, expires), "}\n\n"...)
}

// attach gives the sink its connection. It must be called before Session.Start. It returns
// false if the session has ended already: then the caller must close the connection.
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

// Full returns false: a client answers nothing.
func (k *sink) Full() bool { return false }

// End appends the message bye, unless the client is gone or a fault cuts the connection.
func (k *sink) End(b []byte, why gateway.Reason) []byte {
	if why == gateway.Gone || why == gateway.Dropped {
		k.conn.Abort()
		return nil
	}
	return appendBye(b, why)
}

// appendBye appends the last message of a stream.
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
