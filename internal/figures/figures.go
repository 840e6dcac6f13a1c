// Package figures keeps the figures of the last 15 minutes in memory: how many requests a server
// has answered, how long they took, and how many connections it had. The operator's console shows
// them, without Prometheus.
//
// Counting a request takes two or three atomic additions. A goroutine, [Figures.Run], gathers the
// counters each second.
package figures

import (
	"cmp"
	"context"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Step is the time between two points that are kept.
	Step = 5 * time.Second
	// Kept is the number of points that are kept: those of 15 minutes.
	Kept = 180
	// second is the time between two points for subscribers.
	second = time.Second
	// queue is the number of points that wait for a slow subscriber. The oldest is dropped then.
	queue = 4
	// maxReasons is the most reasons of refusals that are counted apart. The server has a fixed
	// set of fewer; the bound holds if it does not.
	maxReasons = 128
)

// Point has the figures of a second or of a Step, in the form of the operator's API.
type Point struct {
	Time        string  `json:"t"` // its end, in RFC 3339
	Requests    uint64  `json:"requests"`
	Refused     uint64  `json:"refused"` // with a status of 400 to 499
	Errors      uint64  `json:"errors"`  // with a status of 500 and above, or without an answer
	Sends       uint64  `json:"sends"`
	P50         float64 `json:"p50"`    // milliseconds that half of the requests took at most; up to a quarter too much
	P99         float64 `json:"p99"`    // milliseconds
	Commit      float64 `json:"commit"` // milliseconds, mean time of a commit
	Connections int     `json:"connections"`
	Live        int     `json:"live"`
}

// Gauges are the figures that are read once a second.
type Gauges struct {
	Connections int // open connections
	Live        int // live connections
}

// Figures counts requests and commits. It is safe for concurrent use.
type Figures struct {
	gauges func() Gauges
	since  time.Time // the start

	took                   histogram
	refused, errors, sends atomic.Uint64
	commits, commitTime    atomic.Uint64 // commitTime is in nanoseconds

	mu        sync.Mutex // guards the fields below
	points    []Point    // at most Kept, the oldest first
	step      sum        // of the seconds since the last point
	seconds   int        // in step
	total     uint64     // requests until the last second
	allRefuse uint64     // requests that were refused, or failed, until the last second
	reasons   map[string]uint64
	following map[*Subscription]bool
}

// New returns Figures that have counted nothing. Run calls gauges once a second.
func New(gauges func() Gauges) *Figures {
	return &Figures{gauges: gauges, since: time.Now(), reasons: map[string]uint64{}, following: map[*Subscription]bool{}}
}

// Request counts a request of a client. status is 0 if it got no answer.
func (f *Figures) Request(operation string, status int, took time.Duration) {
	f.took.add(took)
	switch {
	case status >= 500 || status == 0:
		f.errors.Add(1)
	case status >= 400:
		f.refused.Add(1)
	case operation == "send message":
		f.sends.Add(1)
	}
}

// Batch counts a commit of the store.
func (f *Figures) Batch(took time.Duration) {
	f.commits.Add(1)
	f.commitTime.Add(uint64(max(took, 0)))
}

// Refused counts a refused request by its reason.
func (f *Figures) Refused(reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.reasons[reason]; !known && len(f.reasons) >= maxReasons {
		reason = "other"
	}
	f.reasons[reason]++
}

// sum has the counts of some time.
type sum struct {
	took                   counts
	refused, errors, sends uint64
	commits, commitTime    uint64
}

// take returns the counts since the last call.
func (f *Figures) take() (s sum) {
	s.took = f.took.take()
	s.refused, s.errors, s.sends = f.refused.Swap(0), f.errors.Swap(0), f.sends.Swap(0)
	s.commits, s.commitTime = f.commits.Swap(0), f.commitTime.Swap(0)
	return s
}

func (s *sum) add(o *sum) {
	for i, n := range o.took {
		s.took[i] += n
	}
	s.refused += o.refused
	s.errors += o.errors
	s.sends += o.sends
	s.commits += o.commits
	s.commitTime += o.commitTime
}

// point returns the figures of the counts, for a time that ends at end.
func (s *sum) point(end time.Time, g Gauges) Point {
	p := Point{
		Time: end.UTC().Format("2006-01-02T15:04:05.000Z"), Requests: s.took.total(), Refused: s.refused, Errors: s.errors, Sends: s.sends,
		P50: s.took.quantile(0.5), P99: s.took.quantile(0.99), Connections: g.Connections, Live: g.Live,
	}
	if s.commits > 0 {
		p.Commit = float64(s.commitTime/s.commits/1000) / 1000
	}
	return p
}

// Run gathers the counters each second until ctx is done.
func (f *Figures) Run(ctx context.Context) {
	ticks := time.NewTicker(second)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			f.tick(time.Now())
		}
	}
}

// tick ends a second.
func (f *Figures) tick(now time.Time) {
	g, s := f.gauges(), f.take()
	p := s.point(now, g)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total += p.Requests
	f.allRefuse += p.Refused + p.Errors
	for s := range f.following {
		s.give(p)
	}
	f.step.add(&s)
	if f.seconds++; time.Duration(f.seconds)*second < Step {
		return
	}
	if len(f.points) == Kept {
		f.points = slices.Delete(f.points, 0, 1)
	}
	f.points = append(f.points, f.step.point(now, g))
	f.step, f.seconds = sum{}, 0
}

// Points returns the points that are kept, the oldest first.
func (f *Figures) Points() []Point {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Point{}, f.points...)
}

// Totals has the numbers since the start.
type Totals struct {
	Requests uint64 `json:"requests"`
	Refused  uint64 `json:"refused"`
	Since    string `json:"since"` // the start, in RFC 3339
}

// Totals returns the numbers of requests since the start. They do not have the present second.
func (f *Figures) Totals() Totals {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Totals{Requests: f.total, Refused: f.allRefuse, Since: f.since.UTC().Format("2006-01-02T15:04:05.000Z")}
}

// Refusal is a reason and how many requests were refused for it.
type Refusal struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// Refusals returns how many requests were refused since the start, by reason, the most frequent
// first.
func (f *Figures) Refusals() []Refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []Refusal{}
	for reason, n := range f.reasons {
		all = append(all, Refusal{reason, n})
	}
	slices.SortFunc(all, func(a, b Refusal) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason)) })
	return all
}

// Subscription gets a point each second. If nobody takes them, the oldest are dropped.
type Subscription struct {
	f *Figures
	c chan Point
}

// Follow returns a subscription. The caller must call Close.
func (f *Figures) Follow() *Subscription {
	s := &Subscription{f: f, c: make(chan Point, queue)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.following[s] = true
	return s
}

// Points returns the channel of the points.
func (s *Subscription) Points() <-chan Point { return s.c }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	delete(s.f.following, s)
}

// give adds a point to the channel, in place of the oldest one if it is full. Only one goroutine
// calls it.
func (s *Subscription) give(p Point) {
	for {
		select {
		case s.c <- p:
			return
		default:
		}
		select {
		case <-s.c:
		default:
		}
	}
}

// buckets is the number of buckets of a histogram. Four buckets double the time: from 1 µs to
// more than an hour.
const buckets = 4 * 32

// counts has the number of requests by how long they took.
type counts [buckets]uint64

// histogram is a counts that several goroutines count in.
type histogram [buckets]atomic.Uint32

func (h *histogram) add(took time.Duration) { h[bucketOf(took)].Add(1) }

// take returns the counts since the last call.
func (h *histogram) take() (c counts) {
	for i := range h {
		if h[i].Load() != 0 {
			c[i] = uint64(h[i].Swap(0))
		}
	}
	return c
}

// bucketOf returns the index of the bucket of a time: four times the number of the highest bit of its
// microseconds, plus the two bits below it.
func bucketOf(took time.Duration) int {
	us := uint64(max(took.Microseconds(), 1))
	high := bits.Len64(us) - 1
	below := us << 2 >> high & 3
	return min(4*high+int(below), buckets-1)
}

// endOf returns the end of a bucket in milliseconds.
func endOf(bucket int) float64 {
	high, below := bucket/4, bucket%4
	return float64(uint64(1)<<high) * (1 + float64(below+1)/4) / 1000
}

func (c *counts) total() (n uint64) {
	for _, k := range c {
		n += k
	}
	return n
}

// quantile returns the milliseconds that the share q of the requests took at most, or 0 if there
// were none.
func (c *counts) quantile(q float64) float64 {
	n := c.total()
	if n == 0 {
		return 0
	}
	rank := uint64(q*float64(n-1)) + 1
	for i, k := range c {
		if k >= rank {
			return endOf(i)
		}
		rank -= k
	}
	return endOf(buckets - 1)
}
