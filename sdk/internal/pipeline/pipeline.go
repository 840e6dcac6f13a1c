// Package pipeline sends the requests of the clients: it puts azcore's pipeline
// together, and meets on purpose what azcore leaves open.
//
//   - Every failure is a [communication.Error], of one line (errors.go).
//   - A 401 is answered with a fresh token once, and no token goes to another host or
//     over plain http (auth.go, transport.go).
//   - A request of unknown fate is sent again only where that is harmless (try.go).
//   - A link to the next page is followed on the own origin only (continuation.go).
//   - Answers have a bound, and a private certificate authority works alike on every
//     system (transport.go).
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

// sdkVersion is what the User-Agent header and traces tell of this module.
const sdkVersion = "v0.1.0"

// Options are the ClientOptions of every client, which are struct types with the
// same fields and convert.
type Options struct {
	azcore.ClientOptions
	CAFile string
	Logger *slog.Logger
}

// Config is what a client is made of.
type Config struct {
	Component  string   // the package: "chat"
	Version    string   // the api-version, unless the options name another
	MinVersion string   // the oldest api-version that the package speaks; empty: any
	Endpoint   string   // https://host[:port]
	Auth       Auth     // Bearer or Signature
	Options    *Options // nil: defaults
}

// Client sends requests to one endpoint. It is safe for concurrent use.
type Client struct {
	endpoint  string
	base      *url.URL
	version   string
	azcore    *azcore.Client
	component string
	// ownTransport is set for a transport of net/http that repeats a request only when
	// none of it was written. Of others nobody knows.
	ownTransport bool
}

// New returns a client, or says in one line what is wrong with c. It makes no request.
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
	o.APIVersion = "" // set by Do: azcore would set it on continuations too
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
	return &Client{endpoint: address, base: base, version: version, azcore: az, component: c.Component, ownTransport: own}, nil
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

// Endpoint returns scheme://host[:port].
func (c *Client) Endpoint() string { return c.endpoint }

// Request is one request to the service.
type Request struct {
	Operation  string            // in words, for errors: "send message"
	Method     string            // of HTTP
	Path       string            // escaped, from the root; or what Continuation returned
	Query      url.Values        // without api-version
	Header     map[string]string // beyond what every request has
	Body       any               // encoded as JSON; nil: no body
	MergePatch bool              // the body is a JSON merge patch
	Creates    bool              // creates something each time: an error says when it may have
	Once       bool              // Creates, and not to be sent again after an unknown fate
	Status     int               // of success
}

// Do sends r and decodes the answer into out; with a nil out no body is wanted and
// none is looked at. It returns the headers of the answer, also beside an error, and
// nil when there was no answer. Every error is a *communication.Error.
//
// What fails before it reaches the server, and 429, is sent again as the client's
// RetryOptions say. So is no answer, 408 and 5xx, unless r.Once is set. The error of a
// request that Creates something reports communication.ErrUnknownFate when any of the
// tries may have been carried out.
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
		// azcore drops an answer when the context ends just after it, and the caller
		// would take what was done for something that was not.
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
	if query == "" || !url.Values.Has(parseQuery(query), "api-version") {
		query = join(query, "api-version="+url.QueryEscape(c.version))
	}
	req, err := runtime.NewRequest(ctx, r.Method, c.endpoint+path+"?"+query)
	if err != nil {
		return nil, err
	}
	// Names in net/http's own spelling, here and in Request.Header, cost nothing to find.
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

// clientRequestID is the header with the client's name of a call.
const clientRequestID = "X-Ms-Client-Request-Id"

// NewID returns what nobody has used: a random UUID, as the SDKs of the service send
// for requests and for idempotency.
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

// encode leaves <, > and & as they are: the text of a chat is full of them.
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

// parseQuery takes what it can read of a query.
func parseQuery(query string) url.Values {
	values, _ := url.ParseQuery(query)
	return values
}
