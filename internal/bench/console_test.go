package bench_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// console measures by how much an open console (the operator's web page) reduces the number of
// sends per second. It measures sends while a client reads the console's streams of requests and of
// figures, and without that client.
type console struct {
	senders, threads int
	// number of pairs of rounds; a pair is one round with and one without an open console
	pairs int
	span  time.Duration // of each round
	out   io.Writer
}

// leastWithConsole is the smallest accepted ratio of two rates of sends: the rate while an operator
// watches the server in the console, a web page, to the rate while nobody does.
const leastWithConsole = 0.97

// run prints how much an open console slows down sends. It returns a text if this exceeds the
// limit.
func (o console) run(t *testing.T) (missed []string) {
	t.Helper()
	p := startPeer(t, confabPeer, peerFolder(t))
	ann := p.users(t, 1)[0]
	paths := make([]string, o.threads)
	for i := range paths {
		paths[i] = p.thread(t, []liveUser{ann})
	}
	senders := make([]*sender, o.senders)
	for i := range senders {
		senders[i] = newSender(t, p, ann, paths)
	}
	fmt.Fprintf(o.out, "\nsends with a console that reads the streams of requests and figures: %d connections over TLS, the server in another process, %d pairs of %v, medians\n\n", o.senders, o.pairs, o.span)
	o.round(t, p, senders) // warm
	p.ask(t, "profile")
	var rates, cpus [2][]float64 // without, and with
	var rateRatios, cpuRatios []float64
	var events int64
	for pair := range o.pairs {
		for half := range 2 {
			with := (pair + half) % 2
			read := func() int64 { return 0 }
			if with == 1 {
				read = p.watch(t)
			}
			rate, cpu := o.round(t, p, senders)
			events += read()
			rates[with], cpus[with] = append(rates[with], rate), append(cpus[with], cpu)
		}
		rateRatios = append(rateRatios, rates[1][pair]/rates[0][pair])
		cpuRatios = append(cpuRatios, cpus[1][pair]/cpus[0][pair])
	}
	p.ask(t, "profile")
	if events == 0 {
		t.Error("the console has got no events")
	}
	ratio := median(rateRatios)
	for i, name := range []string{"no console", "a console"} {
		fmt.Fprintf(o.out, "%12s %8.0f sends/s, %6.1fµs of CPU of the server for each\n", name, median(rates[i]), median(cpus[i]))
	}
	fmt.Fprintf(o.out, "%12s %8.3f of the rate (bar %.2f), %.3f of the CPU; the pairs are between %.3f and %.3f; %d events a round\n",
		"ratio", ratio, leastWithConsole, median(cpuRatios), slices.Min(rateRatios), slices.Max(rateRatios), events/int64(o.pairs))
	if ratio < leastWithConsole {
		missed = append(missed, fmt.Sprintf("with a console %.3f of the sends, want at least %.2f", ratio, leastWithConsole))
	}
	return missed
}

// round sends messages for the time span. It returns the number of sends per second, and the
// server's CPU time for each send in microseconds.
func (o console) round(t *testing.T, p *peer, senders []*sender) (rate, cpu float64) {
	t.Helper()
	var sending sync.WaitGroup
	var sent atomic.Int64
	before, start := p.ask(t, "usage"), time.Now()
	for i, s := range senders {
		sending.Go(func() {
			for n := i; time.Since(start) < o.span; n++ {
				if err := s.send(n); err != nil {
					t.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	sending.Wait()
	took, after := time.Since(start), p.ask(t, "usage")
	n := float64(max(sent.Load(), 1))
	return n / took.Seconds(), float64((after.CPU - before.CPU).Microseconds()) / n
}

// sender is a connection on which messages are sent. It uses little CPU time, because the clients
// and the server share the cores.
type sender struct {
	net.Conn
	in       *bufio.Reader
	requests [][]byte // one for each thread
}

func newSender(t *testing.T, p *peer, u liveUser, paths []string) *sender {
	t.Helper()
	conn, err := p.connect(true, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &sender{Conn: conn, in: bufio.NewReader(conn)}
	body := `{"content":"` + strings.Repeat("x", 128) + `","type":"text"}`
	for _, path := range paths {
		s.requests = append(s.requests, fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nAccept: application/json\r\n"+
			"User-Agent: azsdk-go-chat/v1.0.0 (go1.26; linux)\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, u.token, len(body), body))
	}
	return s
}

// send sends a message to the nth thread, and reads the answer.
func (s *sender) send(n int) error {
	if _, err := s.Write(s.requests[n%len(s.requests)]); err != nil {
		return err
	}
	res, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusCreated {
		err = fmt.Errorf("status %d of a send: %s", res.StatusCode, answer)
	}
	return err
}

// watch reads the streams of a console until the returned function read is called. The function
// read returns the number of events that the streams have brought.
func (p *peer) watch(t *testing.T) (read func() int64) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	client := &http.Client{Transport: &http.Transport{}}
	var events atomic.Int64
	var reading sync.WaitGroup
	for _, stream := range []string{"requests", "overview"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Admin+"/admin/v1/"+stream+"/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+p.AdminSecret)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", req.URL, res.Status)
		}
		reading.Go(func() {
			defer res.Body.Close()
			for in := bufio.NewScanner(res.Body); in.Scan(); {
				if strings.HasPrefix(in.Text(), "data:") {
					events.Add(1)
				}
			}
		})
	}
	return func() int64 {
		stop()
		reading.Wait()
		client.CloseIdleConnections()
		return events.Load()
	}
}

func median[T cmp.Ordered](xs []T) T {
	sorted := slices.Sorted(slices.Values(xs))
	return sorted[len(sorted)/2]
}

// TestConsoleFigures prints the number of sends per second with an open console and without one. It
// does not fail if the limit is missed, because the figure depends on the machine.
func TestConsoleFigures(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" {
		t.Skip("set TEST_FIGURES=1 to measure: it takes a minute")
	}
	for _, m := range (console{senders: 64, threads: 200, pairs: rounds(10), span: 2 * time.Second, out: os.Stdout}).run(t) {
		fmt.Println("bar missed:", m)
	}
}

// TestConsoleRuns measures a few sends with an open console and without one, and checks that the
// measurement works.
func TestConsoleRuns(t *testing.T) {
	var out strings.Builder
	console{senders: 4, threads: 3, pairs: 1, span: 300 * time.Millisecond, out: &out}.run(t)
	if !strings.Contains(out.String(), "of the rate (bar 0.97)") {
		t.Errorf("the figures are\n%s", out.String())
	}
}
