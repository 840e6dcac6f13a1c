package rest

import (
	"errors"
	"strings"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/signature"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// authorization returns the value of the request's Authorization header. It fails with a 400
// if there are two, because a proxy in front may have judged the other one.
func (req *request) authorization() (string, error) {
	if len(req.Header.Values("Authorization")) > 1 {
		return "", &core.Error{Code: req.api.invalidBody, Target: "Authorization", Message: "The request has more than one Authorization header."}
	}
	return req.Header.Get("Authorization"), nil
}

// authenticateUser verifies the bearer token of a chat request and sets req.caller to
// the token's user. It fails with Unauthorized for an invalid token, with Forbidden for
// a token without a scope that the route accepts, and with Unavailable if the user
// cannot be read from the store. It does not read the body.
//
// Unverified: that the real service answers 403 to a token without the scope, and the
// text of that answer (docs/contract/identity.md §6.5, docs/contract/chat.md §11).
func (h *Handler) authenticateUser(req *request) error {
	header, err := req.authorization()
	if err != nil {
		return err
	}
	scheme, text, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return &core.Error{Code: core.Unauthorized, Message: "no bearer token", Reason: "no bearer token"}
	}
	claims, err := h.tokens.Verify(req.Context(), strings.TrimSpace(text))
	if errors.Is(err, token.ErrInvalid) {
		return &core.Error{Code: core.Unauthorized, Message: "token refused", Reason: "token: " + token.ReasonOf(err)}
	}
	if err != nil {
		return unavailable(err)
	}
	req.caller, req.leaving = claims.User, claims.Leaving
	if req.leaving && req.route.users == onlyLive {
		return errUserDeleted
	}
	if !claims.Scopes.Any(req.route.scopes) {
		return core.Forbid(token.MissingScope(claims.Scopes, req.route.scopes))
	}
	return nil
}

// errUserDeleted is the error for a request with the token of a deleted user. Such a
// token is valid only for removing that user from threads, and for deleting threads that
// the user has created or is alone in.
var errUserDeleted = &core.Error{Code: core.Unauthorized, Message: "the user was deleted", Reason: "token: " + token.ReasonUserDeleted}

// errDenied is the error for an identity request that is not signed with an access key.
// The real service was recorded to send it for a missing signature and for a scheme
// other than HMAC-SHA256. Unverified: that it sends the same error for a wrong
// signature or date (docs/contract/identity.md §4.5).
var errDenied = &core.Error{Code: codeDenied, Message: "Denied by the resource provider."}

// errKeyReplaced is the error for an identity request whose access key was replaced after it
// was found to have signed the request.
var errKeyReplaced = &core.Error{Code: codeDenied, Message: errDenied.Message, Reason: "signature: the key was replaced meanwhile"}

// authenticateKey verifies the HMAC signature of an identity request and sets req.key
// to the access key that made it. Then it reads the request body, of which the signature
// covers the hash: a client without a key makes the server read nothing. It refuses bearer
// tokens of Microsoft Entra, because this server has no Entra tenant
// (docs/contract/identity.md §3).
func (h *Handler) authenticateKey(req *request) error {
	if _, err := req.authorization(); err != nil {
		return err
	}
	signed := signature.Of(req.Request)
	signed.TLS = signed.TLS || strings.HasPrefix(h.endpoint, "https:")
	signed.Authorities = h.authorities
	key, err := h.signer(signed)
	var refused *signature.Error
	if errors.As(err, &refused) && refused.Reason == signature.BadSignature { // or made with a key that another server has just rotated
		if _, err := h.tokens.Reload(req.Context()); err != nil {
			return unavailable(err)
		}
		key, err = h.signer(signed)
	}
	if err != nil {
		return denied(err)
	}
	if err := h.readBody(req); err != nil {
		return err
	}
	if err := signed.CheckBody(req.body); err != nil {
		return denied(err)
	}
	req.key = key
	return nil
}

// signer returns the access key that signed a request, or fails with a *signature.Error.
func (h *Handler) signer(signed signature.Request) (token.Key, error) {
	held := h.tokens.Held()
	i, err := signature.Verify(signed, []communication.AccessKey{held[0].AccessKey, held[1].AccessKey}, h.now())
	if err != nil {
		return token.Key{}, err
	}
	return held[i], nil
}

// denied returns the 401 for an error of package signature.
func denied(err error) error {
	e := *errDenied
	e.Cause = err
	var refused *signature.Error
	if errors.As(err, &refused) {
		e.Reason = "signature: " + refused.Detail()
		if refused.Reason == signature.BadContentHash {
			e.Message = "Request 'x-ms-content-sha256' differs from generated content hash."
		}
	}
	return &e
}

// requireCurrentKey fails with Denied if the access key that signed an identity request was
// replaced meanwhile, perhaps by another server. Call it before a token is issued: one that
// is made with a replaced key is invalid from the start.
func (h *Handler) requireCurrentKey(req *request) error {
	if _, err := h.tokens.Reload(req.Context()); err != nil {
		return unavailable(err)
	}
	if !h.tokens.Holds(req.key) {
		return errKeyReplaced
	}
	return nil
}
