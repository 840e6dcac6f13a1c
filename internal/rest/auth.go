package rest

import (
	"errors"
	"strings"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/signature"
	"github.com/confab-chat/confab/internal/token"
)

// authenticateUser verifies the bearer token of a chat request and sets the caller. It
// fails with Unauthorized for an invalid token, with Forbidden for a token without a
// scope that the route accepts, and with Unavailable if the user cannot be read.
//
// Unverified: the 403 and its text (docs/contract/identity.md §6.5, docs/contract/chat.md §11).
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

// errUserDeleted refuses the token of a deleted user for every operation but deleting
// threads and removing that user from threads.
var errUserDeleted = &core.Error{Code: core.Unauthorized, Message: "the user was deleted"}

// errDenied refuses an identity request that is not signed with an access key. It was
// recorded for a missing signature and for another scheme. Unverified: that a wrong
// signature or date has the same error (docs/contract/identity.md §4.5).
var errDenied = &core.Error{Code: codeDenied, Message: "Denied by the resource provider."}

// authenticateKey verifies the signature of an identity request and sets the index of
// the access key. The signature covers the body, so it reads the body. It refuses
// Entra bearer tokens: no tenant exists (docs/contract/identity.md §3).
func (h *Handler) authenticateKey(req *request) error {
	scheme, _, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "HMAC-SHA256") {
		return errDenied // without reading the body
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
