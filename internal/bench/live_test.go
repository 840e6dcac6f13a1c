package bench_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// live measures the CPU time and the latency of live events.
type live struct {
	people   int // number of members of the thread, each of whom has a stream
	rounds   int
	messages int // number of messages that are sent one after the other in a round
	bursts   int // of a round
	burst    int // number of messages that are sent at the same time
	pairs    int // number of threads of two people, with which the latency is measured
	span     time.Duration
	out      io.Writer
}

// way is a way to receive live events: a protocol, with or without TLS.
type way struct {
	name   string
	secure bool
	pings  bool // for trouter only: the client sends a ping after each answer, as the browser build does
	rare   int  // a round in this way sends live.messages/rare messages one after the other
}

var ways = []way{
	{name: "sse", rare: 1},
	{name: "sse", secure: true, rare: 1},
	{name: "trouter", rare: 2},
	{name: "trouter", secure: true, rare: 2},
	{name: "trouter", secure: true, pings: true, rare: 4},
}

// String returns a short description of the way, such as "sse, TLS".
func (w way) String() string {
	text := w.name + ", plain"
	if w.secure {
		text = w.name + ", TLS"
	}
	if w.pings {
		text += ", pings"
	}
	return text
}

// client is a client's open connection to a server.
type client interface {
	// read waits for data from the server and returns it. The data is valid until the next
	// call. read also returns the number of events in the data and the number of server writes
	// that brought them.
	read() (data []byte, events, writes int, err error)
	Close() error
}

// dial opens a connection to a server. If the server is Confab, dial also reads the data that the
// server sends before the first event.
func (w way) dial(p *peer, token, local, endpoint string) (client, error) {
	switch {
	case w.name == "sse":
		s, err := p.dial(w.secure, token, local)
		if err == nil && p.AccessKey != "" {
			_, _, _, err = s.read() // hello
		}
		return s, err
	case p.AccessKey != "":
		s, err := p.dialTrouter(w.secure, token, local, endpoint)
		if err == nil {
			s.pings = w.pings
		}
		return s, err
	default:
		s, err := p.dialWebSocket(w.secure, local, "/socket.io/1/websocket/raw")
		if err == nil {
			s.pings = w.pings
		}
		return s, err
	}
}

// run prints the figures of live events. It returns a text for each figure that exceeds its
// limit.
func (o live) run(t *testing.T) (missed []string) {
	t.Helper()
	fmt.Fprintf(o.out, "\nlive events: a thread of %d people, each with a client in another process; CPU of the server for a delivery, medians of %d rounds\n\n", o.people, o.rounds)
	fmt.Fprintf(o.out, "%19s | %10s %12s %10s %6s %6s %12s %10s %6s | %10s %6s %6s %12s\n", "", "one by one", "frames/write", "raw", "ratio", "bar",
		"raw in turn", "with send", "ratio", "in bursts", "ratio", "bar", "frames/write")
	for _, w := range ways {
		t.Run(w.String(), func(t *testing.T) { missed = append(missed, o.fanOut(t, w)...) })
	}
	t.Run("latency", func(t *testing.T) { missed = append(missed, o.latency(t)...) })
	return missed
}

// fanOut compares the CPU time that Confab uses to deliver an event to one client with the CPU time
// of a program that only broadcasts texts. On both sides it subtracts the CPU time of a send that
// nobody reads.
func (o live) fanOut(t *testing.T, w way) (missed []string) {
	t.Helper()
	ours, raw := startPeer(t, confabPeer, peerFolder(t)), startPeer(t, rawPeer, "")
	us := ours.users(t, 2*o.people)
	path, unread := ours.thread(t, us[:o.people]), ours.thread(t, append([]liveUser{us[0]}, us[o.people+1:]...))
	us = us[:o.people]
	a, b := newAudience(t, ours, w, us), newAudience(t, raw, w, us)
	defer a.close()
	defer b.close()
	var alone, single, whole, bare, turns, bursts, ratios, wholes, gathered, frames []float64
	profile := func(round int) {
		if round == 1 && os.Getenv("TEST_PEER_PROFILE") != "" {
			ours.ask(t, "profile")
			raw.ask(t, "profile")
		}
	}
	messages := max(1, o.messages/w.rare)
	for round := range o.rounds + 1 {
		read := [2]int64{a.bytes.Load(), b.bytes.Load()}
		profile(round)
		x, one := a.measure(t, path, messages, 1, o.people)
		y, _ := b.measure(t, "/raw/"+w.name+"/each", messages, 1, o.people)
		profile(round)
		if ratio := float64(a.bytes.Load()-read[0]) / float64(b.bytes.Load()-read[1]); ratio < 0.9 || ratio > 1.1 {
			t.Errorf("%v: the raw broadcast cannot be compared: Confab writes %.2f times as many bytes", w, ratio)
		}
		sent, _ := a.measure(t, unread, messages, 1, 1) // only the sender reads it
		turn, _ := b.measure(t, "/raw/"+w.name+"/turn", messages, 1, o.people)
		posted, _ := b.measure(t, "/raw/"+w.name+"/nobody", messages, 1, 0)
		z, f := a.measure(t, path, o.bursts, o.burst, o.people)
		if round == 0 {
			continue // warm now
		}
		n := float64(o.people)
		whole, wholes = append(whole, x/n), append(wholes, x/y)
		x, y, turn, z = (x-sent)/n, (y-posted)/n, (turn-posted)/n, z/n
		alone, bare, turns, bursts = append(alone, x), append(bare, y), append(turns, turn), append(bursts, z)
		ratios, gathered, single, frames = append(ratios, x/y), append(gathered, z/x), append(single, one), append(frames, f)
	}
	fmt.Fprintf(o.out, "%19s | %8.2fµs %12.1f %8.2fµs %6.2f %6.2f %10.2fµs %8.2fµs %6.2f | %8.2fµs %6.2f %6.2f %12.1f\n", w,
		middle(alone), middle(single), middle(bare), middle(ratios), 1.5, middle(turns), middle(whole), middle(wholes), middle(bursts), middle(gathered), 0.5, middle(frames))
	if r := middle(ratios); r > 1.5 {
		missed = append(missed, fmt.Sprintf("%v: %.2f times the CPU of a raw broadcast, want at most 1.5", w, r))
	}
	if r := middle(gathered); r > 0.5 {
		missed = append(missed, fmt.Sprintf("%v: %.2f times the CPU in bursts, want at most 0.5", w, r))
	}
	return missed
}

func middle(xs []float64) float64 { return slices.Sorted(slices.Values(xs))[len(xs)/2] }

// audience has one client for each of some users, and counts the events, bytes and writes that the
// clients receive.
type audience struct {
	peer    *peer
	secure  bool
	token   string
	clients []client
	reading sync.WaitGroup
	writes  atomic.Int64  // number of writes of the server since the start
	bytes   atomic.Int64  // of events, since the start
	left    atomic.Int64  // number of events that the clients have yet to receive
	all     chan struct{} // receives a value when left becomes 0
}

// newAudience opens a client for each of the users us.
func newAudience(t testing.TB, p *peer, w way, us []liveUser) *audience {
	t.Helper()
	a := &audience{peer: p, secure: w.secure, token: us[0].token, all: make(chan struct{}, 1), clients: make([]client, len(us))}
	err := together(len(us), 16, func(i int) (err error) {
		a.clients[i], err = w.dial(p, us[i].token, "", "tab")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range a.clients {
		a.reading.Go(func() {
			for {
				data, events, writes, err := c.read()
				if err != nil {
					return // closed
				}
				a.bytes.Add(int64(len(data)))
				if events > 0 {
					a.writes.Add(int64(writes))
					if a.left.Add(-int64(events)) == 0 {
						a.all <- struct{}{}
					}
				}
			}
		})
	}
	return a
}

// close closes all clients and waits until they have stopped reading.
func (a *audience) close() {
	for _, c := range a.clients {
		c.Close()
	}
	a.reading.Wait()
}

// measure posts groups of messages to path. Each group has size messages. It posts the next group
// when the given number of clients, readers, have received the whole previous group. It returns the
// server's CPU time for each message in microseconds, and the number of events in each write of the
// server.
func (a *audience) measure(t testing.TB, path string, groups, size, readers int) (cpu, frames float64) {
	t.Helper()
	body := `{"content":"` + strings.Repeat("x", 128) + `","type":"text"}`
	writes, before := a.writes.Load(), a.peer.ask(t, "usage").CPU
	for range groups {
		a.left.Add(int64(size * readers))
		if err := together(size, size, func(int) error { return a.peer.post(a.secure, path, body, a.token, nil) }); err != nil {
			t.Fatal(err)
		}
		if readers == 0 {
			continue
		}
		select {
		case <-a.all:
		case <-time.After(time.Minute):
			t.Fatalf("%d events of %d did not arrive", a.left.Load(), size*readers)
		}
	}
	messages := float64(groups * size)
	cpu = float64((a.peer.ask(t, "usage").CPU - before).Nanoseconds()) / 1000 / messages
	return cpu, messages * float64(readers) / float64(a.writes.Load()-writes)
}

// latency measures the time from the start of a send until the reader has the event, at a tenth of
// the maximum rate of the server. Every second reader uses server-sent events, the others use a
// WebSocket. It compares this time with another: the time to write a line to a file durably, and to
// send as many bytes to another process and back over a WebSocket. To show where the time passes,
// it also prints the time until the sender has its answer, which is sent after the message is
// durable, and the time from that answer to the event.
func (o live) latency(t *testing.T) (missed []string) {
	t.Helper()
	dir := t.TempDir()
	ours, raw := startPeer(t, confabPeer, peerFolder(t)), startPeer(t, rawPeer, "")
	us := ours.users(t, 2*o.pairs)
	readers := []way{{name: "sse", secure: true}, {name: "trouter", secure: true}}
	var paths []string
	var mu sync.Mutex // guards arrived and answered
	// for each reader the time when an event arrived, by the start of its send in nanoseconds
	arrived := make([]map[int64]time.Duration, len(readers))
	// the time when the sender got its answer, by the start of the send in nanoseconds
	answered := map[int64]time.Duration{}
	for i := range arrived {
		arrived[i] = map[int64]time.Duration{}
	}
	var sent, received atomic.Int64
	var reading sync.WaitGroup
	defer reading.Wait() // after the clients were closed
	for i := range o.pairs {
		paths = append(paths, ours.thread(t, us[2*i:2*i+2]))
		c, err := readers[i%len(readers)].dial(ours, us[2*i+1].token, "", "tab")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		reading.Go(func() {
			for {
				data, _, _, err := c.read()
				if err != nil {
					return
				}
				now := time.Now()
				for _, after, ok := bytes.Cut(data, []byte("sent=")); ok; _, after, ok = bytes.Cut(after, []byte("sent=")) {
					if len(after) < 19 {
						break
					}
					at, _ := strconv.ParseInt(string(after[:19]), 10, 64)
					mu.Lock()
					arrived[i%len(readers)][at] = now.Sub(time.Unix(0, at))
					mu.Unlock()
					received.Add(1)
				}
			}
		})
	}
	send := func(n int) error {
		sent.Add(1)
		at := time.Now()
		body := fmt.Sprintf(`{"content":"sent=%d%s","type":"text"}`, at.UnixNano(), strings.Repeat("x", 104))
		err := ours.post(true, paths[n%o.pairs], body, us[2*(n%o.pairs)].token, nil)
		took := time.Since(at)
		mu.Lock()
		answered[at.UnixNano()] = took
		mu.Unlock()
		return err
	}
	file, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	echo, err := raw.dialWebSocket(true, "", "/echo")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	line := []byte(strings.Repeat("x", 512))
	ms := func(ds []time.Duration, part float64) float64 {
		return float64(ds[int(float64(len(ds)-1)*part)].Microseconds()) / 1000
	}
	var syncs, echoes, rates []float64
	ratios, tails, p50s, p99s := make([][]float64, len(readers)), make([][]float64, len(readers)), make([][]float64, len(readers)), make([][]float64, len(readers))
	answers, laters := make([][]float64, len(readers)), make([][]float64, len(readers))
	for range o.rounds {
		rate := saturate(t, o.span, send)
		until(t, "all has arrived", func() bool { return received.Load() == sent.Load() })
		mu.Lock()
		for _, of := range arrived {
			clear(of)
		}
		clear(answered)
		mu.Unlock()
		pace(t, rate/10, 2*o.span, send)
		until(t, "all has arrived", func() bool { return received.Load() == sent.Load() })
		var durable, echoed []time.Duration
		pace(t, rate/10, o.span/2, timed(&durable, func(int) error {
			_, err := file.Write(line)
			return errors.Join(err, file.Sync())
		}))
		pace(t, rate/10, o.span/2, timed(&echoed, func(int) error {
			if err := echo.write(line); err != nil {
				return err
			}
			_, err := echo.frame()
			return err
		}))
		slices.Sort(durable)
		slices.Sort(echoed)
		rates, syncs, echoes = append(rates, rate), append(syncs, ms(durable, 0.5)), append(echoes, ms(echoed, 0.5))
		for i := range readers {
			mu.Lock()
			got := slices.Sorted(maps.Values(arrived[i]))
			// the times until the sender has its answer, and from this answer to the event
			var first, later []time.Duration
			for at, took := range arrived[i] {
				first, later = append(first, answered[at]), append(later, took-answered[at])
			}
			mu.Unlock()
			if len(got) == 0 {
				t.Fatalf("%v: nothing arrived", readers[i])
			}
			slices.Sort(first)
			slices.Sort(later)
			answers[i], laters[i] = append(answers[i], ms(first, 0.99)), append(laters[i], ms(later, 0.99))
			p50s[i], p99s[i] = append(p50s[i], ms(got, 0.5)), append(p99s[i], ms(got, 0.99))
			ratios[i] = append(ratios[i], ms(got, 0.99)/(ms(durable, 0.5)+ms(echoed, 0.5)))
			tails[i] = append(tails[i], ms(got, 0.99)/(ms(durable, 0.99)+ms(echoed, 0.99)))
		}
	}
	fmt.Fprintf(o.out, "\nfrom a send to the reader, %.0f sends/s, a tenth of the greatest rate; fsync %.2f ms, WebSocket echo %.2f ms (p50)\n", middle(rates)/10, middle(syncs), middle(echoes))
	for i, w := range readers {
		r := middle(ratios[i])
		fmt.Fprintf(o.out, "%19s | p50 %.2f ms, p99 %.2f ms: %.1f times both (bar 10), %.1f times their p99; p99 until the sender's answer %.2f ms, from the answer to the event %.2f ms\n",
			w, middle(p50s[i]), middle(p99s[i]), r, middle(tails[i]), middle(answers[i]), middle(laters[i]))
		if r > 10 {
			missed = append(missed, fmt.Sprintf("%v: p99 to the reader is %.1f times fsync and echo, want at most 10", w, r))
		}
	}
	return missed
}

// saturate calls send from 64 goroutines for the time span and returns the number of calls per
// second.
func saturate(t testing.TB, span time.Duration, send func(n int) error) float64 {
	t.Helper()
	var all sync.WaitGroup
	var sent atomic.Int64
	start := time.Now()
	for i := range 64 {
		all.Go(func() {
			for n := i; time.Since(start) < span; n += 64 {
				if err := send(n); err != nil {
					t.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	all.Wait()
	return float64(sent.Load()) / time.Since(start).Seconds()
}

// until calls the function is until it returns true. After a minute it fails the test with the text
// what, which describes the condition.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	for !is() {
		select {
		case <-ticks.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// pace calls send at a constant rate for the time span, but at least four times. Each call has
// its own goroutine, so a slow call does not delay the next one.
func pace(t testing.TB, rate float64, span time.Duration, send func(n int) error) {
	t.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	ticks := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer ticks.Stop()
	start := time.Now()
	for n := 0; n < 4 || time.Since(start) < span; n++ {
		<-ticks.C
		all.Go(func() {
			if err := send(n); err != nil {
				t.Error(err)
			}
		})
	}
}

// timed returns a function that calls do and appends the time that the call took to *took.
// Only one call runs at a time.
func timed(took *[]time.Duration, do func(n int) error) func(n int) error {
	var mu sync.Mutex // held while do runs, so that only one call runs at a time
	return func(n int) error {
		mu.Lock()
		defer mu.Unlock()
		start := time.Now()
		err := do(n)
		*took = append(*took, time.Since(start))
		return err
	}
}

// TestLiveFigures prints the figures of live events. It does not fail if a figure exceeds its
// limit, because the figures depend on the machine.
func TestLiveFigures(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" {
		t.Skip("set TEST_FIGURES=1 to measure: it takes three minutes")
	}
	o := live{people: 250, rounds: rounds(5), messages: 400, bursts: 4, burst: 64, pairs: rounds(50), span: 2 * time.Second, out: os.Stdout}
	for _, m := range o.run(t) {
		fmt.Println("bar missed:", m)
	}
}

// TestLiveRuns measures live events for a short time and checks that a figure is printed for
// each way to receive them.
func TestLiveRuns(t *testing.T) {
	var out strings.Builder
	live{people: 4, rounds: 1, messages: 2, bursts: 1, burst: 3, pairs: 2, span: 100 * time.Millisecond, out: &out}.run(t)
	for _, want := range []string{"sse, plain |", "sse, TLS |", "trouter, plain |", "trouter, TLS |", "trouter, TLS, pings |", "trouter, TLS | p50", "echo"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
