package gateway_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// wantRefused fails the test unless Hub.Open and Hub.Admit both refuse a session of user u for
// the reason want, and the hub counts both refusals.
func (h *house) wantRefused(u core.User, want gateway.Reason) {
	h.t.Helper()
	_, err := h.hub.Open(h.t.Context(), h.claims(u), nil, gateway.SessionOptions{}, &sink{})
	var refused *gateway.OpenError
	if !errors.As(err, &refused) || refused.Why != want {
		h.t.Errorf("Open: %v, want the reason %v", err, want)
	}
	err = h.hub.Admit(h.t.Context(), h.claims(u))
	if !errors.As(err, &refused) || refused.Why != want {
		h.t.Errorf("Admit: %v, want the reason %v", err, want)
	}
	if n := h.hub.Stats().Refused[want.String()]; n != 2 {
		h.t.Errorf("%d refusals for the reason %v are counted, want 2", n, want)
	}
}

// TestSessionsOfAUser opens as many sessions of one user as are allowed by default. It checks that
// one more session of that user is refused, that another user can still open a session, and that
// the first user can open one more after a session has ended.
func TestSessionsOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann, bob := h.user(), h.user()
		var last *gateway.Session
		for range gateway.DefaultPerUser {
			last, _ = h.open(ann, nil, gateway.SessionOptions{})
		}
		h.wantRefused(ann, gateway.UserFull)
		h.open(bob, nil, gateway.SessionOptions{})
		last.End(gateway.Gone)
		h.open(ann, nil, gateway.SessionOptions{})
		if n := h.hub.Stats().Sessions; n != gateway.DefaultPerUser+1 {
			t.Errorf("%d sessions are open, want %d", n, gateway.DefaultPerUser+1)
		}
	})
}

// TestSessionsOfAServer opens as many sessions as a server may have. It checks that one more
// session is refused, and that a session can be opened again after another session has ended.
func TestSessionsOfAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{Sessions: 3})
		defer h.stop()
		var last *gateway.Session
		for range 3 {
			last, _ = h.open(h.user(), nil, gateway.SessionOptions{})
		}
		h.wantRefused(h.user(), gateway.NodeFull)
		last.End(gateway.Gone)
		h.open(h.user(), nil, gateway.SessionOptions{})
	})
}

// TestQueueOfASession blocks a session's client and sends messages until the session's queue
// is full. It checks that the queue is dropped with the first message that does not fit, that
// its bytes are no longer counted, and that the client gets every message once when it reads
// again.
func TestQueueOfASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		_, a := h.open(ann, nil, gateway.SessionOptions{})
		a.block()
		// after this the session's blocked Write holds this message, which is no longer in the
		// queue
		h.send(ann, thread, "first")
		synctest.Wait()
		want := []string{"messageReceived:first"}
		text := strings.Repeat("x", 20_000)
		var most int64
		for n := 0; h.hub.Stats().Dropped == 0; n++ {
			if n > 100 {
				t.Fatalf("%d bytes wait, and the queue is not dropped", h.hub.Stats().Queued)
			}
			most = h.hub.Stats().Queued
			h.send(ann, thread, fmt.Sprint(n, text))
			want = append(want, fmt.Sprint("messageReceived:", n, text))
			synctest.Wait()
		}
		if most > gateway.DefaultQueue || most < gateway.DefaultQueue-30_000 {
			t.Errorf("the queue held %d bytes, want %d at most and one message less at least", most, gateway.DefaultQueue)
		}
		if n := h.hub.Stats().Queued; n != 0 {
			t.Errorf("%d bytes are counted after the queue was dropped", n)
		}
		a.unblock()
		a.want(t, want...)
		if s := h.hub.Stats(); s.Dropped != 1 || s.CatchUps != 1 {
			t.Errorf("%d queues were dropped and %d sessions caught up, want 1 and 1", s.Dropped, s.CatchUps)
		}
	})
}

// TestQueueHoldsOneEvent sends a message that is larger than the bound of a session's queue,
// and checks that the session still gets it from its queue and does not read it from the
// store.
func TestQueueHoldsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{Queue: 100})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		_, a := h.open(ann, nil, gateway.SessionOptions{})
		text := strings.Repeat("x", 1000)
		h.send(ann, thread, text)
		a.want(t, "messageReceived:"+text)
		if s := h.hub.Stats(); s.Dropped != 0 || s.CatchUps != 0 {
			t.Errorf("%d queues were dropped and %d sessions caught up, want none", s.Dropped, s.CatchUps)
		}
	})
}

// TestQueuesOfAll blocks two sessions, one with many queued messages and one with few, until their
// queues together hold more bytes than all queues together may (Bounds.Queues). It checks that only
// the longer queue is dropped, and that both clients get every message once when they read again.
func TestQueuesOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound = 100_000
		h := newHouse(t, gateway.Bounds{Queues: bound})
		defer h.stop()
		ann, bob := h.user(), h.user()
		busy, quiet := h.thread("busy", ann), h.thread("quiet", bob)
		_, a := h.open(ann, nil, gateway.SessionOptions{})
		_, b := h.open(bob, nil, gateway.SessionOptions{})
		a.block()
		b.block()
		text := strings.Repeat("x", 5000)
		var wantA, wantB []string
		for i := range 3 {
			h.send(bob, quiet, fmt.Sprint(i, text))
			wantB = append(wantB, fmt.Sprint("messageReceived:", i, text))
			synctest.Wait()
		}
		short := h.hub.Stats().Queued
		for i := 0; h.hub.Stats().Dropped == 0; i++ {
			if n := h.hub.Stats().Queued; n > bound {
				t.Fatalf("%d bytes wait, want %d at most", n, bound)
			}
			h.send(ann, busy, fmt.Sprint(i, text))
			wantA = append(wantA, fmt.Sprint("messageReceived:", i, text))
			synctest.Wait()
		}
		if s := h.hub.Stats(); s.Dropped != 1 || s.Queued != short || short == 0 {
			t.Errorf("%d queues were dropped and %d bytes are left, want 1 and the %d of the short one", s.Dropped, s.Queued, short)
		}
		a.unblock()
		b.unblock()
		a.want(t, wantA...)
		b.want(t, wantB...)
		if s := h.hub.Stats(); s.CatchUps != 1 || s.Queued != 0 {
			t.Errorf("%d sessions caught up and %d bytes are counted, want 1 and 0", s.CatchUps, s.Queued)
		}
	})
}

// TestCatchUpsAtOnce opens five sessions that have missed events, while the store does not
// answer. It checks that no more than Bounds.CatchUps of them read from the store, that the
// others are counted as waiting, and that all get their events once the store answers.
func TestCatchUpsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bound, sessions = 2, 5
		h := newHouse(t, gateway.Bounds{CatchUps: bound})
		defer h.stop()
		start, err := h.hub.At(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		users := make([]core.User, sessions)
		for i := range users {
			users[i] = h.user()
			h.send(users[i], h.thread("plans", users[i]), "one")
		}
		time.Sleep(time.Second) // wait until the hub has read the messages from the event log
		var reading, most atomic.Int64
		answer := make(chan struct{})
		read := func() {
			n := reading.Add(1)
			defer reading.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			<-answer
		}
		h.hooks.events.Store(&read)
		sinks := make([]*sink, sessions)
		for i, u := range users {
			_, sinks[i] = h.open(u, &start, gateway.SessionOptions{})
		}
		synctest.Wait()
		if n, waiting := reading.Load(), h.hub.Stats().Waiting; n != bound || waiting != sessions-bound {
			t.Errorf("%d sessions read and %d wait, want %d and %d", n, waiting, bound, sessions-bound)
		}
		close(answer)
		for _, k := range sinks {
			k.want(t, "threadCreated", "messageReceived:one")
		}
		if n, waiting := most.Load(), h.hub.Stats().Waiting; n != bound || waiting != 0 {
			t.Errorf("up to %d sessions read at once and %d wait, want %d and none", n, waiting, bound)
		}
	})
}

// TestThreadsWithNews lets a session miss events in as many threads as it may (Bounds.News), and
// another session miss events in one more thread. It checks that the first session gets the events,
// and that the second one is told of a gap and then of new events.
func TestThreadsWithNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{News: 3})
		defer h.stop()
		ann := h.user()
		start, err := h.hub.At(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		thread := h.thread("plans", ann)
		for range 2 {
			h.thread("plans", ann)
		}
		_, a := h.open(ann, &start, gateway.SessionOptions{})
		a.want(t, "threadCreated", "threadCreated", "threadCreated")
		h.thread("plans", ann)
		a.want(t, "threadCreated")
		_, b := h.open(ann, &start, gateway.SessionOptions{})
		b.want(t, "gap:tooMuch")
		h.send(ann, thread, "one")
		b.want(t, "messageReceived:one")
		if n := h.hub.Stats().Gaps["tooMuch"]; n != 1 {
			t.Errorf("%d gaps are counted, want 1", n)
		}
	})
}

// stuck is a sink, the writing end of a session, whose Write fails as if its client had read no
// byte for too long.
type stuck struct{ sink }

// Write fails with a timeout.
func (*stuck) Write([]byte) error { return timeout{} }

// timeout is the error of a write whose deadline has passed.
type timeout struct{}

func (timeout) Error() string { return "no byte was taken" }
func (timeout) Timeout() bool { return true }

// TestWriteThatMovesNoByte lets the write of a session fail with a timeout, and checks that the
// session ends for the reason Slow and that the hub counts one ended session for that reason. The
// tests of the packages sse and trouter check when a write times out.
func TestWriteThatMovesNoByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		s, err := h.hub.Open(t.Context(), h.claims(h.user()), nil, gateway.SessionOptions{}, &stuck{})
		if err != nil {
			t.Fatal(err)
		}
		s.Start([]byte("hello\n"))
		<-s.Done()
		if n := h.hub.Stats().Ended["slow"]; s.Why() != gateway.Slow || n != 1 {
			t.Errorf("the session ended as %v, and %d are counted as slow", s.Why(), n)
		}
	})
}

// TestCut calls Hub.Cut while sessions are open, one of them with a blocked client. It checks
// that Cut returns the number of sessions once all are closed, and that sessions can be opened
// afterwards.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann := h.user()
		thread := h.thread("plans", ann)
		blocked := &interruptible{sink: sink{blocks: make(chan struct{})}}
		s, err := h.hub.Open(t.Context(), h.claims(ann), nil, gateway.SessionOptions{}, blocked)
		if err != nil {
			t.Fatal(err)
		}
		s.Start(nil)
		_, a := h.open(ann, nil, gateway.SessionOptions{})
		h.send(ann, thread, "one")
		a.want(t, "messageReceived:one")
		if n := h.hub.Cut(t.Context()); n != 2 {
			t.Errorf("%d sessions were cut, want 2", n)
		}
		if !a.closed || !blocked.closed {
			t.Error("Cut has returned, and a sink is open")
		}
		if n := h.hub.Stats().Ended["dropped"]; n != 2 {
			t.Errorf("%d sessions are counted as dropped, want 2", n)
		}
		if n := h.hub.Cut(t.Context()); n != 0 {
			t.Errorf("%d sessions were cut again", n)
		}
		_, a = h.open(ann, nil, gateway.SessionOptions{})
		h.send(ann, thread, "two")
		a.want(t, "messageReceived:two")
	})
}
