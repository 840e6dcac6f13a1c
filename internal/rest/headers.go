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

// exposedHeaders are the headers that scripts of another origin may read. The names
// are for browsers that do not know the star.
const exposedHeaders = "*, Location, api-supported-versions, confab-idempotent-send, MS-CV, Retry-After, x-ms-client-request-id, x-ms-error-code, X-Processing-Time"

// allowedHeaders answers a preflight that names none. The star never stands for
// authorization.
const allowedHeaders = "authorization, content-type, accept, repeatability-request-id, x-ms-client-request-id, " +
	"x-ms-return-client-request-id, x-ms-content-sha256, x-ms-date, x-ms-useragent, traceparent"

// write sends a response with the headers of docs/contract/chat.md §1 and docs/contract/identity.md §3.
func (h *Handler) write(req *request, resp response) {
	header := req.w.Header()
	header.Set("Strict-Transport-Security", "max-age=2592000")
	header.Set("MS-CV", req.id+".0")
	if id := req.clientID(); id != "" {
		header.Set("x-ms-client-request-id", id)
	}
	if req.api.idempotentSends {
		header.Set("confab-idempotent-send", "true")
	}
	// A 401 lacks it (docs/contract/chat.md §1), except the one for an identity of another resource,
	// which was recorded with it.
	if req.path != nil && (resp.status != http.StatusUnauthorized || resp.code == core.IdentityNotOwned) {
		if versions, ok := req.path.supported[req.Method]; ok {
			header.Set("api-supported-versions", versions)
		}
	}
	h.cors(req, resp)
	if resp.allow != "" {
		header.Set("Allow", resp.allow)
	}
	if resp.close {
		header.Set("Connection", "close")
	}
	if req.retryAfter > 0 { // rounded up to whole seconds
		header.Set("Retry-After", strconv.FormatInt(int64((req.retryAfter+time.Second-1)/time.Second), 10))
	}
	switch {
	case resp.code != "":
		// For azcore. Unverified: the service was never seen to send it.
		header.Set("x-ms-error-code", string(resp.code))
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

// cors allows scripts of every origin: requests are authenticated by a token, not by
// a cookie.
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

// clientID returns the id that the client gave to the request, or "" if there is none
// or it is too long to echo.
func (req *request) clientID() string {
	id := req.Header.Get("x-ms-client-request-id")
	if len(id) > 200 {
		return ""
	}
	return id
}

// newRequestID returns 22 characters of base64, as the front door of the service
// does.
func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawStdEncoding.EncodeToString(b[:])
}

// baseURL returns the start of absolute links: the public endpoint, or the scheme and
// host that the client called.
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

// repairHost drops a doubled port: JavaScript 2.0 to 2.4.0 send
// "localhost:8443:8443", to which no link can lead (docs/contract/identity.md §4.3).
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

// cutPort cuts a port off, and nothing off an IPv6 address.
func cutPort(host string) (rest, port string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || i < strings.LastIndexByte(host, ']') {
		return host, "", false
	}
	return host[:i], host[i+1:], true
}
