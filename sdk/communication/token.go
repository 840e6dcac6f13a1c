package communication

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// TokenCredential holds the access token of a user for the clients of this module. Make one with
// [NewTokenCredential], [NewRefreshingTokenCredential] or the method NewTokenCredential of an
// identity client. It implements azcore.TokenCredential and is safe for concurrent use.
//
// Printing, logging or encoding a TokenCredential shows "(redacted)", never the token. The zero
// TokenCredential has no token.
type TokenCredential struct {
	// state is a function that returns the state, because package fmt cannot look into a function
	// and so never prints the token.
	state func() *tokenState
}

// RefreshingOptions are the optional settings of [NewRefreshingTokenCredential].
type RefreshingOptions struct {
	// Token is the first token. If it is empty, the first request waits for a call of refresh.
	Token string
	// Proactive makes the credential get the next token in the background, so that no request waits
	// for it: 10 minutes before the token expires, or after half of its life if it lives less than
	// 20 minutes. Close stops the background goroutine.
	Proactive bool
}

// NewTokenCredential returns a credential with a fixed token. Once it expires, requests fail with
// [ErrUnauthorized]; a token that has already expired is accepted too. Leading and trailing white
// space is ignored. NewTokenCredential fails if token is not a JWT with an expiry
// (docs/contract/identity.md §6.3). It does not verify the signature. The error never contains
// token.
func NewTokenCredential(token string) (*TokenCredential, error) {
	parsed, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	return newTokenCredential(&tokenState{token: parsed}), nil
}

// NewRefreshingTokenCredential returns a credential that calls refresh to get a token: if it has
// none, in the last 2 minutes before its token expires (or in the second half of the token's life,
// if the token lives less than 4 minutes), and when the server refused the token. o may be nil.
//
// While the token is valid and not refused, requests do not wait: refresh runs concurrently, until
// at most a minute after the token expires. Without a valid token, or with a refused one, requests
// wait for refresh or for the end of their contexts. If refresh fails, requests continue with the
// old token until it expires, even with a refused one, so that the caller gets the server's 401;
// refresh is called again after a pause that grows from one second to about half a minute. Without
// a valid token each request calls refresh and fails with its error.
//
// At most one refresh runs for all requests, in its own goroutine. If it was started by waiting
// requests, its context is cancelled when none of them waits any longer; Close also cancels it. The
// context has no values of the requests: the values of azcore (WithHTTPHeader, WithCaptureResponse)
// are about a single request. refresh should return soon after its context is cancelled, because
// Close waits for it.
//
// NewRefreshingTokenCredential fails if refresh is nil, or if o.Token is neither empty nor a JWT
// with an expiry.
func NewRefreshingTokenCredential(refresh func(context.Context) (string, error), o *RefreshingOptions) (*TokenCredential, error) {
	if refresh == nil {
		return nil, errors.New("refreshing token credential: the function refresh is nil")
	}
	if o == nil {
		o = &RefreshingOptions{}
	}
	s := &tokenState{refresh: refresh, early: 2 * time.Minute}
	if o.Proactive {
		s.early = 10 * time.Minute
	}
	if o.Token != "" {
		parsed, err := parseToken(o.Token)
		if err != nil {
			return nil, fmt.Errorf("refreshing token credential: %w", err)
		}
		s.keep(parsed)
	}
	if o.Proactive {
		ctx, cancel := context.WithCancel(context.Background())
		s.stop = cancel
		s.background.Go(func() { s.refreshAhead(ctx) })
	}
	return newTokenCredential(s), nil
}

func newTokenCredential(s *tokenState) *TokenCredential {
	return &TokenCredential{state: func() *tokenState { return s }}
}

// GetToken returns the token and its expiry. It waits for a new token if the credential has no
// valid token or the server refused the token. It ignores the options: a token has the scopes that
// it was issued with. It implements azcore.TokenCredential.
func (c *TokenCredential) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if c == nil || c.state == nil {
		return azcore.AccessToken{}, errors.New("token credential is empty")
	}
	t, err := c.state().get(ctx)
	return azcore.AccessToken{Token: t.text, ExpiresOn: t.expires}, err
}

// User returns the user that the token names (docs/contract/identity.md §6). A chat client acts for
// this user. User waits for a token like GetToken. It fails if the token names no user.
func (c *TokenCredential) User(ctx context.Context) (Identifier, error) {
	t, err := c.GetToken(ctx, policy.TokenRequestOptions{})
	if err != nil {
		return Identifier{}, err
	}
	var claims struct {
		SkypeID string `json:"skypeid"` // the user's raw id without its leading "8:"
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.Split(t.Token, ".")[1], "="))
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.SkypeID == "" {
		return Identifier{}, errors.New("token names no user (skypeid)")
	}
	return ParseRawID("8:" + claims.SkypeID), nil
}

// Refused records that a server did not accept token. If it is the current token, the next GetToken
// waits for another one. Programs need not call Refused: the clients of this module call it on a
// 401.
func (c *TokenCredential) Refused(token string) {
	if c == nil || c.state == nil {
		return
	}
	s := c.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refresh == nil || token != s.token.text {
		return
	}
	s.refused = true
	// If an earlier refresh failed, keep waiting for the end of the pause after that failure,
	// because the token issuer has problems.
	if s.failures == 0 {
		s.due = time.Now()
	}
}

// Close stops the background goroutine of a proactive credential, cancels every running refresh,
// and waits until the function refresh has returned. Requests that wait for a refresh continue with
// the old token, or fail if it is not valid. Close does nothing for a credential with a fixed
// token. It may be called more than once.
//
// The credential can be used after Close. It then calls refresh only for requests that cannot
// continue without a new token, not before the token expires or is refused.
func (c *TokenCredential) Close() {
	if c == nil || c.state == nil {
		return
	}
	c.state().close()
}

// String returns "(redacted)".
func (c *TokenCredential) String() string { return redacted }

// GoString returns "(redacted)".
func (c *TokenCredential) GoString() string { return redacted }

// Format writes "(redacted)" for every verb.
func (c *TokenCredential) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue makes log/slog show "(redacted)".
func (c *TokenCredential) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "(redacted)".
func (c *TokenCredential) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// token is an access token and its expiry.
type token struct {
	text    string
	expires time.Time
}

func (t token) good(now time.Time) bool { return t.text != "" && now.Before(t.expires) }

// tokenState is the state of a TokenCredential: its token and the calls of the function refresh.
type tokenState struct {
	refresh func(context.Context) (string, error) // nil for a fixed token
	early   time.Duration                         // the time before the expiry of a token at which the credential renews it

	stop       context.CancelFunc // stops the goroutine of refreshAhead; nil if that goroutine does not run
	background sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	token    token
	due      time.Time // when to call refresh
	refused  bool      // a server refused the current token: requests wait for the next token
	failures int       // number of failed calls of refresh since its last success
	closed   bool      // Close was called: refresh is called only for requests that wait for a token
	flight   *flight   // the current call of refresh, or nil
	// running holds every call of the function refresh that has not returned: the current call,
	// flight, and the calls that were given up. Close waits for these calls. running is no
	// WaitGroup, because a call may start while Close waits.
	running map[*flight]struct{}
}

// flight is one call of the function refresh, which gets a new token. Several requests can wait for
// it.
type flight struct {
	cancel   context.CancelFunc
	bound    *time.Timer   // timer that gives up a call of refresh in the background; nil if the call is given up when no request waits
	waiting  int           // number of requests that wait for this call; guarded by tokenState.mu
	done     chan struct{} // closed after err is set
	err      error
	returned chan struct{} // closed when refresh has returned
}

// The reasons to give up a call of the function refresh.
var (
	errClosed = errors.New("the credential was closed")
	errLate   = errors.New("it takes too long")
)

// late is the time after the expiry of the old token during which a refresh in the background may
// still run.
const late = time.Minute

func (s *tokenState) get(ctx context.Context) (token, error) {
	if s.refresh == nil {
		return s.token, nil
	}
	if err := ctx.Err(); err != nil {
		return token{}, err
	}
	t, f := s.current()
	if f == nil {
		return t, nil
	}
	err := s.wait(ctx, f)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		return s.token, nil
	case ctx.Err() != nil:
		return token{}, ctx.Err()
	case s.token.good(time.Now()):
		return s.token, nil
	}
	return token{}, err
}

// current returns the token, if it is valid and was not refused. Otherwise it returns the call of
// refresh that the request must wait for. If a call of refresh is due, it starts one.
func (s *tokenState) current() (token, *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	due := !now.Before(s.due)
	if s.token.good(now) && !(s.refused && due) {
		if due && s.flight == nil && !s.closed {
			s.beginConcurrent()
		}
		return s.token, nil
	}
	if s.flight == nil {
		s.begin()
	}
	s.flight.waiting++
	return token{}, s.flight
}

// wait waits until the call f of refresh or ctx ends. It returns the error of f or of ctx. If ctx
// ends and no other request waits for f, it gives up f.
func (s *tokenState) wait(ctx context.Context, f *flight) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.waiting--
	if f.waiting == 0 && f.bound == nil {
		s.end(f, context.Canceled)
	}
	return ctx.Err()
}

// begin starts a call of refresh in a new goroutine. The call is given up when no request waits for
// it any longer. The caller holds mu, and s.flight is nil.
func (s *tokenState) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	f := &flight{cancel: cancel, done: make(chan struct{}), returned: make(chan struct{})}
	if s.running == nil {
		s.running = map[*flight]struct{}{}
	}
	s.flight, s.running[f] = f, struct{}{}
	go s.run(ctx, f)
}

// beginConcurrent starts a call of refresh while requests still use the current token. A timer
// gives up the call a minute after the token expires. The caller holds mu, and s.flight is nil.
func (s *tokenState) beginConcurrent() {
	s.begin()
	f := s.flight
	f.bound = time.AfterFunc(max(time.Until(s.token.expires), 0)+late, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.flight == f {
			s.postpone()
			s.end(f, errLate)
		}
	})
}

// end marks the call f of refresh as ended with err, unless f has already ended. Waiting requests
// continue, and a new call can start even if the function refresh has not returned. The caller
// holds mu.
func (s *tokenState) end(f *flight, err error) {
	if s.flight != f {
		return
	}
	s.flight = nil
	f.cancel()
	if f.bound != nil {
		f.bound.Stop()
	}
	if err != nil {
		f.err = fmt.Errorf("refresh token: %w", err)
	}
	close(f.done)
}

func (s *tokenState) run(ctx context.Context, f *flight) {
	defer close(f.returned)
	text, err := s.refresh(ctx)
	var fresh token
	if err == nil {
		if fresh, err = parseToken(text); err == nil && !fresh.good(time.Now()) {
			err = fmt.Errorf("token is expired since %s", fresh.expires.UTC().Format(time.RFC3339))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, f)
	if s.flight != f {
		return // this call of refresh was given up, so its result is not used
	}
	if err == nil {
		s.keep(fresh)
	} else {
		s.postpone()
	}
	s.end(f, err)
}

func (s *tokenState) close() {
	s.mu.Lock()
	s.closed = true
	if s.stop != nil {
		s.stop()
	}
	if s.flight != nil {
		s.end(s.flight, errClosed)
	}
	running := slices.Collect(maps.Keys(s.running))
	s.mu.Unlock()
	s.background.Wait()
	for _, f := range running {
		<-f.returned
	}
}

// keep stores a new token and sets the time at which to call refresh again. A token with a short
// life is renewed after half of its life, so that the credential does not call refresh for every
// request.
func (s *tokenState) keep(t token) {
	now := time.Now()
	life := t.expires.Sub(now)
	s.token, s.refused, s.failures = t, false, 0
	s.due = now.Add(max(life-s.early, life/2))
}

// postpone sets the time of the next call of refresh after a failed call: 1, 2, 4, ... 32 seconds,
// plus or minus a quarter, so that not all clients of a restarted server return at once.
func (s *tokenState) postpone() {
	pause := time.Second << min(s.failures, 5)
	s.failures++
	s.due = time.Now().Add(pause*3/4 + rand.N(pause/2))
}

// refreshAhead renews the token in the background, each time before the token expires. It returns
// when Close cancels ctx.
func (s *tokenState) refreshAhead(ctx context.Context) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return
		}
		var due <-chan time.Time
		var done <-chan struct{}
		if wait := time.Until(s.due); wait > 0 {
			due = time.After(wait)
		} else {
			if s.flight == nil {
				s.beginConcurrent()
			}
			done = s.flight.done
		}
		s.mu.Unlock()
		select { // wait, then check the token again, because it may have been renewed or refused
		case <-due:
		case <-done:
		case <-ctx.Done():
		}
	}
}

// parseToken returns the token with its expiry. It fails if text is not a JWT with an expiry. It
// does not verify the signature, because only the server can do that.
func parseToken(text string) (token, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return token{}, errors.New("token is empty")
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || strings.IndexFunc(text, notInToken) >= 0 {
		return token{}, errors.New("token is not a JWT (three parts of base64url, joined by dots)")
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return token{}, errors.New("token is not a JWT: its payload is not base64url")
	}
	var claims struct {
		Exp *json.Number `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return token{}, errors.New("token is not a JWT: its payload is not a JSON object, or exp is not a number")
	}
	if claims.Exp == nil {
		return token{}, errors.New("token has no expiry (exp)")
	}
	const year9999 = 253402300799
	seconds, err := claims.Exp.Float64()
	if err != nil || seconds < 0 || seconds > year9999 {
		return token{}, errors.New("token has an expiry (exp) that is not a time")
	}
	return token{text: text, expires: time.Unix(int64(seconds), 0)}, nil
}

// notInToken reports whether the character r cannot occur in a JWT, which consists of base64url
// characters, '=' and dots.
func notInToken(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("-_.=", r)
}
