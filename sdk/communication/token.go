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

// TokenCredential holds the access token of a user for the clients of this module.
// Make one with [NewTokenCredential], [NewRefreshingTokenCredential] or the method
// NewTokenCredential of an identity client. It is an azcore.TokenCredential, and
// safe for concurrent use.
//
// Printing, logging or encoding it shows "(redacted)", never the token. The zero
// TokenCredential has no token.
type TokenCredential struct {
	// A function for the reason that AccessKey has one.
	state func() *tokenState
}

// RefreshingOptions are the optional settings of [NewRefreshingTokenCredential].
type RefreshingOptions struct {
	// Token is a token that is there already. Empty: the first request waits for one.
	Token string
	// Proactive asks for the next token in the background: 10 minutes before the old
	// one ends, or after half of its life when that is shorter than 20 minutes, so that
	// no request waits for it, also after a long rest. The background ends with Close.
	Proactive bool
}

// NewTokenCredential returns a credential with a token that nobody renews: when it
// has expired, requests fail with [ErrUnauthorized]. A token that has expired already
// is taken too. Blanks around token are dropped. It is an error when token is not a
// JWT with an expiry (docs/contract/identity.md §6.3); the signature is for the server to check. The error never
// contains token.
func NewTokenCredential(token string) (*TokenCredential, error) {
	parsed, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	return newTokenCredential(&tokenState{token: parsed}), nil
}

// NewRefreshingTokenCredential returns a credential that asks refresh for a token:
// when there is none, within the last 2 minutes of one (or the second half of its
// life, when it lives for less than 4), and when the server refused one. o may be nil.
//
// While a token is good and not refused, no request waits: refresh runs beside the
// requests, until a minute after the end of the token at most. Without a good token,
// or with a refused one, requests wait for refresh as long as their contexts let them.
// When refresh fails, the old token is used until it has really expired, also a refused
// one, so that the caller gets the server's 401, and refresh is asked again after a
// pause of seconds that grows to half a minute; without a good token each request asks,
// and fails with the error of refresh.
//
// However many requests need a token, refresh runs once for all of them, in a goroutine
// of its own. Its context ends when none of them waits any longer, if they are why it
// runs, and with Close. It has no values of theirs: azcore's (WithHTTPHeader,
// WithCaptureResponse) are about one request, and a refresh is another one. refresh
// should heed the end of its context: Close waits for it.
//
// It is an error when refresh is nil, or when o.Token is set and not a token.
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

// GetToken returns the token and when it ends, and waits for a new one first when it
// has to. The options are not looked at: a token has the scopes that it was issued
// with. It implements azcore.TokenCredential.
func (c *TokenCredential) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if c == nil || c.state == nil {
		return azcore.AccessToken{}, errors.New("token credential is empty")
	}
	t, err := c.state().get(ctx)
	return azcore.AccessToken{Token: t.text, ExpiresOn: t.expires}, err
}

// User returns the user whose token it is, as the token says (docs/contract/identity.md §6): who the caller of a
// chat client is. It waits for a token when it has to, as GetToken does. It is an error
// when the token names nobody.
func (c *TokenCredential) User(ctx context.Context) (Identifier, error) {
	t, err := c.GetToken(ctx, policy.TokenRequestOptions{})
	if err != nil {
		return Identifier{}, err
	}
	var claims struct {
		SkypeID string `json:"skypeid"` // the id without its first two characters, "8:"
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.Split(t.Token, ".")[1], "="))
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.SkypeID == "" {
		return Identifier{}, errors.New("token names no user (skypeid)")
	}
	return ParseRawID("8:" + claims.SkypeID), nil
}

// Refused tells that a server did not accept token: if it is the current one, the
// next GetToken waits for another. You do not need it: the clients of this module
// call it on 401.
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
	// After a failure the pause goes on: the server that issues tokens has trouble.
	if s.failures == 0 {
		s.due = time.Now()
	}
}

// Close ends the background of a proactive credential, and every refresh that runs, and
// waits until the function refresh has returned. A request that waits for one goes on
// with the old token, or fails when there is no good one. Close does nothing for a token
// that nobody renews, and may be called more than once.
//
// The credential can be used after Close, and starts nothing that no request waits for:
// a token is used until it ends or is refused, and then requests wait for the next one.
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

// token is an access token and what it says of its end.
type token struct {
	text    string
	expires time.Time
}

func (t token) good(now time.Time) bool { return t.text != "" && now.Before(t.expires) }

// tokenState is what a TokenCredential hides.
type tokenState struct {
	refresh func(context.Context) (string, error) // nil: the token is all there is
	early   time.Duration                         // before its end a token is renewed

	stop       context.CancelFunc // of the background; nil: there is none
	background sync.WaitGroup

	mu       sync.Mutex // guards what follows
	token    token
	due      time.Time // when the token is to be renewed
	refused  bool      // by a server: a request waits for the next token
	failures int       // of refresh, since it succeeded
	closed   bool      // no refresh but for a request that waits
	flight   *flight   // the refresh that can be waited for, or nil
	// running are all whose function has not returned: flight, and those that were
	// ended. No WaitGroup: after Close there may be new ones, while another Close waits.
	running map[*flight]struct{}
}

// flight is one run of refresh.
type flight struct {
	cancel   context.CancelFunc
	bound    *time.Timer   // ends one that began beside a good token; nil: its last waiter does
	waiting  int           // guarded by tokenState.mu
	done     chan struct{} // closed when err is there
	err      error
	returned chan struct{} // closed when refresh has returned
}

// Why a refresh ended before it was done.
var (
	errClosed = errors.New("the credential was closed")
	errLate   = errors.New("it takes too long")
)

// late is how long after the end of a token a refresh goes on that began beside it.
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

// current returns the token, or the refresh to wait for when a request cannot do
// without. It begins a refresh that is due.
func (s *tokenState) current() (token, *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	due := !now.Before(s.due)
	if s.token.good(now) && !(s.refused && due) {
		if due && s.flight == nil && !s.closed {
			s.beginBeside()
		}
		return s.token, nil
	}
	if s.flight == nil {
		s.begin()
	}
	s.flight.waiting++
	return token{}, s.flight
}

// wait returns when f or ctx ends.
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

// begin starts a refresh for a request that waits. The caller holds mu, and there is no
// flight.
func (s *tokenState) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	f := &flight{cancel: cancel, done: make(chan struct{}), returned: make(chan struct{})}
	if s.running == nil {
		s.running = map[*flight]struct{}{}
	}
	s.flight, s.running[f] = f, struct{}{}
	go s.run(ctx, f)
}

// beginBeside starts a refresh that no request has to wait for. It does not end with the
// last one that does, so it has a bound. The caller holds mu, and there is no flight.
func (s *tokenState) beginBeside() {
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

// end ends f with err, unless it has ended: whoever waits for it goes on, and the next
// one can begin, even while refresh has not returned. The caller holds mu.
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
		return // it was ended
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

// keep takes a new token. A short one is renewed after half of its life, so that a
// credential whose tokens end soon does not ask for one with every request.
func (s *tokenState) keep(t token) {
	now := time.Now()
	life := t.expires.Sub(now)
	s.token, s.refused, s.failures = t, false, 0
	s.due = now.Add(max(life-s.early, life/2))
}

// postpone sets when a failed refresh is tried again: after 1, 2, 4 to 32 seconds,
// give or take a quarter, so that the clients of a server that comes back do not come
// all at once.
func (s *tokenState) postpone() {
	pause := time.Second << min(s.failures, 5)
	s.failures++
	s.due = time.Now().Add(pause*3/4 + rand.N(pause/2))
}

// refreshAhead renews the token whenever it is due, until Close, which ends ctx.
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
				s.beginBeside()
			}
			done = s.flight.done
		}
		s.mu.Unlock()
		select { // and look again: the token may have been renewed, or refused
		case <-due:
		case <-done:
		case <-ctx.Done():
		}
	}
}

// parseToken reads when a token ends. It checks no signature: only the server can.
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

// notInToken is false for base64url, its padding and the dot. Everything else in a
// header is a mistake, or worse.
func notInToken(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("-_.=", r)
}
