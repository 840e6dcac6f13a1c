package sse

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// Error codes that chat routes use too.
const (
	codeMethod   core.Code = "MethodNotAllowed"
	codeTooMany  core.Code = "TooManyRequests"
	codeInternal core.Code = "InternalServerError"
)

// refusal is the response to a request that opens no stream.
type refusal struct {
	status     int
	code       core.Code
	message    string
	retryAfter time.Duration // 0: the response has no Retry-After
	cause      error         // for the log; may be nil
}

// Error returns the message.
func (r *refusal) Error() string { return r.message }

// badRequest returns the refusal of a request with a parameter that is not valid.
func badRequest(parameter, why string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: core.BadRequest, message: parameter + ": " + why}
}

// unauthorized returns the refusal of a token. The message is only for the access log: the
// response has no body.
func unauthorized(why string) *refusal {
	return &refusal{status: http.StatusUnauthorized, code: core.Unauthorized, message: why}
}

// unavailable returns the refusal of a request for which the server cannot do anything now.
func unavailable(message string, after time.Duration, cause error) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, code: core.Unavailable, message: message,
		retryAfter: max(after, time.Second), cause: cause}
}

// notOpened returns the refusal for an error of Hub.Open or Hub.At.
func notOpened(err error) *refusal {
	var e *gateway.OpenError
	if !errors.As(err, &e) {
		return &refusal{status: http.StatusInternalServerError, code: codeInternal, message: "Internal server error.", cause: err}
	}
	switch e.Why {
	case gateway.Expired, gateway.Revoked, gateway.Deleted:
		return unauthorized("the token has ended: " + e.Why.String())
	case gateway.UserFull:
		return &refusal{status: http.StatusTooManyRequests, code: codeTooMany, retryAfter: e.Why.Delay(),
			message: "The user has too many event streams open."}
	case gateway.NodeFull:
		return unavailable("The server has too many event streams open.", e.Why.Delay(), e.Cause)
	case gateway.Draining:
		return unavailable("The server is shutting down.", e.Why.Delay(), e.Cause)
	}
	return unavailable(core.ErrBusy.Message, e.Why.Delay(), e.Cause)
}

// faultCodes maps the HTTP status of a fault to the code of this server's own errors with
// that status.
var faultCodes = map[int]core.Code{
	http.StatusBadRequest:          core.BadRequest,
	http.StatusUnauthorized:        core.Unauthorized,
	http.StatusForbidden:           core.Forbidden,
	http.StatusNotFound:            core.NotFound,
	http.StatusMethodNotAllowed:    codeMethod,
	http.StatusTooManyRequests:     codeTooMany,
	http.StatusInternalServerError: codeInternal,
	http.StatusServiceUnavailable:  core.Unavailable,
}

// ofFault returns the refusal that a fault rule with a status asks for.
func ofFault(status int, retryAfter time.Duration) *refusal {
	code, ok := faultCodes[status]
	if !ok {
		name := strings.Map(func(r rune) rune {
			if !unicode.IsLetter(r) {
				return -1
			}
			return r
		}, http.StatusText(status))
		code = core.Code(cmp.Or(name, fmt.Sprintf("Status%d", status)))
	}
	return &refusal{status: status, code: code, retryAfter: retryAfter, message: "The development server was told to answer this."}
}

// write writes the response with the headers and the body that chat routes use. A 401 has
// no body.
func (r *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("X-Ms-Error-Code", string(r.code))
	if r.status == http.StatusMethodNotAllowed {
		h.Set("Allow", allowed)
	}
	if r.retryAfter > 0 { // round up to whole seconds
		h.Set("Retry-After", strconv.FormatInt(int64((r.retryAfter+time.Second-1)/time.Second), 10))
	}
	if r.status == http.StatusUnauthorized {
		w.WriteHeader(r.status)
		return
	}
	b := appendString([]byte(`{"error":{"code":`), string(r.code))
	b = appendString(append(b, `,"message":`...), r.message)
	b = appendString(append(b, `},"CommunicationError":{"Code":`...), string(r.code))
	b = appendString(append(b, `,"Message":`...), r.message)
	b = append(b, `,"Details":[]}}`...)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(r.status)
	w.Write(b) // an error means that the client hung up
}
