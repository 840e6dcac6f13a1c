package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"
)

// gateTest is a gate with a listener. A test receives the accepted connections in order.
type gateTest struct {
	*gate
	t        *testing.T
	listener net.Listener
	accepted chan net.Conn // closed when the listener is closed
}

func newGateTest(t *testing.T, g *gate) *gateTest {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gt := &gateTest{gate: g, t: t, listener: g.listener(l), accepted: make(chan net.Conn)}
	go func() {
		defer close(gt.accepted)
		for {
			c, err := gt.listener.Accept()
			if err != nil {
				return
			}
			gt.accepted <- c
		}
	}()
	t.Cleanup(func() {
		gt.listener.Close()
		for c := range gt.accepted {
			c.Close()
		}
	})
	return gt
}

// dial connects to the gate from the address 127.0.0.n.
func (g *gateTest) dial(n int) net.Conn {
	g.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("127.0.0.%d", n))}}
	c, err := d.Dial("tcp", g.listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	return c
}

// open connects to the gate from the address 127.0.0.n and returns both ends of the connection.
func (g *gateTest) open(n int) (client, server net.Conn) {
	g.t.Helper()
	client = g.dial(n)
	select {
	case server = <-g.accepted:
		g.t.Cleanup(func() { server.Close() })
	case <-time.After(30 * time.Second):
		g.t.Fatal("a connection is not accepted")
	}
	return client, server
}

// refused checks that the gate closes a connection from the address 127.0.0.n at once.
func (g *gateTest) refused(n int, what string) {
	g.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("127.0.0.%d", n))}}
	if c, err := d.Dial("tcp", g.listener.Addr().String()); err == nil { // skip the check if Dial fails, because then the gate has closed the connection before Dial returned
		defer c.Close()
		g.ended(c, what)
	}
}

// ended waits until the peer has closed the connection c. The argument what names the connection
// in the error.
func (g *gateTest) ended(c net.Conn, what string) {
	g.t.Helper()
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, err := c.Read(make([]byte, 1))
	if timeout, ok := err.(net.Error); err == nil || ok && timeout.Timeout() {
		g.t.Errorf("%s is still open: %v", what, err)
	}
}

func TestGateBoundsAnAddress(t *testing.T) {
	g := newGateTest(t, newGate(10, 2, []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}))
	g.open(2)
	_, second := g.open(2)
	g.refused(2, "a third connection of an address that may have two")
	g.open(3)
	for range 3 {
		g.open(9) // this address is exempt from the limit of connections
	}
	if s := g.stats(); s.Refused != 1 || s.Open != 6 {
		t.Errorf("%+v, want 1 refused and 6 open", s)
	}
	second.Close()
	second.Close() // close the connection again, which must count only once
	g.open(2)
	g.refused(2, "a connection beyond the bound after one was closed")
}

// TestGateDisplaces checks which connection a full gate closes for a new one. It must be a
// connection of the address with the most connections and, of these, first one that has never had
// a request.
func TestGateDisplaces(t *testing.T) {
	g := newGateTest(t, newGate(4, 0, nil))
	honest, _ := g.open(2)
	oldest, idle := g.open(3)
	g.state(idle, http.StateActive)
	g.state(idle, http.StateIdle)
	fresh, _ := g.open(3)
	busyClient, busy := g.open(3)
	g.state(busy, http.StateActive)

	g.open(4)
	g.ended(fresh, "the connection without a request")
	g.open(5)
	g.ended(oldest, "the idle connection")
	if s := g.stats(); s.Displaced != 2 || s.Open != 4 || s.Pauses != 0 {
		t.Errorf("%+v, want 2 displaced and 4 open", s)
	}
	for name, c := range map[string]net.Conn{"the busy connection": busyClient, "the connection of another address": honest} {
		c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err == nil || !err.(net.Error).Timeout() {
			t.Errorf("%s has ended: %v", name, err)
		}
	}
}

// TestGateSparesProxies checks that a full gate closes a connection of an exempt address only if
// no other address has an idle connection, even if the exempt address has the most connections.
func TestGateSparesProxies(t *testing.T) {
	g := newGateTest(t, newGate(4, 0, []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}))
	proxied, _ := g.open(9)
	g.open(9)
	g.open(9)
	other, _ := g.open(2)
	_, third := g.open(3)
	g.ended(other, "the connection of the address that is not exempt")
	g.state(third, http.StateActive)
	g.open(4)
	g.ended(proxied, "the oldest connection of the proxy")
	if s := g.stats(); s.Displaced != 2 || s.Open != 4 {
		t.Errorf("%+v, want 2 displaced and 4 open", s)
	}
}

// TestGatePauses checks that a listener accepts nothing while all connections are busy, accepts
// again when one ends or becomes idle, and stops waiting when it is closed.
func TestGatePauses(t *testing.T) {
	g := newGateTest(t, newGate(2, 0, nil))
	_, first := g.open(2)
	_, second := g.open(2)
	g.state(first, http.StateActive)
	g.state(second, http.StateHijacked)
	for _, resume := range []func(){func() { second.Close() }, func() { g.state(first, http.StateIdle) }} {
		before := g.stats().Pauses
		g.dial(3)
		for deadline := time.Now().Add(30 * time.Second); g.stats().Pauses == before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the listener does not stop accepting")
			}
		}
		resume()
		select {
		case c := <-g.accepted:
			g.state(c, http.StateActive)
		case <-time.After(30 * time.Second):
			t.Fatal("the listener does not go on")
		}
	}
	g.dial(3)
	g.listener.Close()
	select {
	case c, ok := <-g.accepted:
		if ok {
			t.Errorf("a closed listener has accepted %v", c.RemoteAddr())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a closed listener waits")
	}
}

// TestConnections checks the number of connections that a process may have for different limits
// of open files.
func TestConnections(t *testing.T) {
	for files, want := range map[uint64]int{0: 1, 64: 1, 160: 48, 1024: 848, 20_000: 18_952, 1 << 20: 1_047_528} {
		if got := Connections(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}

// TestLiveSessionsLeaveRoom checks the number of live connections for different limits of open
// files, with and without a number in the settings. A quarter of all connections must be left
// for other requests.
func TestLiveSessionsLeaveRoom(t *testing.T) {
	for _, tt := range []struct {
		set   int
		files uint64
		want  int
	}{
		{0, 64, 1}, {0, 160, 36}, {0, 1024, 512}, {0, 4096, 2652}, {0, 20_000, 14_214}, {0, 1 << 20, 785_646},
		{20, 160, 20}, {80, 160, 36}, {1000, 1024, 636}, {15_000, 20_000, 14_214},
	} {
		got := sessionsOf(tt.set, tt.files)
		if got != tt.want {
			t.Errorf("%d files, %d set: %d live connections, want %d", tt.files, tt.set, got, tt.want)
		}
	}
}

func TestReadDeadline(t *testing.T) {
	client, server := newGateTest(t, newGate(1, 0, nil)).open(1)
	c := server.(*gated)
	read := func() error {
		_, err := c.Read(make([]byte, 1))
		return err
	}
	past, never := time.Unix(1, 0), time.Time{}

	c.SetReadDeadline(past)
	c.SetReadDeadline(never)
	if !c.applied.Equal(never) {
		t.Error("the connection got a deadline although nothing read")
	}
	client.Write([]byte("a"))
	if err := read(); err != nil {
		t.Errorf("a read whose deadline was removed failed: %v", err)
	}
	c.SetDeadline(past)
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read after its deadline: got %v, want %v", err, os.ErrDeadlineExceeded)
	}
	if _, err := c.Write([]byte("a")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write after its deadline: got %v, want %v", err, os.ErrDeadlineExceeded)
	}
	c.SetDeadline(never)
	ended := make(chan error)
	go func() { ended <- read() }()
	for running := 0; running == 0; runtime.Gosched() {
		c.deadlines.Lock()
		running = c.reading
		c.deadlines.Unlock()
	}
	c.SetReadDeadline(past)
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a running read whose deadline was set to the past: got %v, want %v", err, os.ErrDeadlineExceeded)
	}
}

// TestReadDeadlineAfterAny sets read deadlines of a connection in random order, between reads and
// while a read is running. A read must fail with a timeout if and only if the last deadline is in
// the past.
func TestReadDeadlineAfterAny(t *testing.T) {
	client, server := newGateTest(t, newGate(1, 0, nil)).open(1)
	past, later, never := time.Unix(1, 0), time.Now().Add(time.Hour), time.Time{}
	one := make([]byte, 1)
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		last := never
		for range 1 + random.IntN(5) {
			last = []time.Time{past, later, never}[random.IntN(3)]
			server.SetReadDeadline(last)
			if last == past && random.IntN(2) == 0 {
				if _, err := server.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("a read after its deadline: %v", err)
				}
			}
		}
		if last == past {
			continue
		}
		ended := make(chan error)
		go func() {
			_, err := server.Read(one)
			ended <- err
		}()
		switch random.IntN(3) {
		case 0:
			server.SetReadDeadline(past)
			if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("a read whose deadline was moved to the past: %v", err)
			}
			continue
		case 1:
			server.SetReadDeadline(later)
		}
		client.Write([]byte("a"))
		if err := <-ended; err != nil {
			t.Fatalf("a read before its deadline: %v", err)
		}
	}
}
