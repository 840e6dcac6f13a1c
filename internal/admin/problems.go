package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/confab-chat/confab/internal/core"
)

// Problem is the body of each refusal, in the form of RFC 9457. Programs can rely on Code;
// api/operator.openapi.yaml lists its values.
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"` // the text of the status
	Status   int    `json:"status"`
	Detail   string `json:"detail"`   // what is wrong, and the remedy
	Instance string `json:"instance"` // id of the request
	Code     string `json:"code"`
}

// refusal is an error with the status, the code and the text of the Problem to send.
type refusal struct {
	status int
	code   string
	text   string
}

func (e *refusal) Error() string { return e.text }

func refuse(status int, code, format string, args ...any) error {
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

// Codes of problems that several functions return.
const (
	codeParameter = "bad-parameter"
	codeBody      = "bad-body"
	codeID        = "bad-id"
	codeUser      = "unknown-user"
	codeThread    = "unknown-thread"
)

// The refusals without parameters.
var (
	errNotFound = &refusal{http.StatusNotFound, "not-found", "there is nothing at this path"}
	errLength   = &refusal{http.StatusRequestEntityTooLarge, "too-large", "the body is too long or cannot be read"}
	errTime     = &refusal{http.StatusRequestTimeout, "slow-body", "the body did not arrive in time"}
	errContent  = &refusal{http.StatusForbidden, "messages-not-shown", "this server does not show the content of messages to its operator: start it with --admin-reads-messages to allow that"}
	errDev      = &refusal{http.StatusForbidden, "dev-only", "only a development server does this: start it with --dev"}
	errRole     = &refusal{http.StatusForbidden, "role", "the viewer may not do this: sign in as operator"}
	errStreams  = &refusal{http.StatusServiceUnavailable, "too-many-streams", fmt.Sprintf("%d streams are open already, which is the most that this server allows at a time", maxStreams)}
	errAudit    = &refusal{http.StatusServiceUnavailable, "unavailable", "the audit log cannot be written, so nothing is shown"}
)

// security lists the codes of refusals whose reason is the caller's credential, Host, origin or
// permission. Such a refusal leaves an audit row, even if the operation changes nothing.
var security = map[string]bool{
	"no-credential": true, "session-ended": true, "bad-code": true, "two-credentials": true, "foreign-host": true, "foreign-origin": true,
	"foreign-user": true, "role": true, "messages-not-shown": true,
}

// problemOf converts the error of an operation to a refusal. ok is false if it is unknown whether
// the store has made the change. The server must then send no response.
func (h *Handler) problemOf(c *call, err error) (_ *refusal, ok bool) {
	var refused *refusal
	var rotated *RotatedError
	var coreError *core.Error
	switch {
	case errors.As(err, &refused):
		return refused, true
	case errors.As(err, &rotated):
		return &refusal{http.StatusConflict, "key-rotated", rotated.Error()}, true
	case errors.Is(err, core.ErrUnknown):
		h.Logger.Error("operator's request without an answer", "operation", c.name, "error", err)
		return nil, false
	case errors.Is(err, core.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		h.Logger.Error("operator's request refused", "operation", c.name, "error", err)
		c.w.Header().Set("Retry-After", "1")
		return &refusal{http.StatusServiceUnavailable, "unavailable", "the database does not answer, and nothing was changed"}, true
	// The client has disconnected and reads no response, so any refusal will do.
	case errors.Is(err, context.Canceled) && c.Context().Err() != nil:
		return &refusal{http.StatusServiceUnavailable, "gone", "the client closed the connection before it had an answer"}, true
	case errors.Is(err, core.ErrStorageFull):
		return &refusal{http.StatusServiceUnavailable, "unavailable", "the disk is full, and nothing was changed"}, true
	case errors.Is(err, ErrNoKey):
		return &refusal{http.StatusNotFound, "unknown-key", err.Error()}, true
	case errors.Is(err, ErrConfigured):
		return &refusal{http.StatusConflict, "key-configured", err.Error()}, true
	case errors.Is(err, ErrBackup), errors.Is(err, ErrExport):
		return &refusal{http.StatusConflict, "no-backup", err.Error()}, true
	case errors.As(err, &coreError) && coreError.Code == core.NotFound:
		return &refusal{http.StatusNotFound, codeThread, coreError.Message}, true
	case errors.As(err, &coreError) && coreError.Code == core.BadRequest:
		return &refusal{http.StatusBadRequest, codeParameter, coreError.Message}, true
	case errors.As(err, &coreError):
		return &refusal{http.StatusConflict, "refused", coreError.Message}, true
	}
	h.Logger.Error("operator's request failed", "operation", c.name, "error", err)
	return &refusal{http.StatusInternalServerError, "internal", "internal server error; the server's log says more"}, true
}
