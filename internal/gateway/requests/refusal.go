package requests

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/why"
)

// Refusal is the error for a refused request, with the status and the message of the response.
type Refusal struct {
	Status     int
	Message    string        // text that the client and the access log show
	Reason     string        // why the request was refused, such as "token: revoked"; for the log only; may be empty
	Why        why.Cause     // the reason for the refusal as an entry of the table of package why; for the log only
	RetryAfter time.Duration // value of the header Retry-After; 0 means that the response has no such header
	Cause      error         // the error that led to the refusal, for the log; may be nil
	Hub        error         // the error of gateway.Hub, if it led to the refusal, or nil
}

// Error returns the message, followed by the cause if there is one.
func (r *Refusal) Error() string {
	if r.Cause != nil {
		return r.Message + ": " + r.Cause.Error()
	}
	return r.Message
}

// Unwrap returns the error of gateway.Hub that led to the refusal, or nil.
func (r *Refusal) Unwrap() error { return r.Hub }

// Code returns the error code for the response: the standard text of the status without
// blanks, such as "GatewayTimeout" for 504. Package rest uses the same codes.
func (r *Refusal) Code() string {
	text := http.StatusText(r.Status)
	if text == "" {
		return fmt.Sprintf("Status%d", r.Status)
	}
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) }), "")
}

// SetRetryAfter sets the header Retry-After to r.RetryAfter, in whole seconds rounded up. It sets
// no header if r.RetryAfter is 0.
func (r *Refusal) SetRetryAfter(h http.Header) {
	if r.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((r.RetryAfter+time.Second-1)/time.Second), 10))
	}
}

// Unauthorized returns a refusal with status 401, for an invalid token, invalid parameters
// or an invalid sid (the id of a live connection's session).
func Unauthorized(message string, cause why.Cause) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Message: message, Why: cause}
}

// TokenRefused returns a refusal with status 401, for an invalid token or an invalid sealed text.
// err says why the token is invalid; only the log shows this reason.
func TokenRefused(message string, err error) *Refusal {
	r := Unauthorized(message, token.CauseOf(err))
	if reason := token.ReasonOf(err); reason != "" {
		r.Reason = "token: " + reason
	}
	return r
}

// BadRequest returns a refusal with status 400, for a malformed request.
func BadRequest(message string, cause why.Cause) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Message: message, Why: cause}
}

// statusGone is the status that logs and metrics show for a request whose client closed the
// connection before the response. It distinguishes such requests from failures of the server.
const statusGone = 499

// Away returns a refusal for a request that failed because the store cannot be read. Its status is
// 503, or 499 if ctx was canceled because the client closed the connection.
func Away(ctx context.Context, cause error) *Refusal {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &Refusal{Status: statusGone, Message: "the client has hung up", Why: why.Because(why.HungUp), Cause: cause}
	}
	return &Refusal{Status: http.StatusServiceUnavailable, Message: core.ErrBusy.Message, Why: why.Because(why.StoreAway), RetryAfter: time.Second, Cause: cause}
}

// internal returns a refusal with status 500, for an unexpected error.
func internal(cause error) *Refusal {
	return &Refusal{Status: http.StatusInternalServerError, Message: "Internal server error.", Why: why.Because(why.Internal), Cause: cause}
}

// ofHub gives, for each reason for which gateway.Hub refuses a session, the status and the message
// of the response.
var ofHub = map[gateway.Reason]struct {
	status  int
	message string
	code    why.Code
}{
	gateway.Gone:     {statusGone, "the client has hung up", why.HungUp},
	gateway.Expired:  {http.StatusUnauthorized, "the token has ended: " + gateway.Expired.String(), why.TokenExpired},
	gateway.Revoked:  {http.StatusUnauthorized, "the token has ended: " + gateway.Revoked.String(), why.TokenRevoked},
	gateway.Deleted:  {http.StatusUnauthorized, "the token has ended: " + gateway.Deleted.String(), why.UserDeleted},
	gateway.UserFull: {http.StatusTooManyRequests, "The user has too many live connections open.", why.UserSessions},
	gateway.NodeFull: {http.StatusServiceUnavailable, "The server has too many live connections open.", why.NodeSessions},
	gateway.Draining: {http.StatusServiceUnavailable, "The server is shutting down.", why.Draining},
	gateway.Away:     {http.StatusServiceUnavailable, core.ErrBusy.Message, why.StoreAway},
}

// OfHub converts an error of Hub.Open, Hub.Admit or Hub.At to a refusal.
func OfHub(err error) *Refusal {
	var e *gateway.OpenError
	if !errors.As(err, &e) {
		return internal(err)
	}
	row, ok := ofHub[e.Why]
	if !ok {
		return internal(err)
	}
	r := &Refusal{Status: row.status, Message: row.message, Why: why.Because(row.code), RetryAfter: e.Why.Delay(), Cause: e.Cause, Hub: err}
	if r.Status == http.StatusUnauthorized {
		r.Reason = "token: " + e.Why.String()
	}
	return r
}

// RefusalOf returns the *Refusal that err is or wraps. For any other error it returns a
// refusal with status 500.
func RefusalOf(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return internal(err)
}
