// Package pipeline sends the requests of the clients. It configures azcore's pipeline and adds what
// azcore does not do:
//
//   - Every failure is a [communication.Error] with a message of one line (errors.go).
//   - After a 401 the request is repeated once with a new token. No token is sent to another host
//     or over plain http (auth.go, transport.go).
//   - A request that may have been carried out is repeated only if that is harmless (try.go).
//   - A link to the next page is followed only on the same origin (continuation.go).
//   - The response to a request can be a stream of events (stream.go).
//   - The size of responses is limited, and a private certificate authority can be configured in
//     the same way on every system (transport.go).
package pipeline

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/internal/endpoint"
)

// sdkVersion is the version of this module in the User-Agent header and in traces.
const sdkVersion = "v0.1.0"

// Options holds the settings of a client. It has the same fields as the ClientOptions of each
// client package, so that Go can convert ClientOptions to Options.
type Options struct {
	azcore.ClientOptions
	CAFile string
	Logger *slog.Logger
}

// Config holds the arguments of New, which returns a Client.
type Config struct {
	Component  string   // name of the client package, such as "chat"
	Version    string   // the api-version of requests, unless the options set another one
	MinVersion string   // oldest supported api-version; "" means that any version is supported
	Endpoint   string   // https://host[:port]
	Auth       Auth     // Bearer or Signature
	Options    *Options // nil for the defaults
}

// Client sends requests to one endpoint. It is safe for concurrent use.
type Client struct {
	endpoint  string
	base      *url.URL
	version   string
	azcore    *azcore.Client
	component string
	retry     policy.RetryOptions // RetryOptions of the client; azcore's retry policy has a copy of them
	log       *slog.Logger        // nil for no log
	// ownTransport is true if the transport was made by this package and uses net/http. Such a
	// transport repeats a request internally only if nothing of the request was written. Other
	// transports may behave differently.
	ownTransport bool
}

// New returns a client. It sends no request. It fails if c is invalid; the error message has one
// line.
func New(c Config) (*Client, error) {
	o := Options{}
	if c.Options != nil {
		o = *c.Options
	}
	address, err := endpoint.Clean(c.Endpoint)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if base.Scheme != "https" && !o.InsecureAllowCredentialWithHTTP {
		return nil, fmt.Errorf("endpoint %s is plain http, where anybody on the way can read the credential: use https, or set InsecureAllowCredentialWithHTTP in the client options", address)
	}
	version, err := apiVersion(c, o)
	if err != nil {
		return nil, err
	}
	transport, own, err := newTransport(o)
	if err != nil {
		return nil, err
	}
	o.APIVersion = "" // azcore must not add the api-version: newRequest adds it, except to continuations, which contain one
	o.Transport = transport
	az, err := azcore.NewClient("confab-"+c.Component, sdkVersion, runtime.PipelineOptions{
		PerRetry: []policy.Policy{
			c.Auth(o.InsecureAllowCredentialWithHTTP),
			&tryPolicy{log: o.Logger},
		},
	}, &o.ClientOptions)
	if err != nil {
		return nil, err
	}
	return &Client{endpoint: address, base: base, version: version, azcore: az, component: c.Component, retry: o.Retry, log: o.Logger, ownTransport: own}, nil
}

var versionForm = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-[a-z0-9]+)?$`)

func apiVersion(c Config, o Options) (string, error) {
	if o.APIVersion == "" {
		return c.Version, nil
	}
	if !versionForm.MatchString(o.APIVersion) {
		return "", fmt.Errorf("api-version %q is not of the form 2025-03-15", o.APIVersion)
	}
	if c.MinVersion != "" && o.APIVersion < c.MinVersion {
		return "", fmt.Errorf("api-version %s is older than %s, the oldest that package %s speaks", o.APIVersion, c.MinVersion, c.Component)
	}
	return o.APIVersion, nil
}

// Endpoint returns the endpoint of the client in the form scheme://host[:port].
func (c *Client) Endpoint() string { return c.endpoint }

// Request is one request to the service.
type Request struct {
	Operation  string            // name of the operation in errors, such as "send message"
	Method     string            // HTTP method
	Path       string            // escaped absolute path of the URL, or a result of Continuation
	Query      url.Values        // the query parameters except api-version
	Header     map[string]string // additional headers
	Body       any               // the value that is encoded as the JSON body; nil for no body
	MergePatch bool              // whether the body is a JSON merge patch
	Creates    bool              // whether repeating the request may create another resource; errors then report an unknown fate
	Once       bool              // whether no retry may follow an attempt that may have been carried out; implies Creates
	Status     int               // expected status
	NoVersion  bool              // send no api-version

	// RefusedToken is a token that the server no longer accepts, so that Open asks the credential
	// for another token. NotToken is a token that Open does not send: it returns ErrSameToken if
	// the credential still returns that token. Both are "" for Do.
	RefusedToken, NotToken string
}

// Do sends r and decodes the body of the response into out. If out is nil, Do ignores the body. Do
// returns the headers of the response, also together with an error, or nil if there was no
// response. Every error is a *communication.Error.
//
// Do repeats an attempt that certainly did not reach the server, or that was answered 429, as the
// client's RetryOptions say. Unless r.Once is set, it also repeats an attempt that got no response
// or was answered 408 or 5xx. If r creates something and any attempt may have been carried out, the
// error matches communication.ErrUnknownFate.
func (c *Client) Do(ctx context.Context, r Request, out any) (_ http.Header, err error) {
	ctx, end := runtime.StartSpan(ctx, c.component+"."+strings.ReplaceAll(r.Operation, " ", "_"), c.azcore.Tracer(), nil)
	defer func() { end(err) }()

	call := &call{operation: r.Operation, once: r.Once, creates: r.Creates || r.Once}
	call.end, _ = ctx.Deadline()
	if call.creates {
		ctx = call.watch(ctx, c.ownTransport)
	}
	req, err := c.newRequest(ctx, r, call)
	if err != nil {
		return nil, &communication.Error{Op: r.Operation, Err: err}
	}
	req.SetOperationValue(call)
	resp, err := c.azcore.Pipeline().Do(req)
	if err != nil && call.response != nil {
		// azcore discards a response if the context ends just after the response was read. Use the
		// response, because with an error the caller would assume that the operation failed.
		resp, err = call.response, nil
	}
	if err != nil && !(errors.Is(err, errFinalResponse) && resp != nil) {
		return nil, noResponseError(call, err)
	}
	if resp.StatusCode != r.Status {
		return resp.Header, refusal(call, resp, r.Status)
	}
	if out != nil {
		if problem := decode(resp, out); problem != "" {
			return resp.Header, badResponseError(call, resp, problem)
		}
	}
	return resp.Header, nil
}

func (c *Client) newRequest(ctx context.Context, r Request, call *call) (*policy.Request, error) {
	path, query, _ := strings.Cut(r.Path, "?")
	if more := r.Query.Encode(); more != "" {
		query = join(query, more)
	}
	if !r.NoVersion && !url.Values.Has(parseQuery(query), "api-version") {
		query = join(query, "api-version="+url.QueryEscape(c.version))
	}
	if query != "" {
		query = "?" + query
	}
	req, err := runtime.NewRequest(ctx, r.Method, c.endpoint+path+query)
	if err != nil {
		return nil, err
	}
	// Here and in Request.Header, the names of headers are in canonical form, so that net/http does
	// not have to convert them.
	req.Raw().Header.Set(clientRequestID, NewID())
	req.Raw().Header.Set("Accept", "application/json")
	for name, value := range r.Header {
		req.Raw().Header.Set(name, value)
	}
	call.requestID = req.Raw().Header.Get(clientRequestID)
	if r.Body == nil {
		return req, nil
	}
	call.body, err = encode(r.Body)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	contentType := "application/json"
	if r.MergePatch {
		contentType = "application/merge-patch+json"
	}
	return req, req.SetBody(streaming.NopCloser(bytes.NewReader(call.body)), contentType)
}

// clientRequestID is the header with the id that the client assigns to a call, for the server's
// log.
const clientRequestID = "X-Ms-Client-Request-Id"

// NewID returns a random UUID, as the service's SDKs send for request ids and idempotency tokens.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[0:], b[0:4])
	hex.Encode(text[9:], b[4:6])
	hex.Encode(text[14:], b[6:8])
	hex.Encode(text[19:], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// encode returns body as JSON. It does not escape <, > and &, because chat messages contain many of
// them.
func encode(body any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func join(query, more string) string {
	if query == "" {
		return more
	}
	return query + "&" + more
}

// parseQuery parses the query of a URL and ignores malformed parts.
func parseQuery(query string) url.Values {
	values, _ := url.ParseQuery(query)
	return values
}
