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
// its text (identity.md §6.5, chat.md §11).
func (h *Handler) authenticateUser(q *request) error {
	scheme, text, _ := strings.Cut(q.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return &core.Error{Code: core.Unauthorized, Message: "no bearer token"}
	}
	claims, err := h.tokens.Verify(q.Context(), strings.TrimSpace(text))
	if errors.Is(err, token.ErrInvalid) {
		return &core.Error{Code: core.Unauthorized, Message: "token refused"}
	}
	if err != nil {
		// Nothing was done yet, so the client may repeat the request.
		return &core.Error{Code: core.Unavailable, Message: "The server is currently unable to handle the request.", Cause: err}
	}
	q.caller, q.leaving = claims.User, claims.Leaving
	if q.leaving && q.row.users == live {
		return errGone
	}
	if !claims.Scopes.Any(q.row.scopes) {
		return &core.Error{Code: core.Forbidden, Message: "The initiator doesn't have the permission to perform the requested operation."}
	}
	return nil
}

// errGone: the user was deleted, and what its token asks for is more than cleaning
// up after it.
var errGone = &core.Error{Code: core.Unauthorized, Message: "the user was deleted"}

// errDenied is recorded for a missing signature or another scheme; for a bad
// signature or date it is a guess (identity.md §4.5).
var errDenied = &core.Error{Code: codeDenied, Message: "Denied by the resource provider."}

// authenticateKey verifies the signature of an identity request. It is made of
// the target as it came and of the body, which is read here for that. Entra
// bearer tokens are refused: there is no tenant (identity.md §3).
func (h *Handler) authenticateKey(q *request) error {
	scheme, _, _ := strings.Cut(q.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "HMAC-SHA256") {
		return errDenied // before the body of a stranger is read
	}
	if err := h.readBody(q); err != nil {
		return err
	}
	signed := signature.Of(q.Request, q.body)
	signed.TLS = signed.TLS || strings.HasPrefix(h.endpoint, "https:")
	signed.Authorities = h.authorities
	key, err := signature.Verify(signed, h.tokens.Keys(), h.now())
	if err == nil {
		q.key = key
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
