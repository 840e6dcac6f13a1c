package limits_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/limits"
)

// TestNear counts requests of some users. It checks that Near returns the users near a limit, the
// nearest first, and no user after the window has passed.
func TestNear(t *testing.T) {
	l, c := newLimiter(limits.Azure)
	for range 10 {
		l.Allow("create thread", "ann", "")
	}
	c.pass(time.Second)
	for range 7 {
		l.Allow("create thread", "bob", "")
	}
	for range 4 {
		l.Allow("create thread", "cem", "")
	}
	const limit = "create thread: 10 per 10 s by a user"
	want := []limits.Use{
		{User: "ann", Limit: limit, Used: 10, Of: 10, Over: true, Resets: 9 * time.Second},
		{User: "bob", Limit: limit, Used: 7, Of: 10, Resets: 10 * time.Second},
	}
	if diff := cmp.Diff(want, l.Near(100)); diff != "" {
		t.Errorf("near a limit (-want +got):\n%s", diff)
	}
	if got := l.Near(1); len(got) != 1 || got[0].User != "ann" {
		t.Errorf("the nearest: %+v", got)
	}
	c.pass(9 * time.Second)
	if got := l.Near(100); len(got) != 1 || got[0].User != "bob" {
		t.Errorf("after ann's window: %+v", got)
	}
	c.pass(time.Hour)
	if got := l.Near(100); len(got) != 0 {
		t.Errorf("after all windows: %+v", got)
	}
}

// TestNearIsBounded lets more than n users reach a limit, and checks that Near returns only n of
// them.
func TestNearIsBounded(t *testing.T) {
	l, _ := newLimiter(limits.Azure)
	for u := range 500 {
		for range 10 {
			l.Allow("create thread", fmt.Sprint("user ", u), "")
		}
	}
	if got := l.Near(5); len(got) != 5 || !got[0].Over {
		t.Errorf("%+v", got)
	}
}

// TestNearWritten checks that Near returns a user who has written more than half of the bytes that
// are allowed in an hour.
func TestNearWritten(t *testing.T) {
	c := newClock()
	w := limits.NewWritten(1000, c.now)
	w.Allow("ann", 900)
	w.Allow("bob", 100)
	want := []limits.Use{{User: "ann", Limit: "bytes written per hour by a user", Used: 900, Of: 1000, Resets: 65 * time.Minute}}
	if diff := cmp.Diff(want, w.Near(10)); diff != "" {
		t.Errorf("near (-want +got):\n%s", diff)
	}
	c.pass(2 * time.Hour)
	if got := w.Near(10); len(got) != 0 {
		t.Errorf("after two hours: %+v", got)
	}
}
