package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// TestFullClientCatchesUp opens a session that has missed events and whose client takes three
// events at a time, and checks that the client gets every event once.
func TestFullClientCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		start, err := h.store.Tip(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range 100 {
			h.send(ann, thread, fmt.Sprint(i))
			want = append(want, fmt.Sprint("messageReceived:", i))
		}
		k := &sink{}
		limit := 3
		k.full = func() bool { return k.appended >= limit }
		s, err := h.hub.Open(t.Context(), h.claims(ann), &start, gateway.SessionOptions{}, k)
		if err != nil {
			t.Fatal(err)
		}
		s.Start(nil)
		for synctest.Wait(); limit < 120; synctest.Wait() {
			k.mu.Lock()
			limit += 3
			k.mu.Unlock()
			s.Wake()
		}
		k.want(t, want...)
	})
}

// TestAnswerWhileCatchingUp opens sessions that have missed events. Their clients take three events
// at a time. They answer after Sink.Full has returned true one to four times, or when the session
// waits. The test checks that each client gets every event once.
func TestAnswerWhileCatchingUp(t *testing.T) {
	for times := 1; times <= 4; times++ {
		t.Run(fmt.Sprint("full=", times), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, gateway.Bounds{})
				defer h.stop()
				ann := h.user()
				thread := h.thread("plans", ann)
				start, err := h.store.Tip(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var want []string
				for i := range 100 {
					h.send(ann, thread, fmt.Sprint(i))
					want = append(want, fmt.Sprint("messageReceived:", i))
				}
				k := &sink{}
				s, err := h.hub.Open(t.Context(), h.claims(ann), &start, gateway.SessionOptions{}, k)
				if err != nil {
					t.Fatal(err)
				}
				limit, asked := 3, 0
				answer := func() {
					limit, asked = k.appended+3, 0
					go s.Wake()
				}
				k.full = func() bool {
					if k.appended < limit {
						return false
					}
					if asked++; asked == times {
						answer()
					}
					return true
				}
				s.Start(nil)
				for range want {
					synctest.Wait()
					k.mu.Lock()
					answer()
					k.mu.Unlock()
				}
				k.want(t, want...)
			})
		})
	}
}

// TestWakeIsNotLost calls Session.Wake while Sink.Full returns true, and checks that the
// session still writes the next event.
func TestWakeIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		s, k := h.open(ann, nil, gateway.SessionOptions{})
		synctest.Wait()
		k.full = func() bool {
			k.full = nil
			s.Wake()
			return true
		}
		h.send(ann, thread, "one")
		k.want(t, "messageReceived:one")
	})
}

// TestEndBeforeStart ends a session before it is started, and checks that Start then does
// nothing.
func TestEndBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		k := &sink{}
		s, err := h.hub.Open(t.Context(), h.claims(h.user()), nil, gateway.SessionOptions{}, k)
		if err != nil {
			t.Fatal(err)
		}
		h.hub.EndAll(gateway.Draining)
		<-s.Done()
		s.Start([]byte("hello\n"))
		k.want(t)
		if !k.closed {
			t.Error("the sink is open")
		}
	})
}

// TestRefusedSessionLeavesNothing sends a message while Hub.Open checks a revoked token. The
// session is already in the hub then and queues the message. It checks that Open fails and that the
// message's bytes are no longer counted as queued.
func TestRefusedSessionLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		claims := h.claims(ann)
		if err := h.core.RevokeTokens(t.Context(), ann.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := h.hub.At(t.Context()); err != nil {
			t.Fatal(err)
		}
		send := func() {
			h.hooks.users.Store(nil)
			h.send(ann, thread, "one")
			synctest.Wait()
			if h.hub.Stats().Queued == 0 {
				t.Error("the session has queued nothing, so the test shows nothing")
			}
		}
		h.hooks.users.Store(&send)
		_, err := h.hub.Open(t.Context(), claims, nil, gateway.SessionOptions{}, &sink{})
		var refused *gateway.OpenError
		if !errors.As(err, &refused) || refused.Why != gateway.Revoked {
			t.Errorf("Open: %v", err)
		}
		if s := h.hub.Stats(); s.Queued != 0 || s.Sessions != 0 {
			t.Errorf("%d bytes are queued in %d sessions", s.Queued, s.Sessions)
		}
	})
}

// TestFeedStopsAndStarts opens sessions after pauses, at about the time when a hub without sessions
// stops reading the log. It checks that each session opens at once and gets new events.
func TestFeedStopsAndStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		for _, idle := range []time.Duration{0, 25, 1, 9, 1, 10, 10, 5, 5, 20, 4, 4, 4, 11, 9, 2} {
			time.Sleep(idle * time.Second)
			before := time.Now()
			s, k := h.open(ann, nil, gateway.SessionOptions{})
			if took := time.Since(before); took > 0 {
				t.Errorf("after %v s: opening a session took %v", int(idle), took)
			}
			h.send(ann, thread, "one")
			k.want(t, "messageReceived:one")
			s.End(gateway.Gone)
			<-s.Done()
		}
	})
}

// TestDrainTellsClients drains a hub with a blocked client, and checks that Drain waits until
// the client has been told.
func TestDrainTellsClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		s, k := h.open(h.user(), nil, gateway.SessionOptions{})
		synctest.Wait()
		k.block()
		var drain sync.WaitGroup
		drain.Go(func() {
			h.hub.Drain(context.Background())
			select {
			case <-s.Done():
			default:
				t.Error("Drain has returned before the client was told")
			}
		})
		synctest.Wait()
		k.unblock()
		drain.Wait()
		k.want(t, "bye:draining")
	})
}

// TestCursorOfAServerAhead resumes a session on a second server, which has not yet read an event
// that the client has received from the first server. It checks that the client gets no event
// twice.
func TestCursorOfAServerAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		behind := *h
		behind.hub = gateway.NewHub(gateway.Options{Core: h.core, Store: h.store, Bus: new(local.Bus), Keys: h.tokens})
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		running.Go(func() { behind.hub.Run(ctx) })
		defer behind.hub.Drain(ctx)
		if _, err := behind.hub.At(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, k := h.open(ann, nil, gateway.SessionOptions{})
		h.send(ann, thread, "one")
		k.want(t, "messageReceived:one")
		from := k.last
		s, k := behind.open(ann, &from, gateway.SessionOptions{})
		h.send(ann, thread, "two")
		time.Sleep(2 * time.Second)
		k.want(t, "messageReceived:two")
		s.End(gateway.Gone)
		<-s.Done()
	})
}

// TestTrimOnAServerBehind resumes a session on a second server, which has not yet read an event
// that the client has received from the first server, and trims the log after that event. It checks
// that the client gets no event twice.
func TestTrimOnAServerBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		bus := new(local.Bus)
		behind := *h
		behind.hub = gateway.NewHub(gateway.Options{Core: h.core, Store: h.store, Bus: bus, Keys: h.tokens})
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		running.Go(func() { behind.hub.Run(ctx) })
		defer behind.hub.Drain(ctx)
		if _, err := behind.hub.At(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		heard := h.bus.Subscribe(10)
		defer heard.Close()
		_, k := h.open(ann, nil, gateway.SessionOptions{})
		h.send(ann, thread, "one")
		k.want(t, "messageReceived:one")
		from := k.last
		h.send(ann, thread, "two")
		if err := h.store.Trim(ctx, core.DayOf(time.Now().UnixMilli())+1); err != nil {
			t.Fatal(err)
		}
		_, k = behind.open(ann, &from, gateway.SessionOptions{})
		synctest.Wait()
		bus.Publish(<-heard.Happenings())
		synctest.Wait()
		k.want(t)
		time.Sleep(2 * time.Second) // wait until the second server has read the log
		k.want(t, "gap:trimmed")
		h.send(ann, thread, "three")
		time.Sleep(2 * time.Second)
		k.want(t, "messageReceived:three")
	})
}

// TestTypingOnAServerBehind resumes a session on a second server, which has not yet read an event
// that the client has received from the first server, and sends a typing notification there. It
// checks that the client gets no event twice after the second server has read the log.
func TestTypingOnAServerBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		bus := new(local.Bus)
		behind := *h
		behind.hub = gateway.NewHub(gateway.Options{Core: h.core, Store: h.store, Bus: bus, Keys: h.tokens})
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		running.Go(func() { behind.hub.Run(ctx) })
		defer behind.hub.Drain(ctx)
		if _, err := behind.hub.At(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, k := h.open(ann, nil, gateway.SessionOptions{})
		h.send(ann, thread, "one")
		k.want(t, "messageReceived:one")
		from := k.last
		_, k = behind.open(ann, &from, gateway.SessionOptions{})
		synctest.Wait()
		bus.Publish([]*core.Happening{{Event: core.Event{Thread: thread, Kind: core.TypingReceived, Actor: ann.ID}, DisplayName: "Ann"}})
		k.want(t, "typing:Ann")
		time.Sleep(2 * time.Second)
		k.want(t)
		h.send(ann, thread, "two")
		time.Sleep(2 * time.Second)
		k.want(t, "messageReceived:two")
	})
}

// TestTrimWhileCatchingUp trims the log while a session reads missed events, and checks that
// the client is told of a gap where events are missing.
func TestTrimWhileCatchingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		first, second := h.thread("plans", ann), h.thread("more", ann)
		start, err := h.store.Tip(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			h.send(ann, first, fmt.Sprint("old", i))
			h.send(ann, second, fmt.Sprint("older", i))
		}
		today := core.DayOf(time.Now().UnixMilli())
		trim := func() {
			h.hooks.events.Store(nil)
			if err := h.store.Trim(t.Context(), today+1); err != nil {
				t.Error(err)
			}
		}
		h.hooks.events.Store(&trim)
		_, k := h.open(ann, &start, gateway.SessionOptions{})
		h.send(ann, first, "newer")
		k.want(t, "gap:trimmed", "messageReceived:newer")
	})
}

// TestForeignThreadsAreForgotten checks that after the log has lost events, the server no longer
// uses a cached thread but reads the thread from the store again.
func TestForeignThreadsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		_, k := h.open(ann, nil, gateway.SessionOptions{})
		h.send(ann, thread, "one")
		k.want(t, "messageReceived:one")
		cached, err := h.core.ThreadSince(t.Context(), thread, 1)
		if err != nil {
			t.Fatal(err)
		}
		h.hooks.lost.Store(true)
		time.Sleep(2 * time.Second)
		k.want(t, "gap:epoch")
		if now, err := h.core.ThreadSince(t.Context(), thread, 1); err != nil || now == cached {
			t.Errorf("the thread is still cached; error %v", err)
		}
	})
}

// TestEpochRenewedElsewhere renews the epoch of the log as another server would, and opens a
// session with a cursor of the new epoch before the hub knows that epoch. It checks that the
// client is told of no gap: the session ends, so that the client connects again.
func TestEpochRenewedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		if _, err := h.hub.At(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // wait until the hub has read the log
		if err := h.store.RenewEpoch(t.Context(), "first", "second"); err != nil {
			t.Fatal(err)
		}
		tip, err := h.store.Tip(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ann := h.user()
		_, k := h.open(ann, &tip, gateway.SessionOptions{})
		k.want(t, "bye:away")
	})
}

// TestClientLeavesBeforeItsSession cancels the context of Hub.Open while the hub cannot read the
// log. It checks that the refusal is counted for the reason "gone" and not "away", which would
// blame the server.
func TestClientLeavesBeforeItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		// this hub does not follow the log, because nobody calls its method Run
		idle := gateway.NewHub(gateway.Options{Core: h.core, Store: h.store, Bus: h.bus, Keys: h.tokens})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := idle.Open(ctx, h.claims(h.user()), nil, gateway.SessionOptions{}, &sink{})
		var refused *gateway.OpenError
		if !errors.As(err, &refused) || refused.Why != gateway.Gone || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want gone", err)
		}
		if counts := idle.Stats().Refused; counts["away"] != 0 || counts["gone"] != 1 {
			t.Errorf("refused: %v, want one that is gone", counts)
		}
		_, err = idle.Open(t.Context(), h.claims(h.user()), nil, gateway.SessionOptions{}, &sink{})
		if !errors.As(err, &refused) || refused.Why != gateway.Away {
			t.Errorf("got %v, want away", err)
		}
	})
}
