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

// ReadReceipt says how far somebody has read (docs/contract/chat.md §4.3). The service keeps one for
// each user, the newest.
type ReadReceipt struct {
	// Sender is who has read.
	Sender communication.Identifier `json:"senderCommunicationIdentifier"`

	// MessageID is the message up to which Sender has read.
	MessageID string `json:"chatMessageId"`

	// ReadOn is when the receipt was sent.
	ReadOn time.Time `json:"readOn"`
}

// MarshalJSON writes the receipt as the service does, the time in whole seconds.
func (r ReadReceipt) MarshalJSON() ([]byte, error) {
	type plain ReadReceipt // without this method
	r.ReadOn = seconds(r.ReadOn)
	return json.Marshal(plain(r))
}

// SendReadReceipt tells the others that the user has read up to the message (docs/contract/chat.md §4.3).
// It is retried after any failure that may pass: the same receipt twice is one.
//
// In a thread of more than 20 participants the service keeps no receipts.
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

// ListReadReceiptsOptions are the optional parts of a list of read receipts.
type ListReadReceiptsOptions struct {
	// Skip leaves out that many receipts from the start of the list.
	Skip int

	// MaxPageSize is how many elements a page may have. 0 leaves it to the service.
	MaxPageSize int

	// Continuation is the Continuation of an earlier [Page], where the list goes
	// on. The other options are part of it and are not looked at.
	Continuation string
}

// ListReadReceipts returns how far everybody has read, the user included: one
// receipt for each who has sent any (docs/contract/chat.md §4.3). Pages are fetched as they are needed. An
// error is yielded once, as the last element.
func (t *ThreadClient) ListReadReceipts(ctx context.Context, options *ListReadReceiptsOptions) iter.Seq2[ReadReceipt, error] {
	return all(ctx, func() *Pager[ReadReceipt] { return t.NewListReadReceiptsPager(options) })
}

// NewListReadReceiptsPager returns a pager over what ListReadReceipts lists. It
// sends nothing; options that can never be right are an error of the first
// NextPage.
func (t *ThreadClient) NewListReadReceiptsPager(options *ListReadReceiptsOptions) *Pager[ReadReceipt] {
	var o ListReadReceiptsOptions
	if options != nil {
		o = *options
	}
	return threadPager[ReadReceipt](t, "list read receipts", "/readReceipts", listOptions{
		skip: o.Skip, maxPageSize: o.MaxPageSize, continuation: o.Continuation,
	})
}

// SendTypingNotificationOptions are the optional parts of a typing notification.
type SendTypingNotificationOptions struct {
	// SenderDisplayName is shown to the others as the name of who types.
	SenderDisplayName string
}

// SendTypingNotification tells the others that the user is typing (docs/contract/chat.md §4.4). It lasts
// for some seconds, so send one every 8 seconds while it is true.
//
// It is retried after any failure that may pass: the others see no difference
// between one notification and two. Give ctx a short deadline, since an old one is
// of no use.
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
