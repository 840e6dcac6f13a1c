package core_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// receiptReads is a store that counts how often the receipts of a thread are read.
type receiptReads struct {
	core.Store
	n atomic.Int64
}

func (s *receiptReads) Receipts(ctx context.Context, thread, reader string) (core.ReceiptsPage, error) {
	s.n.Add(1)
	return s.Store.Receipts(ctx, thread, reader)
}

// TestReceiptsOfLargeThreadsAreNotRead lists the receipts of a thread with exactly Limits.Receipts
// participants, and then with one more. It checks that the second list is empty and that no
// receipts are read from the store for it.
func TestReceiptsOfLargeThreadsAreNotRead(t *testing.T) {
	var reads *receiptReads
	h := newHouseWith(t, nil, func(s core.Store) core.Store {
		reads = &receiptReads{Store: s}
		return reads
	}, core.Options{Limits: core.Limits{Receipts: 2}})
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann, bob)
	if err := h.SendReceipt(t.Context(), bob, thread, h.send(t, ann, thread, "text")); err != nil {
		t.Fatal(err)
	}
	list := func(want int, reading int64) {
		t.Helper()
		before := reads.n.Load()
		rs, next, err := h.ListReceipts(t.Context(), ann, thread, 0, 10)
		if n := reads.n.Load() - before; len(rs) != want || next != 0 || err != nil || n != reading {
			t.Errorf("%d receipts, next %d, %v, and %d reads; want %d, and %d reads", len(rs), next, err, n, want, reading)
		}
	}
	list(1, 1)
	if err := h.addWith(t, ann, thread, h.user(t), 0); err != nil {
		t.Fatal(err)
	}
	list(0, 0)
	_, _, err := h.ListReceipts(t.Context(), h.user(t), thread, 0, 10)
	wantError(t, "a stranger", err, core.Forbidden, noPermission)
}
