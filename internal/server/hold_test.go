package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// TestHold checks that Read leaves a byte in the kernel while the connection is held, and reads it
// when the request was answered.
func TestHold(t *testing.T) {
	g := newGateTest(t, newGate(1, 0, nil))
	client, server := g.open(1)
	c := server.(*gated)
	c.hold()
	client.Write([]byte("a"))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatalf("a connection without a request was held: %v", err)
	}

	g.state(c, http.StateActive)
	c.hold()
	ended := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	}()
	client.Write([]byte("b"))
	c.SetReadDeadline(time.Unix(1, 0))
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		// The read may have begun after so long that the connection was not held any more.
		t.Logf("a held read whose deadline was set to the past: %v", err)
	} else {
		c.SetReadDeadline(time.Time{})
		g.state(c, http.StateIdle)
		b := make([]byte, 1)
		if _, err := c.Read(b); err != nil || b[0] != 'b' {
			t.Errorf("the next read: got %q, %v, want b", b, err)
		}
	}

	g.state(c, http.StateActive)
	c.hold()
	go func() {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	}()
	c.Close()
	if err := <-ended; err == nil {
		t.Error("a held read of a closed connection did not fail")
	}
}

// TestHoldsEnd checks that a connection is held until the end of the period after that in which its
// request began, and not again by the same request.
func TestHoldsEnd(t *testing.T) {
	g := newGateTest(t, newGate(1, 0, nil))
	g.running = true // so no timer ends the first period
	client, server := g.open(1)
	c := server.(*gated)
	g.state(c, http.StateActive)
	c.hold()
	g.endHolds()
	g.mu.Lock()
	c.deadlines.Lock()
	held, period := c.held, g.period
	c.deadlines.Unlock()
	g.mu.Unlock()
	if !held && period == 1 { // the next period may already be over too
		t.Error("a connection was released at the end of the period in which its request began")
	}
	client.Close()
	for range 2 {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a read after the connection was released: got %v, want EOF", err)
		}
		c.hold() // as for a body that arrived late
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.recent.first != nil {
		t.Error("a released connection is still in the list")
	}
}

// holdServer returns a server whose connections pass a gate and are held while it answers.
func holdServer(t *testing.T, secure bool, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	g := newGate(100, 0, nil)
	s := httptest.NewUnstartedServer(newBodies(1 << 20).limit(handler))
	s.Listener = g.listener(s.Listener)
	s.Config.ConnContext, s.Config.ConnState = withCarrier, g.state
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func dialHold(t *testing.T, s *httptest.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if s.TLS != nil {
		config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		config.ServerName = "example.com" // a name in the certificate of httptest
		conn = tls.Client(conn, config)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestHeldRequestsNoticeTheirClient checks that the context of a request ends when its client closes
// the connection.
func TestHeldRequestsNoticeTheirClient(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, request := range []string{
			"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\nab",
			"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
		} {
			began, ended := make(chan bool), make(chan error)
			s := holdServer(t, secure, func(_ http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				began <- true
				<-r.Context().Done()
				ended <- r.Context().Err()
			})
			client := dialHold(t, s)
			if _, err := fmt.Fprint(client, request); err != nil {
				t.Fatal(err)
			}
			<-began
			client.Close()
			if err := <-ended; err != context.Canceled {
				t.Errorf("TLS %v, %.4s: the context ended with %v", secure, request, err)
			}
		}
	}
}

// TestHoldLosesNothing sends requests in pieces of any size, also before earlier ones are answered,
// to a handler that takes less time than the connection is held, or more.
func TestHoldLosesNothing(t *testing.T) {
	for _, secure := range []bool{false, true} {
		random := rand.New(rand.NewPCG(1, 2))
		s := holdServer(t, secure, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Errorf("read the body of %s: %v", r.URL, err)
			}
			if wait, err := time.ParseDuration(r.URL.Query().Get("wait")); err == nil {
				select {
				case <-time.After(wait):
				case <-r.Context().Done():
					t.Errorf("the context of %s ended: %v", r.URL, r.Context().Err())
				}
			}
			fmt.Fprintf(w, "%s %s", r.URL.Path, body)
		})
		client := dialHold(t, s)
		var all strings.Builder
		var want []string
		const requests = 300
		for i := range requests {
			wait := []string{"", "", "", "1ms", "5ms", "40ms"}[random.IntN(6)]
			if wait == "40ms" && random.IntN(5) > 0 {
				wait = ""
			}
			body := strings.Repeat("x", random.IntN(3)*random.IntN(100))
			if body == "" {
				fmt.Fprintf(&all, "GET /%d?wait=%s HTTP/1.1\r\nHost: example.com\r\n\r\n", i, wait)
			} else {
				fmt.Fprintf(&all, "POST /%d?wait=%s HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\n\r\n%s", i, wait, len(body), body)
			}
			want = append(want, fmt.Sprintf("/%d %s", i, body))
		}
		go func() {
			for rest := all.String(); rest != ""; {
				n := min(len(rest), 1+random.IntN(400))
				if _, err := io.WriteString(client, rest[:n]); err != nil {
					return // the reader below reports what is missing
				}
				rest = rest[n:]
			}
		}()
		in := bufio.NewReader(client)
		for i := range want {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("TLS %v: answer %d: %v", secure, i, err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || string(body) != want[i] {
				t.Fatalf("TLS %v: answer %d: got %q, %v, want %q", secure, i, body, err, want[i])
			}
		}
	}
}

// TestHeldConnectionsCanBeTakenOver checks that a handler reads at once what a client sends on a
// connection that the handler has taken over.
func TestHeldConnectionsCanBeTakenOver(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := holdServer(t, secure, func(w http.ResponseWriter, _ *http.Request) {
			conn, both, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "ready\n")
			line, err := both.ReadString('\n')
			fmt.Fprint(conn, line, err, "\n")
		})
		client := dialHold(t, s)
		in := bufio.NewReader(client)
		fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
		for _, want := range []string{"ready\n", "ping\n", "<nil>\n"} {
			if got, err := in.ReadString('\n'); got != want {
				t.Errorf("TLS %v: got %q, %v, want %q", secure, got, err, want)
			}
			if want == "ready\n" {
				fmt.Fprint(client, "ping\n")
			}
		}
	}
}
