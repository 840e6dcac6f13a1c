// Package local is the bus of one process: committed events go from the lanes
// to whoever has subscribed, in memory.
package local

import (
	"sync"

	"github.com/confab-chat/confab/internal/core"
)

// Bus hands events to its subscribers. The zero value is ready to use.
type Bus struct {
	mu   sync.RWMutex // guards subs
	subs map[*Subscription]struct{}
}

var _ core.Bus = (*Bus)(nil)

// Subscription receives events until it is closed.
type Subscription struct {
	bus *Bus
	// C carries the events, a slice per batch, shared by all subscribers and
	// never changed. In a slice the events of a thread are in order.
	C    <-chan []core.Event
	c    chan []core.Event
	once sync.Once

	mu     sync.Mutex // guards missed
	missed bool
}

// Subscribe returns a subscription that holds up to queue batches. At the
// bound further batches are dropped for this subscriber, and Missed says so:
// it then reads the store by position.
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

// Publish hands the events to every subscriber and waits for none.
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

// Missed says whether a batch was dropped since the last call.
func (s *Subscription) Missed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	missed := s.missed
	s.missed = false
	return missed
}

// Close ends the subscription and closes C.
func (s *Subscription) Close() {
	s.once.Do(func() {
		s.bus.mu.Lock()
		defer s.bus.mu.Unlock()
		delete(s.bus.subs, s)
		close(s.c)
	})
}
