// Package local implements core.Bus in memory: it passes committed events to subscribers
// in the same process.
package local

import (
	"sync"

	"github.com/confab-chat/confab/internal/core"
)

// Bus passes events to its subscriptions. The zero value is ready to use. It is safe for
// concurrent use.
type Bus struct {
	mu   sync.RWMutex // guards subs
	subs map[*Subscription]struct{}
}

var _ core.Bus = (*Bus)(nil)

// Subscription receives all events that are published until it is closed.
type Subscription struct {
	bus *Bus
	// C receives one slice of events per call of Publish. The events of a thread are in
	// order. Subscribers share the slice and must not change it.
	C    <-chan []core.Event
	c    chan []core.Event
	once sync.Once

	mu     sync.Mutex // guards missed
	missed bool
}

// Subscribe returns a new subscription whose channel buffers up to queue batches. When
// the buffer is full, further batches are dropped for this subscription, and Missed
// returns true; the subscriber must then read the missed events from the store.
func (b *Bus) Subscribe(queue int) *Subscription {
	c := make(chan []core.Event, queue)
	s := &Subscription{bus: b, C: c, c: c}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = make(map[*Subscription]struct{})
	}
	b.subs[s] = struct{}{}
	return s
}

// Publish sends the events to all subscriptions without blocking. The caller must not
// change events afterwards.
func (b *Bus) Publish(events []core.Event) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for s := range b.subs {
		select {
		case s.c <- events:
		default:
			s.mu.Lock()
			s.missed = true
			s.mu.Unlock()
		}
	}
}

// Missed reports whether a batch was dropped since the previous call of Missed.
func (s *Subscription) Missed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	missed := s.missed
	s.missed = false
	return missed
}

// Close ends the subscription and closes C. It may be called more than once.
func (s *Subscription) Close() {
	s.once.Do(func() {
		s.bus.mu.Lock()
		defer s.bus.mu.Unlock()
		delete(s.bus.subs, s)
		close(s.c)
	})
}
