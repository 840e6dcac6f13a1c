package gateway_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/gateway"
)

// countingSink is a sink that counts how many sinks of its type run Write at the same time, and
// records the maximum.
type countingSink struct {
	sink
	now, most *atomic.Int64
}

// Write records the words in b. It lets other goroutines run before it returns.
func (k *countingSink) Write(b []byte) error {
	n := k.now.Add(1)
	for most := k.most.Load(); n > most && !k.most.CompareAndSwap(most, n); most = k.most.Load() {
	}
	for range 100 {
		runtime.Gosched()
	}
	k.now.Add(-1)
	return k.sink.Write(b)
}

// TestFewGoroutinesWrite sends a message to 200 sessions, and checks that only few goroutines write
// to clients at the same time.
func TestFewGoroutinesWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{PerUser: 200})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		synctest.Wait()
		var now, most atomic.Int64
		var sinks []*countingSink
		for range 200 {
			k := &countingSink{now: &now, most: &most}
			s, err := h.hub.Open(t.Context(), h.claims(ann), nil, gateway.SessionOptions{}, k)
			if err != nil {
				t.Fatal(err)
			}
			s.Start(nil)
			sinks = append(sinks, k)
		}
		h.send(ann, thread, "hello")
		synctest.Wait()
		for _, k := range sinks {
			k.want(t, "messageReceived:hello")
		}
		if got, want := most.Load(), int64(max(4, 2*runtime.GOMAXPROCS(0))); got > want {
			t.Errorf("%d sessions were written at the same time, want at most %d", got, want)
		}
	})
}

// TestSlowClientsHoldUpNobody opens 300 sessions whose clients read no byte. It checks that all
// other clients get a message within 50 ms, and that no goroutine is left after the slow clients
// have read.
func TestSlowClientsHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{PerUser: 500})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		synctest.Wait()
		var slow, fast []*sink
		for range 300 {
			_, k := h.openBlocked(ann, nil)
			slow = append(slow, k)
		}
		for range 10 {
			_, k := h.open(ann, nil, gateway.SessionOptions{})
			fast = append(fast, k)
		}
		for _, text := range []string{"one", "two"} {
			h.send(ann, thread, text)
			time.Sleep(50 * time.Millisecond) // of the bubble's clock
			for _, k := range fast {
				k.want(t, "messageReceived:"+text)
			}
		}
		for _, k := range slow {
			k.unblock()
		}
		synctest.Wait()
		for _, k := range slow {
			k.want(t, "messageReceived:one", "messageReceived:two")
		}
	})
}
