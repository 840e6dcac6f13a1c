package rest

import (
	"errors"
	"regexp"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/internal/why"
)

// The shortest and the longest lifetime of a token, in minutes
// (docs/contract/identity.md §6.5). The longest one is also the default.
const (
	minTokenMinutes = 60
	maxTokenMinutes = 1440
)

func (h *Handler) createUser(req *request) (any, error) {
	var in wire.CommunicationIdentityCreateRequest
	if err := h.decodeOptional(req, &in); err != nil {
		return nil, err
	}
	lifetime, err := tokenLifetime(in.ExpiresInMinutes)
	if err != nil {
		return nil, err
	}
	scopes, err := parseScopes(in.CreateTokenWithScopes)
	if err != nil {
		return nil, err
	}
	if scopes != 0 {
		if err := h.requireCurrentKey(req); err != nil {
			return nil, err
		}
	}
	var user core.User
	if in.CustomID != nil {
		user, err = h.core.UserByCustomID(req.Context(), *in.CustomID)
	} else {
		user, err = h.core.CreateUser(req.Context())
	}
	if err != nil {
		return nil, err
	}
	req.caller = user.ID
	out := &wire.CommunicationIdentityAccessTokenResult{}
	if scopes != 0 {
		out.AccessToken, err = h.issue(req, user, scopes, lifetime)
	}
	out.Identity = h.identity(user)
	return out, err
}

func (h *Handler) getUser(req *request) (any, error) {
	user, err := h.core.UserForToken(req.Context(), req.userID())
	if err != nil {
		return nil, err
	}
	out := h.identity(user)
	return &out, nil
}

// identity returns the JSON of a user.
func (h *Handler) identity(user core.User) wire.CommunicationIdentity {
	out := wire.CommunicationIdentity{ID: user.ID, CustomID: user.CustomID}
	if at := h.core.LastTokenIssuedAt(user); !at.IsZero() {
		out.LastTokenIssuedAt = wire.Expiry(at)
	}
	return out
}

func (h *Handler) issueToken(req *request) (any, error) {
	var in wire.CommunicationIdentityAccessTokenRequest
	if err := h.decodeOptional(req, &in); err != nil {
		return nil, err
	}
	scopes, err := requiredScopes(in.Scopes)
	if err != nil {
		return nil, err
	}
	lifetime, err := tokenLifetime(in.ExpiresInMinutes)
	if err != nil {
		return nil, err
	}
	return h.issueTo(req, scopes, lifetime)
}

// issueTo issues a token to the user in the request's path.
func (h *Handler) issueTo(req *request, scopes token.Scopes, lifetime time.Duration) (*wire.CommunicationIdentityAccessToken, error) {
	id := req.userID()
	if err := h.requireCurrentKey(req); err != nil {
		return nil, err
	}
	user, err := h.core.UserForToken(req.Context(), id)
	if err != nil {
		return nil, err
	}
	return h.issue(req, user, scopes, lifetime)
}

func (h *Handler) revokeTokens(req *request) (any, error) {
	return nil, h.core.RevokeTokens(req.Context(), req.userID())
}

func (h *Handler) deleteUser(req *request) (any, error) {
	return nil, h.core.DeleteUser(req.Context(), req.userID())
}

var guid = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// jwt matches texts in the form of the tokens that Microsoft Entra ID issues.
var jwt = regexp.MustCompile(`^[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+$`)

// exchangeToken handles the request to exchange a Microsoft Teams token. It checks the
// form of the token and then the other fields, and always fails, because this server has
// no Microsoft tenant (docs/contract/identity.md §3.6). Unverified: the order in which
// it checks the other fields.
func (h *Handler) exchangeToken(req *request) (any, error) {
	var in wire.TeamsUserExchangeTokenRequest
	if err := h.decodeOptional(req, &in); err != nil {
		return nil, err
	}
	switch {
	case !jwt.MatchString(in.Token): // check the form of the token first: Microsoft's tests send malformed tokens with an empty userId and expect this error
		return nil, errBadExchange
	case in.AppID == "":
		return nil, validationError("AppId", "AppId: The AppId field is required.")
	case in.UserID == "":
		return nil, validationError("UserId", "UserId: The UserId field is required.")
	case !guid.MatchString(in.AppID):
		return nil, validationError("appId", "Provided AppId has invalid format.")
	case !guid.MatchString(in.UserID):
		return nil, validationError("userId", "Provided UserId has invalid format.")
	}
	return nil, errBadExchange
}

// errBadExchange is the error for a request to exchange a Microsoft token for a token of this
// server.
var errBadExchange = &core.Error{Code: codeBadExchange, Message: "Provided access token is not valid.", Why: why.Because(why.NoEntra)}

// userID returns the user id in the request's path and sets req.caller to it, for the
// access log. It accepts a malformed id; package core then refuses it like an id of
// another resource. Unverified: that the real service does the same
// (docs/contract/identity.md §1 rule 10).
func (req *request) userID() string {
	req.caller = clip.Text(req.params[0], maxEcho)
	return req.params[0]
}

// issue returns a new token of the user, signed with the access key that signed the
// identity request. It fails with Denied if that key was replaced meanwhile.
func (h *Handler) issue(req *request, user core.User, scopes token.Scopes, lifetime time.Duration) (*wire.CommunicationIdentityAccessToken, error) {
	text, expires, err := h.tokens.Issue(user, scopes, lifetime, req.key)
	if errors.Is(err, token.ErrKeyReplaced) {
		return nil, errKeyReplaced
	}
	if err != nil {
		return nil, err
	}
	h.core.TokenIssued(req.Context(), user.ID)
	return &wire.CommunicationIdentityAccessToken{Token: text, ExpiresOn: wire.Expiry(expires)}, nil
}

// tokenLifetime returns the number of minutes as a duration, or the longest lifetime if
// minutes is nil. It fails if minutes is out of bounds.
func tokenLifetime(minutes *int32) (time.Duration, error) {
	if minutes == nil {
		return maxTokenMinutes * time.Minute, nil
	}
	if *minutes < minTokenMinutes || *minutes > maxTokenMinutes {
		return 0, validationError("ExpiresInMinutes", "ExpiresInMinutes value %d is invalid. Value must be within the [%d, %d] interval.",
			*minutes, minTokenMinutes, maxTokenMinutes)
	}
	return time.Duration(*minutes) * time.Minute, nil
}

// requiredScopes returns the set of token scopes with the given names. It fails if names is nil or
// empty; the service has different messages for the two (docs/contract/identity.md §3.2).
func requiredScopes(names []string) (token.Scopes, error) {
	if names == nil {
		return 0, validationError("Scopes", "Scopes: The Scopes field is required.")
	}
	if len(names) == 0 {
		return 0, validationError("scopes", "Invalid scopes - Scopes field is required.")
	}
	return parseScopes(names)
}

// parseScopes returns the set of token scopes with the given names. It accepts all five
// scopes at every api-version (docs/contract/identity.md §2) and fails for any other
// name. Unverified: the code and text of that error.
func parseScopes(names []string) (scopes token.Scopes, err error) {
	for _, name := range names {
		s, ok := token.ParseScope(name)
		if !ok {
			return 0, validationError("scopes", "Invalid scopes - Scope '%s' is not supported.", clip.Text(name, maxEcho))
		}
		scopes |= s
	}
	return scopes, nil
}

// validationError returns the error for a 400 of an identity route, about the field
// target and with a formatted message.
func validationError(target, format string, args ...any) error {
	e := core.Invalid(target, format, args...)
	e.Code = core.Validation
	return e
}
