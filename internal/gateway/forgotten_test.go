package gateway_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/sdk/communication"
)

// comeAndGo removes a user from a thread and adds the user again, 257 times. A member's row keeps
// fewer times of membership than that, so it loses the first time for which the user was in the
// thread.
func (h *house) comeAndGo(by core.User, thread string, u core.User) {
	h.t.Helper()
	who := communication.ParseRawID(u.ID)
	for range 257 {
		if err := h.core.RemoveParticipant(h.t.Context(), by.ID, thread, who); err != nil {
			h.t.Fatal(err)
		}
		h.send(by, thread, "away")
		if _, err := h.core.AddParticipants(h.t.Context(), by.ID, thread, []core.NewParticipant{{User: who}}); err != nil {
			h.t.Fatal(err)
		}
	}
}

// first returns the first text that the sink, the client's side of a session, has recorded, or ""
// if there is none. It discards all recorded texts.
func (k *sink) first() string {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	words := append(slices.Clone(k.words), "")
	k.words = nil
	return words[0]
}

// TestForgottenTimesAreAGap lets a user miss an event, and then makes the store forget that the
// user was in the thread at that event. It checks that the user is told of one gap if its session
// includes this thread and of none otherwise, and that another member gets the event.
func TestForgottenTimesAreAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann, bob := h.user(), h.user()
		thread, other := h.thread("plans", ann, bob), h.thread("other", ann, bob)
		if _, err := h.hub.At(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		from, err := h.hub.At(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.send(ann, thread, "missed")
		h.comeAndGo(ann, thread, bob)
		synctest.Wait()
		_, k := h.open(bob, &from, gateway.SessionOptions{})
		k.want(t, "gap:tooMuch")
		after := k.last
		h.send(ann, thread, "two")
		k.want(t, "messageReceived:two")
		_, k = h.open(bob, &after, gateway.SessionOptions{})
		k.want(t, "messageReceived:two")
		_, k = h.open(bob, &from, gateway.SessionOptions{Threads: []string{other}})
		k.want(t)
		_, k = h.open(ann, &from, gateway.SessionOptions{})
		if got := k.first(); got != "messageReceived:missed" {
			t.Errorf("the first event of who stayed is %q", got)
		}
	})
}

// behind returns a copy of the test setup h with a second hub. That hub gets nothing from the bus
// and learns of events only when it reads the log, once a second. behind also returns a function
// that stops the second hub.
func (h *house) behind() (*house, func()) {
	h.t.Helper()
	b := *h
	b.hub = gateway.NewHub(gateway.Options{Core: h.core, Store: h.hooks, Bus: new(local.Bus), Keys: h.tokens})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.hub.Run(ctx) })
	return &b, func() {
		b.hub.Drain(ctx)
		stop()
		running.Wait()
	}
}

// TestTimesForgottenWhileCatchingUp makes the store forget that a user was in a thread at an
// event while the user's session reads that event. It checks that the user is told of a gap.
func TestTimesForgottenWhileCatchingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		behind, stop := h.behind()
		defer stop()
		ann, bob := h.user(), h.user()
		thread := h.thread("plans", ann, bob)
		if _, err := behind.hub.At(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		from, err := behind.hub.At(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h.send(ann, thread, "missed")
		// wait until the second hub has read this event from the log, so that a new session must
		// read it from the store
		time.Sleep(2 * time.Second)
		var once sync.Once
		hook := func() { once.Do(func() { h.comeAndGo(ann, thread, bob) }) }
		h.hooks.events.Store(&hook)
		_, k := behind.open(bob, &from, gateway.SessionOptions{})
		if got := k.first(); got != "gap:tooMuch" { // the server behind may have read some of the later events too
			t.Errorf("the session is told %q first, want a gap", got)
		}
	})
}

// TestTimesForgottenOnAServerBehind makes the store forget that a user was in a thread at an
// event before the user's server has read that event. It checks that the open session is told
// of a gap.
func TestTimesForgottenOnAServerBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		behind, stop := h.behind()
		defer stop()
		ann, bob := h.user(), h.user()
		thread := h.thread("plans", ann, bob)
		_, k := behind.open(bob, nil, gateway.SessionOptions{})
		// wait until the second hub, which learns of events late, has handed on all earlier events
		time.Sleep(2 * time.Second)
		k.want(t)
		h.send(ann, thread, "missed")
		h.comeAndGo(ann, thread, bob)
		time.Sleep(2 * time.Second) // wait until the second hub, which learns of events late, has read the log
		if got := k.first(); got != "gap:tooMuch" {
			t.Errorf("the session is told %q first, want a gap", got)
		}
		h.send(ann, thread, "two")
		time.Sleep(2 * time.Second)
		k.want(t, "messageReceived:two")
	})
}
