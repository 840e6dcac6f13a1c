package rest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// The codes of refusals that are about HTTP and that package core never makes.
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

// statuses is the status of every code.
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

var errInternal = &core.Error{Code: codeInternal, Message: "Internal server error."}

// refuse is the one place where an error becomes an answer. Its cause goes to
// the log and no further.
func (h *Handler) refuse(q *request, err error) answer {
	e := refusal(q.family, err)
	status := cmp.Or(q.fault.Status, statuses[e.Code])
	if status == 0 {
		e, status = errInternal, http.StatusInternalServerError
	}
	if e == errInternal || e.Cause != nil {
		h.logCause(q, status, err)
	}
	q.note = e.Message
	a := answer{status: status, code: e.Code, close: status == http.StatusRequestTimeout}
	if status == http.StatusMethodNotAllowed {
		a.allow = q.path.allow
	}
	if status == http.StatusUnauthorized && q.family.silent401 {
		return a
	}
	a.body = buffer()
	*a.body = q.envelope()(*a.body, e)
	return a
}

func (h *Handler) logCause(q *request, status int, err error) {
	level := slog.LevelError
	if status < http.StatusInternalServerError || q.Context().Err() != nil {
		level = slog.LevelDebug // a bad signature, or a client that has gone
	}
	h.log.Log(context.WithoutCancel(q.Context()), level, "request refused", "request", q.id,
		"method", q.Method, "path", q.URL.EscapedPath(), "status", status, "error", err)
}

func refusal(f *family, err error) *core.Error {
	var e *core.Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, core.ErrUnavailable) {
		return &core.Error{Code: core.Unavailable, Message: "The server is currently unable to handle the request.", Cause: err}
	}
	var field *wire.Error
	if errors.As(err, &field) {
		return &core.Error{Code: f.invalid, Message: field.Error(), Target: field.Field()}
	}
	return errInternal
}

// envelope is the body of a refusal at the versions of its span.
type envelope struct {
	span  apiver.Span
	write func(dst []byte, e *core.Error) []byte
}

// Identity routes have {"error":{...}} (identity.md §3.8). Chat routes have both
// the documented and the recorded form, so that SDK users find code and message
// and nobody misses the other (chat.md §7.1).
var (
	identityEnvelopes = []envelope{{always, object(documented)}}
	chatEnvelopes     = []envelope{
		{apiver.Span{Until: "2021-03-07"}, object(recorded("Error"), documented)},
		{apiver.Span{Since: "2021-03-07"}, object(documented, recorded("CommunicationError"))},
	}
)

// envelope is that of the request's version, or the newest if it has none.
func (q *request) envelope() func([]byte, *core.Error) []byte {
	all := q.family.envelopes
	for _, e := range all {
		if q.version != "" && e.span.Has(q.version) {
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
