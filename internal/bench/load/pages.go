package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Pages requests the newest messages of the threads of a World. The requests come from the members
// of a thread in turn. No message may be sent meanwhile, because all answers for a thread must have
// the same bytes.
type Pages struct {
	world World
	size  int
	heads []string // the beginnings of requests, up to the value of the request id
	want  [][]byte // the answer for each thread
}

// NewPages returns a load that requests pages of size messages. It requests the page of each thread
// once, and fails if a page does not have size messages.
func NewPages(ctx context.Context, s *Server, w World, size int) (*Pages, error) {
	l := &Pages{world: w, size: size, want: make([][]byte, len(w.Threads))}
	// go through all threads for each member, so that successive requests are for different threads
	for m := range w.Threads[0].Bearers {
		for _, t := range w.Threads {
			l.heads = append(l.heads, fmt.Sprintf("GET /chat/threads/%s/messages?api-version=2025-03-15&maxPageSize=%d HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
				"X-Ms-Client-Request-Id: ", t.ID, size, s.Endpoint.Host, t.Bearers[m]))
		}
	}
	c, err := Dial(ctx, s)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	first := Load{Status: http.StatusOK, Request: l.request, Answered: l.learn}
	for n := range w.Threads {
		if err := c.ask(first, 0, n); err != nil {
			return nil, fmt.Errorf("page of thread %s: %w", w.Threads[n].ID, err)
		}
	}
	return l, nil
}

// Load returns the load for Round.
func (l *Pages) Load() Load {
	return Load{Status: http.StatusOK, Request: l.request, Answered: l.answered}
}

// Body returns the body of the answer for the first thread.
func (l *Pages) Body() []byte { return l.want[0] }

func (l *Pages) head(connection, n int) int { return (31*connection + n) % len(l.heads) }

func (l *Pages) request(buf []byte, connection, n int) []byte {
	buf = append(buf, l.heads[l.head(connection, n)]...)
	return fmt.Appendf(buf, "%08d-0000-4000-8000-%012d\r\n\r\n", connection, n)
}

// learn stores the answer for a thread, with which later answers are compared.
func (l *Pages) learn(connection, n int, body []byte) error {
	var p struct{ Value []struct{} }
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if len(p.Value) != l.size {
		return fmt.Errorf("the page has %d messages, want %d", len(p.Value), l.size)
	}
	l.want[l.head(connection, n)%len(l.want)] = bytes.Clone(body)
	return nil
}

func (l *Pages) answered(connection, n int, body []byte) error {
	if !bytes.Equal(body, l.want[l.head(connection, n)%len(l.want)]) {
		return errors.New("a page of messages differs from the first page of the same thread")
	}
	return nil
}
