package gateway

import (
	"errors"
	"sync/atomic"
	"time"
)

// stats holds the counters of a hub.
type stats struct {
	sessions [protocols]atomic.Int64 // opened
	events   [protocols]atomic.Uint64
	ends     [len(reasons)]atomic.Uint64
	refusals [len(reasons)]atomic.Uint64
	gaps     [GapTooMuch + 1]atomic.Uint64
	dropped  atomic.Uint64
	catchUps atomic.Uint64
	waiting  atomic.Int64 // number of sessions that wait until they may read missed events
}

func (s *stats) opened(p Protocol)           { s.sessions[p].Add(1) }
func (s *stats) delivered(p Protocol, n int) { s.events[p].Add(uint64(n)) }
func (s *stats) ended(why Reason)            { s.ends[why].Add(1) }

// refused counts a refused session under the reason in err. It does nothing if err is not an
// *OpenError.
func (s *stats) refused(err error) {
	var e *OpenError
	if errors.As(err, &e) {
		s.refusals[e.Why].Add(1)
	}
}

func (s *stats) gap(why GapReason) { s.gaps[why].Add(1) }

// Stats are figures of a hub for metrics.
type Stats struct {
	Sessions int               // open now
	Queued   int64             // number of bytes of events in the queues of all sessions
	Behind   time.Duration     // for how long the event log has had events that the hub has not read yet
	Opened   map[string]uint64 // number of sessions opened since the start, by protocol
	Events   map[string]uint64 // events written, by protocol
	Ended    map[string]uint64 // sessions ended, by reason
	Refused  map[string]uint64 // sessions refused, by reason
	Gaps     map[string]uint64 // gaps told, by reason
	Dropped  uint64            // queues dropped
	CatchUps uint64            // how often sessions have read missed events from the store
	Waiting  int               // number of sessions that wait until they may read missed events
}

// String returns the name of the protocol in metrics.
func (p Protocol) String() string { return [...]string{"sse", "trouter"}[p] }

// Stats returns the present figures of the hub.
func (h *Hub) Stats() Stats {
	s := Stats{Queued: h.queued.Load(), Dropped: h.stats.dropped.Load(), CatchUps: h.stats.catchUps.Load(),
		Opened: map[string]uint64{}, Events: map[string]uint64{}, Ended: map[string]uint64{}, Refused: map[string]uint64{}, Gaps: map[string]uint64{},
		Waiting: int(h.stats.waiting.Load())}
	h.mu.Lock()
	s.Sessions = h.count
	feed := h.feed
	h.mu.Unlock()
	if feed != nil {
		s.Behind = feed.Behind()
	}
	for p := range protocols {
		s.Opened[p.String()] = uint64(h.stats.sessions[p].Load())
		s.Events[p.String()] = h.stats.events[p].Load()
	}
	for _, why := range Reasons() {
		s.Ended[why.String()] = h.stats.ends[why].Load()
		if why.refuses() {
			s.Refused[why.String()] = h.stats.refusals[why].Load()
		}
	}
	for g := GapEpoch; g <= GapTooMuch; g++ {
		s.Gaps[g.String()] = h.stats.gaps[g].Load()
	}
	return s
}
