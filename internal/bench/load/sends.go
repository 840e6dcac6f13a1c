package load

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// Sends sends messages to the threads of a World, from the members of each thread in turn, and
// remembers which messages the server has acknowledged. Each message is unique: its text begins
// with the number of its connection and with its own number on that connection. The texts are the
// same for each server.
type Sends struct {
	world World
	heads []string  // the beginnings of requests, up to the value of the request id
	texts []string  // the texts of messages, without the two numbers with which each message begins
	acked [][]int64 // for each connection, the ids of its acknowledged messages, in the order in which it sent them
}

// MinSize is the smallest size in bytes of a message of Sends.
const MinSize = 20

// numbersSize is the size in bytes of the two numbers with which a message begins.
const numbersSize = len("001.00000001 ")

// NewSends returns a load that sends messages of size bytes, at least MinSize. It can use at most
// the given number of connections.
func NewSends(s *Server, w World, size, connections int) *Sends {
	l := &Sends{world: w, acked: make([][]int64, connections)}
	random := rand.New(rand.NewPCG(1, 2))
	for range 1024 {
		l.texts = append(l.texts, Text(random, size-numbersSize))
	}
	// Go through all threads for each member, so that successive requests are for different
	// threads.
	for m := range w.Threads[0].Bearers {
		for _, t := range w.Threads {
			l.heads = append(l.heads, fmt.Sprintf("POST /chat/threads/%s/messages?api-version=2025-03-15 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
				"Content-Type: application/json\r\nContent-Length: %d\r\nX-Ms-Client-Request-Id: ", t.ID, s.Endpoint.Host, t.Bearers[m], len(bodyBegin)+size+len(bodyEnd)))
		}
	}
	return l
}

const bodyBegin, bodyEnd = `{"content":"`, `","type":"text"}`

// Load returns the load for Round. Its messages differ from the messages of all earlier calls. Do
// not use it while the Load of an earlier call is in use.
func (l *Sends) Load() Load {
	return Load{Status: http.StatusCreated, Request: l.request, Answered: l.answered}
}

// Fill sends messages to the server over the given number of connections. The parameter each is the
// number of messages for each connection.
func Fill(ctx context.Context, s *Server, l *Sends, connections, each int) error {
	group, within := errgroup.WithContext(ctx)
	for i := range connections {
		group.Go(func() error {
			c, err := Dial(within, s)
			if err != nil {
				return err
			}
			defer c.Close()
			defer context.AfterFunc(within, func() { c.Close() })()
			for n := range each {
				c.SetDeadline(time.Now().Add(patience))
				if err := c.ask(l.Load(), i, n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// head returns the index in l.heads for the nth message of a connection.
func (l *Sends) head(connection, n int) int { return (31*connection + n) % len(l.heads) }

func (l *Sends) request(buf []byte, connection, _ int) []byte {
	n := len(l.acked[connection])
	buf = append(buf, l.heads[l.head(connection, n)]...)
	// the first number is a request id, which SDKs send too
	buf = fmt.Appendf(buf, "%08d-0000-4000-8000-%012d\r\n\r\n%s%03d.%08d ", connection, n, bodyBegin, connection, n)
	buf = append(buf, l.texts[(31*connection+n)%len(l.texts)]...)
	return append(buf, bodyEnd...)
}

func (l *Sends) answered(connection, _ int, body []byte) error {
	id, err := idOf(body)
	l.acked[connection] = append(l.acked[connection], id)
	return err
}

// idOf returns the id of a message in the response to a send, such as {"id":"1653551972669"}.
func idOf(body []byte) (int64, error) {
	_, rest, ok := bytes.Cut(body, []byte(`"id":"`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 {
		return 0, fmt.Errorf("the answer to a send has no id: %s", body)
	}
	return strconv.ParseInt(string(rest[:end]), 10, 64)
}

// Acknowledged returns the number of messages that the server has acknowledged.
func (l *Sends) Acknowledged() (n int) {
	for _, ids := range l.acked {
		n += len(ids)
	}
	return n
}
