package rest

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/hosts"
)

// exposedHeaders is the value of Access-Control-Expose-Headers: the response headers
// that browser scripts of other origins may read. It lists names besides "*" for
// browsers that do not support "*".
const exposedHeaders = "*, Location, api-supported-versions, confab-api-version, confab-idempotent-send, MS-CV, Retry-After, x-ms-client-request-id, x-ms-error-code, x-ms-request-id, X-Processing-Time"

// allowedHeaders is the Access-Control-Allow-Headers of the response to a CORS
// preflight that asks for no particular headers. It is not "*", because "*" does not
// include the Authorization header.
const allowedHeaders = "authorization, content-type, accept, repeatability-request-id, idempotency-token, x-ms-client-request-id, " +
	"x-ms-return-client-request-id, x-ms-content-sha256, x-ms-date, x-ms-useragent, traceparent"

// Values of headers that all responses share, so that no response allocates a slice for them, as
// Header.Set would. Sharing is safe because net/http only reads the slices.
var (
	transportSecurity = []string{"max-age=2592000"}
	yes               = []string{"true"}
	zero              = []string{"0"}
	jsonUTF8          = []string{"application/json; charset=utf-8"}
	plainJSON         = []string{"application/json"}
	origins           = []string{"Origin"}
)

// write sends a response with the headers that docs/contract/chat.md §1 and
// docs/contract/identity.md §3 require, and returns its body to the buffer pool. It
// writes header names in net/http's canonical form: Header.Set allocates memory to
// convert others. It fails if the response could not be written.
func (h *Handler) write(req *request, resp response) error {
	header := req.w.Header()
	if hosts.WantsTransportSecurity(req.Request) {
		header["Strict-Transport-Security"] = transportSecurity
	}
	// Send the request id as MS-CV, as the real service does, and as X-Ms-Request-Id, which the SDKs
	// print, log and trace.
	req.set("Ms-Cv", req.id)
	header["X-Ms-Request-Id"] = header["Ms-Cv"]
	if id := req.clientID(); id != "" {
		req.set("X-Ms-Client-Request-Id", id)
	}
	if req.api.idempotentSends && (req.version == "" || req.idempotencyHeader() != "") {
		header["Confab-Idempotent-Send"] = yes
	}
	// A 401 lacks api-supported-versions (docs/contract/chat.md §1), except the recorded 401
	// for an identity of another resource.
	if req.path != nil && (resp.status != http.StatusUnauthorized || resp.code == core.IdentityNotOwned) {
		if versions, ok := req.path.supported[req.Method]; ok {
			header["Api-Supported-Versions"] = versions
		}
	}
	if req.answeredAs != "" {
		req.set("Confab-Api-Version", req.answeredAs)
	}
	h.cors(req, resp)
	if resp.allow != "" {
		req.set("Allow", resp.allow)
	}
	// Send Connection: close over HTTP/1 only. Over HTTP/2 this header would end the whole
	// connection, which may carry requests of other clients behind a proxy. An unread body ends only
	// its own stream there.
	if resp.close && req.ProtoMajor == 1 {
		req.set("Connection", "close")
	}
	if req.retryAfter > 0 { // round up to whole seconds
		req.set("Retry-After", strconv.FormatInt(int64((req.retryAfter+time.Second-1)/time.Second), 10))
	}
	switch {
	case resp.code != "":
		// The Azure SDK for Go reads X-Ms-Error-Code. Unverified: no recording has it.
		req.set("X-Ms-Error-Code", string(resp.code))
	case req.location != "":
		req.set("Location", req.location)
	}
	req.set("X-Processing-Time", strconv.FormatInt(h.now().Sub(req.start).Milliseconds(), 10)+"ms")
	if resp.body == nil {
		if resp.status != http.StatusNoContent {
			header["Content-Length"] = zero // set Content-Length, because without this header flush would make net/http use chunked encoding
		}
		req.w.WriteHeader(resp.status)
		return h.flush(req)
	}
	header["Content-Type"] = jsonUTF8
	if resp.code != "" {
		header["Content-Type"] = plainJSON
	}
	req.set("Content-Length", strconv.Itoa(len(*resp.body)))
	req.w.WriteHeader(resp.status)
	_, err := req.w.Write(*resp.body)
	h.putBuffer(resp.body)
	return cmp.Or(err, h.flush(req))
}

// set sets a header of the response. The name must be in the canonical form. Header.Set would
// allocate a slice for each value, but set puts the first values of a request into one array.
func (req *request) set(name, value string) {
	values := append(req.values, value)
	req.values = values
	req.w.Header()[name] = values[len(values)-1 : len(values) : len(values)]
}

// quick is the time in which the server answers most requests. Over HTTP/2, flush does nothing for
// a response that was ready in less time.
const quick = 100 * time.Millisecond

// flush makes net/http send a written response to the connection, so that a failure is known
// before the request is logged. It fails if the client has hung up or the connection is broken.
// Over HTTP/1.1 flushing costs nothing. Over HTTP/2 it costs a frame, so flush does nothing if the
// response took less time than quick: a connection seldom breaks in so short a time. flush sends a
// refusal even then, because Options.Access may read the store to find out the reason for the
// refusal, and the client would wait for that.
func (h *Handler) flush(req *request) error {
	if err := req.Request.Context().Err(); err != nil {
		return errors.New("the client has hung up")
	}
	if req.ProtoMajor != 1 && h.now().Sub(req.start) < quick && req.why.IsZero() {
		return nil
	}
	if w, ok := req.w.(interface{ FlushError() error }); ok {
		return w.FlushError()
	}
	err := http.NewResponseController(req.w).Flush() // it allocates
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// cors sets the CORS headers of a response. It allows every origin that the request names,
// because requests are authenticated by a token and not by a cookie. If the settings allow only
// some origins, package server has already removed the Origin header of all others.
func (h *Handler) cors(req *request, resp response) {
	header := req.w.Header()
	if h.namesOrigin && header["Vary"] == nil {
		header["Vary"] = origins
	} else if h.namesOrigin {
		header.Add("Vary", "Origin")
	}
	origin := req.Header.Get("Origin")
	if origin == "" {
		return
	}
	if !h.namesOrigin {
		origin = "*"
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", exposedHeaders)
	if req.Method != http.MethodOptions || resp.code != "" {
		return
	}
	asked := req.Header.Get("Access-Control-Request-Headers")
	if asked == "" {
		asked = allowedHeaders
	}
	header.Set("Access-Control-Allow-Methods", resp.allow)
	header.Set("Access-Control-Allow-Headers", asked)
	header.Set("Access-Control-Max-Age", "7200")
}

// clientID returns the request's x-ms-client-request-id, or "" if it is missing or
// longer than 200 bytes.
func (req *request) clientID() string {
	id := req.Header.Get("X-Ms-Client-Request-Id")
	if len(id) > 200 {
		return ""
	}
	return id
}

// agent returns the name of the client's library. In a browser, User-Agent is the name of the
// browser, so SDKs send their name in X-Ms-Useragent.
func agent(r *http.Request) string {
	if own := r.Header.Get("X-Ms-Useragent"); own != "" {
		return own
	}
	return r.UserAgent()
}

// newRequestID returns a random id of 22 base64 characters and ".0", the form in which the real
// service sends MS-CV. The caller provides random, the memory for the random bytes, because a
// local variable would be allocated on the heap for each id.
func newRequestID(random *[16]byte) string {
	rand.Read(random[:])
	text := [24]byte{22: '.', 23: '0'}
	base64.RawStdEncoding.Encode(text[:22], random[:])
	return string(text[:])
}

// baseURL returns the scheme and host with which absolute links in responses begin, without a
// final slash. It returns Options.PublicEndpoint if that is set, and otherwise the scheme and the
// host to which the client sent the request.
func (h *Handler) baseURL(req *request) string { return string(h.appendBaseURL(nil, req)) }

// appendBaseURL appends the result of baseURL to b.
func (h *Handler) appendBaseURL(b []byte, req *request) []byte {
	if h.endpoint != "" {
		return append(b, h.endpoint...)
	}
	return hosts.AppendBase(b, req.Request)
}
