package core

import (
	"cmp"
	"context"
	"fmt"
)

// errReceiptRefused is the 404 for a receipt of a message that the caller cannot see.
// It has no text, as was recorded (docs/contract/chat.md §4.3).
var errReceiptRefused = &Error{Code: NotFound}

// SendReceipt stores that the caller has read the messages up to the given id
// (docs/contract/chat.md §4.3). It does nothing if the stored receipt is for a later message.
func (s *Service) SendReceipt(ctx context.Context, caller, thread string, message int64) error {
	return s.changeMessage(ctx, caller, thread, message, errReceiptRefused, func(t *Thread, _ Message) (*Change, error) {
		c := changeOf(t)
		c.Receipt = &Receipt{User: caller, MessageID: message}
		c.Events = []Event{{Kind: ReceiptReceived, Actor: caller}}
		return c, nil
	})
}

// ListReceipts skips the first skip receipts of a thread, ordered by ReadOn, and
// returns at most limit of the others (docs/contract/chat.md §4.3). next is the skip of
// the next page, or 0. The list is empty if the thread has more participants than
// Limits.Receipts.
func (s *Service) ListReceipts(ctx context.Context, caller, thread string, skip, limit int) (rs []Receipt, next int, err error) {
	if s.limits.Receipts > 0 {
		if size, err := s.ReceiptsSize(ctx, caller, thread); err != nil || size == 0 {
			return nil, 0, err
		}
	}
	page, err := s.store.Receipts(ctx, thread, caller)
	if err != nil {
		return nil, 0, fmt.Errorf("list receipts of %s: %w", thread, err)
	}
	if err := cmp.Or(s.exists(&page.Head, page.Member), participates(page.Member)); err != nil {
		return nil, 0, err
	}
	rs, next = cutPage(page.Receipts, skip, limit, (*Receipt).size)
	return rs, next, nil
}

// ReceiptsSize returns about the most bytes of the rows that ListReceipts holds: a page is cut
// from all receipts of a thread, of which each member has one at most, former ones included. It
// returns 0 if the thread's receipts are not listed, and fails as ListReceipts does.
func (s *Service) ReceiptsSize(ctx context.Context, caller, thread string) (bytes int, err error) {
	v, err := s.view(ctx, caller, thread)
	if err != nil {
		return 0, err
	}
	t, err := s.threadAt(ctx, v)
	if err != nil {
		return 0, err
	}
	if s.limits.Receipts > 0 && len(t.Participants()) > s.limits.Receipts {
		return 0, nil
	}
	for i := range t.Members {
		bytes += (&Receipt{User: t.Members[i].User}).size()
	}
	return bytes, nil
}

// size returns about the bytes of a receipt in memory.
func (r *Receipt) size() int { return 64 + len(r.User) }
