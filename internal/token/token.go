// Package token issues and verifies user access tokens.
//
// A token is a JWT, signed with HS256. The signing key is derived from the access key that
// signed the request for the token; the header kid names that access key. Every server with the
// same access keys can verify a token, and rotating an access key invalidates the tokens that
// were made with it. A token also contains the user's generation, a number. Revoking a user's
// tokens increments the generation and so invalidates all earlier tokens.
package token

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/why"
	"github.com/confab-chat/confab/sdk/communication"
)

// ErrInvalid means that a token is not valid. Every Refusal wraps it. The client always gets the
// same response, an empty 401, whatever the reason (docs/contract/chat.md §0.2).
var ErrInvalid = errors.New("token is not valid")

// Refusal says why a token or a sealed text is not valid. Reason is for the server's log and
// must not be sent to a client. It contains no text that the client sent.
type Refusal struct {
	Reason string
	Why    why.Cause // the same reason with facts about the token, for the log only
}

// Error returns the text of ErrInvalid and the reason.
func (r Refusal) Error() string { return ErrInvalid.Error() + ": " + r.Reason }

// Unwrap returns ErrInvalid.
func (r Refusal) Unwrap() error { return ErrInvalid }

// The reasons of a Refusal. For an expired token the time since its expiry follows
// ReasonExpired.
const (
	ReasonMalformed   = "malformed"
	ReasonSignature   = "signature"
	ReasonKey         = "access key replaced or unknown"
	ReasonResource    = "of another resource"
	ReasonExpired     = "expired"
	ReasonRevoked     = "revoked"
	ReasonUserDeleted = "user deleted"
	ReasonUserUnknown = "user unknown"
)

// ReasonOf returns the reason of the Refusal in err, or "" if err has none.
func ReasonOf(err error) string {
	var r Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return ""
}

// CauseOf returns the cause of the Refusal in err, or the zero Cause if err has none.
func CauseOf(err error) why.Cause {
	var r Refusal
	errors.As(err, &r)
	return r.Why
}

// codes maps the reasons to codes of package why.
var codes = map[string]why.Code{
	ReasonMalformed: why.TokenMalformed, ReasonSignature: why.TokenSignature, ReasonKey: why.TokenKey, ReasonResource: why.TokenResource,
	ReasonExpired: why.TokenExpired, ReasonRevoked: why.TokenRevoked, ReasonUserDeleted: why.UserDeleted, ReasonUserUnknown: why.UserUnknown,
}

// refuse returns a Refusal. facts are names and values of the facts in the reason's row of the
// table of package why.
func refuse(reason string, facts ...string) error {
	return Refusal{Reason: reason, Why: why.Because(codes[reason], facts...)}
}

// ErrKeyReplaced means that no token was issued, because the access key that signed the request
// was replaced before the token was made.
var ErrKeyReplaced = errors.New("the access key that signed the request was replaced")

// Key identifies an access key, by name and serial, that an Authority holds or has held. No
// Authority has ever held the zero Key.
type Key struct {
	communication.AccessKey
	kid string
}

// Limits: the longest text of a token, and the size of the cache of verified tokens.
const (
	maxTokenLen = 4096   // bytes; issued tokens have about 500
	maxVerified = 50_000 // tokens in the cache
)

// errNewerKey means that a token names an access key with a higher serial than the key that this
// server has.
var errNewerKey = errors.New("the access key is newer than the known one")

// isNewer reports whether kid, which consists of a name and a serial, names the access key with
// this index and has a higher serial than serial.
func isNewer(kid any, index int, serial uint64) bool {
	text, _ := kid.(string)
	digits, ok := strings.CutPrefix(text, KeyName(index)+"-")
	n, err := strconv.ParseUint(digits, 10, 64)
	return ok && err == nil && n > serial
}

// keyContext is the HKDF info with which the keys that sign tokens are derived from access keys.
// It makes these keys differ from keys that are derived for other uses.
const keyContext = "confab user token, HS256"

// Users reads the current state of users. core.Service implements it.
type Users interface {
	// User returns a user's row, which may be outdated by a moment. For an unknown user, the State
	// is not UserLive.
	User(ctx context.Context, id string) (core.User, error)
	// StoredUser returns a user as the store has it now.
	StoredUser(ctx context.Context, id string) (core.User, error)
	// Leaving reports whether the user was deleted and the user's grace has not ended.
	Leaving(u core.User) bool
}

// Claims holds the contents of a verified token or sealed text.
type Claims struct {
	User    string
	Scopes  Scopes
	Expires time.Time
	// Leaving reports whether the user was deleted and the deletion grace has not ended. The
	// token may then only be used to remove the user from threads, and to delete threads that
	// the user has created or is the only member of.
	Leaving    bool
	Generation uint64 // the user's generation when the token was issued
	Key        string // the name and serial of the access key of the token, in the form that HasKey needs
}

// Authority issues and verifies the tokens of one resource. It is safe for concurrent
// use.
type Authority struct {
	resource core.Resource // has the access keys that New got; SetKeys does not change them here
	users    Users
	now      func() time.Time
	keys     atomic.Pointer[[2]signingKey]
	reload   func(context.Context) (changed bool, err error) // see Reloads; may be nil
	// verified caches the claims of tokens whose signature was verified. Verify still checks the
	// expiry, the key and the user of a cached token each time, because they can change.
	verified *lru.Cache[[sha256.Size]byte, Claims]
}

// signingKey is an access key with the keys that are derived from it.
type signingKey struct {
	access communication.AccessKey
	kid    string // name and serial of the access key
	serial uint64
	secret []byte // signs tokens
	seal   []byte // signs sealed texts
}

// New returns an Authority that issues and verifies tokens with the access keys of r, and
// looks up users in users. It fails if a key cannot be used. now returns the current time;
// nil means time.Now.
func New(r core.Resource, users Users, now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	a := &Authority{resource: r, users: users, now: now}
	a.verified, _ = lru.New[[sha256.Size]byte, Claims](maxVerified)
	if err := a.SetKeys(r.Keys); err != nil {
		return nil, err
	}
	return a, nil
}

// SetKeys replaces the access keys. Tokens that were made with a key that is not among the new
// keys become invalid.
func (a *Authority) SetKeys(rows [2]core.AccessKeyRow) error {
	var keys [2]signingKey
	for i, row := range rows {
		secret, err := hkdf.Key(sha256.New, row.Secret, nil, keyContext, sha256.Size)
		if err != nil {
			return fmt.Errorf("derive a signing key: %w", err)
		}
		seal, err := sealKey(row.Secret)
		if err != nil {
			return err
		}
		access, err := accessKey(row.Secret)
		if err != nil {
			return err
		}
		keys[i] = signingKey{access: access, kid: KeyName(i) + "-" + strconv.FormatUint(row.Serial, 10), serial: row.Serial, secret: secret, seal: seal}
	}
	old := a.keys.Swap(&keys)
	for i, k := range keys {
		if old != nil && old[i].kid == k.kid && !bytes.Equal(old[i].secret, k.secret) {
			// Empty the cache: a cached token may name a new key but be signed with another secret.
			a.verified.Purge()
		}
	}
	return nil
}

// Reloads sets the function that Reload calls. The function must read the access keys from the
// store, where another server may have rotated them, call SetKeys if they are newer, and report
// whether it did. It must return within a few seconds. Call Reloads before the Authority is
// used.
func (a *Authority) Reloads(reload func(context.Context) (changed bool, err error)) {
	a.reload = reload
}

// Reload reads the access keys from the store again and reports whether they have changed. Call
// it before an operation that must not use outdated keys. It does nothing if no other server
// shares the store.
func (a *Authority) Reload(ctx context.Context) (changed bool, err error) {
	if a.reload == nil {
		return false, nil
	}
	return a.reload(ctx)
}

// LiveTokens returns, for each access key, a lower bound of the number of unexpired tokens. It
// counts the tokens that this server has issued or verified and still has in its cache.
func (a *Authority) LiveTokens() (counts [2]int) {
	keys, now := a.keys.Load(), a.now()
	for _, v := range a.verified.Values() {
		for i, k := range keys {
			if v.Key == k.kid && now.Before(v.Expires) {
				counts[i]++
			}
		}
	}
	return counts
}

// KeyName returns "primary" for the index 0 and "secondary" for the index 1. It panics for other
// indexes.
func KeyName(index int) string { return [...]string{"primary", "secondary"}[index] }

// Keys returns the current access keys, primary first.
func (a *Authority) Keys() []communication.AccessKey {
	keys := a.keys.Load()
	return []communication.AccessKey{keys[0].access, keys[1].access}
}

// Held returns the current access keys, primary first, in the form that Issue needs.
func (a *Authority) Held() [2]Key {
	keys := a.keys.Load()
	return [2]Key{{keys[0].access, keys[0].kid}, {keys[1].access, keys[1].kid}}
}

// Holds reports whether a key that Held returned is still current. It returns false after the
// key was replaced.
func (a *Authority) Holds(key Key) bool { return a.held(key) != nil }

// held returns the signing key that belongs to key, or nil if key is no longer current.
func (a *Authority) held(key Key) *signingKey {
	keys := a.keys.Load()
	for i := range keys {
		if keys[i].kid == key.kid && keys[i].access.Equal(key.AccessKey) {
			return &keys[i]
		}
	}
	return nil
}

// claims is the payload of a token. It has the same members in the same order as tokens of the
// real service (docs/contract/identity.md §6.1). All values must be ASCII without the characters
// > ? ~, because several SDKs decode the payload with standard base64 instead of base64url
// (docs/contract/identity.md §1 rule 8).
type claims struct {
	// The library requires the interface jwt.Claims. Its methods are never called.
	jwt.Claims       `json:"-"`
	SkypeID          string `json:"skypeid"`
	Scp              int    `json:"scp"`
	Csi              string `json:"csi"`
	Exp              int64  `json:"exp"`
	Iat              int64  `json:"iat"`
	AcsScope         string `json:"acsScope"`
	ResourceID       string `json:"resourceId"`
	ResourceLocation string `json:"resourceLocation"`
	Generation       uint64 `json:"kgen"`
}

// scpChat is the claim scp of a token with the scope chat (docs/contract/identity.md §6.1).
const scpChat = 1792

// Issue returns a new token of a live user, and the time when the token expires, in whole
// seconds. key is the access key that signed the request. Issue fails with ErrKeyReplaced if key
// is no longer current, so that a request signed with a replaced key gets no token of the new
// key. It also fails if scopes is empty.
func (a *Authority) Issue(user core.User, scopes Scopes, lifetime time.Duration, key Key) (text string, expires time.Time, err error) {
	if scopes == 0 {
		return "", time.Time{}, errors.New("issue a token: no scopes")
	}
	iat := a.now().UTC().Truncate(time.Second)
	expires = iat.Add(lifetime.Truncate(time.Second))
	c := claims{
		SkypeID: strings.TrimPrefix(user.ID, "8:"), Csi: strconv.FormatInt(iat.Unix(), 10),
		Exp: expires.Unix(), Iat: iat.Unix(), AcsScope: scopes.String(),
		ResourceID: a.resource.ID, ResourceLocation: "local", Generation: user.Generation,
	}
	if scopes.Has(Chat) {
		c.Scp = scpChat
	}
	k := a.held(key)
	if k == nil {
		return "", time.Time{}, ErrKeyReplaced
	}
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	t.Header["kid"] = k.kid
	text, err = t.SignedString(k.secret)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign a token: %w", err)
	}
	a.verified.Add(hashOf(text), Claims{
		User: user.ID, Scopes: scopes, Expires: expires, Generation: user.Generation, Key: k.kid,
	})
	return text, expires, nil
}

// Verify returns the claims of a token. It fails with a Refusal if the token is malformed, not
// signed with a current key, expired or revoked, or if its user was deleted and the deletion
// grace has ended. It returns the error of Users if the user cannot be read. If the token has a
// higher generation than the cached user, Verify reads the user from the store. If the serial of
// its key is higher than that of the known key, Verify reads the access keys from the store.
func (a *Authority) Verify(ctx context.Context, text string) (Claims, error) {
	if len(text) > maxTokenLen {
		return Claims{}, refuse(ReasonMalformed, "problem", fmt.Sprintf("it has %d bytes, and tokens have at most %d", len(text), maxTokenLen))
	}
	sum := hashOf(text)
	c, ok := a.verified.Get(sum)
	if !ok {
		var err error
		c, err = a.parse(text)
		if errors.Is(err, errNewerKey) {
			if _, err := a.Reload(ctx); err != nil {
				return Claims{}, err
			}
			c, err = a.parse(text)
		}
		if err != nil {
			return Claims{}, refusalOf(err)
		}
		a.verified.Add(sum, c)
	}
	if late := a.now().Sub(c.Expires); late >= 0 {
		ago := late.Truncate(time.Second).String()
		return Claims{}, Refusal{fmt.Sprintf("%s %s ago", ReasonExpired, ago),
			why.Because(why.TokenExpired, "user", why.User(c.User), "ago", ago, "at", why.Time(c.Expires))}
	}
	if !a.HasKey(c.Key) {
		return Claims{}, refuse(ReasonKey, "key", c.Key)
	}
	user, err := a.users.User(ctx, c.User)
	if err == nil && user.Generation < c.Generation { // the token proves that the cached user is outdated
		user, err = a.users.StoredUser(ctx, c.User)
	}
	if err != nil {
		return Claims{}, err
	}
	c.Leaving = a.users.Leaving(user)
	switch {
	case user.State == core.UserUnknown:
		return Claims{}, refuse(ReasonUserUnknown, "user", why.User(c.User))
	case user.State != core.UserLive && !c.Leaving:
		return Claims{}, refuse(ReasonUserDeleted, "user", why.User(c.User), "at", deletedAt(user))
	case user.Generation != c.Generation:
		return Claims{}, refuse(ReasonRevoked, "user", why.User(c.User))
	}
	return c, nil
}

// hashOf returns the hash of a token under which its claims are cached. It copies a token of usual length
// to the stack, so that it allocates nothing.
func hashOf(text string) [sha256.Size]byte {
	var b [1024]byte
	return sha256.Sum256(append(b[:0], text...))
}

// refusalOf converts an error of parse to a Refusal.
func refusalOf(err error) error {
	var r Refusal
	switch {
	case errors.As(err, &r):
		return r
	case errors.Is(err, errNewerKey):
		return refuse(ReasonKey, "key", "of a newer number")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return refuse(ReasonSignature)
	}
	return refuse(ReasonMalformed, "problem", "it is not a JWT of this server's form")
}

// deletedAt returns the time when a user was deleted, as text for sentences. It returns "" if the
// user was not deleted.
func deletedAt(u core.User) string {
	if u.DeletedAt == 0 {
		return ""
	}
	return why.Time(time.UnixMilli(u.DeletedAt))
}

// plainKid returns the key name in a token if it has the form of a key name. Otherwise it returns a
// text that says so, because anybody may have made the token, and it may contain any text.
func plainKid(kid string) string {
	name, serial, _ := strings.Cut(kid, "-")
	if _, err := strconv.ParseUint(serial, 10, 64); err != nil || name != KeyName(0) && name != KeyName(1) {
		return "of no known form"
	}
	return kid
}

// HasKey reports whether kid, a Claims.Key, names a current access key.
func (a *Authority) HasKey(kid string) bool {
	keys := a.keys.Load()
	return kid == keys[0].kid || kid == keys[1].kid
}

// parse parses a token and verifies its signature. It does not check the expiry or the user.
func (a *Authority) parse(text string) (Claims, error) {
	var c claims
	// The base64 decoder ignores line breaks. Refuse a text with line breaks, so that each token is
	// valid in one spelling only.
	if strings.ContainsAny(text, "\r\n") {
		return Claims{}, refuse(ReasonMalformed, "problem", "it has line breaks")
	}
	p := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	t, err := p.ParseWithClaims(text, &c, func(t *jwt.Token) (any, error) {
		for i, k := range a.keys.Load() {
			if t.Header["kid"] == k.kid {
				return k.secret, nil
			}
			if isNewer(t.Header["kid"], i, k.serial) {
				return nil, errNewerKey
			}
		}
		kid, _ := t.Header["kid"].(string)
		return nil, refuse(ReasonKey, "key", plainKid(kid))
	})
	if err != nil {
		return Claims{}, err
	}
	scopes, err := parseScopes(c.AcsScope)
	if err != nil {
		return Claims{}, err
	}
	user := "8:" + c.SkypeID
	if c.ResourceID != a.resource.ID || !strings.HasPrefix(user, a.resource.UserPrefix()) {
		return Claims{}, refuse(ReasonResource)
	}
	return Claims{
		User: user, Scopes: scopes, Expires: time.Unix(c.Exp, 0).UTC(), Generation: c.Generation,
		// The conversion cannot fail: the header kid is a string, because it was found equal to a
		// key's kid.
		Key: t.Header["kid"].(string),
	}, nil
}

func accessKey(secret []byte) (communication.AccessKey, error) {
	return communication.NewAccessKey(base64.StdEncoding.EncodeToString(secret))
}
