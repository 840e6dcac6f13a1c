package pipeline

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// call is the state of one call of Do or Open, from its first attempt to its last. It needs no
// mutex, because attempts do not overlap.
type call struct {
	operation     string
	requestID     string    // x-ms-client-request-id
	body          []byte    // nil for no body
	once, creates bool      // copied from the Request
	end           time.Time // deadline of the caller's context; zero if it has no deadline
	tries         int
	unknownFate   bool           // true if creates is set and an attempt may have been carried out
	response      *http.Response // the successful response, whose body has been read
	refused       *http.Response // the failed response of the last attempt, whose body has been read
	failed        error          // the error of the last attempt, if the attempt got no response

	// refusedToken and notToken are copies of the fields of the Request that Open sends, and token
	// is the token of its last attempt. stream is the body of the response; the transport sets
	// stream.
	refusedToken, notToken, token string
	stream                        io.ReadCloser

	// dialing is true if the current attempt has requested a connection, and connected is true if
	// it has obtained one. If dialing is true and connected is false, nothing of the attempt was
	// written. If the transport sets neither, the whole attempt may have been written.
	dialing, connected atomic.Bool
}

// watch returns a context with an httptrace that sets c.dialing and c.connected when an attempt
// requests and obtains a connection.
func (c *call) watch(ctx context.Context, ownTransport bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			c.dialing.Store(true)
			if ownTransport {
				// net/http requests a second connection for an attempt only if it wrote nothing to
				// the first connection.
				c.connected.Store(false)
			}
		},
		GotConn: func(httptrace.GotConnInfo) { c.connected.Store(true) },
	})
}

func (c *call) unsent() bool { return c.dialing.Load() && !c.connected.Load() }

// stop is an error that ends the retries: azcore's retry policy does not retry after an error with
// the method NonRetriable.
type stop struct{ error }

func (stop) NonRetriable()   {}
func (s stop) Unwrap() error { return s.error }

// tryPolicy sends one attempt of a request and logs it. It determines whether the server may have
// carried out the attempt, and stops the retries if another attempt could carry out the operation
// twice.
type tryPolicy struct{ log *slog.Logger }

// Do sends one attempt of the request. It implements policy.Policy.
func (p *tryPolicy) Do(req *policy.Request) (*http.Response, error) {
	var c *call
	if !req.OperationValue(&c) {
		return req.Next()
	}
	c.tries++
	if err := req.Raw().Context().Err(); err != nil {
		return nil, err // no request is sent
	}
	c.dialing.Store(false)
	c.connected.Store(false)
	p.freshBody(req, c)
	start := time.Now()
	resp, err := req.Next()
	p.write(req, c, time.Since(start), resp, err)
	return c.judge(resp, err)
}

// judge records the result of an attempt. It returns resp and err unchanged if azcore may retry,
// and otherwise resp with an error that stops the retries.
func (c *call) judge(resp *http.Response, err error) (*http.Response, error) {
	c.refused, c.failed = nil, err
	if err != nil {
		unknown := c.creates && !c.unsent()
		c.unknownFate = c.unknownFate || unknown
		if c.once && unknown || permanent(err) {
			return resp, stop{err}
		}
		return resp, err
	}
	if resp.StatusCode < 300 {
		c.response = resp
		return resp, nil
	}
	c.refused = resp
	if c.creates && (resp.StatusCode >= 500 || resp.StatusCode == http.StatusRequestTimeout) {
		c.unknownFate = true
		if c.once {
			return resp, stop{errFinalResponse}
		}
	}
	// Stop here if the pause that the server asks for ends after the deadline: the response tells
	// the caller more than an error about the deadline.
	if !c.end.IsZero() && time.Until(c.end) < retryAfter(resp.Header, time.Now()) {
		return resp, stop{errFinalResponse}
	}
	return resp, nil
}

// errFinalResponse is the error that stops the retries after a response.
var errFinalResponse = errors.New("answered")

// freshBody gives each attempt its own reader of the body. azcore would use one reader for all
// attempts, but the transport may still read the body of the last attempt when the next attempt
// begins.
func (p *tryPolicy) freshBody(req *policy.Request, c *call) {
	if c.body == nil {
		return
	}
	req.Raw().GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(c.body)), nil
	}
	req.Raw().Body, _ = req.Raw().GetBody()
}

// permanent reports whether err is an error with which the next attempt would certainly fail too.
func permanent(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate) || errors.Is(err, http.ErrSchemeMismatch)
}

// write logs one attempt: its operation, path, status and duration, but no header, body or query.
func (p *tryPolicy) write(req *policy.Request, c *call, took time.Duration, resp *http.Response, err error) {
	ctx := req.Raw().Context()
	if p.log == nil || !p.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{
		slog.String("operation", c.operation),
		slog.String("method", req.Raw().Method),
		slog.String("path", req.Raw().URL.EscapedPath()),
		slog.Int("try", c.tries),
		slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.String("client_request_id", c.requestID),
	}
	if resp != nil {
		attrs = append(attrs, slog.Int("status", resp.StatusCode), slog.String("request_id", requestID(c, resp)))
	}
	if err != nil {
		attrs = append(attrs, slog.String("error", withoutURL(err).Error()))
	}
	p.log.LogAttrs(ctx, slog.LevelDebug, "confab request", attrs...)
}
