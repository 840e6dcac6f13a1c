package core

import (
	"cmp"
	"context"
	"fmt"

	"github.com/confab-chat/confab/internal/why"
)

// errReceiptRefused is the 404 error for a receipt of a message that the caller cannot see. The
// error has an empty message, like the recorded answers (docs/contract/chat.md §4.3).
var errReceiptRefused = &Error{Code: NotFound, Why: why.Because(why.UnknownMessage)}

// SendReceipt stores that the caller has read the messages up to the given id
// (docs/contract/chat.md §4.3). It does nothing if the caller's stored receipt is for a later
// message.
func (s *Service) SendReceipt(ctx context.Context, caller, thread string, message int64) error {
	return s.changeMessage(ctx, caller, thread, message, errReceiptRefused, func(t *Thread, _ Message) (*Change, error) {
		c := changeOf(t)
		c.Receipt = &Receipt{User: caller, MessageID: message}
		c.Events = []Event{{Kind: ReceiptReceived, Actor: caller}}
		return c, nil
	})
}

// ListReceipts skips the first skip receipts of a thread, ordered by ReadOn, and returns at most
// limit of the next ones (docs/contract/chat.md §4.3). next is the number of receipts to skip for
// the next page, or 0 after the last page. The list is empty if the thread has more participants
// than Limits.Receipts.
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
	rs, next = cutPage(page.Receipts, skip, limit, Receipt.size)
	return rs, next, nil
}

// ReceiptsSize returns an upper bound on the memory, in bytes, that ListReceipts uses for rows.
// ListReceipts reads all receipts of the thread; each present or former member has at most one.
// ReceiptsSize returns 0 if the thread's receipts are not listed, and fails in the same cases
// as ListReceipts.
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
	return receiptBytes*t.Size() + t.users, nil
}

// size returns the approximate size of a receipt in memory, in bytes.
func (r Receipt) size() int { return receiptBytes + len(r.User) }

// receiptBytes is the approximate size of a receipt in memory without the user's id.
const receiptBytes = 64
