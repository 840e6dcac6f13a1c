package bench_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/config"
)

// idle measures the memory and the CPU time that idle connections cost the server.
type idle struct {
	connections int
	watch       time.Duration // how long the CPU time of the idle connections is measured
	judge       bool          // whether the figures are compared with their limits
	out         io.Writer
}

// kind is a kind of idle connections, with the limits for its figures. A limit of 0 means no limit.
type kind struct {
	name   string
	open   func(o idle, t *testing.T, p *peer, us []liveUser) (closeAll func())
	memory float64       // maximum number of kilobytes of heap and stacks for each connection
	accept time.Duration // for all of them
}

var kinds = []kind{
	of(way{name: "sse"}, 10, 5*time.Second),
	of(way{name: "sse", secure: true}, 20, 20*time.Second),
	{"HTTP/2", idle.openHTTP2, 0, 0},
	of(way{name: "trouter"}, 10, 10*time.Second),
	of(way{name: "trouter", secure: true}, 20, 40*time.Second),
}

// of returns the kind of idle connections that use the protocol of w over HTTP/1.1. memory and
// accept are its limits.
func of(w way, memory float64, accept time.Duration) kind {
	return kind{w.String(), func(o idle, t *testing.T, p *peer, us []liveUser) func() { return o.openAll(t, p, us, w) }, memory, accept}
}

// maxCPU is the limit for the CPU time of all idle connections together, in percent of a core.
const maxCPU = 5

// ofUser is the number of connections that the server allows a user.
const ofUser = 20

// run prints the memory and the CPU time that idle connections of each kind cost the server. It
// fails the test if a figure is more than five times its limit.
func (o idle) run(t *testing.T) {
	t.Helper()
	fmt.Fprintf(o.out, "\n%d idle connections, clients in another process\n\n", o.connections)
	fmt.Fprintf(o.out, "%14s | %9s %9s %9s %6s | %9s | %8s %4s | %9s %6s\n", "", "heap", "stacks", "both", "bar", "resident", "CPU", "bar", "accepted", "bar")
	for _, k := range kinds {
		t.Run(strings.ReplaceAll(k.name, "/", ""), func(t *testing.T) { o.measure(t, k) })
	}
}

// measure opens idle connections of one kind and prints the memory and the CPU time that they cost
// the server.
func (o idle) measure(t *testing.T, k kind) {
	p := startPeer(t, confabPeer, config.Memory)
	us := p.users(t, (o.connections+ofUser-1)/ofUser)
	o.openSome(t, p, us[0], k)
	before := p.ask(t, "collect")
	start := time.Now()
	closeAll := k.open(o, t, p, us)
	defer closeAll()
	took := time.Since(start)
	p.ask(t, "profile")
	began := p.ask(t, "collect")
	start = time.Now()
	time.Sleep(o.watch)
	cpu := 100 * float64(p.ask(t, "usage").CPU-began.CPU) / float64(time.Since(start))
	after := p.ask(t, "collect")
	p.ask(t, "profile")
	each := func(bytes uint64, without uint64) float64 {
		return (float64(bytes) - float64(without)) / 1024 / float64(o.connections)
	}
	heap, stacks := each(after.Heap, before.Heap), each(after.Stacks, before.Stacks)
	bar := func(figure string, bar float64) string {
		if bar == 0 {
			return ""
		}
		return fmt.Sprintf(figure, bar)
	}
	fmt.Fprintf(o.out, "%14s | %6.1f KB %6.1f KB %6.1f KB %6s | %6.1f KB | %6.1f %% %4d | %9s %6s\n", k.name, heap, stacks, heap+stacks, bar("%.0f KB", k.memory),
		each(after.Resident, before.Resident), cpu, maxCPU, took.Round(10*time.Millisecond), bar("%.0fs", k.accept.Seconds()))
	for _, f := range []struct {
		name       string
		value, bar float64
	}{{"KB of memory for each connection", heap + stacks, k.memory}, {"% of a core", cpu, maxCPU}, {"s to accept all", took.Seconds(), k.accept.Seconds()}} {
		switch {
		case f.bar == 0 || !o.judge:
		case f.value > 5*f.bar:
			t.Errorf("%s: %.1f %s, more than five times the bar of %.0f", k.name, f.value, f.name, f.bar)
		case f.value > f.bar:
			fmt.Fprintf(o.out, "bar missed: %s: %.1f %s, want at most %.0f\n", k.name, f.value, f.name, f.bar)
		}
	}
}

// openSome opens a few connections of a user and closes them again before the measurement, so that
// the server has already allocated the memory that it needs only once.
func (o idle) openSome(t *testing.T, p *peer, u liveUser, k kind) {
	t.Helper()
	o.connections = 10
	k.open(o, t, p, []liveUser{u})()
	for deadline := time.Now().Add(10 * time.Second); ; { // repeat until the server has noticed that all connections have ended
		if s, err := p.dial(false, u.token, ""); err != nil {
			t.Fatal(err)
		} else if s.conn.Close(); p.ask(t, "usage").Routines < 60 || time.Now().After(deadline) {
			return
		}
	}
}

// pingEvery is the interval at which a client of the official protocol sends pings
// (docs/contract/realtime.md §5).
const pingEvery = 40 * time.Second

// openAll opens connections of the users us over HTTP/1.1 and reads from them. On connections
// of the official protocol it sends pings. It uses several local addresses, because one
// address has too few ports.
func (o idle) openAll(t *testing.T, p *peer, us []liveUser, w way) (closeAll func()) {
	t.Helper()
	clients := make([]client, o.connections)
	err := together(o.connections, 64, func(i int) (err error) {
		clients[i], err = w.dial(p, us[i/ofUser%len(us)].token, fmt.Sprintf("127.0.0.%d", 2+i%4), fmt.Sprint("tab", i%ofUser))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	stop := make(chan struct{})
	var sockets []*webSocket
	for _, c := range clients {
		if s, ok := c.(*webSocket); ok {
			sockets = append(sockets, s)
		}
		running.Go(func() {
			for {
				if _, _, _, err := c.read(); err != nil {
					return
				}
			}
		})
	}
	if len(sockets) > 0 {
		running.Go(func() { keepAlive(sockets, pingEvery, stop) })
	}
	return func() {
		close(stop)
		for _, c := range clients {
			c.Close()
		}
		running.Wait()
	}
}

// openHTTP2 opens streams of the users us over HTTP/2, with the maximum number of streams on each
// connection.
func (o idle) openHTTP2(t *testing.T, p *peer, us []liveUser) (closeAll func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	const perConnection = 100 // the server allows 128 streams
	clients := make([]*http.Client, o.connections/perConnection+1)
	for i := range clients {
		clients[i] = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots}, ForceAttemptHTTP2: true}}
	}
	err := together(o.connections, 64, func(i int) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url(true, "/chat/events"), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+us[i/ofUser%len(us)].token)
		res, err := clients[i/perConnection].Do(req)
		if err != nil {
			return err
		}
		in := bufio.NewReaderSize(res.Body, 1024)
		hello, err := in.ReadBytes('}')
		if res.StatusCode != http.StatusOK || res.ProtoMajor != 2 || !bytes.Contains(hello, []byte("hello")) {
			res.Body.Close()
			return fmt.Errorf("%s over %s: %q, %v", res.Status, res.Proto, hello, err)
		}
		reading.Go(func() {
			io.Copy(io.Discard, in)
			res.Body.Close()
		})
		return nil
	})
	closeAll = func() {
		cancel()
		reading.Wait()
		for _, c := range clients {
			c.CloseIdleConnections()
		}
	}
	if err != nil {
		closeAll()
		t.Fatal(err)
	}
	return closeAll
}

// TestIdle prints the memory and the CPU time that 10,000 idle connections of each kind cost the
// server. It takes four minutes and fails if a figure is more than five times its limit.
func TestIdle(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" {
		t.Skip("set TEST_FIGURES=1 to measure: it takes four minutes")
	}
	idle{connections: 10_000, watch: 30 * time.Second, judge: true, out: os.Stdout}.run(t)
}

// TestIdleRuns measures a few idle connections for a short time and checks that a line is
// printed for each kind.
func TestIdleRuns(t *testing.T) {
	var out strings.Builder
	idle{connections: 40, watch: time.Millisecond, out: &out}.run(t)
	for _, k := range kinds {
		if !strings.Contains(out.String(), k.name+" |") {
			t.Errorf("%s is missing in\n%s", k.name, out.String())
		}
	}
}
