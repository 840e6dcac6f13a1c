// Package requests has the checks that both protocols for live events apply to requests:
// access tokens, rate limits, injected faults, refusals, access records and the origins of
// browsers. Each protocol writes the response to a refused request in its own form.
package requests

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/why"
)

// MaxEcho is the maximum number of bytes of a text from the client that a header of the
// response or a field of an access record repeats.
const MaxEcho = 200

// anyChat is the set of chat scopes. Live events need a token with at least one of them.
const anyChat = token.Chat | token.ChatJoin | token.ChatJoinLimited

// Tokens verifies user access tokens. token.Authority implements it.
type Tokens interface {
	// Verify returns the claims of a token. It fails with token.ErrInvalid if the token is
	// not valid, and with another error if its user cannot be read from the store.
	Verify(ctx context.Context, text string) (token.Claims, error)
}

// Checks contains the dependencies of the checks. Tokens is required. Without Limiter
// there are no rate limits, and without Faults there are no injected faults. New returns a
// Checks with defaults for the other fields.
type Checks struct {
	Tokens  Tokens
	Limiter *limits.Limiter
	Faults  *dev.Faults
	Logger  *slog.Logger
	Now     func() time.Time     // returns the real time, for access records
	Access  func(gateway.Record) // receives access records; must be safe for concurrent use
}

// New returns c with defaults for the fields Logger, Now and Access if they are nil.
func New(c Checks) *Checks {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Access == nil {
		c.Access = func(gateway.Record) {}
	}
	return &c
}

// Bearer returns the claims of the token in the header Authorization. It fails as Verify does.
func (c *Checks) Bearer(r *http.Request) (token.Claims, error) {
	if err := OneCredential(r); err != nil {
		return token.Claims{}, err
	}
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return token.Claims{}, &Refusal{Status: http.StatusUnauthorized, Message: "no bearer token", Reason: "no bearer token",
			Why: why.Because(why.NoToken, "has", "missing, not")}
	}
	return c.Verify(r.Context(), strings.TrimSpace(text))
}

// Skype returns the claims of the token in the header X-Skypetoken. It fails as Verify does.
func (c *Checks) Skype(r *http.Request) (token.Claims, error) {
	if err := OneCredential(r); err != nil {
		return token.Claims{}, err
	}
	return c.Verify(r.Context(), r.Header.Get("X-Skypetoken"))
}

// OneCredential fails with a *Refusal of status 400 if a request has two Authorization or two
// X-Skypetoken headers, because the server may read a different one of them than a proxy in
// front of it has checked.
func OneCredential(r *http.Request) error {
	for _, name := range []string{"Authorization", "X-Skypetoken"} {
		if len(r.Header.Values(name)) > 1 {
			return BadRequest("The request has more than one "+name+" header.", why.Because(why.TwoCredentials, "header", name))
		}
	}
	return nil
}

// Verify returns the claims of a token. It fails with a *Refusal: 401 if the token is not
// valid or its user was deleted, 503 if the user cannot be read from the store, and 403 if the
// token has no chat scope. With 403 it also returns the claims.
func (c *Checks) Verify(ctx context.Context, text string) (token.Claims, error) {
	claims, err := c.Tokens.Verify(ctx, text)
	switch {
	case errors.Is(err, token.ErrInvalid):
		return token.Claims{}, TokenRefused("token refused", err)
	case err != nil:
		return token.Claims{}, Away(ctx, err)
	case claims.Leaving:
		return token.Claims{}, &Refusal{Status: http.StatusUnauthorized, Message: "the user was deleted", Reason: "token: " + token.ReasonUserDeleted,
			Why: why.Because(why.UserDeleted, "user", why.User(claims.User))}
	case !claims.Scopes.Any(anyChat):
		return claims, &Refusal{Status: http.StatusForbidden, Message: core.ErrForbidden.Message, Reason: token.MissingScope(claims.Scopes, anyChat),
			Why: why.Because(why.Scope, "has", claims.Scopes.List("and"), "needs", anyChat.List("or"))}
	}
	return claims, nil
}

// Allow counts a request of a user against the rate limits. If the request exceeds a limit, it
// fails with a *Refusal of status 429.
func (c *Checks) Allow(operation, user string) error {
	if c.Limiter == nil {
		return nil
	}
	if r, ok := c.Limiter.Allow(operation, user, ""); !ok {
		return &Refusal{Status: http.StatusTooManyRequests, RetryAfter: r.RetryAfter, Message: "Rate limit exceeded (" + r.Limit + ").",
			Why: why.Because(why.RateLimit, "limit", r.Limit, "resets", r.Wait())}
	}
	return nil
}

// Dropped is the error for a request whose connection an injected fault closes. Its text is the
// note for this request in the access log.
type Dropped string

// The values of Dropped: the connection is closed before or after the request was carried out.
const (
	DroppedBefore Dropped = "dropped on purpose: not carried out"
	DroppedAfter  Dropped = "dropped on purpose: the answer is lost"
)

// Error returns the note for the access log.
func (d Dropped) Error() string { return string(d) }

// Fault applies an injected fault, if there is one for the next request of the operation. It waits
// for the fault's delay. Then it fails with a *Refusal if the fault has an HTTP status, or with
// DroppedBefore if the fault closes the connection before the request is carried out. If it returns
// true, the caller must close the connection after the request was carried out.
func (c *Checks) Fault(ctx context.Context, operation string) (dropAfter bool, err error) {
	if c.Faults == nil {
		return false, nil
	}
	f, ok := c.Faults.Next(operation)
	if !ok {
		return false, nil
	}
	if f.Delay > 0 {
		c.Faults.Wait(ctx, f.Delay)
	}
	switch {
	case f.Status != 0:
		return false, &Refusal{Status: f.Status, RetryAfter: f.RetryAfter, Message: "The development server was told to answer this.",
			Why: why.Because(why.Fault, "status", strconv.Itoa(f.Status))}
	case f.Drop == "before":
		return false, DroppedBefore
	}
	return f.Drop == "after", nil
}

// Record returns the access record of a request that has just begun. path is the pattern of
// the route, so it contains no secrets. The status, the note and the user are not known yet.
// The record shares no memory with the request, because it is kept for as long as the
// connection is open.
func (c *Checks) Record(r *http.Request, path, operation, id string) gateway.Record {
	method := http.MethodGet
	if r.Method != method {
		method = brief(r.Method)
	}
	return gateway.Record{Time: c.Now(), Method: method, Path: path, Operation: operation, UserAgent: brief(r.UserAgent()),
		Client: brief(clientAddress(r)), RequestID: id, ClientID: brief(r.Header.Get("X-Ms-Client-Request-Id"))}
}

// clientAddress returns the address of the client without the port. Package server has already
// replaced RemoteAddr by the address that a trusted proxy forwards.
func clientAddress(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

func brief(text string) string { return strings.Clone(clip.Text(text, MaxEcho)) }

// Refused stores the message and the reasons of a refusal in the access record of the request, and
// facts about the request such as its user.
func (r *Refusal) Refused(record *gateway.Record) {
	record.Note, record.Reason = r.Message, r.Reason
	record.Why = r.Why.Also("user", why.User(record.User), "operation", record.Operation, "method", record.Method)
}

// Answered sets the durations in the access record of a request. Call it when the response is
// complete.
func (c *Checks) Answered(r *gateway.Record) {
	r.Took = c.Now().Sub(r.Time)
	r.Duration = r.Took
}

// LogCause writes the cause of a refusal to the log, if there is one. The level is debug if the
// client has hung up, because the server then made no error.
func (c *Checks) LogCause(ctx context.Context, refused *Refusal, record gateway.Record) {
	if refused.Cause == nil {
		return
	}
	level := slog.LevelError
	if ctx.Err() != nil {
		level = slog.LevelDebug
	}
	c.Logger.Log(context.WithoutCancel(ctx), level, "live request refused", "operation", record.Operation, "request", record.RequestID,
		"client_request", record.ClientID, "user", record.User, "status", refused.Status, "error", refused.Cause)
}

// NewID returns a random id for a request, which has 24 characters.
func NewID() string { return RandomText(16) + ".0" }

// SetID sets two headers to the id of a request: MS-CV, which Microsoft's service sends, and
// x-ms-request-id, which the SDKs print, log and trace.
func SetID(h http.Header, id string) {
	h.Set("Ms-Cv", id)
	h.Set("X-Ms-Request-Id", id)
}

// RandomText returns the base64url form of n random bytes.
func RandomText(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// AllowOrigin sets the headers that let a page of any origin read the response. exposed lists
// the response headers that the page may read. It returns false and allows nothing if the
// request has no Origin header or one that is too long.
func AllowOrigin(h http.Header, r *http.Request, exposed string) bool {
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || len(origin) > MaxEcho {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", exposed)
	return true
}

// maxAsked is the maximum length in bytes of the list of request headers that Preflight allows
// a browser to send.
const maxAsked = 1000

// Preflight sets the headers of the response to a browser's OPTIONS request. The headers allow the
// given methods. They also allow the request headers that the browser asks for, or the headers in
// usual if it asks for none.
func Preflight(h http.Header, r *http.Request, methods, usual string) {
	h.Add("Vary", "Access-Control-Request-Headers")
	asked := r.Header.Get("Access-Control-Request-Headers")
	if asked == "" || len(asked) > maxAsked {
		asked = usual
	}
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", asked)
	h.Set("Access-Control-Max-Age", "7200")
}
