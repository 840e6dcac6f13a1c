package rest

import (
	"errors"
	"strings"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/signature"
	"github.com/confab-chat/confab/internal/token"
)

// authenticateUser verifies the bearer token of a chat request and sets req.caller to
// the token's user. It fails with Unauthorized for an invalid token, with Forbidden for
// a token without a scope that the route accepts, and with Unavailable if the user
// cannot be read from the store.
//
// Unverified: that the real service answers 403 to a token without the scope, and the
// text of that answer (docs/contract/identity.md §6.5, docs/contract/chat.md §11).
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

// errUserDeleted is the error for a request with the token of a deleted user. Such a
// token is valid only for deleting threads and for removing that user from threads.
var errUserDeleted = &core.Error{Code: core.Unauthorized, Message: "the user was deleted"}

// errDenied is the error for an identity request that is not signed with an access key.
// The real service was recorded to send it for a missing signature and for a scheme
// other than HMAC-SHA256. Unverified: that it sends the same error for a wrong
// signature or date (docs/contract/identity.md §4.5).
var errDenied = &core.Error{Code: codeDenied, Message: "Denied by the resource provider."}

// authenticateKey verifies the HMAC signature of an identity request and sets req.key
// to the index of the access key that made it. It reads the request body, because the
// signature covers the body. It refuses bearer tokens of Microsoft Entra, because this
// server has no Entra tenant (docs/contract/identity.md §3).
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
	var refused *signature.Error
	if errors.As(err, &refused) && refused.Reason == signature.BadSignature { // or made with a key that another server has just rotated
		if _, err := h.tokens.Reload(req.Context()); err != nil {
			return unavailable(err)
		}
		key, err = signature.Verify(signed, h.tokens.Keys(), h.now())
	}
	if err == nil {
		req.key = key
		return nil
	}
	denied := *errDenied
	denied.Cause = err
	if errors.As(err, &refused) && refused.Reason == signature.BadContentHash {
		denied.Message = "Request 'x-ms-content-sha256' differs from generated content hash."
	}
	return &denied
}

// requireCurrentKey fails with Denied if the access key that signed an identity request was
// replaced meanwhile, perhaps by another server. Call it before a token is issued: one that
// is made with a replaced key is invalid from the start.
func (h *Handler) requireCurrentKey(req *request) error {
	if _, err := h.tokens.Reload(req.Context()); err != nil {
		return unavailable(err)
	}
	return h.authenticateKey(req)
}
