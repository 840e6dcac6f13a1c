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

// exposed is what scripts of another origin may read. A browser that does not
// know the star reads the names.
const exposed = "*, Location, api-supported-versions, confab-idempotent-send, MS-CV, Retry-After, x-ms-client-request-id, x-ms-error-code, X-Processing-Time"

// allowedHeaders answers a preflight that names none. The star never stands for
// authorization.
const allowedHeaders = "authorization, content-type, accept, repeatability-request-id, x-ms-client-request-id, " +
	"x-ms-return-client-request-id, x-ms-content-sha256, x-ms-date, x-ms-useragent, traceparent"

// write sends an answer with the headers of chat.md §1 and identity.md §3.
func (h *Handler) write(q *request, a answer) {
	header := q.w.Header()
	header.Set("Strict-Transport-Security", "max-age=2592000")
	header.Set("MS-CV", q.id+".0")
	if id := q.clientID(); id != "" {
		header.Set("x-ms-client-request-id", id)
	}
	if q.family.announced {
		header.Set("confab-idempotent-send", "true")
	}
	// A 401 has none, as nobody was let in (chat.md §1); that of an identity of
	// another resource comes later and has it, as recorded.
	if q.path != nil && (a.status != http.StatusUnauthorized || a.code == core.IdentityNotOwned) {
		if versions, ok := q.path.supported[q.Method]; ok {
			header.Set("api-supported-versions", versions)
		}
	}
	h.cors(q, a)
	if a.allow != "" {
		header.Set("Allow", a.allow)
	}
	if a.close {
		header.Set("Connection", "close")
	}
	if q.retryAfter > 0 { // whole seconds, so that who waits is let in
		header.Set("Retry-After", strconv.FormatInt(int64((q.retryAfter+time.Second-1)/time.Second), 10))
	}
	switch {
	case a.code != "":
		// Ours, for azcore. Unverified: the service was never seen to send it.
		header.Set("x-ms-error-code", string(a.code))
	case q.location != "":
		header.Set("Location", q.location)
	}
	header.Set("X-Processing-Time", strconv.FormatInt(h.now().Sub(q.start).Milliseconds(), 10)+"ms")
	if a.body == nil {
		q.w.WriteHeader(a.status)
		return
	}
	contentType := "application/json; charset=utf-8"
	if a.code != "" {
		contentType = "application/json"
	}
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(*a.body)))
	q.w.WriteHeader(a.status)
	q.w.Write(*a.body) // a client that has gone hears nothing, and nobody else can
	buffers.Put(a.body)
}

// cors lets scripts of every origin in: the token in the request, not a cookie,
// says who asks.
func (h *Handler) cors(q *request, a answer) {
	if q.Header.Get("Origin") == "" {
		return
	}
	header := q.w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Expose-Headers", exposed)
	if q.Method != http.MethodOptions || a.code != "" {
		return
	}
	asked := q.Header.Get("Access-Control-Request-Headers")
	if asked == "" {
		asked = allowedHeaders
	}
	header.Set("Access-Control-Allow-Methods", a.allow)
	header.Set("Access-Control-Allow-Headers", asked)
	header.Set("Access-Control-Max-Age", "7200")
}

// clientID is the id that the client gave to the request, if it is fit to be
// echoed.
func (q *request) clientID() string {
	id := q.Header.Get("x-ms-client-request-id")
	if len(id) > 200 {
		return ""
	}
	return id
}

// newRequestID is 22 characters of base64, as the front door makes them.
func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawStdEncoding.EncodeToString(b[:])
}

// base is the beginning of absolute links: the public endpoint, or what the
// client called.
func (h *Handler) base(q *request) string {
	if h.endpoint != "" {
		return h.endpoint
	}
	scheme := "http://"
	if q.TLS != nil {
		scheme = "https://"
	}
	return scheme + repairHost(q.Host)
}

// repairHost drops a doubled port: JavaScript 2.0 to 2.4.0 send
// "localhost:8443:8443", to which no link can lead (identity.md §4.3).
func repairHost(host string) string {
	rest, last, ok := cutLast(host)
	if !ok {
		return host
	}
	if _, before, ok := cutLast(rest); ok && before == last {
		return rest
	}
	return host
}

// cutLast cuts a port off, and nothing off an IPv6 address.
func cutLast(host string) (rest, port string, ok bool) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || i < strings.LastIndexByte(host, ']') {
		return host, "", false
	}
	return host[:i], host[i+1:], true
}
