package rest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
	"github.com/confab-chat/confab/internal/why"
)

// The error codes that this package uses beside those of package core.
// UnsupportedApiVersion and Denied were recorded from the real service. Unverified:
// that the service uses the other codes.
const (
	codeNoVersion        core.Code = "ApiVersionUnspecified"
	codeAmbiguousVersion core.Code = "AmbiguousApiVersion"
	codeBadVersion       core.Code = "UnsupportedApiVersion"
	codeMethod           core.Code = "MethodNotAllowed"
	codeTimeout          core.Code = "RequestTimeout"
	codeTooLarge         core.Code = "RequestEntityTooLarge"
	codeMediaType        core.Code = "UnsupportedMediaType"
	codeTooMany          core.Code = "TooManyRequests"
	codeInternal         core.Code = "InternalServerError"
	codeDenied           core.Code = "Denied"
	codeNotImplemented   core.Code = "NotImplemented"
	codeBadExchange      core.Code = "InvalidAccessToken"
)

// statuses maps every error code to its HTTP status.
var statuses = map[core.Code]int{
	core.BadRequest:       http.StatusBadRequest,
	core.Validation:       http.StatusBadRequest,
	codeNoVersion:         http.StatusBadRequest,
	codeAmbiguousVersion:  http.StatusBadRequest,
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
	codeNotImplemented:    http.StatusNotImplemented,
	core.Unavailable:      http.StatusServiceUnavailable,
}

// unavailable returns the error for a 503. Use it only if the request had no effect,
// because the client may repeat it. The cause appears in the log but not in the
// response.
func unavailable(cause error) *core.Error {
	return &core.Error{Code: core.Unavailable, Message: core.ErrBusy.Message, Why: why.Because(why.StoreAway), Cause: cause}
}

var errInternal = &core.Error{Code: codeInternal, Message: "Internal server error.", Why: why.Because(why.Internal)}

// notServed returns the error for a request for an operation that this server does not have, a
// 501.
func notServed(message string) error {
	return &core.Error{Code: codeNotImplemented, Message: message, Why: why.Because(why.NotServed, "problem", message)}
}

// retryAfter is the shortest Retry-After of a 503. A request that got a 503 had no effect and may
// be repeated. A 500 has no Retry-After, because the request may have been carried out.
const retryAfter = time.Second

// refuse returns the error response for err. It writes the cause of the error to the log, but not
// into the response.
func (h *Handler) refuse(req *request, err error) response {
	e := errorOf(req.api, err)
	if errors.Is(err, core.ErrUnknownThread) && hiddenThreads.Has(req.version) {
		e = core.Forbid("no such thread", e.Why)
	}
	status := cmp.Or(req.fault.Status, statuses[e.Code])
	if status == 0 {
		e, status = errInternal, http.StatusInternalServerError
	}
	if e == errInternal || e.Cause != nil {
		h.logCause(req, status, err)
	}
	// A 503 from a fault rule has a Retry-After only if the rule has one.
	if e.Code == core.Unavailable && req.fault.Status == 0 {
		req.retryAfter = max(req.retryAfter, retryAfter)
	}
	req.note, req.reason, req.why = e.Message, e.Reason, req.cause(e)
	if req.reason == "" && e.Cause != nil && status < http.StatusInternalServerError {
		req.reason = e.Cause.Error() // give the access log the cause, which says, for example, why the signature was refused
	}
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

// cause returns the reason for the refusal e of a request, and adds facts about the request: user,
// thread, method, message and operation.
func (req *request) cause(e *core.Error) why.Cause {
	if e == errInternal && req.Request.Context().Err() != nil {
		return why.Because(why.HungUp)
	}
	facts := []string{"user", why.User(req.caller), "thread", why.Thread(req.thread), "method", clip.Text(req.Method, maxEcho)}
	if req.message != 0 {
		facts = append(facts, "message", strconv.FormatInt(req.message, 10))
	}
	if req.route != nil {
		facts = append(facts, "operation", req.route.operation)
	}
	return e.Why.Also(facts...)
}

// logCause logs err, the cause of an error response with the given status. The level is error
// for a 5xx, and debug if the status is lower or the client has hung up.
func (h *Handler) logCause(req *request, status int, err error) {
	level := slog.LevelError
	if status < http.StatusInternalServerError || req.Request.Context().Err() != nil {
		level = slog.LevelDebug // use level debug if the client is the cause, for example by a bad signature or by hanging up
	}
	h.log.Log(context.WithoutCancel(req.Context()), level, "request refused", "request", req.id,
		"client_request", logged(req.Header.Get("X-Ms-Client-Request-Id")),
		"method", logged(req.Method), "path", logged(req.escaped), "status", status, "error", err)
}

// hiddenThreads is the feature of api-versions at which a request for a thread that does not exist
// gets the same 403 as one for a thread that the caller is not in. This was recorded for getting a
// thread (docs/contract/chat.md §7.2). Unverified: that all operations do so.
const hiddenThreads apiver.Feature = "hidden threads"

// errorOf converts err to a core.Error. It returns errInternal for an error of a type
// that it does not know.
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
		return &core.Error{Code: a.invalidBody, Message: field.Error(), Target: field.Field(),
			Why: why.Because(why.InvalidField, "field", field.Field(), "problem", field.Error())}
	}
	return errInternal
}

// envelope is one format of error bodies, with the feature of the api-versions that use this
// format. Its function write appends the JSON of an error to dst.
type envelope struct {
	in    apiver.Feature
	write func(dst []byte, e *core.Error) []byte
}

// The formats of error bodies by api-version. Identity routes send {"error":{...}}
// (docs/contract/identity.md §3.8). Chat routes send the same error twice in one
// object: as the OpenAPI files define it, and as the real service was recorded to send
// it (docs/contract/chat.md §7.1).
var (
	identityEnvelopes = []envelope{{always, object(documented)}}
	chatEnvelopes     = []envelope{
		{"flat errors", object(recordedFlat, documentedFlat)},
		{"Error bodies", object(recorded("Error"), documented)},
		{"ChatError bodies", object(recorded("ChatError"), documented)},
		{"CommunicationError bodies", object(documented, recorded("CommunicationError"))},
	}
)

// envelope returns the function that writes the error body in the format of the
// request's api-version, or of the newest version if the request has no valid one.
func (req *request) envelope() func([]byte, *core.Error) []byte {
	all := req.api.envelopes
	for _, e := range all {
		if req.version != "" && e.in.Has(req.version) {
			return e.write
		}
	}
	return all[len(all)-1].write
}

// errorMember appends one or more members of the JSON object of an error body to dst.
type errorMember func(dst []byte, e *core.Error) []byte

// object returns a function that writes a JSON object with the given members.
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

// recorded returns a function that writes an error as a JSON member in the form in
// which the real service was recorded to send it. The key depends on the api-version.
func recorded(key string) errorMember {
	return func(dst []byte, e *core.Error) []byte {
		dst = append(append(append(dst, '"'), key...), `":{"Code":`...)
		dst = wire.AppendString(dst, string(e.Code))
		dst = member(dst, "Message", e.Message)
		return append(dst, `,"Details":[]}`...)
	}
}

// documented appends the JSON member "error" with the error in the form that the
// OpenAPI files define.
func documented(dst []byte, e *core.Error) []byte {
	dst = append(dst, `"error":{"code":`...)
	dst = wire.AppendString(dst, string(e.Code))
	dst = member(dst, "message", e.Message)
	dst = member(dst, "target", e.Target)
	return append(dst, '}')
}

// recordedFlat appends the members of an error body without a key around them, as the oldest
// version was recorded to send them. An unknown thread has no message there, as was recorded for
// getting a thread (docs/contract/chat.md §7.2). Unverified: that all operations do so.
func recordedFlat(dst []byte, e *core.Error) []byte {
	dst = append(dst, `"Code":`...)
	dst = wire.AppendString(dst, string(e.Code))
	if e != core.ErrUnknownThread {
		dst = member(dst, "Message", e.Message)
	}
	if statuses[e.Code] == http.StatusBadRequest {
		dst = append(dst, `,"InnerErrors":[]`...)
	}
	return dst
}

// documentedFlat appends the members of an error body of the oldest version under the names
// that its OpenAPI file gives them. The SDKs read these names.
func documentedFlat(dst []byte, e *core.Error) []byte {
	dst = append(dst, `"code":`...)
	dst = wire.AppendString(dst, string(e.Code))
	dst = member(dst, "message", e.Message)
	return member(dst, "target", e.Target)
}

// member appends a comma and a JSON member with the name and value to dst. It appends
// nothing if the value is empty.
func member(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return wire.AppendString(dst, value)
}
