package core

import (
	"context"
	"fmt"
)

// errReceiptRefused has no message, as recorded (chat.md §4.3).
var errReceiptRefused = &Error{Code: NotFound}

// SendReceipt notes that the caller has read up to a message (chat.md §4.3). A
// receipt for an older message than before does nothing.
func (s *Service) SendReceipt(ctx context.Context, caller, thread string, message int64) error {
	_, _, err := s.change(ctx, func() (*Change, error) {
		return s.decide(ctx, thread, func(t *Thread) (*Change, error) {
			me, err := participant(t, caller)
			if err != nil {
				return nil, err
			}
			m, _, err := s.store.Message(ctx, thread, message)
			if err != nil {
				return nil, fmt.Errorf("load message %d of %s: %w", message, thread, err)
			}
			if m.ID == 0 || !me.sees(m) {
				return nil, errReceiptRefused
			}
			c := changeOf(t)
			c.Receipt = &Receipt{User: caller, MessageID: message}
			c.Events = []Event{{Kind: ReceiptReceived, Actor: caller}}
			return c, nil
		})
	})
	return err
}

// ListReceipts returns the receipts from place skip on, at most limit, by time
// of reading, and whether more follow (chat.md §4.3).
func (s *Service) ListReceipts(ctx context.Context, caller, thread string, skip, limit int) (rs []Receipt, more bool, err error) {
	err = s.read(ctx, thread, func(t *Thread) (uint64, error) {
		all, revision, err := s.store.Receipts(ctx, thread)
		if err != nil {
			return 0, fmt.Errorf("list receipts of %s: %w", thread, err)
		}
		if _, err := participant(t, caller); err != nil {
			return revision, err
		}
		if n := s.limits.Receipts; n > 0 && len(t.Participants()) > n {
			all = nil
		}
		rs, more = cutPage(all, skip, limit)
		return revision, nil
	})
	return rs, more, err
}
