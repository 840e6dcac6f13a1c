package load

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// Operation is a kind of request that Mixed sends.
type Operation int

// The operations of Mixed.
const (
	SendMessage   Operation = iota // a message
	ListMessages                   // reads the newest 50 messages of a thread
	GetMessage                     // reads a message that the connection has sent
	SendReceipt                    // sends a read receipt for the last message of the connection, by another member
	SendTyping                     // a typing notification
	ListThreads                    // reads the first 20 threads of a user
	numOperations int       = iota
)

// mix lists the operations that Mixed sends. For each it has a name, how many of a hundred requests
// are of this operation, and the expected status of the responses.
var mix = [numOperations]struct {
	name   string
	share  int
	status int
}{
	SendMessage:  {"sends", 40, http.StatusCreated},
	ListMessages: {"pages of 50 messages", 20, http.StatusOK},
	GetMessage:   {"single messages", 10, http.StatusOK},
	SendReceipt:  {"read receipts", 15, http.StatusOK},
	SendTyping:   {"typing notifications", 10, http.StatusOK},
	ListThreads:  {"pages of 20 threads", 5, http.StatusOK},
}

// MixText says in words how many requests of each operation Mixed sends.
func MixText() string {
	var parts []string
	for _, m := range mix {
		parts = append(parts, fmt.Sprint(m.share, " ", m.name))
	}
	return "of 100 requests " + strings.Join(parts, ", ")
}

// Mixed sends requests of all operations. Its messages can be read back, as with Sends. If a
// response contains a message, Mixed checks the message's id.
type Mixed struct {
	*Sends
	host string
	// the operations in the order in which each connection sends them; connections begin at
	// different ones
	order []Operation
	now   []mixedAsk    // for each connection, the request whose response it waits for
	sent  atomic.Uint64 // sends that were acknowledged
}

type mixedAsk struct {
	operation Operation
	id        int64 // of the message of GetMessage
}

// NewMixed returns a load of mixed operations, whose messages have size bytes, at least MinSize. It
// can use at most the given number of connections.
func NewMixed(s *Server, w World, size, connections int) *Mixed {
	l := &Mixed{Sends: NewSends(s, w, size, connections), host: s.Endpoint.Host, now: make([]mixedAsk, connections)}
	for o, m := range mix {
		for range m.share {
			l.order = append(l.order, Operation(o))
		}
	}
	rand.New(rand.NewPCG(5, 6)).Shuffle(len(l.order), func(i, j int) { l.order[i], l.order[j] = l.order[j], l.order[i] })
	return l
}

// Load returns the load for Round, as Sends.Load does.
func (l *Mixed) Load() Load {
	return Load{Request: l.request, StatusOf: l.status, Answered: l.answered}
}

// Sent returns the number of sends that were acknowledged. It may be called during a Round.
func (l *Mixed) Sent() uint64 { return l.sent.Load() }

func (l *Mixed) request(buf []byte, connection, n int) []byte {
	ask := mixedAsk{operation: l.order[(37*connection+n)%len(l.order)]}
	sent := l.acked[connection]
	if len(sent) == 0 {
		ask.operation = SendMessage // the others need a message
	}
	last := len(sent) - 1
	// Find the thread and the sender of the connection's last message.
	threads := len(l.world.Threads)
	head := l.head(connection, max(last, 0))
	thread, member := l.world.Threads[head%threads], head/threads
	switch ask.operation {
	case SendMessage:
		buf = l.Sends.request(buf, connection, n)
	case ListMessages:
		buf = l.ask(buf, "GET", thread.Bearers[member], "", "/chat/threads/", thread.ID, "/messages?maxPageSize=50&")
	case GetMessage:
		ask.id = sent[last]
		buf = l.ask(buf, "GET", thread.Bearers[member], "", "/chat/threads/", thread.ID, "/messages/", strconv.FormatInt(ask.id, 10), "?")
	case SendReceipt:
		other := thread.Bearers[(member+1)%len(thread.Bearers)]
		buf = l.ask(buf, "POST", other, `{"chatMessageId":"`+strconv.FormatInt(sent[last], 10)+`"}`, "/chat/threads/", thread.ID, "/readReceipts?")
	case SendTyping:
		buf = l.ask(buf, "POST", thread.Bearers[member], "{}", "/chat/threads/", thread.ID, "/typing?")
	case ListThreads:
		buf = l.ask(buf, "GET", thread.Bearers[member], "", "/chat/threads?maxPageSize=20&")
	}
	l.now[connection] = ask
	return buf
}

// ask appends a request to buf. The path must end with "?" or "&", because ask appends a query
// parameter to it.
func (l *Mixed) ask(buf []byte, method, bearer, body string, path ...string) []byte {
	buf = append(append(buf, method...), ' ')
	for _, p := range path {
		buf = append(buf, p...)
	}
	buf = fmt.Appendf(buf, "api-version=2025-03-15 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", l.host, bearer)
	if method != "GET" {
		buf = fmt.Appendf(buf, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return append(append(buf, "\r\n"...), body...)
}

func (l *Mixed) status(connection, _ int) int { return mix[l.now[connection].operation].status }

func (l *Mixed) answered(connection, n int, body []byte) error {
	switch ask := l.now[connection]; ask.operation {
	case SendMessage:
		l.sent.Add(1)
		return l.Sends.answered(connection, n, body)
	case GetMessage:
		if want := `"id":"` + strconv.FormatInt(ask.id, 10) + `"`; !bytes.Contains(body, []byte(want)) {
			return fmt.Errorf("asked for message %d, got %s", ask.id, body)
		}
	case ListMessages, ListThreads:
		if !bytes.HasPrefix(body, []byte(`{"value":[{`)) {
			return fmt.Errorf("a page is empty: %s", body)
		}
	}
	return nil
}
