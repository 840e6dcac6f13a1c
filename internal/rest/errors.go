package rest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// The codes of refusals that concern HTTP, which package core never returns.
// Unverified, but for UnsupportedApiVersion and Denied: none was recorded.
const (
	codeNoVersion   core.Code = "ApiVersionUnspecified"
	codeBadVersion  core.Code = "UnsupportedApiVersion"
	codeMethod      core.Code = "MethodNotAllowed"
	codeTimeout     core.Code = "RequestTimeout"
	codeTooLarge    core.Code = "RequestEntityTooLarge"
	codeMediaType   core.Code = "UnsupportedMediaType"
	codeTooMany     core.Code = "TooManyRequests"
	codeInternal    core.Code = "InternalServerError"
	codeDenied      core.Code = "Denied"
	codeBadExchange core.Code = "InvalidAccessToken"
)

// statuses maps every code to its status.
var statuses = map[core.Code]int{
	core.BadRequest:       http.StatusBadRequest,
	core.Validation:       http.StatusBadRequest,
	codeNoVersion:         http.StatusBadRequest,
	codeBadVersion:        http.StatusBadRequest,
	core.Unauthorized:     http.StatusUnauthorized,
	codeDenied:            http.StatusUnauthorized,
	core.IdentityNotOwned: http.StatusUnauthorized,
	codeBadExchange:       http.StatusUnauthorized,
	core.Forbidden:        http.StatusForbidden,
	core.NotFound:         http.StatusNotFound,
	codeMethod:            http.StatusMethodNotAllowed,
	codeTimeout:           http.StatusRequestTimeout,
	codeTooLarge:          http.StatusRequestEntityTooLarge,
	codeMediaType:         http.StatusUnsupportedMediaType,
	codeTooMany:           http.StatusTooManyRequests,
	codeInternal:          http.StatusInternalServerError,
	core.Unavailable:      http.StatusServiceUnavailable,
}

// unavailable is the refusal of a request that had no effect, so that the client may
// repeat it.
func unavailable(cause error) *core.Error {
	return &core.Error{Code: core.Unavailable, Message: core.ErrBusy.Message, Cause: cause}
}

var errInternal = &core.Error{Code: codeInternal, Message: "Internal server error."}

// retryAfter is the Retry-After of a 503. Such a request had no effect, so that the
// client may repeat it; an unknown outcome is a 500 and has none.
const retryAfter = time.Second

// refuse is the one place that turns an error into a response. Its cause goes to
// the log and no further.
func (h *Handler) refuse(req *request, err error) response {
	e := errorOf(req.api, err)
	status := cmp.Or(req.fault.Status, statuses[e.Code])
	if status == 0 {
		e, status = errInternal, http.StatusInternalServerError
	}
	if e == errInternal || e.Cause != nil {
		h.logCause(req, status, err)
	}
	// A fault on purpose has the Retry-After that it was given, or none.
	if e.Code == core.Unavailable && req.fault.Status == 0 {
		req.retryAfter = max(req.retryAfter, retryAfter)
	}
	req.note = e.Message
	resp := response{status: status, code: e.Code, close: status == http.StatusRequestTimeout}
	if status == http.StatusMethodNotAllowed {
		resp.allow = req.path.allow
	}
	if status == http.StatusUnauthorized && req.api.emptyBodyOn401 {
		return resp
	}
	resp.body = h.getBuffer()
	*resp.body = req.envelope()(*resp.body, e)
	return resp
}

func (h *Handler) logCause(req *request, status int, err error) {
	level := slog.LevelError
	if status < http.StatusInternalServerError || req.Context().Err() != nil {
		level = slog.LevelDebug // a bad signature, or a client that hung up
	}
	h.log.Log(context.WithoutCancel(req.Context()), level, "request refused", "request", req.id,
		"method", req.Method, "path", req.URL.EscapedPath(), "status", status, "error", err)
}

// errorOf returns err as a core.Error, errInternal if it is none.
func errorOf(a *api, err error) *core.Error {
	var e *core.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, core.ErrUnavailable) {
		return unavailable(err)
	}
	var field *wire.Error
	if errors.As(err, &field) {
		return &core.Error{Code: a.invalidBody, Message: field.Error(), Target: field.Field()}
	}
	return errInternal
}

// envelope writes the body of a refusal at the versions of its span.
type envelope struct {
	span  apiver.Span
	write func(dst []byte, e *core.Error) []byte
}

// Identity routes have {"error":{...}} (docs/contract/identity.md §3.8). Chat routes have both
// the documented and the recorded form, so that SDK users find code and message
// and nobody misses the other (docs/contract/chat.md §7.1).
var (
	identityEnvelopes = []envelope{{always, object(documented)}}
	chatEnvelopes     = []envelope{
		{apiver.Span{Until: "2021-03-07"}, object(recorded("Error"), documented)},
		{apiver.Span{Since: "2021-03-07"}, object(documented, recorded("CommunicationError"))},
	}
)

// envelope returns the envelope of the request's version, or the newest if it has
// none.
func (req *request) envelope() func([]byte, *core.Error) []byte {
	all := req.api.envelopes
	for _, e := range all {
		if req.version != "" && e.span.Has(req.version) {
			return e.write
		}
	}
	return all[len(all)-1].write
}

type errorMember func(dst []byte, e *core.Error) []byte

func object(members ...errorMember) func(dst []byte, e *core.Error) []byte {
	return func(dst []byte, e *core.Error) []byte {
		separator := byte('{')
		for _, m := range members {
			dst = m(append(dst, separator), e)
			separator = ','
		}
		return append(dst, '}')
	}
}

// recorded is the form that the service sends, with the key of its time.
func recorded(key string) errorMember {
	return func(dst []byte, e *core.Error) []byte {
		dst = append(append(append(dst, '"'), key...), `":{"Code":`...)
		dst = wire.AppendString(dst, string(e.Code))
		dst = member(dst, "Message", e.Message)
		return append(dst, `,"Details":[]}`...)
	}
}

// documented is the form of the OpenAPI files.
func documented(dst []byte, e *core.Error) []byte {
	dst = append(dst, `"error":{"code":`...)
	dst = wire.AppendString(dst, string(e.Code))
	dst = member(dst, "message", e.Message)
	dst = member(dst, "target", e.Target)
	return append(dst, '}')
}

func member(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return wire.AppendString(dst, value)
}
