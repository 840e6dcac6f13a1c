package core

import (
	"context"
	"fmt"
)

// errReceiptRefused has no message, as recorded (docs/contract/chat.md §4.3).
var errReceiptRefused = &Error{Code: NotFound}

// SendReceipt notes that the caller has read up to a message (docs/contract/chat.md §4.3). A
// receipt for an older message than before does nothing.
func (s *Service) SendReceipt(ctx context.Context, caller, thread string, message int64) error {
	_, err := s.change(ctx, func(rows Rows) (*Change, error) {
		t, err := s.live(rows, thread)
		if err != nil {
			return nil, err
		}
		me, err := participant(t, caller)
		if err != nil {
			return nil, err
		}
		ms, err := rows.Messages(thread, message)
		if err != nil {
			return nil, err
		}
		if m, ok := ms[message]; !ok || !me.Sees(&m) {
			return nil, errReceiptRefused
		}
		c := changeOf(t)
		c.Receipt = &Receipt{User: caller, MessageID: message}
		c.Events = []Event{{Kind: ReceiptReceived, Actor: caller}}
		return c, nil
	})
	return err
}

// ListReceipts returns at most limit receipts from place skip on, by time of
// reading, and the place of the next page, or 0 (docs/contract/chat.md §4.3).
func (s *Service) ListReceipts(ctx context.Context, caller, thread string, skip, limit int) (rs []Receipt, next int, err error) {
	page, err := s.store.Receipts(ctx, thread, caller)
	if err != nil {
		return nil, 0, fmt.Errorf("list receipts of %s: %w", thread, err)
	}
	if err = s.exists(&page.Head); err == nil {
		err = participates(page.Member)
	}
	if err != nil {
		return nil, 0, err
	}
	if s.limits.Receipts > 0 {
		t, err := s.threadAt(ctx, page.View)
		if err != nil {
			return nil, 0, err
		}
		if len(t.Participants()) > s.limits.Receipts {
			return nil, 0, nil
		}
	}
	rs, next = cutPage(page.Receipts, skip, limit, func(*Receipt) int { return 0 })
	return rs, next, nil
}
