// Package token issues and verifies the tokens that users carry.
//
// A token is a JWT, signed with HS256 by a key that is derived from the access
// key which authenticated the request for it; its kid says which. So every node
// can verify every token, and rotating an access key ends the tokens made with
// it. A token also carries its user's generation at that time: revoking bumps
// the generation, and older tokens end with it.
package token

import (
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
	"github.com/confab-chat/confab/sdk/communication"
)

// ErrInvalid means that a token is refused. It gives no reason: the response is always
// the same empty 401 (docs/contract/chat.md §0.2).
var ErrInvalid = errors.New("token is not valid")

// Limits of tokens.
const (
	maxTokenLen = 4096   // bytes of text; issued ones have about 500
	maxVerified = 50_000 // verified tokens that are remembered
)

// keyContext separates the signing keys from any other use of an access key.
const keyContext = "confab user token, HS256"

// Users looks up a user's present row.
type Users interface {
	User(ctx context.Context, id string) (core.User, error)
	// Leaving reports whether the user is in the grace after its deletion.
	Leaving(u core.User) bool
}

// Claims are what a verified token says.
type Claims struct {
	User    string
	Scopes  Scopes
	Expires time.Time
	// Leaving: the user is in the grace after its deletion. The token may only delete
	// threads and remove its user from them.
	Leaving bool
}

// Authority issues and verifies tokens of one resource. It is safe for
// concurrent use.
type Authority struct {
	resource string
	users    Users
	now      func() time.Time
	keys     atomic.Pointer[[2]signingKey]
	verified *lru.Cache[[sha256.Size]byte, verified]
}

type signingKey struct {
	access communication.AccessKey
	kid    string
	secret []byte
}

// verified is a token whose signature was checked before. It is valid only as long as
// the key with that kid is.
type verified struct {
	Claims
	generation uint64
	kid        string
}

// New makes the authority of a resource from its access keys. A nil now is
// time.Now.
func New(r core.Resource, users Users, now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	a := &Authority{resource: r.ID, users: users, now: now}
	a.verified, _ = lru.New[[sha256.Size]byte, verified](maxVerified)
	if err := a.SetKeys(r.Keys); err != nil {
		return nil, err
	}
	return a, nil
}

// SetKeys replaces the access keys. It invalidates the tokens made with a key that is
// not among the new ones.
func (a *Authority) SetKeys(rows [2]core.AccessKeyRow) error {
	var keys [2]signingKey
	for i, row := range rows {
		secret, err := hkdf.Key(sha256.New, row.Secret, nil, keyContext, sha256.Size)
		if err != nil {
			return fmt.Errorf("derive a signing key: %w", err)
		}
		access, err := accessKey(row.Secret)
		if err != nil {
			return err
		}
		keys[i] = signingKey{access: access, kid: KeyName(i) + "-" + strconv.FormatUint(row.Serial, 10), secret: secret}
	}
	a.keys.Store(&keys)
	return nil
}

// LiveTokens counts, for each key, the unexpired tokens that were issued or used here
// since the start. The counts are lower bounds.
func (a *Authority) LiveTokens() (counts [2]int) {
	keys, now := a.keys.Load(), a.now()
	for _, v := range a.verified.Values() {
		for i, k := range keys {
			if v.kid == k.kid && now.Before(v.Expires) {
				counts[i]++
			}
		}
	}
	return counts
}

// KeyName returns the name of the access key with an index: primary or secondary.
func KeyName(index int) string { return [...]string{"primary", "secondary"}[index] }

// Keys returns the access keys, primary first, for the verification of requests.
func (a *Authority) Keys() []communication.AccessKey {
	keys := a.keys.Load()
	return []communication.AccessKey{keys[0].access, keys[1].access}
}

// claims is the payload, in the order of the real service's (docs/contract/identity.md §6.1).
// Several SDKs decode it with the wrong alphabet, so no claim may hold any of
// the characters > ? ~, and all of it is ASCII (docs/contract/identity.md §1 rule 8).
type claims struct {
	jwt.Claims       `json:"-"` // none of them is checked by the library
	SkypeID          string     `json:"skypeid"`
	Scp              int        `json:"scp"`
	Csi              string     `json:"csi"`
	Exp              int64      `json:"exp"`
	Iat              int64      `json:"iat"`
	AcsScope         string     `json:"acsScope"`
	ResourceID       string     `json:"resourceId"`
	ResourceLocation string     `json:"resourceLocation"`
	Generation       uint64     `json:"kgen"`
}

// scpChat is the number in a token with the scope chat (docs/contract/identity.md §6.1).
const scpChat = 1792

// Issue makes a token for a user who is live. Key is the index of the access
// key that authenticated the request. The expiry has whole seconds.
func (a *Authority) Issue(user core.User, scopes Scopes, lifetime time.Duration, key int) (text string, expires time.Time, err error) {
	if scopes == 0 {
		return "", time.Time{}, errors.New("issue a token: no scopes")
	}
	iat := a.now().UTC().Truncate(time.Second)
	expires = iat.Add(lifetime.Truncate(time.Second))
	c := claims{
		SkypeID: strings.TrimPrefix(user.ID, "8:"), Csi: strconv.FormatInt(iat.Unix(), 10),
		Exp: expires.Unix(), Iat: iat.Unix(), AcsScope: scopes.String(),
		ResourceID: a.resource, ResourceLocation: "local", Generation: user.Generation,
	}
	if scopes.Has(Chat) {
		c.Scp = scpChat
	}
	k := a.keys.Load()[key]
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	t.Header["kid"] = k.kid
	text, err = t.SignedString(k.secret)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign a token: %w", err)
	}
	a.verified.Add(sha256.Sum256([]byte(text)), verified{
		Claims: Claims{User: user.ID, Scopes: scopes, Expires: expires}, generation: user.Generation, kid: k.kid,
	})
	return text, expires, nil
}

// Verify returns the claims of a token, or ErrInvalid if it is malformed, of another
// server, expired or revoked, or if its user is deleted. Another error means that the
// user's row could not be read.
func (a *Authority) Verify(ctx context.Context, text string) (Claims, error) {
	if len(text) > maxTokenLen {
		return Claims{}, ErrInvalid
	}
	sum := sha256.Sum256([]byte(text))
	v, ok := a.verified.Get(sum)
	if !ok {
		var err error
		if v, err = a.parse(text); err != nil {
			return Claims{}, ErrInvalid
		}
		a.verified.Add(sum, v)
	}
	if !a.now().Before(v.Expires) || !a.hasKey(v.kid) {
		return Claims{}, ErrInvalid
	}
	user, err := a.users.User(ctx, v.User)
	if err != nil {
		return Claims{}, err
	}
	c := v.Claims
	c.Leaving = a.users.Leaving(user)
	if user.State != core.UserLive && !c.Leaving || user.Generation != v.generation {
		return Claims{}, ErrInvalid
	}
	return c, nil
}

// hasKey reports whether a key is still in use.
func (a *Authority) hasKey(kid string) bool {
	keys := a.keys.Load()
	return kid == keys[0].kid || kid == keys[1].kid
}

// parse checks the form and the signature of a token, but nothing that changes with time.
func (a *Authority) parse(text string) (verified, error) {
	var c claims
	// One text per token: the decoder of base64 ignores line breaks.
	if strings.ContainsAny(text, "\r\n") {
		return verified{}, ErrInvalid
	}
	p := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	t, err := p.ParseWithClaims(text, &c, func(t *jwt.Token) (any, error) {
		for _, k := range a.keys.Load() {
			if t.Header["kid"] == k.kid {
				return k.secret, nil
			}
		}
		return nil, ErrInvalid
	})
	if err != nil {
		return verified{}, err
	}
	scopes, err := parseScopes(c.AcsScope)
	if err != nil {
		return verified{}, err
	}
	if c.ResourceID != a.resource || !strings.HasPrefix(c.SkypeID, "acs:") {
		return verified{}, ErrInvalid
	}
	return verified{
		Claims:     Claims{User: "8:" + c.SkypeID, Scopes: scopes, Expires: time.Unix(c.Exp, 0).UTC()},
		generation: c.Generation,
		kid:        t.Header["kid"].(string), // a string, since a key was found by it
	}, nil
}

func accessKey(secret []byte) (communication.AccessKey, error) {
	return communication.NewAccessKey(base64.StdEncoding.EncodeToString(secret))
}
