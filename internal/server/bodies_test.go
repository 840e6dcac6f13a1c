package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestProxyKeepsItsConnections exceeds the limit of held body bytes over HTTP/1, through
// connections of a proxy. Of two requests, one has a complete body and holds more bytes, and the
// other has an incomplete body. It checks that the server ends the request with the incomplete
// body, and that the connection of the other request can carry a further request.
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

// TestWholeBodiesAreNotCut exceeds the limit of held body bytes with requests of a proxy, over
// HTTP/1 and HTTP/2. It checks that the server does not end the request whose body has arrived
// completely, although that body is the largest.
func TestWholeBodiesAreNotCut(t *testing.T) {
	for _, version := range []int{1, 2} {
		b := newBodies(100)
		serve := func(size int, then func()) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(strings.Repeat("x", size)))
			r.ProtoMajor = version
			r = r.WithContext(context.WithValue(r.Context(), carrierKey{}, &carrier{shared: true}))
			b.limit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if then != nil {
					io.ReadAll(r.Body)
					then()
					return
				}
				io.ReadFull(r.Body, make([]byte, size)) // read the whole body except its end
				for of := range b.by {
					if of.cut == of.whole {
						t.Errorf("HTTP/%d: cut %v, whole %v", version, of.cut, of.whole)
					}
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		}
		serve(80, func() { serve(60, nil) })
		if b.dropped != 1 {
			t.Errorf("HTTP/%d: %d requests were cut, want 1", version, b.dropped)
		}
	}
}

// TestShortBodiesOutliveLargeOnes exceeds the limit of held body bytes with several large bodies,
// whose handlers do not return at once. It checks that only requests with large bodies are ended,
// and not one with a short body that arrives between them. When the bodies hold twice the limit,
// the request with the largest of the short bodies must be ended too.
func TestShortBodiesOutliveLargeOnes(t *testing.T) {
	b := newBodies(100)
	read := func(size int64) (*countedBody, *bool) {
		ended := false
		c := &countedBody{bodies: b, of: &carrier{end: func() { ended = true }}}
		b.take(c, size)
		return c, &ended
	}
	large := make([]*countedBody, 3)
	for i := range large {
		var ended *bool
		if large[i], ended = read(60 + int64(i)); i > 0 {
			if !*ended {
				t.Errorf("the large body %d was not cut", i)
			}
			continue
		}
		if _, ended := read(1); *ended {
			t.Error("a short body was cut before the bound")
		}
	}
	short, ended := read(2)
	if *ended {
		t.Error("a short body was cut although those that count are below the bound")
	}
	if b.held != 60+61+62+1+2 || b.ending != 61+62 {
		t.Errorf("%d bytes are held and %d of them ending", b.held, b.ending)
	}
	last, lastEnded := read(39)
	if *ended || *lastEnded || b.dropped != 3 {
		t.Errorf("above the bound, %d were cut, the short ones %v and %v", b.dropped, *ended, *lastEnded)
	}
	b.take(short, 20)
	if *ended || !*lastEnded {
		t.Errorf("above twice the bound: the short ones were cut %v and %v, want the larger alone", *ended, *lastEnded)
	}
	last.release()
	for _, c := range append(large, short) {
		c.release()
	}
	if b.held != 1 || b.ending != 0 {
		t.Errorf("%d bytes are held and %d of them ending, after all but one returned", b.held, b.ending)
	}
}
