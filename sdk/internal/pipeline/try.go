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

// call is what the policies know of one call of Do, over all of its tries. One try
// follows the other, so nothing guards it.
type call struct {
	operation     string
	requestID     string    // x-ms-client-request-id
	body          []byte    // nil: none
	once, creates bool      // of the Request
	end           time.Time // of the caller's patience; zero: none
	tries         int
	unknownFate   bool           // creates is set, and a try may have been carried out
	response      *http.Response // a success, read to its end
	refused       *http.Response // the last try's answer, if it was none, read to its end
	failed        error          // or why there was no answer

	// Whether nothing of a try can have been written: there was a dial or a TLS
	// handshake, and no connection came of it. A transport that reports nothing may
	// have written all of it.
	dialing, connected atomic.Bool
}

// watch adds to ctx what finds that out.
func (c *call) watch(ctx context.Context, ownTransport bool) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			c.dialing.Store(true)
			if ownTransport {
				// A second time in one try: nothing went over the first connection.
				c.connected.Store(false)
			}
		},
		GotConn: func(httptrace.GotConnInfo) { c.connected.Store(true) },
	})
}

func (c *call) unsent() bool { return c.dialing.Load() && !c.connected.Load() }

// stop ends a call: azcore's retry policy sends nothing again after an error that has
// a NonRetriable method.
type stop struct{ error }

func (stop) NonRetriable()   {}
func (s stop) Unwrap() error { return s.error }

// tryPolicy sends one try: it finds out whether the server can have carried it out,
// ends the call where another try could do the thing twice, and writes a line to the
// log.
type tryPolicy struct{ log *slog.Logger }

// Do implements policy.Policy.
func (p *tryPolicy) Do(req *policy.Request) (*http.Response, error) {
	var c *call
	if !req.OperationValue(&c) {
		return req.Next()
	}
	c.tries++
	if err := req.Raw().Context().Err(); err != nil {
		return nil, err // nothing is sent
	}
	c.dialing.Store(false)
	c.connected.Store(false)
	p.freshBody(req, c)
	start := time.Now()
	resp, err := req.Next()
	p.write(req, c, time.Since(start), resp, err)
	return c.judge(resp, err)
}

// judge passes on what may be tried again, and ends the call otherwise.
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
	// A pause that outlasts the call is not begun: the answer says more than its end.
	if !c.end.IsZero() && time.Until(c.end) < retryAfter(resp.Header, time.Now()) {
		return resp, stop{errFinalResponse}
	}
	return resp, nil
}

// errFinalResponse stands beside an answer that must not be followed by another try.
var errFinalResponse = errors.New("answered")

// freshBody gives each try a reader of its own. A transport may still be reading the
// body of the last try when the next one begins, and azcore's tries share a reader.
func (p *tryPolicy) freshBody(req *policy.Request, c *call) {
	if c.body == nil {
		return
	}
	req.Raw().GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(c.body)), nil
	}
	req.Raw().Body, _ = req.Raw().GetBody()
}

// permanent reports errors that the next try would meet as well.
func permanent(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate) || errors.Is(err, http.ErrSchemeMismatch)
}

// write tells of a try: never a header, a body or a query.
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
