package pipeline

import (
	"bytes"
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
	operation   string
	requestID   string // x-ms-client-request-id
	body        []byte // nil: none
	once        bool
	tries       int
	unknownFate bool           // once is set, and the last try may have been carried out
	answer      *http.Response // a success, read to its end
}

// stop ends a call: azcore's retry policy sends nothing again after an error that has
// a NonRetriable method.
type stop struct{ error }

func (stop) NonRetriable()   {}
func (s stop) Unwrap() error { return s.error }

// tryPolicy sends one try: it finds out whether the server can have carried it out,
// ends the call where another try could do the thing twice, and writes a line to the
// log.
type tryPolicy struct {
	// ownTransport is set for a transport of net/http that repeats a request only when
	// none of it was written. Of others nobody knows.
	ownTransport bool
	log          *slog.Logger
}

// Do implements policy.Policy.
func (p *tryPolicy) Do(req *policy.Request) (*http.Response, error) {
	var c *call
	if !req.OperationValue(&c) {
		return req.Next()
	}
	c.tries++
	c.unknownFate = false
	if err := req.Raw().Context().Err(); err != nil {
		return nil, err // nothing is sent, so the fate is known
	}
	p.freshBody(req, c)
	unsent := func() bool { return false }
	if c.once { // nobody else asks
		req, unsent = p.watch(req)
	}
	start := time.Now()
	resp, err := req.Next()
	p.write(req, c, time.Since(start), resp, err)
	return p.judge(c, resp, err, unsent())
}

// judge passes on what may be tried again, and ends the call otherwise.
func (p *tryPolicy) judge(c *call, resp *http.Response, err error, unsent bool) (*http.Response, error) {
	if err != nil {
		c.unknownFate = c.once && !unsent
		if c.unknownFate || hopeless(err) {
			return resp, stop{err}
		}
		return resp, err
	}
	if c.once && (resp.StatusCode >= 500 || resp.StatusCode == http.StatusRequestTimeout) {
		c.unknownFate = true
		return resp, stop{errAnswered}
	}
	if resp.StatusCode < 300 {
		c.answer = resp
	}
	return resp, nil
}

// errAnswered stands beside an answer that must not be followed by another try.
var errAnswered = errors.New("answered")

// watch adds to req's context what reports whether nothing of the request can have
// been written: there was a dial or a TLS handshake, and no connection came of it.
// A transport that reports nothing may have written all of it.
func (p *tryPolicy) watch(req *policy.Request) (_ *policy.Request, unsent func() bool) {
	var dialing, connected atomic.Bool
	trace := &httptrace.ClientTrace{
		GetConn: func(string) {
			dialing.Store(true)
			if p.ownTransport {
				// A second time in one try: nothing went over the first connection.
				connected.Store(false)
			}
		},
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}
	ctx := httptrace.WithClientTrace(req.Raw().Context(), trace)
	return req.WithContext(ctx), func() bool { return dialing.Load() && !connected.Load() }
}

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

// hopeless reports errors that the next try would meet as well.
func hopeless(err error) bool {
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
