package rest

import (
	"errors"
	"strings"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/signature"
	"github.com/confab-chat/confab/internal/token"
)

// authenticateUser verifies the user token of a chat request, then its scope.
//
// Unverified: 403 for a token without the scope that the operation needs, and
// its text (docs/contract/identity.md §6.5, docs/contract/chat.md §11).
func (h *Handler) authenticateUser(req *request) error {
	scheme, text, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return &core.Error{Code: core.Unauthorized, Message: "no bearer token"}
	}
	claims, err := h.tokens.Verify(req.Context(), strings.TrimSpace(text))
	if errors.Is(err, token.ErrInvalid) {
		return &core.Error{Code: core.Unauthorized, Message: "token refused"}
	}
	if err != nil {
		return unavailable(err)
	}
	req.caller, req.leaving = claims.User, claims.Leaving
	if req.leaving && req.route.users == onlyLive {
		return errUserDeleted
	}
	if !claims.Scopes.Any(req.route.scopes) {
		return core.ErrForbidden
	}
	return nil
}

// errUserDeleted is the refusal of a deleted user's token for anything but cleaning
// up after the user.
var errUserDeleted = &core.Error{Code: core.Unauthorized, Message: "the user was deleted"}

// errDenied is recorded for a missing signature or another scheme; for a bad
// signature or date it is a guess (docs/contract/identity.md §4.5).
var errDenied = &core.Error{Code: codeDenied, Message: "Denied by the resource provider."}

// authenticateKey verifies the signature of an identity request. The signature
// covers the raw target and the body, so the body is read here. Entra bearer tokens
// are refused: there is no tenant (docs/contract/identity.md §3).
func (h *Handler) authenticateKey(req *request) error {
	scheme, _, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "HMAC-SHA256") {
		return errDenied // before reading the body of a stranger
	}
	if err := h.readBody(req); err != nil {
		return err
	}
	signed := signature.Of(req.Request, req.body)
	signed.TLS = signed.TLS || strings.HasPrefix(h.endpoint, "https:")
	signed.Authorities = h.authorities
	key, err := signature.Verify(signed, h.tokens.Keys(), h.now())
	if err == nil {
		req.key = key
		return nil
	}
	denied := *errDenied
	denied.Cause = err
	var refused *signature.Error
	if errors.As(err, &refused) && refused.Reason == signature.BadContentHash {
		denied.Message = "Request 'x-ms-content-sha256' differs from generated content hash."
	}
	return &denied
}
