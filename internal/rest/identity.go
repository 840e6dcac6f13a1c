package rest

import (
	"fmt"
	"regexp"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
	"github.com/confab-chat/confab/internal/token"
)

// Lifetimes of tokens, in minutes (identity.md §6.5).
const (
	leastMinutes = 60
	mostMinutes  = 1440
)

func (h *Handler) createUser(q *request) (any, error) {
	var in wire.CommunicationIdentityCreateRequest
	if err := h.decodeOptional(q, &in); err != nil {
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
	user, err := h.core.CreateUser(q.Context())
	if err != nil {
		return nil, err
	}
	q.caller = user.ID
	out := &wire.CommunicationIdentityAccessTokenResult{Identity: wire.CommunicationIdentity{ID: user.ID}}
	if scopes != 0 {
		out.AccessToken, err = h.issue(q, user, scopes, lifetime)
	}
	return out, err
}

func (h *Handler) issueToken(q *request) (any, error) {
	var in wire.CommunicationIdentityAccessTokenRequest
	if err := h.decodeOptional(q, &in); err != nil {
		return nil, err
	}
	// The words and the case of the targets are those of two layers of the
	// service (identity.md §3.2).
	if in.Scopes == nil {
		return nil, invalid("Scopes", "Scopes: The Scopes field is required.")
	}
	if len(in.Scopes) == 0 {
		return nil, invalid("scopes", "Invalid scopes - Scopes field is required.")
	}
	scopes, err := parseScopes(in.Scopes)
	if err != nil {
		return nil, err
	}
	lifetime, err := tokenLifetime(in.ExpiresInMinutes)
	if err != nil {
		return nil, err
	}
	user, err := h.core.UserForToken(q.Context(), q.userID())
	if err != nil {
		return nil, err
	}
	return h.issue(q, user, scopes, lifetime)
}

func (h *Handler) revokeTokens(q *request) (any, error) {
	return nil, h.core.RevokeTokens(q.Context(), q.userID())
}

func (h *Handler) deleteUser(q *request) (any, error) {
	return nil, h.core.DeleteUser(q.Context(), q.userID())
}

var guid = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// exchangeToken checks what can be checked and refuses the rest: there is no
// Microsoft tenant behind it (identity.md §3.6). Unverified: the order.
func (h *Handler) exchangeToken(q *request) (any, error) {
	var in wire.TeamsUserExchangeTokenRequest
	if err := h.decodeOptional(q, &in); err != nil {
		return nil, err
	}
	switch {
	case in.AppID == "":
		return nil, invalid("AppId", "AppId: The AppId field is required.")
	case in.UserID == "":
		return nil, invalid("UserId", "UserId: The UserId field is required.")
	case !guid.MatchString(in.AppID):
		return nil, invalid("appId", "Provided AppId has invalid format.")
	case !guid.MatchString(in.UserID):
		return nil, invalid("userId", "Provided UserId has invalid format.")
	}
	return nil, &core.Error{Code: codeBadExchange, Message: "Provided access token is not valid."}
}

// userID is the parameter of the path. A malformed one is refused as an
// identity of another resource is. Unverified (identity.md §1 rule 10).
func (q *request) userID() string {
	q.caller = clip(q.params[0])
	return q.params[0]
}

func (h *Handler) issue(q *request, user core.User, scopes token.Scopes, lifetime time.Duration) (*wire.CommunicationIdentityAccessToken, error) {
	text, expires, err := h.tokens.Issue(user, scopes, lifetime, q.key)
	if err != nil {
		return nil, err
	}
	return &wire.CommunicationIdentityAccessToken{Token: text, ExpiresOn: wire.Expiry(expires)}, nil
}

func tokenLifetime(minutes *int32) (time.Duration, error) {
	if minutes == nil {
		return mostMinutes * time.Minute, nil
	}
	if *minutes < leastMinutes || *minutes > mostMinutes {
		return 0, invalid("ExpiresInMinutes", "ExpiresInMinutes value %d is invalid. Value must be within the [%d, %d] interval.",
			*minutes, leastMinutes, mostMinutes)
	}
	return time.Duration(*minutes) * time.Minute, nil
}

// parseScopes accepts all five scopes at every version (identity.md §2).
// Unverified: the refusal of another name.
func parseScopes(names []string) (scopes token.Scopes, err error) {
	for _, name := range names {
		s, ok := token.ParseScope(name)
		if !ok {
			return 0, invalid("scopes", "Invalid scopes - Scope '%s' is not supported.", clip(name))
		}
		scopes |= s
	}
	return scopes, nil
}

func invalid(target, format string, args ...any) error {
	return &core.Error{Code: core.Validation, Target: target, Message: fmt.Sprintf(format, args...)}
}
