package traffic

import (
	"context"
	"errors"
	"math"
	"time"
)

// ErrTooMany means that the Log already has MaxSubscriptions subscriptions.
var ErrTooMany = errors.New("too many readers follow the requests")

// Bounds of a subscription. It reads at most batch requests at a time, and at most once in each
// pace, so that a reader costs little even if the server has many requests. Page and Get also read
// at most batch requests at a time.
const (
	batch = 200
	pace  = 100 * time.Millisecond
)

// Subscription follows the requests of a Log. It is not safe for concurrent use. Close it at the
// end.
type Subscription struct {
	log    *Log
	filter Filter
	next   uint64        // number of the next request to read
	wake   chan struct{} // channel of capacity 1, which receives a value when the Log has new requests
	last   time.Time     // when the last batch was read
}

// Subscribe returns a subscription to the requests that match the filter and have a number greater
// than after. If after is 0, the subscription begins with the next request. If no request has the
// number after yet, the reader got the number before a restart of the server, and the subscription
// begins with the first request since the restart. Subscribe fails with ErrTooMany if the Log
// already has MaxSubscriptions subscriptions.
func (l *Log) Subscribe(f Filter, after uint64) (*Subscription, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.following) >= MaxSubscriptions {
		return nil, ErrTooMany
	}
	s := &Subscription{log: l, filter: f, next: l.next, wake: make(chan struct{}, 1)}
	switch {
	case after >= l.next:
		s.next = 1
	case after != 0:
		s.next = after + 1
	}
	l.following[s] = true
	return s, nil
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	delete(s.log.following, s)
}

// Next waits for requests, and returns the requests since the last call that match the filter,
// oldest first. If there are more than batch of them, or if the Log has dropped some, Next leaves
// out the oldest. lost is the number of requests that are left out, including requests that would
// not match the filter. Next fails if ctx is done.
func (s *Subscription) Next(ctx context.Context) (requests []Request, lost uint64, err error) {
	for {
		if err := s.rest(ctx); err != nil {
			return nil, 0, err
		}
		found, lost := s.read()
		for i := range found {
			if s.filter.matches(&found[i]) {
				requests = append(requests, found[i].summary())
			}
		}
		if len(requests) > 0 || lost > 0 {
			return requests, lost, nil
		}
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-s.wake:
		}
	}
}

// rest waits until the time pace has passed since the last batch was read.
func (s *Subscription) rest(ctx context.Context) error {
	wait := pace - time.Since(s.last)
	if s.last.IsZero() || wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// read returns the entries since the last call. lost is the number of entries that it leaves out,
// because the Log has dropped them or because there are more than batch.
func (s *Subscription) read() (found []entry, lost uint64) {
	found = s.log.newest(s.next, math.MaxUint64)
	if len(found) == 0 {
		return nil, 0
	}
	s.last = time.Now()
	lost = found[0].seq - s.next
	s.next = found[len(found)-1].seq + 1
	return found, lost
}
