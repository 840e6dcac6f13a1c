package chat

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

// ReadReceipt reports how far a user has read (docs/contract/chat.md §4.3). The service keeps only
// the newest receipt of each user.
type ReadReceipt struct {
	// Sender is the user that sent the receipt.
	Sender communication.Identifier `json:"senderCommunicationIdentifier"`

	// MessageID is the id of the last message that Sender has read.
	MessageID string `json:"chatMessageId"`

	// ReadOn is the time at which the receipt was sent.
	ReadOn time.Time `json:"readOn"`
}

// MarshalJSON encodes the receipt as the service does, with the time in whole seconds.
func (r ReadReceipt) MarshalJSON() ([]byte, error) {
	type plain ReadReceipt // the type plain has no method MarshalJSON, so json.Marshal does not call this method again
	r.ReadOn = seconds(r.ReadOn)
	return json.Marshal(plain(r))
}

// SendReadReceipt reports to the other participants that the user has read all messages up to the
// message with the given id (docs/contract/chat.md §4.3). Temporary failures are retried: sending a
// receipt twice has the same effect as sending it once.
//
// The real service keeps no receipts in threads with more than 20 participants.
func (t *ThreadClient) SendReadReceipt(ctx context.Context, messageID string) error {
	const operation = "send read receipt"
	if messageID == "" {
		return invalid(operation, "message id is empty")
	}
	return t.do(ctx, pipeline.Request{
		Operation: operation, Method: http.MethodPost, Path: "/readReceipts", Status: http.StatusOK,
		Body: sendReadReceiptRequest{MessageID: messageID},
	}, nil)
}

type sendReadReceiptRequest struct {
	MessageID string `json:"chatMessageId"`
}

// ListReadReceiptsOptions are the optional arguments of ListReadReceipts.
type ListReadReceiptsOptions struct {
	// Skip is the number of receipts to omit from the start of the list.
	Skip int

	// MaxPageSize is the maximum number of elements in a page. 0 lets the service choose.
	MaxPageSize int

	// Continuation, if it is not empty, is the Continuation of a [Page] of an earlier list. The
	// list then begins after that page. A Continuation includes the options of the earlier list, so
	// the other options here are ignored.
	Continuation string
}

// ListReadReceipts returns the newest read receipt of each user that has sent one, including the
// caller (docs/contract/chat.md §4.3). It fetches pages as they are needed. An error is yielded
// once, as the last element.
func (t *ThreadClient) ListReadReceipts(ctx context.Context, options *ListReadReceiptsOptions) iter.Seq2[ReadReceipt, error] {
	return all(ctx, func() *Pager[ReadReceipt] { return t.NewListReadReceiptsPager(options) })
}

// NewListReadReceiptsPager returns a pager over the receipts that ListReadReceipts returns. It
// sends no request; the first call of NextPage reports invalid options.
func (t *ThreadClient) NewListReadReceiptsPager(options *ListReadReceiptsOptions) *Pager[ReadReceipt] {
	var o ListReadReceiptsOptions
	if options != nil {
		o = *options
	}
	return threadPager[ReadReceipt](t, "list read receipts", "/readReceipts", listOptions{
		skip: o.Skip, maxPageSize: o.MaxPageSize, continuation: o.Continuation,
	})
}

// SendTypingNotificationOptions are the optional arguments of SendTypingNotification.
type SendTypingNotificationOptions struct {
	// SenderDisplayName is the name of the sender that the other participants see with the
	// notification.
	SenderDisplayName string
}

// SendTypingNotification reports to the other participants that the user is typing
// (docs/contract/chat.md §4.4). A notification is valid for some seconds only, so send one every 8
// seconds while the user types.
//
// Temporary failures are retried: the other participants cannot tell one notification from two.
// Give ctx a short deadline, because a late notification is useless.
func (t *ThreadClient) SendTypingNotification(ctx context.Context, options *SendTypingNotificationOptions) error {
	var r sendTypingNotificationRequest
	if options != nil {
		r.SenderDisplayName = options.SenderDisplayName
	}
	return t.do(ctx, pipeline.Request{
		Operation: "send typing notification", Method: http.MethodPost, Path: "/typing", Status: http.StatusOK, Body: r,
	}, nil)
}

type sendTypingNotificationRequest struct {
	SenderDisplayName string `json:"senderDisplayName,omitempty"`
}
