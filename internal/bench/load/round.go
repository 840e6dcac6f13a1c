// Package load sends requests to servers in other processes. It measures how many requests are
// answered, how long the answers take, and how much CPU time and memory each answer costs the
// server.
package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load describes the requests that Round sends to a server.
type Load struct {
	// Request appends a complete HTTP request to buf and returns the result: the nth
	// request of a connection, both counted from 0. It is called concurrently for different
	// connections.
	Request func(buf []byte, connection, n int) []byte
	Status  int // the expected status of every response; any other status ends the round
	Also    int // another expected status, or 0
	// StatusOf, if not nil, returns the expected status of each request. Status is then not used.
	StatusOf func(connection, n int) int
	// Answered, if not nil, is called with the body of each expected response, before the next
	// request of the connection. An error ends the round. The body is valid during the call.
	Answered func(connection, n int, body []byte) error
}

// Options configures Round.
type Options struct {
	// number of connections that are open at the same time; each carries one request at a time
	Connections int
	Warm        time.Duration // how long the load runs before the measurement
	Span        time.Duration // measured time
	// Rate is the number of requests per second that become due at equal intervals, even while
	// earlier requests have no answer (an open loop). If it is 0, each connection sends its next
	// request when its last one is answered (a closed loop).
	Rate float64
	// EachSecond, if not nil, is called with 0 when the measurement begins, and after each second
	// of it with the number of seconds that have passed. An error ends the round.
	EachSecond func(second int) error
}

// Sample is the result of measuring a server once.
type Sample struct {
	Answers int           // within the span
	Span    time.Duration // measured exactly
	Usage   Usage         // CPU time and memory that the server has used within the measured span
	// Latency holds how long each answer took, in microseconds, to 1 %. In an open loop it holds
	// the requests that were due within the measured span, including requests that were answered
	// after it. Each time counts from the moment when the request was due, so it includes the wait
	// that a slow server causes.
	Latency *hdrhistogram.Histogram
	// ByConnection is, for each connection, the number of its answers in Latency.
	ByConnection []int
}

// Rate returns the number of answers per second.
func (s Sample) Rate() float64 { return float64(s.Answers) / s.Span.Seconds() }

// CPU returns the server's CPU time for each answer, or 0 if it is not known.
func (s Sample) CPU() time.Duration { return s.Usage.CPU / time.Duration(s.Answers) }

// NewLatency returns an empty histogram for times from a microsecond to a minute.
func NewLatency() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Microseconds(), 2)
}

// Round opens connections to the server and sends a first request on each. It sends requests for
// o.Warm without measuring, and then measures for o.Span. It fails if a request gets no answer or
// an unexpected one. It returns when all requests are answered, so the next round begins with an
// idle server.
func Round(ctx context.Context, s *Server, l Load, o Options) (Sample, error) {
	r := &round{load: l, failed: make(chan error, o.Connections+1), start: time.Now()}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		for _, w := range r.workers {
			// close the connection before the wait, because a read that is in progress would delay
			// the wait
			w.conn.Close()
		}
		r.running.Wait()
	}()
	for i := range o.Connections {
		if err := r.open(ctx, s, i, o); err != nil {
			return Sample{}, err
		}
	}
	if o.Rate > 0 {
		r.arrivals = make(chan time.Time, 1<<20)
		r.running.Go(func() {
			defer close(r.arrivals)
			if err := r.arrive(ctx, o.Rate); err != nil {
				r.failed <- err
			}
		})
	}
	for _, w := range r.workers {
		r.running.Go(func() {
			if err := r.work(w); err != nil {
				r.failed <- err
			}
		})
	}
	sample, err := r.watch(ctx, s, o)
	if err != nil {
		return Sample{}, err
	}
	r.stopped.Store(true)
	r.running.Wait()
	select {
	case err := <-r.failed:
		return Sample{}, err
	default:
	}
	sample.Latency = NewLatency()
	for _, w := range r.workers {
		sample.Latency.Merge(w.latency)
		sample.ByConnection = append(sample.ByConnection, w.measured)
	}
	return sample, nil
}

// round is the state of one call of Round.
type round struct {
	load     Load
	workers  []*worker
	arrivals chan time.Time // the times at which requests are due; nil in a closed loop
	failed   chan error
	answered atomic.Int64
	start    time.Time
	from     atomic.Int64 // when the measured span begins, in nanoseconds after start; 0 before it begins
	until    atomic.Int64 // its end; 0: not yet
	stopped  atomic.Bool
	running  sync.WaitGroup
}

// worker sends the requests of one connection.
type worker struct {
	index    int
	conn     *Conn
	latency  *hdrhistogram.Histogram // the times that the measured answers took
	measured int
}

// open opens a connection and sends its first request. It sends the request at once, because a
// server waits only some seconds for it, and a busy machine needs longer to open all connections.
func (r *round) open(ctx context.Context, s *Server, index int, o Options) error {
	c, err := Dial(ctx, s)
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(o.Warm + o.Span + patience))
	r.workers = append(r.workers, &worker{index: index, conn: c, latency: NewLatency()})
	stop := context.AfterFunc(ctx, func() { c.Close() }) // ends a read
	err = c.ask(r.load, index, 0)
	if !stop() {
		return ctx.Err()
	}
	return err
}

// work sends the requests of one connection until the round has stopped. In an open loop it first
// sends all requests that were due before the stop.
func (r *round) work(w *worker) error {
	for n := 1; ; n++ {
		due := time.Now()
		if r.arrivals == nil {
			if r.stopped.Load() {
				return nil
			}
		} else {
			var more bool
			if due, more = <-r.arrivals; !more {
				return nil
			}
		}
		if err := w.conn.ask(r.load, w.index, n); err != nil {
			return err
		}
		r.answered.Add(1)
		now := time.Now()
		// the time that must be within the span: of the answer in a closed loop, of the request in
		// an open loop
		counts := now
		if r.arrivals != nil {
			counts = due
		}
		if r.within(counts) {
			w.measured++
			// The histogram's limit of a minute is never exceeded, because the connection's
			// deadline is earlier.
			_ = w.latency.RecordValue(min(max(1, now.Sub(due).Microseconds()), time.Minute.Microseconds()))
		}
	}
}

// within reports whether the time t is within the measured span.
func (r *round) within(t time.Time) bool {
	at, from, until := t.Sub(r.start).Nanoseconds(), r.from.Load(), r.until.Load()
	return from > 0 && at >= from && (until == 0 || at < until)
}

// arrive puts the time at which each request is due into r.arrivals until the round has stopped. If
// it wakes up late, it puts in all times that have passed meanwhile. It fails if so many requests
// wait that r.arrivals is full, because the server is too slow.
func (r *round) arrive(ctx context.Context, rate float64) error {
	p, err := newPacer(max(time.Duration(float64(time.Second)/rate), 200*time.Microsecond))
	if err != nil {
		return err
	}
	defer p.close()
	began := time.Now()
	for n := 0; !r.stopped.Load() && ctx.Err() == nil; {
		if err := p.wait(); err != nil {
			return err
		}
		for now := time.Now(); ; n++ {
			due := began.Add(time.Duration(float64(n) / rate * float64(time.Second)))
			if due.After(now) {
				break
			}
			select {
			case r.arrivals <- due:
			default:
				return fmt.Errorf("%d requests wait: the server does not answer %.0f in a second", len(r.arrivals), rate)
			}
		}
	}
	return nil
}

// watch waits for o.Warm. Then it measures for o.Span how many requests are answered and how much
// CPU time and memory the server uses.
func (r *round) watch(ctx context.Context, s *Server, o Options) (Sample, error) {
	pause := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case err := <-r.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := pause(o.Warm); err != nil {
		return Sample{}, err
	}
	before, err := s.Usage(ctx)
	if err != nil {
		return Sample{}, err
	}
	began, n := time.Now(), r.answered.Load()
	r.from.Store(max(1, began.Sub(r.start).Nanoseconds()))
	for n := 0; o.EachSecond != nil && time.Duration(n)*time.Second <= o.Span; n++ {
		if err := pause(time.Until(began.Add(time.Duration(n) * time.Second))); err != nil {
			return Sample{}, err
		}
		if err := o.EachSecond(n); err != nil {
			return Sample{}, err
		}
	}
	if err := pause(time.Until(began.Add(o.Span))); err != nil {
		return Sample{}, err
	}
	r.until.Store(time.Since(r.start).Nanoseconds())
	sample := Sample{Span: time.Since(began), Answers: int(r.answered.Load() - n)}
	after, err := s.Usage(ctx)
	if err != nil {
		return Sample{}, err
	}
	if sample.Answers == 0 {
		return Sample{}, fmt.Errorf("no request was answered within %v", o.Span)
	}
	sample.Usage = after.less(before)
	return sample, nil
}
