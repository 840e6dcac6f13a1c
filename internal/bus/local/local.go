// Package local implements core.Bus in memory: it delivers committed events to subscribers in
// the same process.
package local

import (
	"sync"
	"sync/atomic"

	"github.com/confab-chat/confab/internal/core"
)

// Bus delivers happenings (events with the rows that they refer to) to its subscriptions. The
// zero value is ready to use. It is safe for concurrent use.
type Bus struct {
	mu    sync.RWMutex // guards subs
	subs  map[*subscription]struct{}
	count atomic.Int64 // number of elements in subs
}

var _ core.Bus = (*Bus)(nil)

// subscription implements core.Subscription.
type subscription struct {
	bus    *Bus
	c      chan []*core.Happening
	missed atomic.Bool
	once   sync.Once
}

// Subscribe returns a new subscription whose channel holds up to queue slices of happenings.
// While the channel is full, further slices are dropped for this subscription and Missed
// returns true. The subscriber must then read the missed events from the store.
func (b *Bus) Subscribe(queue int) core.Subscription {
	s := &subscription{bus: b, c: make(chan []*core.Happening, queue)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = make(map[*subscription]struct{})
	}
	b.subs[s] = struct{}{}
	b.count.Store(int64(len(b.subs)))
	return s
}

// Listening reports whether the bus has a subscription.
func (b *Bus) Listening() bool { return b.count.Load() > 0 }

// Publish sends the happenings to all subscriptions without blocking. It takes ownership
// of hs.
func (b *Bus) Publish(hs []*core.Happening) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for s := range b.subs {
		select {
		case s.c <- hs:
		default:
			s.missed.Store(true)
		}
	}
}

// Happenings returns the channel of the subscription. The channel receives one slice for each
// call of Publish. The happenings of a thread arrive in order.
func (s *subscription) Happenings() <-chan []*core.Happening { return s.c }

// Missed reports whether a slice of happenings was dropped since the previous call of Missed.
func (s *subscription) Missed() bool { return s.missed.Swap(false) }

// Close ends the subscription and closes its channel. It may be called more than once.
func (s *subscription) Close() {
	s.once.Do(func() {
		s.bus.mu.Lock()
		defer s.bus.mu.Unlock()
		delete(s.bus.subs, s)
		s.bus.count.Store(int64(len(s.bus.subs)))
		close(s.c)
	})
}
