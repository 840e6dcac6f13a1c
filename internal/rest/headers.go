package rest

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// exposedHeaders lists the response headers that scripts of other origins may read. It
// names them besides "*" for browsers that do not support "*".
const exposedHeaders = "*, Location, api-supported-versions, confab-idempotent-send, MS-CV, Retry-After, x-ms-client-request-id, x-ms-error-code, X-Processing-Time"

// allowedHeaders lists the request headers that scripts of other origins may send, for
// a CORS preflight that names none. It is not "*", which does not include authorization.
const allowedHeaders = "authorization, content-type, accept, repeatability-request-id, x-ms-client-request-id, " +
	"x-ms-return-client-request-id, x-ms-content-sha256, x-ms-date, x-ms-useragent, traceparent"

// write sends a response with the headers that docs/contract/chat.md §1 and
// docs/contract/identity.md §3 require, and returns its body to the buffer pool. It
// spells the names as net/http does, which would allocate for any other spelling.
func (h *Handler) write(req *request, resp response) {
	header := req.w.Header()
	header.Set("Strict-Transport-Security", "max-age=2592000")
	header.Set("Ms-Cv", req.id+".0")
	if id := req.clientID(); id != "" {
		header.Set("X-Ms-Client-Request-Id", id)
	}
	if req.api.idempotentSends {
		header.Set("Confab-Idempotent-Send", "true")
	}
	// A 401 lacks api-supported-versions (docs/contract/chat.md §1), except the recorded 401
	// for an identity of another resource.
	if req.path != nil && (resp.status != http.StatusUnauthorized || resp.code == core.IdentityNotOwned) {
		if versions, ok := req.path.supported[req.Method]; ok {
			header.Set("Api-Supported-Versions", versions)
		}
	}
	h.cors(req, resp)
	if resp.allow != "" {
		header.Set("Allow", resp.allow)
	}
	if resp.close {
		header.Set("Connection", "close")
	}
	if req.retryAfter > 0 { // round up to whole seconds
		header.Set("Retry-After", strconv.FormatInt(int64((req.retryAfter+time.Second-1)/time.Second), 10))
	}
	switch {
	case resp.code != "":
		// The Azure SDK for Go reads this header. Unverified: no recording has it.
		header.Set("X-Ms-Error-Code", string(resp.code))
	case req.location != "":
		header.Set("Location", req.location)
	}
	header.Set("X-Processing-Time", strconv.FormatInt(h.now().Sub(req.start).Milliseconds(), 10)+"ms")
	if resp.body == nil {
		req.w.WriteHeader(resp.status)
		return
	}
	contentType := "application/json; charset=utf-8"
	if resp.code != "" {
		contentType = "application/json"
	}
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(*resp.body)))
	req.w.WriteHeader(resp.status)
	req.w.Write(*resp.body) // an error means that the client hung up
	h.putBuffer(resp.body)
}

// cors sets the CORS headers of a response. It allows every origin, because requests
// are authenticated by a token, not by a cookie.
func (h *Handler) cors(req *request, resp response) {
	if req.Header.Get("Origin") == "" {
		return
	}
	header := req.w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
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

// newRequestID returns a random id of 22 base64 characters, the form that the service
// uses.
func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawStdEncoding.EncodeToString(b[:])
}

// baseURL returns the scheme and host of absolute links, without a final slash: the
// public endpoint if one is configured, else those of the request.
func (h *Handler) baseURL(req *request) string {
	if h.endpoint != "" {
		return h.endpoint
	}
	scheme := "http://"
	if req.TLS != nil {
		scheme = "https://"
	}
	return scheme + repairHost(req.Host)
}

// repairHost removes a repeated port from a Host header: the JavaScript SDK 2.0 to
// 2.4.0 sends "localhost:8443:8443" (docs/contract/identity.md §4.3).
func repairHost(host string) string {
	rest, last, ok := cutPort(host)
	if !ok {
		return host
	}
	if _, before, ok := cutPort(rest); ok && before == last {
		return rest
	}
	return host
}

// cutPort splits host:port at its last colon. ok is false if host has no port. It does
// not split inside the brackets of an IPv6 address.
func cutPort(host string) (rest, port string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || i < strings.LastIndexByte(host, ']') {
		return host, "", false
	}
	return host[:i], host[i+1:], true
}
