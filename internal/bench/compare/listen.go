package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
	"github.com/confab-chat/confab/sdk/identity"
)

// listen opens a stream of live events of a new user and reads it until it is closed. The user
// is in no thread, so the server follows its event log but has no event to deliver. listen
// fails if the server does not offer such streams.
func listen(ctx context.Context, s *load.Server) (io.Closer, error) {
	_, identities, closeIdle, err := load.Clients(s)
	if err != nil {
		return nil, err
	}
	defer closeIdle()
	made, err := identities.CreateUserAndToken(ctx, []identity.Scope{identity.ScopeChat}, nil)
	if err != nil {
		return nil, err
	}
	c, err := load.Dial(ctx, s)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(c, "GET /chat/events HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", s.Endpoint.Host, made.Token.Token); err != nil {
		c.Close()
		return nil, err
	}
	response, err := http.ReadResponse(c.In, nil)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d of GET /chat/events", response.StatusCode)
	}
	if err == nil {
		// wait for the first byte, because the server begins the stream with an event
		_, err = io.ReadFull(response.Body, make([]byte, 1))
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	c.SetDeadline(time.Time{})
	l := &listener{c, make(chan struct{})}
	go func() {
		defer close(l.ended)
		_, _ = io.Copy(io.Discard, response.Body) // Close ends it
	}()
	return l, nil
}

// listener is an open stream of live events.
type listener struct {
	*load.Conn
	ended chan struct{} // closed when the goroutine that reads the stream has ended
}

// Close closes the stream. It fails if the stream had already ended, because the server was then
// measured without a listener for some time.
func (l *listener) Close() error {
	select {
	case <-l.ended:
		return fmt.Errorf("the stream of live events has ended too early")
	default:
	}
	err := l.Conn.Close()
	<-l.ended
	return err
}
