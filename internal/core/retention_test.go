package core_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

const day = 24 * time.Hour

func (h *house) kept(t *testing.T, caller string, days int32) string {
	t.Helper()
	th, _, err := h.CreateThread(context.Background(), caller, core.CreateThread{Topic: "kept", RetentionDays: days})
	if err != nil {
		t.Fatal(err)
	}
	return th.ID
}

// TestRetention checks that a thread expires at the time that its retention policy sets, that
// operations on it then fail, and that the next sweep deletes it.
func TestRetention(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	month, quarter, ever := h.kept(t, ann, 30), h.kept(t, ann, 90), h.kept(t, ann, 0)
	for _, id := range []string{month, quarter, ever} {
		h.send(t, ann, id, "hello")
	}
	h.pass(30*day - time.Millisecond)
	if next, err := h.Sweep(ctx); err != nil || !next.Equal(start.Add(30*day)) {
		t.Errorf("a sweep before the expiry: next %v, %v; want %v", next, err, start.Add(30*day))
	}
	if got := h.contents(t, ann, month); got[0] != "hello" {
		t.Errorf("a millisecond before it expires the thread reads %v", got)
	}

	h.pass(time.Millisecond)
	// The thread has expired, but no sweep has deleted it yet.
	_, err := h.SendMessage(ctx, ann, month, core.SendMessage{Kind: core.Text, Content: "late"})
	wantError(t, "send", err, core.NotFound, "The specified thread id was not found.")
	_, err = h.ListMessages(ctx, ann, month, core.ListMessages{Limit: 10})
	wantError(t, "list messages", err, core.NotFound, "The specified thread id was not found.")
	wantError(t, "keep it after all", h.UpdateThread(ctx, ann, month, core.UpdateThread{RetentionDays: new(int32)}), core.NotFound, "The specified thread id was not found.")
	for range 2 { // done again it does nothing
		if next, err := h.Sweep(ctx); err != nil || !next.Equal(start.Add(90*day)) {
			t.Errorf("the sweep: next %v, %v; want %v", next, err, start.Add(90*day))
		}
	}
	over, err := h.Inspect(ctx, month)
	if err != nil || over.DeletedOn != h.now.Load() {
		t.Errorf("the thread is %+v, %v; want it deleted now", over, err)
	}
	page, err := h.store.Messages(ctx, core.MessagesQuery{Thread: month, Limit: 10})
	if err != nil || len(page.Messages) != 0 {
		t.Errorf("messages are left: %+v, %v", page, err)
	}

	// Remove the retention policy of another thread in the store, as another server would. The
	// thread must then not expire.
	h.behind(t, keepFor(t, h, quarter, 0))
	h.pass(60 * day)
	h.send(t, ann, quarter, "still here")
	if next, err := h.Sweep(ctx); err != nil || !next.IsZero() {
		t.Errorf("nothing more to expire: next %v, %v", next, err)
	}
	h.send(t, ann, ever, "still here")
}

// TestRetentionOfMany lets more threads expire than one sweep handles, and checks that repeated
// sweeps delete all of them.
func TestRetentionOfMany(t *testing.T) {
	ctx := t.Context()
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	var ids []string
	for range 130 {
		ids = append(ids, h.kept(t, ann, 30))
	}
	h.pass(31 * day)
	sweeps := 0
	for next := time.UnixMilli(h.now.Load()); !next.IsZero(); sweeps++ {
		var err error
		if next, err = h.Sweep(ctx); err != nil || sweeps > 5 {
			t.Fatalf("sweep %d: %v", sweeps, err)
		}
		if wait := next.Sub(time.UnixMilli(h.now.Load())); wait > 0 {
			t.Fatalf("a sweep wants to wait for %v", wait)
		}
	}
	for _, id := range ids {
		if th, err := h.Inspect(ctx, id); err != nil || th.DeletedOn == 0 {
			t.Fatal(fmt.Errorf("thread %s was left: %+v, %w", id, th, err))
		}
	}
}

// orphaned is a store whose Expiring first lists threads that do not exist or do not expire.
type orphaned struct {
	core.Store
	first []core.Expiry
}

func (o *orphaned) Expiring(ctx context.Context, limit int) ([]core.Expiry, error) {
	es, err := o.Store.Expiring(ctx, limit)
	es = append(append([]core.Expiry(nil), o.first...), es...)
	return es[:min(limit, len(es))], err
}

// TestRetentionOfNothing sweeps a full page of threads none of which can be deleted. It checks that
// Sweep does not return the current time: its caller would then call it again at once, for ever.
func TestRetentionOfNothing(t *testing.T) {
	var o *orphaned
	h := newHouse(t, nil, func(s core.Store) core.Store {
		o = &orphaned{Store: s}
		return o
	})
	ann := h.user(t)
	ever, month := h.kept(t, ann, 0), h.kept(t, ann, 30)
	o.first = []core.Expiry{{Thread: ever, On: 1}}
	for n := range 98 {
		o.first = append(o.first, core.Expiry{Thread: fmt.Sprint("19:gone-", n), On: int64(n + 2)})
	}
	h.pass(31 * day)
	// The last thread of a full page has expired, so further threads may have expired. The next
	// sweep must therefore be due now.
	if next, err := h.Sweep(t.Context()); err != nil || next.UnixMilli() != h.now.Load() {
		t.Errorf("a sweep that deleted one of a full page: next %v, %v; want now", next, err)
	}
	if th, err := h.Inspect(t.Context(), month); err != nil || th.DeletedOn == 0 {
		t.Errorf("the thread was left: %+v, %v", th, err)
	}
	o.first = append(o.first, core.Expiry{Thread: month, On: h.now.Load()})
	if next, err := h.Sweep(t.Context()); err != nil || !next.IsZero() {
		t.Errorf("a sweep of a full page of nothing: next %v, %v; want none", next, err)
	}
	h.send(t, ann, ever, "still here")
}

func keepFor(t *testing.T, h *house, id string, days int32) *core.Change {
	t.Helper()
	th, err := h.store.Thread(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	p := th.Properties
	p.RetentionDays = days
	return &core.Change{Key: id, Thread: id, Revision: th.Revision, Properties: &p}
}
