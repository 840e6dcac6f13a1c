package hijack_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/gateway/hijack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ends holds the errors that ended the Read and the Write of a connection.
type ends struct{ read, write error }

// take connects a client to a server that takes over the connection. The server then reads and
// writes at the same time until both fail. take returns both sides of the connection, and a
// channel that receives the two errors.
func take(t *testing.T, secure bool, timeout time.Duration) (client net.Conn, server *hijack.Conn, done <-chan ends) {
	t.Helper()
	taken := make(chan *hijack.Conn, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _, err := hijack.Take(w, timeout)
		if err != nil {
			t.Error(err)
		}
		taken <- c
	}))
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	client, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	request := client
	if secure {
		request = tls.Client(client, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(request, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	server = <-taken
	if server == nil {
		t.FailNow()
	}
	both := make(chan ends, 1)
	go func() {
		var e ends
		read := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, server)
			if err == nil {
				err = io.EOF
			}
			read <- err
		}()
		for b := make([]byte, 64<<10); e.write == nil; {
			_, e.write = server.Write(b)
		}
		e.read = <-read
		server.Close()
		both <- e
	}()
	return client, server, both
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// each runs a test as two subtests: over a plain connection and over TLS.
func each(t *testing.T, test func(t *testing.T, secure bool)) {
	t.Run("plain", func(t *testing.T) { test(t, false) })
	t.Run("TLS", func(t *testing.T) { test(t, true) })
}

// TestClientThatTakesNothing checks that both the Read and the Write fail with a timeout if
// the client does not read, although the kernel reports the timeout to only one of them.
func TestClientThatTakesNothing(t *testing.T) {
	each(t, func(t *testing.T, secure bool) {
		for range 5 {
			_, _, done := take(t, secure, 50*time.Millisecond)
			if e := <-done; !isTimeout(e.read) || !isTimeout(e.write) {
				t.Fatalf("read: %v, write: %v; want timeouts", e.read, e.write)
			}
		}
	})
}

// TestClientThatLeaves resets connections while the server reads and writes. It checks that
// neither the Read nor the Write fails with a timeout, which would mean a slow client.
func TestClientThatLeaves(t *testing.T) {
	each(t, func(t *testing.T, secure bool) {
		for range 50 {
			client, _, done := take(t, secure, time.Minute)
			if _, err := io.CopyN(io.Discard, client, 100<<10); err != nil {
				t.Fatal(err)
			}
			client.(*net.TCPConn).SetLinger(0)
			client.Close()
			if e := <-done; isTimeout(e.read) || isTimeout(e.write) || errors.Is(e.read, hijack.ErrSilent) {
				t.Fatalf("read: %v, write: %v; want no timeouts", e.read, e.write)
			}
		}
	})
}

// TestSilence checks that a Read fails with ErrSilent if the client sends nothing for the time
// set by AwaitInput, and that a Write that waits for the client then fails with the same
// error.
func TestSilence(t *testing.T) {
	client, server, done := take(t, false, time.Minute)
	server.AwaitInput(50 * time.Millisecond)
	e := <-done // both errors are wanted: the Write was waiting too, because the client reads nothing
	if !errors.Is(e.read, hijack.ErrSilent) || !errors.Is(e.write, hijack.ErrSilent) {
		t.Errorf("read: %v, write: %v; want ErrSilent", e.read, e.write)
	}
	client.Close()
}

// TestDrip writes to a client that reads a byte every 50 seconds. It checks that the write
// does not time out, and that it fails 50 ms after Interrupt was called.
func TestDrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, end := net.Pipe()
		defer client.Close()
		server, _, err := hijack.Take(pipe{httptest.NewRecorder(), end}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		ended := make(chan error, 1)
		go func() {
			_, err := server.Write(make([]byte, 100))
			ended <- err
		}()
		for range 91 {
			time.Sleep(50 * time.Second) // in a synctest bubble this takes no real time
			if _, err := client.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		server.Interrupt()
		start := time.Now()
		if err := <-ended; !isTimeout(err) || time.Since(start) != hijack.Goodbye {
			t.Errorf("the write ended with %v after %v", err, time.Since(start))
		}
	})
}

// pipe is a ResponseWriter whose connection is a pipe in memory.
type pipe struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker. It returns p.conn.
func (p pipe) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return p.conn, bufio.NewReadWriter(bufio.NewReader(p.conn), bufio.NewWriter(p.conn)), nil
}
