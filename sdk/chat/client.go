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

// The API versions of the chat protocol that a Client uses.
const (
	apiVersion    = "2025-03-15" // the API version in every request, unless ClientOptions.APIVersion names another one
	minAPIVersion = "2021-03-07" // the oldest API version whose JSON the types of this package can encode and decode
)

// scope is the OAuth scope that a client requests from its credential. A
// communication.TokenCredential, which holds a user access token, ignores the scope.
const scope = "https://communication.azure.com/.default"

const (
	// requestIDHeader is the header with an idempotency token. If two requests to create a thread
	// have the same token, the service creates one thread (docs/contract/chat.md §3.1).
	requestIDHeader = "Repeatability-Request-Id"

	// idempotentSendHeader is the response header with which a server announces idempotent sends:
	// its value is "true" if the server stores only one of several messages with the same
	// idempotency token.
	idempotentSendHeader = "Confab-Idempotent-Send"
)

// ClientOptions are the optional settings of a [Client]. The zero value selects the defaults.
type ClientOptions struct {
	// ClientOptions configures azcore: retries, transport, logging of bodies, policies and tracing.
	// APIVersion selects an API version other than 2025-03-15, from "2021-03-07" on; before
	// 2025-03-15, threads have no metadata and no retention policy, and participants have no
	// metadata. InsecureAllowCredentialWithHTTP allows a plain http endpoint, which NewClient
	// refuses otherwise.
	azcore.ClientOptions

	// CAFile names a PEM file of certificate authorities to trust in addition to the system's. If
	// it is empty, the environment variable CONFAB_CA_FILE may name the file. If the field
	// Transport is set, the Transport decides which certificates it trusts: setting CAFile too is
	// then an error, and the environment variable is ignored.
	CAFile string

	// Logger receives one line at level debug for each attempt of a request: operation, path,
	// status and duration, but no query, header or body. It also receives one line, with the
	// reason, for each connection of Client.Events that ends. Nil disables logging.
	Logger *slog.Logger
}

// Client creates, lists and deletes the threads of one user, the user whose token the credential
// holds. [Client.NewThreadClient] returns a [ThreadClient] for the contents of one thread.
//
// A Client is safe for concurrent use. Make one for each user and keep it: it remembers whether the
// service has announced that it stores a repeated message only once. A new Client does not retry
// sends until it has received that announcement (see [ThreadClient.SendMessage]). All clients of
// the process that trust the same certificates share their connections, unless the options set a
// Transport.
type Client struct {
	pipeline *pipeline.Client

	// idempotentSends is true if the server has announced that it stores a repeated message once.
	// Client.do updates the field after each response.
	idempotentSends atomic.Bool
}

// NewClient returns a client for the service at endpoint, such as "https://localhost:8443". The
// client acts for the user whose token cred holds: see communication.NewTokenCredential. NewClient
// sends no request. Nil options select the defaults.
//
// NewClient fails if endpoint is not an https URL, if cred is nil, if the options name a version
// before 2021-03-07, or if the CA file cannot be read. The zero Client is not usable.
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

// NewThreadClient returns a client for the thread with the given id. NewThreadClient sends no
// request, so a thread that does not exist is reported by the first call of the ThreadClient. With
// an empty id every call of the ThreadClient fails.
func (c *Client) NewThreadClient(id string) *ThreadClient {
	path, err := threadPath("", id)
	if err != nil {
		path = "" // a ThreadClient with an empty path returns an error from every call
	}
	return &ThreadClient{client: c, id: id, path: path}
}

// CreateThreadOptions are the optional arguments of CreateThread.
type CreateThreadOptions struct {
	// Participants are added to the thread; the real service accepts at most 200. The caller is
	// always added. To give the caller a display name, include the caller in the list
	// (communication.TokenCredential.User returns the caller's identifier).
	Participants []Participant

	// Metadata is stored with the thread. All keys and values together may have at most 1 KB. It
	// requires API version 2025-03-15.
	Metadata map[string]string

	// RetentionPolicy sets after how many days the service deletes the thread. The zero value sends
	// no policy.
	RetentionPolicy RetentionPolicy

	// IdempotencyToken identifies this creation. If the user has already created a thread with the
	// same token, the service returns that thread and ignores the other fields. Set it to repeat a
	// creation safely in a later call or after a restart. It has at most 256 printable ASCII
	// characters. If it is empty, each call uses a new random token for its own retries.
	IdempotencyToken string
}

// CreateThread creates a thread with the given topic and adds the participants to it
// (docs/contract/chat.md §3.1).
//
// A participant that the service refuses does not make CreateThread fail: the thread is created
// without that participant, and the result lists the refusals. See [FailedParticipants].
//
// Temporary failures are retried. All attempts of one call carry the same idempotency token, so one
// call never creates two threads. If the call fails and one of its attempts may have created the
// thread, errors.Is(err, communication.ErrUnknownFate) is true. Calling again is then safe with the
// same CreateThreadOptions.IdempotencyToken; without a token it may create a second thread.
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

// ListThreadsOptions are the optional arguments of ListThreads.
type ListThreadsOptions struct {
	// StartTime, if it is not zero, omits threads whose last message is older than StartTime. It is
	// sent in whole seconds, rounded down.
	StartTime time.Time

	// MaxPageSize is the maximum number of elements in a page. 0 lets the service choose.
	MaxPageSize int

	// Continuation, if it is not empty, is the Continuation of a [Page] of an earlier list. The
	// list then begins after that page. A Continuation includes the options of the earlier list, so
	// the other options here are ignored.
	Continuation string
}

// ListThreads returns the threads in which the user is or was a participant, including deleted
// ones, ordered by their last message, newest first (docs/contract/chat.md §3.2). It fetches pages
// as they are needed. An error is yielded once, as the last element:
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

// NewListThreadsPager returns a pager over the threads that ListThreads returns. It sends no
// request; the first call of NextPage reports invalid options.
func (c *Client) NewListThreadsPager(options *ListThreadsOptions) *Pager[ThreadItem] {
	var o ListThreadsOptions
	if options != nil {
		o = *options
	}
	return newPager[ThreadItem](c, "list threads", "/chat/threads", nil, listOptions{
		startTime: o.StartTime, maxPageSize: o.MaxPageSize, continuation: o.Continuation,
	})
}

// DeleteThread deletes a thread with all its messages, for all its participants
// (docs/contract/chat.md §3.5).
//
// Temporary failures are retried: deleting a thread again is not an error for a user that is or was
// a participant.
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

// do sends a request and records whether the response has the header that announces idempotent
// sends. A successful response without the header withdraws the announcement, because an older
// server may have replaced the server that made it. A failed response without the header changes
// nothing, because it may come from a proxy.
func (c *Client) do(ctx context.Context, r pipeline.Request, out any) error {
	header, err := c.pipeline.Do(ctx, r, out)
	idempotentSends := strings.EqualFold(header.Get(idempotentSendHeader), "true")
	if idempotentSends || err == nil {
		c.idempotentSends.Store(idempotentSends)
	}
	return err
}

// invalid returns the error for a call with invalid arguments, which sends no request.
func invalid(operation, format string, args ...any) error {
	return &communication.Error{Op: operation, Err: fmt.Errorf(format, args...)}
}

// checkToken returns an error if an idempotency token contains a character other than printable
// ASCII, which a header cannot contain. The server checks the length of the token.
func checkToken(operation, token string) error {
	if i := strings.IndexFunc(token, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		return invalid(operation, "IdempotencyToken has a character that is not printable ASCII, at byte %d", i)
	}
	return nil
}
