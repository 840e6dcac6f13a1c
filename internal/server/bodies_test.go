package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TestProxyKeepsItsConnections reaches the bound of bodies over HTTP/1, through connections of a
// proxy. The server ends the request whose body has not arrived, although another one holds
// more bytes. The connection of that other one then carries a further request.
func TestProxyKeepsItsConnections(t *testing.T) {
	b := newBodies(100)
	read, answer := make(chan struct{}), make(chan struct{})
	server := httptest.NewUnstartedServer(b.limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, "no body", http.StatusRequestTimeout)
			return
		}
		if r.URL.Path == "/wait" {
			read <- struct{}{}
			<-answer
		}
	})))
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, carrierKey{}, &carrier{end: func() { c.Close() }, shared: true})
	}
	server.Start()
	defer server.Close()
	goOn := sync.OnceFunc(func() { close(answer) })
	defer goOn()
	dial := func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		return c, bufio.NewReader(c)
	}
	status := func(what string, from *bufio.Reader, want int) {
		t.Helper()
		res, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		defer res.Body.Close()
		io.Copy(io.Discard, res.Body)
		if res.StatusCode != want {
			t.Errorf("%s: status %d, want %d", what, res.StatusCode, want)
		}
	}
	large, fromLarge := dial()
	fmt.Fprintf(large, "POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 80\r\n\r\n%080d", 0)
	<-read
	endless, fromEndless := dial()
	fmt.Fprintf(endless, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n%060d", 0)
	status("a body that does not end", fromEndless, http.StatusRequestTimeout)
	goOn()
	status("the largest body, which has arrived", fromLarge, http.StatusOK)
	fmt.Fprint(large, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	status("the next request on its connection", fromLarge, http.StatusOK)
}
