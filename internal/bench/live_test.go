package bench_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// live measures what live events cost.
type live struct {
	people   int // of the thread, each with a stream
	rounds   int
	messages int // of a round that are sent one after the other
	bursts   int // of a round
	burst    int // messages that are sent at the same time
	pairs    int // threads of two people, for the latency
	span     time.Duration
	out      io.Writer
}

// run prints the figures of live events. It returns a text for each bar that was missed.
func (o live) run(t *testing.T) (missed []string) {
	t.Helper()
	fmt.Fprintf(o.out, "\nlive events over SSE: a thread of %d people, each with a stream in another process; medians of %d rounds\n\n", o.people, o.rounds)
	fmt.Fprintf(o.out, "%9s | %12s %12s %6s %6s %12s %12s %6s | %12s %6s %6s %12s\n", "delivery", "one by one", "raw", "ratio", "bar",
		"raw in turn", "with send", "ratio", "in bursts", "ratio", "bar", "frames/write")
	for _, secure := range []bool{false, true} {
		missed = append(missed, o.fanOut(t, secure)...)
	}
	return append(missed, o.latency(t)...)
}

// word names the kind of connections.
func word(secure bool) string {
	if secure {
		return "TLS"
	}
	return "plain"
}

// fanOut compares the CPU time for each delivery of Confab with that of a raw broadcast.
// The time that a send takes without readers is not a part of it, on either side.
func (o live) fanOut(t *testing.T, secure bool) (missed []string) {
	t.Helper()
	ours, raw := startPeer(t, confabPeer, peerFolder(t)), startPeer(t, rawPeer, "")
	us := ours.users(t, 2*o.people)
	path, unread := ours.thread(t, us[:o.people]), ours.thread(t, append([]liveUser{us[0]}, us[o.people+1:]...))
	us = us[:o.people]
	a, b := newAudience(t, ours, secure, us), newAudience(t, raw, secure, us)
	defer a.close()
	defer b.close()
	var alone, whole, bare, turns, bursts, ratios, wholes, gathered, frames []float64
	profile := func(round int) {
		if round == 1 && os.Getenv("TEST_PEER_PROFILE") != "" {
			ours.ask(t, "profile")
		}
	}
	for round := range o.rounds + 1 {
		profile(round)
		x, _ := a.measure(t, path, o.messages, 1, o.people)
		profile(round)
		sent, _ := a.measure(t, unread, o.messages, 1, 1) // only the sender reads it
		y, _ := b.measure(t, "/chat/threads/raw", o.messages, 1, o.people)
		w, _ := b.measure(t, inTurn, o.messages, 1, o.people)
		posted, _ := b.measure(t, toNobody, o.messages, 1, 0)
		profile(round)
		z, f := a.measure(t, path, o.bursts, o.burst, o.people)
		profile(round)
		if round == 0 {
			continue // warm now
		}
		n := float64(o.people)
		whole, wholes = append(whole, x/n), append(wholes, x/y)
		x, y, w, z = (x-sent)/n, (y-posted)/n, (w-posted)/n, z/n
		alone, bare, turns, bursts = append(alone, x), append(bare, y), append(turns, w), append(bursts, z)
		ratios, gathered, frames = append(ratios, x/y), append(gathered, z/x), append(frames, f)
	}
	fmt.Fprintf(o.out, "%9s | %10.2fµs %10.2fµs %6.2f %6.2f %10.2fµs %10.2fµs %6.2f | %10.2fµs %6.2f %6.2f %12.1f\n", word(secure),
		middle(alone), middle(bare), middle(ratios), 1.5, middle(turns), middle(whole), middle(wholes), middle(bursts), middle(gathered), 0.5, middle(frames))
	if r := middle(ratios); r > 1.5 {
		missed = append(missed, fmt.Sprintf("SSE, %s: %.2f times the CPU of a raw broadcast, want at most 1.5", word(secure), r))
	}
	if r := middle(gathered); r > 0.5 {
		missed = append(missed, fmt.Sprintf("SSE, %s: %.2f times the CPU in bursts, want at most 0.5", word(secure), r))
	}
	return missed
}

func middle(xs []float64) float64 { return slices.Sorted(slices.Values(xs))[len(xs)/2] }

// audience has a stream for each of some users, and counts what these receive.
type audience struct {
	peer    *peer
	secure  bool
	token   string
	streams []*stream
	reading sync.WaitGroup
	writes  atomic.Int64  // of the server, since the start
	left    atomic.Int64  // events that were not received yet
	all     chan struct{} // receives a value when left becomes 0
}

// newAudience opens the streams of users. A stream begins with one event, hello, on
// Confab.
func newAudience(t testing.TB, p *peer, secure bool, us []liveUser) *audience {
	t.Helper()
	a := &audience{peer: p, secure: secure, token: us[0].token, all: make(chan struct{}, 1), streams: make([]*stream, len(us))}
	err := together(len(us), 16, func(i int) (err error) {
		a.streams[i], err = p.dial(secure, us[i].token, "")
		if err == nil && p.AccessKey != "" {
			_, _, err = a.streams[i].read()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range a.streams {
		a.reading.Go(func() {
			for {
				_, events, err := s.read()
				if err != nil {
					return // closed
				}
				if events > 0 {
					a.writes.Add(1)
					if a.left.Add(-int64(events)) == 0 {
						a.all <- struct{}{}
					}
				}
			}
		})
	}
	return a
}

// close closes the streams.
func (a *audience) close() {
	for _, s := range a.streams {
		s.conn.Close()
	}
	a.reading.Wait()
}

// measure posts groups of messages to a path, each group when the one before has arrived at
// as many streams as read it. It returns the microseconds of the server's CPU for each
// message, and the events in each write.
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

// latency measures the time from the start of a send to the reader's stream, at a tenth of
// the rate that the server can take. It compares it with the time to write a line to a
// file durably, and to send as many bytes to another process and back.
func (o live) latency(t *testing.T) (missed []string) {
	t.Helper()
	dir := t.TempDir()
	ours, raw := startPeer(t, confabPeer, peerFolder(t)), startPeer(t, rawPeer, "")
	us := ours.users(t, 2*o.pairs)
	var paths []string
	var mu sync.Mutex // guards arrived
	var arrived []time.Duration
	var reading sync.WaitGroup
	defer reading.Wait() // after the streams were closed
	for i := range o.pairs {
		paths = append(paths, ours.thread(t, us[2*i:2*i+2]))
		s, err := ours.dial(true, us[2*i+1].token, "")
		if err != nil {
			t.Fatal(err)
		}
		defer s.conn.Close()
		reading.Go(func() {
			for {
				data, _, err := s.read()
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
					arrived = append(arrived, now.Sub(time.Unix(0, at)))
					mu.Unlock()
				}
			}
		})
	}
	send := func(n int) error {
		body := fmt.Sprintf(`{"content":"sent=%d%s","type":"text"}`, time.Now().UnixNano(), strings.Repeat("x", 104))
		return ours.post(true, paths[n%o.pairs], body, us[2*(n%o.pairs)].token, nil)
	}
	file, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	echo, err := newEcho(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	line := make([]byte, 512)
	var ratios, tails, p50s, p99s, syncs, echoes, rates []float64
	for range o.rounds {
		rate := saturate(t, o.span, send)
		mu.Lock()
		arrived = nil
		mu.Unlock()
		pace(t, rate/10, 2*o.span, send)
		mu.Lock()
		got := slices.Sorted(slices.Values(arrived))
		mu.Unlock()
		if len(got) == 0 {
			t.Fatal("nothing arrived")
		}
		var durable, echoed []time.Duration
		pace(t, rate/10, o.span/2, timed(&durable, func(int) error {
			_, err := file.Write(line)
			return errors.Join(err, file.Sync())
		}))
		pace(t, rate/10, o.span/2, timed(&echoed, func(int) error {
			if _, err := echo.Write(line); err != nil {
				return err
			}
			_, err := io.ReadFull(echo, line)
			return err
		}))
		slices.Sort(durable)
		slices.Sort(echoed)
		ms := func(ds []time.Duration, part float64) float64 {
			return float64(ds[int(float64(len(ds)-1)*part)].Microseconds()) / 1000
		}
		rates, p50s, p99s = append(rates, rate), append(p50s, ms(got, 0.5)), append(p99s, ms(got, 0.99))
		syncs, echoes = append(syncs, ms(durable, 0.5)), append(echoes, ms(echoed, 0.5))
		ratios = append(ratios, ms(got, 0.99)/(ms(durable, 0.5)+ms(echoed, 0.5)))
		tails = append(tails, ms(got, 0.99)/(ms(durable, 0.99)+ms(echoed, 0.99)))
	}
	fmt.Fprintf(o.out, "\nfrom a send to the reader over TLS, %.0f sends/s, a tenth of the greatest rate: p50 %.2f ms, p99 %.2f ms; fsync %.2f ms, echo %.2f ms (p50); p99 is %.1f times both (bar 10), %.1f times their p99\n",
		middle(rates)/10, middle(p50s), middle(p99s), middle(syncs), middle(echoes), middle(ratios), middle(tails))
	if r := middle(ratios); r > 10 {
		missed = append(missed, fmt.Sprintf("p99 to the reader is %.1f times fsync and echo, want at most 10", r))
	}
	return missed
}

// newEcho opens a connection over TLS on which the server sends everything back.
func newEcho(p *peer) (io.ReadWriteCloser, error) {
	req, err := http.NewRequest(http.MethodPost, p.url(true, "/echo"), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	conn, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		return nil, errors.Join(errors.New("no echo: "+res.Status), res.Body.Close())
	}
	return conn, nil
}

// saturate calls send from 64 goroutines for span and returns the calls in a second.
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

// pace calls send at a rate for span, and each time in a goroutine of its own if the one
// before still runs.
func pace(t testing.TB, rate float64, span time.Duration, send func(n int) error) {
	t.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	ticks := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer ticks.Stop()
	start := time.Now()
	for n := 0; time.Since(start) < span; n++ {
		<-ticks.C
		all.Go(func() {
			if err := send(n); err != nil {
				t.Error(err)
			}
		})
	}
}

// timed returns a function that calls do, one call at a time, and appends the time that
// each took.
func timed(took *[]time.Duration, do func(n int) error) func(n int) error {
	var mu sync.Mutex // held by the call that runs
	return func(n int) error {
		mu.Lock()
		defer mu.Unlock()
		start := time.Now()
		err := do(n)
		*took = append(*took, time.Since(start))
		return err
	}
}

// TestLiveFigures prints the figures of live events. It does not fail if a bar is missed,
// because the figures depend on the machine.
func TestLiveFigures(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" {
		t.Skip("set TEST_FIGURES=1 to measure: it takes a minute")
	}
	o := live{people: 250, rounds: 5, messages: 400, bursts: 4, burst: 64, pairs: 50, span: 2 * time.Second, out: os.Stdout}
	for _, m := range o.run(t) {
		fmt.Println("bar missed:", m)
	}
}

// TestLiveRuns measures live events for a short time and checks that a figure is printed
// for each kind of connection.
func TestLiveRuns(t *testing.T) {
	var out strings.Builder
	live{people: 4, rounds: 1, messages: 2, bursts: 1, burst: 3, pairs: 2, span: 100 * time.Millisecond, out: &out}.run(t)
	for _, want := range []string{"plain |", "TLS |", "echo"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}
