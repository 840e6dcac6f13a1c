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

// comeAndGo removes a user from a thread and adds it again, with an event between, so often
// that its row forgets the first time in the thread.
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

// first returns the first word that the sink has got, or "", and forgets all.
func (k *sink) first() string {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	words := append(slices.Clone(k.words), "")
	k.words = nil
	return words[0]
}

// TestForgottenTimesAreAGap lets a user miss an event of its first time in a thread, and then
// forget that time. It checks that the user is told of a gap, once, and only where it asks for
// this thread, and that another member gets the event.
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

// behind returns a house whose hub hears nothing from the bus and only looks at the log, once a
// second, and a function that stops it.
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

// TestTimesForgottenWhileCatchingUp lets a user forget its first time in a thread while a
// session reads an event of that time.
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
		time.Sleep(2 * time.Second) // the session has to read it from the store
		var once sync.Once
		hook := func() { once.Do(func() { h.comeAndGo(ann, thread, bob) }) }
		h.hooks.events.Store(&hook)
		_, k := behind.open(bob, &from, gateway.SessionOptions{})
		k.want(t, "gap:tooMuch")
	})
}

// TestTimesForgottenOnAServerBehind lets a user forget its first time in a thread before its
// server has told an event of that time to its open session.
func TestTimesForgottenOnAServerBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		behind, stop := h.behind()
		defer stop()
		ann, bob := h.user(), h.user()
		thread := h.thread("plans", ann, bob)
		_, k := behind.open(bob, nil, gateway.SessionOptions{})
		time.Sleep(2 * time.Second) // the server behind has told all that was before
		k.want(t)
		h.send(ann, thread, "missed")
		h.comeAndGo(ann, thread, bob)
		time.Sleep(2 * time.Second) // it looks at the log, a page at a time
		if got := k.first(); got != "gap:tooMuch" {
			t.Errorf("the session is told %q first, want a gap", got)
		}
		h.send(ann, thread, "two")
		time.Sleep(2 * time.Second)
		k.want(t, "messageReceived:two")
	})
}
