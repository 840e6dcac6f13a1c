package chat

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

// SendMessageOptions are the optional parts of a message.
type SendMessageOptions struct {
	// Type is MessageTypeText or MessageTypeHTML. Empty means text.
	Type MessageType

	// SenderDisplayName is shown with the message, and in push notifications.
	SenderDisplayName string

	// Metadata is anything to keep with the message.
	Metadata map[string]string

	// IdempotencyToken makes this message the same as every other one of this
	// user with this token, where the server supports that (see SendMessage). Give
	// one to repeat a send safely in a later call or after a restart: at most 256
	// printable characters. It is always sent; a service that does not know it passes
	// over it, and sends again. It does not make the first send of a Client one that is
	// retried: the server has announced nothing yet.
	IdempotencyToken string
}

// SendMessage writes a message into the thread and returns its id (docs/contract/chat.md §4.1).
//
// A send is never doubled by a retry. Where the server announces idempotent sends,
// as Confab does with every answer, a send after the first answer to this Client
// carries a token, made once for each call, and is retried like anything else.
// Everywhere else (the first request of a Client, and Azure) it is retried only
// while it is certain that the message was not written: when there was no
// connection, or the service was too busy to take it (429). Otherwise the fate of
// the message is unknown, and
//
//	errors.Is(err, communication.ErrUnknownFate)
//
// says so, and so does the error of a send that failed in the end, or whose context
// ended, when any attempt may have been written. Any other error means that the
// message was not sent. List the newest messages then, to see whether it is there, or
// send again with an IdempotencyToken that you gave the first time.
func (t *ThreadClient) SendMessage(ctx context.Context, content string, options *SendMessageOptions) (id string, err error) {
	var o SendMessageOptions
	if options != nil {
		o = *options
	}
	if err := checkToken("send message", o.IdempotencyToken); err != nil {
		return "", err
	}
	idempotentSends := t.client.idempotentSends.Load()
	token := o.IdempotencyToken
	if token == "" && idempotentSends {
		token = pipeline.NewID()
	}
	r := pipeline.Request{
		Operation: "send message", Method: http.MethodPost, Path: "/messages", Status: http.StatusCreated,
		Body: sendMessageRequest{
			Content: content, SenderDisplayName: o.SenderDisplayName, Type: o.Type, Metadata: o.Metadata,
		},
		Creates: true,
		Once:    !idempotentSends,
	}
	if token != "" {
		r.Header = map[string]string{requestIDHeader: token}
	}
	var result sendMessageResult
	err = t.do(ctx, r, &result)
	return result.ID, err
}

type sendMessageRequest struct {
	Content           string            `json:"content"`
	SenderDisplayName string            `json:"senderDisplayName,omitempty"`
	Type              MessageType       `json:"type,omitempty"`
	Metadata          map[string]string `json:"metadata,omitempty"`
}

type sendMessageResult struct {
	ID string `json:"id"`
}

// GetMessage returns one message (docs/contract/chat.md §4.1). It is retried after any failure that may
// pass.
func (t *ThreadClient) GetMessage(ctx context.Context, messageID string) (Message, error) {
	var m Message
	err := t.doMessage(ctx, messageID, pipeline.Request{
		Operation: "get message", Method: http.MethodGet, Status: http.StatusOK,
	}, &m)
	return m, err
}

// ListMessagesOptions are the optional parts of a list of messages.
type ListMessagesOptions struct {
	// StartTime leaves out messages before it. The service is told whole seconds.
	StartTime time.Time

	// MaxPageSize is how many elements a page may have; the service gives 200 when it
	// is more. 0 leaves it to the service.
	MaxPageSize int

	// Continuation is the Continuation of an earlier [Page], where the list goes
	// on. The other options are part of it and are not looked at.
	Continuation string
}

// ListMessages returns the thread's messages that the user may see, system
// messages and deleted ones included, by SequenceID, the newest first (docs/contract/chat.md §5.1). A
// message that was edited or deleted comes first again: for a transcript, sort by
// CreatedOn and leave out those with DeletedOn. Pages are fetched as they are needed.
// An error is yielded once, as the last element.
func (t *ThreadClient) ListMessages(ctx context.Context, options *ListMessagesOptions) iter.Seq2[Message, error] {
	return all(ctx, func() *Pager[Message] { return t.NewListMessagesPager(options) })
}

// NewListMessagesPager returns a pager over what ListMessages lists. It sends
// nothing; options that can never be right are an error of the first NextPage.
func (t *ThreadClient) NewListMessagesPager(options *ListMessagesOptions) *Pager[Message] {
	var o ListMessagesOptions
	if options != nil {
		o = *options
	}
	return threadPager[Message](t, "list messages", "/messages", listOptions{
		startTime: o.StartTime, maxPageSize: o.MaxPageSize, continuation: o.Continuation,
	})
}

// UpdateMessageOptions is what [ThreadClient.UpdateMessage] changes. What is zero
// stays.
type UpdateMessageOptions struct {
	// Content is the new text, of the same type as the old one.
	Content string

	// Metadata sets these keys. Others keep their values. An empty value takes its
	// key away.
	Metadata map[string]string

	// RemoveMetadata takes these keys away.
	RemoveMetadata []string
}

// UpdateMessage edits a message that the user has sent (docs/contract/chat.md §4.1). The message keeps
// its ID and gets a new Version and SequenceID: it moves to the top of the list.
// It is an error when nothing is given to change, and when a key of the metadata is
// both set and removed.
//
// It is retried after any failure that may pass: the same edit twice leaves the
// same message.
func (t *ThreadClient) UpdateMessage(ctx context.Context, messageID string, options *UpdateMessageOptions) error {
	const operation = "update message"
	var o UpdateMessageOptions
	if options != nil {
		o = *options
	}
	var r updateMessageRequest
	if o.Content != "" {
		r.Content = &o.Content
	}
	// The service takes a key of a message away when its value is empty (recorded).
	metadata, err := patch(operation, o.Metadata, o.RemoveMetadata, new(string))
	if err != nil {
		return err
	}
	r.Metadata = metadata
	if r.Content == nil && metadata == nil {
		// The service would take it for an edit, and mark the message.
		return invalid(operation, "there is nothing to change")
	}
	return t.doMessage(ctx, messageID, pipeline.Request{
		Operation: operation, Method: http.MethodPatch, Status: http.StatusNoContent, Body: r, MergePatch: true,
	}, nil)
}

type updateMessageRequest struct {
	Content  *string            `json:"content,omitempty"`
	Metadata map[string]*string `json:"metadata,omitempty"`
}

// DeleteMessage deletes a message that the user has sent (docs/contract/chat.md §4.1). It stays in the
// list, without content and with DeletedOn set. Deleting it again is no error. It is
// retried after any failure that may pass.
func (t *ThreadClient) DeleteMessage(ctx context.Context, messageID string) error {
	return t.doMessage(ctx, messageID, pipeline.Request{
		Operation: "delete message", Method: http.MethodDelete, Status: http.StatusNoContent,
	}, nil)
}

func (t *ThreadClient) doMessage(ctx context.Context, messageID string, r pipeline.Request, out any) error {
	segment, err := escapeID(r.Operation, "message", messageID)
	if err != nil {
		return err
	}
	r.Path = "/messages/" + segment
	return t.do(ctx, r, out)
}

func threadPager[T any](t *ThreadClient, operation, list string, o listOptions) *Pager[T] {
	path, err := threadPath(operation, t.id)
	return newPager[T](t.client, operation, path+list, err, o)
}
