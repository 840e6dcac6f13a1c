package chat

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/internal/pipeline"
)

// The versions of the contract.
const (
	apiVersion    = "2025-03-15" // spoken unless ClientOptions.APIVersion says otherwise
	minAPIVersion = "2021-03-07" // the oldest one whose shapes the models have
)

// scope is what the service's own tokens are good for. A credential of user
// access tokens does not look at it.
const scope = "https://communication.azure.com/.default"

const (
	// requestIDHeader makes a repeated create or send the same one (docs/contract/chat.md §3.1).
	requestIDHeader = "Repeatability-Request-Id"

	// idempotentSendHeader says that the server honours requestIDHeader for messages too.
	idempotentSendHeader = "Confab-Idempotent-Send"
)

// ClientOptions are the optional settings of a [Client]. The zero value is good.
type ClientOptions struct {
	// ClientOptions of azcore: retries, transport, logging of bodies, policies,
	// tracing. APIVersion chooses another version of the contract, from
	// "2021-03-07" on; an older service knows no metadata of threads and
	// participants and no retention policy. InsecureAllowCredentialWithHTTP allows
	// an endpoint of plain http, which is refused otherwise.
	azcore.ClientOptions

	// CAFile names a PEM file of certificate authorities to trust besides those of
	// the system. Empty is the file that the environment variable CONFAB_CA_FILE
	// names, if any. A Transport has its own trust: the two together are an error,
	// and the variable does not count then.
	CAFile string

	// Logger is told of every attempt of every request, at level debug: operation,
	// path, status and time, never a query, a header or a body. Nil logs nothing.
	Logger *slog.Logger
}

// Client creates, lists and deletes the threads of one user: the one whose token
// the credential gives. It makes a [ThreadClient] for what happens inside a
// thread.
//
// A Client is immutable and safe for concurrent use. Make one for each user and
// keep it: it remembers what the service announced, and a new one has to hear it
// again before its sends are retried. The connections are those of the process, shared
// by all clients that trust the same certificates, unless the options have a Transport.
type Client struct {
	pipeline *pipeline.Client

	// idempotentSends is whether the last response said that sends are idempotent.
	idempotentSends atomic.Bool
}

// NewClient returns a client for the service at endpoint, such as
// "https://localhost:8443", which acts for the user of the credential: see
// communication.NewTokenCredential. It sends nothing. Nil options are the defaults.
//
// It is an error when the endpoint is no https URL, when the credential is nil and
// when the options name a version before 2021-03-07 or a file that cannot be read.
// The zero Client is not usable.
func NewClient(endpoint string, cred azcore.TokenCredential, options *ClientOptions) (*Client, error) {
	if own, ok := cred.(*communication.TokenCredential); cred == nil || ok && own == nil {
		return nil, errors.New("chat client: credential is nil: see communication.NewTokenCredential")
	}
	p, err := pipeline.New(pipeline.Config{
		Component:  "chat",
		Version:    apiVersion,
		MinVersion: minAPIVersion,
		Endpoint:   endpoint,
		Auth:       pipeline.Bearer(cred, scope),
		Options:    (*pipeline.Options)(options),
	})
	if err != nil {
		return nil, fmt.Errorf("chat client: %w", err)
	}
	return &Client{pipeline: p}, nil
}

// NewThreadClient returns a client for the thread with the given id. It sends
// nothing, so it does not find out whether the thread exists: the first call of
// the ThreadClient does. An empty id is an error of every call.
func (c *Client) NewThreadClient(id string) *ThreadClient {
	path, err := threadPath("", id)
	if err != nil {
		path = "" // told by every call
	}
	return &ThreadClient{client: c, id: id, path: path}
}

// CreateThreadOptions are the optional parts of a new thread.
type CreateThreadOptions struct {
	// Participants are put into the thread, at most 200 on the real service. The
	// caller is in it anyway; to have a display name, the caller is listed too
	// (communication.TokenCredential.User tells who that is).
	Participants []Participant

	// Metadata is anything to keep with the thread, all pairs together at most
	// 1 KB. It needs a service of 2025-03-15.
	Metadata map[string]string

	// RetentionPolicy says when the service deletes the thread by itself. The zero
	// value asks for nothing.
	RetentionPolicy RetentionPolicy

	// IdempotencyToken makes this creation the same as every other one of this
	// user with this token, whatever else is in it: the service answers with the
	// thread that exists. Give one to repeat a creation safely in a later call or
	// after a restart: at most 256 printable characters. When it is empty, each call
	// makes a new token for its own retries, and forgets it.
	IdempotencyToken string
}

// CreateThread creates a thread with the given topic and puts the participants
// into it (docs/contract/chat.md §3.1).
//
// Participants whom the service refuses are no error: the thread exists without
// them, and the result tells who and why. See [FailedParticipants].
//
// It is retried after any failure that may pass: every attempt has the same
// idempotency token, so that one call never creates two threads. When it fails in
// the end, and one of the attempts may have created the thread, the error is
// communication.ErrUnknownFate: calling again is safe with an IdempotencyToken of
// your own, and may create a second thread without.
func (c *Client) CreateThread(ctx context.Context, topic string, options *CreateThreadOptions) (CreateThreadResult, error) {
	const operation = "create thread"
	var o CreateThreadOptions
	if options != nil {
		o = *options
	}
	if err := checkParticipants(operation, o.Participants); err != nil {
		return CreateThreadResult{}, err
	}
	token := o.IdempotencyToken
	if err := checkToken(operation, token); err != nil {
		return CreateThreadResult{}, err
	}
	if token == "" {
		token = pipeline.NewID()
	}
	var result CreateThreadResult
	err := c.do(ctx, pipeline.Request{
		Operation: operation, Method: http.MethodPost, Path: "/chat/threads", Status: http.StatusCreated, Creates: true,
		Header: map[string]string{requestIDHeader: token},
		Body: createThreadRequest{
			Topic: topic, Participants: o.Participants, Metadata: o.Metadata, RetentionPolicy: o.RetentionPolicy,
		},
	}, &result)
	if err != nil {
		return CreateThreadResult{}, err
	}
	result.Failed.join(o.Participants)
	return result, nil
}

type createThreadRequest struct {
	Topic           string            `json:"topic"`
	Participants    []Participant     `json:"participants,omitempty"`
	Metadata        map[string]string `json:"metadata,omitempty"`
	RetentionPolicy RetentionPolicy   `json:"retentionPolicy,omitzero"`
}

// ListThreadsOptions are the optional parts of a list of threads.
type ListThreadsOptions struct {
	// StartTime leaves out threads whose last message is older. The service is
	// told whole seconds.
	StartTime time.Time

	// MaxPageSize is how many elements a page may have. 0 leaves it to the service.
	MaxPageSize int

	// Continuation is the Continuation of an earlier [Page], where the list goes
	// on. The other options are part of it and are not looked at.
	Continuation string
}

// ListThreads returns the threads that the user is in or was in, deleted ones
// included, the one with the newest message first (docs/contract/chat.md §3.2). Pages are fetched as they
// are needed. An error is yielded once, as the last element:
//
//	for item, err := range client.ListThreads(ctx, nil) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(item.ID, item.Topic)
//	}
func (c *Client) ListThreads(ctx context.Context, options *ListThreadsOptions) iter.Seq2[ThreadItem, error] {
	return all(ctx, func() *Pager[ThreadItem] { return c.NewListThreadsPager(options) })
}

// NewListThreadsPager returns a pager over what ListThreads lists. It sends
// nothing; options that can never be right are an error of the first NextPage.
func (c *Client) NewListThreadsPager(options *ListThreadsOptions) *Pager[ThreadItem] {
	var o ListThreadsOptions
	if options != nil {
		o = *options
	}
	return newPager[ThreadItem](c, "list threads", "/chat/threads", nil, listOptions{
		startTime: o.StartTime, maxPageSize: o.MaxPageSize, continuation: o.Continuation,
	})
}

// DeleteThread deletes a thread with all its messages, for everybody in it (docs/contract/chat.md §3.5).
//
// It is retried after any failure that may pass. Where an attempt did its work and
// its answer was lost, the next one finds no thread: after a failure of the
// network, errors.Is(err, communication.ErrNotFound) can mean that this call has
// deleted it.
func (c *Client) DeleteThread(ctx context.Context, id string) error {
	const operation = "delete thread"
	path, err := threadPath(operation, id)
	if err != nil {
		return err
	}
	return c.do(ctx, pipeline.Request{
		Operation: operation, Method: http.MethodDelete, Path: path, Status: http.StatusNoContent,
	}, nil)
}

// do sends a request and remembers what the answer announces. The last success
// counts, so that a server which gives way to an older one is not trusted with what
// it had promised; a refusal may come from a proxy, which promises nothing.
func (c *Client) do(ctx context.Context, r pipeline.Request, out any) error {
	header, err := c.pipeline.Do(ctx, r, out)
	idempotentSends := strings.EqualFold(header.Get(idempotentSendHeader), "true")
	if idempotentSends || err == nil {
		c.idempotentSends.Store(idempotentSends)
	}
	return err
}

// invalid is the error of a call that can never succeed and sends nothing.
func invalid(operation, format string, args ...any) error {
	return &communication.Error{Op: operation, Err: fmt.Errorf(format, args...)}
}

// checkToken refuses what no header can carry; how long one may be is for the server.
func checkToken(operation, token string) error {
	if i := strings.IndexFunc(token, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		return invalid(operation, "IdempotencyToken has a character that is not printable ASCII, at byte %d", i)
	}
	return nil
}
