// Package figures keeps statistics of a server in memory, for the last 15 minutes: how many
// requests it answered, how long they took, and how many connections were open. The operator's
// console shows them, so that it needs no Prometheus.
//
// Counting a request takes two or three atomic additions. A goroutine, [Figures.Run], reads and
// resets the counters each second.
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
	// Step is the length of time that each kept Point covers.
	Step = 5 * time.Second
	// Kept is the maximum number of points in memory: the points of the last 15 minutes.
	Kept = 180
	// second is the length of time that a point for a Subscription covers.
	second = time.Second
	// queue is the number of points that a Subscription holds for a slow reader. If the queue is
	// full, a new point replaces the oldest.
	queue = 4
	// maxReasons is the maximum number of reasons of refusals that have counters of their own.
	// It bounds the memory; the server has fewer reasons.
	maxReasons = 128
)

// Point has the statistics of one second or of one Step. Its JSON is the form of the operator's
// API.
type Point struct {
	Time        string  `json:"t"` // end of the time that the point covers, in RFC 3339
	Requests    uint64  `json:"requests"`
	Refused     uint64  `json:"refused"` // number of responses with a status from 400 to 499
	Errors      uint64  `json:"errors"`  // number of responses with a status of 500 or more, plus the requests without a response
	Sends       uint64  `json:"sends"`
	P50         float64 `json:"p50"`    // median duration in milliseconds, rounded up by at most a quarter
	P99         float64 `json:"p99"`    // duration in milliseconds that 99 % of the requests did not exceed, rounded as P50 is
	Commit      float64 `json:"commit"` // mean duration of a commit of the store, in milliseconds
	Connections int     `json:"connections"`
	Live        int     `json:"live"`
}

// Gauges are values that change in both directions. Figures reads them once a second.
type Gauges struct {
	Connections int // number of open connections
	Live        int // number of open connections for live events
}

// Figures counts requests and commits. It is safe for concurrent use.
type Figures struct {
	gauges func() Gauges
	since  time.Time // when counting began

	took                   histogram
	refused, errors, sends atomic.Uint64
	commits, commitTime    atomic.Uint64 // the number of commits, and the sum of their durations in nanoseconds

	mu        sync.Mutex // guards the fields below
	points    []Point    // at most Kept, the oldest first
	step      sum        // counts since the end of the newest element of points
	seconds   int        // number of seconds that step covers
	total     uint64     // number of requests until the end of the last second
	allRefuse uint64     // number of refused and failed requests until the end of the last second
	reasons   map[string]uint64
	following map[*Subscription]bool
}

// New returns a Figures whose counters are 0. Its method Run calls gauges once a second.
func New(gauges func() Gauges) *Figures {
	return &Figures{gauges: gauges, since: time.Now(), reasons: map[string]uint64{}, following: map[*Subscription]bool{}}
}

// Request counts a client's request and its duration. status is 0 if the request got no response.
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

// Batch counts a commit of the store and its duration.
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

// sum has the counts of a period.
type sum struct {
	took                   counts
	refused, errors, sends uint64
	commits, commitTime    uint64
}

// take returns the counts since its last call and resets the counters.
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

// point converts the counts of a period to a Point. end is the end of the period.
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

// Run calls tick each second until ctx is done.
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

// tick ends the present second: it sends a point to each Subscription, and at the end of a Step
// adds a point to the field points.
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

// Points returns the points of the last 15 minutes, the oldest first.
func (f *Figures) Points() []Point {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Point{}, f.points...)
}

// Totals has the numbers of requests since the start of the server.
type Totals struct {
	Requests uint64 `json:"requests"`
	Refused  uint64 `json:"refused"`
	Since    string `json:"since"` // when the server started, in RFC 3339
}

// Totals returns the numbers of requests since the start of the server, without the requests of the
// present second.
func (f *Figures) Totals() Totals {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Totals{Requests: f.total, Refused: f.allRefuse, Since: f.since.UTC().Format("2006-01-02T15:04:05.000Z")}
}

// Refusal is a reason for refusing requests, with the number of requests that were refused for it.
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

// Subscription receives a Point each second. If its reader is slow, new points replace the oldest.
type Subscription struct {
	f *Figures
	c chan Point
}

// Follow returns a new Subscription. The caller must call its method Close.
func (f *Figures) Follow() *Subscription {
	s := &Subscription{f: f, c: make(chan Point, queue)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.following[s] = true
	return s
}

// Points returns the channel that receives the points.
func (s *Subscription) Points() <-chan Point { return s.c }

// Close ends the subscription.
func (s *Subscription) Close() {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	delete(s.f.following, s)
}

// give sends a point to the channel. If the channel is full, it first removes the oldest point.
// Only one goroutine may call it.
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

// buckets is the number of buckets of a histogram of durations, from 1 µs to more than an
// hour. There are four buckets from each duration to its double.
const buckets = 4 * 32

// counts has, for each bucket, the number of requests whose duration was in it.
type counts [buckets]uint64

// histogram has the same numbers as counts, but is safe for concurrent use.
type histogram [buckets]atomic.Uint32

func (h *histogram) add(took time.Duration) { h[bucketOf(took)].Add(1) }

// take returns the counts since its last call and resets the histogram.
func (h *histogram) take() (c counts) {
	for i := range h {
		if h[i].Load() != 0 {
			c[i] = uint64(h[i].Swap(0))
		}
	}
	return c
}

// bucketOf returns the index of the bucket for a duration. With the duration in microseconds, the
// index is four times the position of the highest bit, plus the two bits below the highest bit.
func bucketOf(took time.Duration) int {
	us := uint64(max(took.Microseconds(), 1))
	high := bits.Len64(us) - 1
	below := us << 2 >> high & 3
	return min(4*high+int(below), buckets-1)
}

// endOf returns the upper limit of a bucket in milliseconds.
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

// quantile returns a number of milliseconds that the share q of the requests did not exceed. It
// returns 0 if there were no requests.
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
