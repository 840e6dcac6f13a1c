package pipeline

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/confab-chat/confab/sdk/communication"
)

// Stream is the response to a request of Open. Its body is a stream of server-sent events, to which
// the server may append events at any time.
type Stream struct {
	Header http.Header
	Body   io.ReadCloser
	Token  string // the token with which the request was sent, a secret
}

// ErrSameToken is the error of Open if the credential returns the token Request.NotToken. Open
// sends no request in this case.
var ErrSameToken = errors.New("the credential has no newer token")

// Open sends r once and returns the response as soon as its headers have arrived. The stream ends
// when ctx ends, and the caller must close the body of the stream. Open ignores the client's
// RetryOptions: the caller decides whether to try again, and sets a time limit with ctx. After a
// 401, Open repeats the request once with a new token, as Do does.
//
// Open fails if the response has another status than r.Status or is no stream of server-sent
// events. Every error is a *communication.Error.
func (c *Client) Open(ctx context.Context, r Request) (_ *Stream, err error) {
	ctx, end := runtime.StartSpan(ctx, c.component+"."+strings.ReplaceAll(r.Operation, " ", "_"), c.azcore.Tracer(), nil)
	defer func() { end(err) }()

	call := &call{operation: r.Operation, refusedToken: r.RefusedToken, notToken: r.NotToken}
	defer func() {
		if err != nil && call.stream != nil {
			call.stream.Close()
		}
	}()
	ctx = context.WithValue(ctx, streamKey{}, call)
	// Disable retries. Leave TryTimeout unset, because azcore would end the stream after that time.
	ctx = policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
	req, err := c.newRequest(ctx, r, call)
	if err != nil {
		return nil, &communication.Error{Op: r.Operation, Err: stop{err}}
	}
	req.Raw().Header.Set("Accept", eventStream)
	// Ask for a response without compression, because a proxy that compresses it could hold back
	// events until its buffer is full.
	req.Raw().Header.Set("Accept-Encoding", "identity")
	req.SetOperationValue(call)
	resp, err := c.azcore.Pipeline().Do(req)
	switch {
	case err != nil:
		return nil, noResponseError(call, err)
	case resp.StatusCode != r.Status || call.stream == nil:
		return nil, refusal(call, resp, r.Status)
	case !isEventStream(resp.Header):
		return nil, badResponseError(call, resp, "the answer is no event stream, but "+contentType(resp.Header))
	}
	return &Stream{Header: resp.Header, Body: call.stream, Token: call.token}, nil
}

// streamKey is the context key under which Open passes its call to the transport.
type streamKey struct{}

// keepStream moves the body of resp, which is a stream, into c, where Open finds the stream, and
// gives resp an empty body. Otherwise policies of azcore, such as the policy that logs bodies,
// would read the stream to its end.
func (c *call) keepStream(resp *http.Response) {
	if c.stream != nil {
		c.stream.Close() // close the body of an earlier attempt, if a policy of the caller has repeated the request
	}
	c.stream = resp.Body
	resp.Body = http.NoBody
}

// eventStream is the content type of server-sent events.
const eventStream = "text/event-stream"

func isEventStream(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == eventStream
}

func contentType(h http.Header) string {
	if kind := h.Get("Content-Type"); kind != "" {
		return kind
	}
	return "of no content type"
}

// Temporary reports whether Open, which failed with err, may succeed later. This is true if Open
// got no response, or the status 408, 429 or 5xx except 501. It is false if the server's
// certificate is not trusted, and for an error that a policy marks as NonRetriable.
func Temporary(err error) bool {
	var e *communication.Error
	var final interface{ NonRetriable() }
	switch {
	case !errors.As(err, &e):
		return false
	case e.StatusCode == 0:
		return !permanent(err) && !errors.As(err, &final)
	}
	switch e.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return e.StatusCode >= 500 && e.StatusCode != http.StatusNotImplemented
}

// NoToken reports whether err contains the error of a credential that failed to return a token.
func NoToken(err error) bool {
	var e tokenError
	return errors.As(err, &e)
}

// Named returns a copy of err, an error of Open. Its Message is the text of sentinel, and errors.Is
// finds sentinel in it.
func Named(err *communication.Error, sentinel error) *communication.Error {
	e := *err
	e.Message = sentinel.Error()
	e.Err = named{sentinel, err.Err}
	return &e
}

// named is an error that wraps the errors name and cause and has the text of name.
type named struct{ name, cause error }

// Error returns the text of the error name.
func (n named) Error() string { return n.name.Error() }

// Unwrap returns the errors name and cause.
func (n named) Unwrap() []error { return []error{n.name, n.cause} }

// Interrupted returns the error of an operation that stopped because its context ended. end is the
// error of the context. last is the failure after which the operation was about to try again, or
// nil.
func Interrupted(operation string, end, last error) error {
	e := &communication.Error{Op: operation, Err: end}
	if last != nil {
		e.Err = interrupted{end, last}
	}
	return e
}

// The defaults of Pause, for RetryOptions without RetryDelay and MaxRetryDelay. firstPause equals
// azcore's default for RetryDelay. maxPause is shorter than azcore's default for MaxRetryDelay,
// because the program receives no events during a pause.
const (
	firstPause = 800 * time.Millisecond
	maxPause   = 30 * time.Second
)

// Pause returns a random time to wait before the next attempt. failures is the number of failures
// in a row before the latest one. The time grows exponentially from RetryDelay to MaxRetryDelay of
// the client's RetryOptions.
func (c *Client) Pause(failures int) time.Duration {
	first, most := c.retry.RetryDelay, c.retry.MaxRetryDelay
	if first <= 0 { // use the default for a pause of 0: without pauses, the client would flood a server that refuses its requests
		first = firstPause
	}
	if most <= 0 {
		most = maxPause
	}
	pause := first
	for ; failures > 0 && pause < most; failures-- {
		pause *= 2
	}
	pause = min(pause, most)
	return Jitter(pause/2, pause/2)
}

// Jitter returns a random time from d to d+spread. Random pauses prevent all clients of a restarted
// server from connecting at once.
func Jitter(d, spread time.Duration) time.Duration {
	if spread <= 0 {
		return d
	}
	return d + rand.N(spread)
}

// TryTimeout returns the time limit of a single attempt in the client's RetryOptions, or 0 if there
// is no limit.
func (c *Client) TryTimeout() time.Duration { return max(c.retry.TryTimeout, 0) }

// Log writes one line at level debug to the Logger of the client's options, unless it is nil.
func (c *Client) Log(ctx context.Context, message string, attrs ...slog.Attr) {
	if c.log != nil {
		c.log.LogAttrs(ctx, slog.LevelDebug, message, attrs...)
	}
}
