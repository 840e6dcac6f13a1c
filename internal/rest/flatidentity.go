package rest

import (
	"time"

	"github.com/confab-chat/confab/internal/rest/wire"
)

// This file has the identity operations of api-version 2020-07-20-preview2 whose requests or
// responses have another form at later api-versions. Azure's administration packages call them
// (docs/contract/identity.md §3).

func (h *Handler) createFlatUser(req *request) (any, error) {
	user, err := h.core.CreateUser(req.Context())
	if err != nil {
		return nil, err
	}
	req.caller = user.ID
	return &wire.CommunicationIdentity{ID: user.ID}, nil
}

func (h *Handler) issueFlatToken(req *request) (any, error) {
	var in wire.CommunicationTokenRequest
	if err := h.decodeOptional(req, &in); err != nil {
		return nil, err
	}
	scopes, err := requiredScopes(in.Scopes)
	if err != nil {
		return nil, err
	}
	made, err := h.issueTo(req, scopes, maxTokenMinutes*time.Minute)
	if err != nil {
		return nil, err
	}
	return &wire.CommunicationIdentityToken{ID: req.params[0], Token: made.Token, ExpiresOn: made.ExpiresOn}, nil
}

// updateUser revokes the tokens of a user (docs/contract/identity.md §3.3). The request may name a
// time before which tokens are revoked. The server cannot tell the older tokens of a user from the
// later ones, so it revokes all of them. Revoking too many tokens is the safe choice: their
// clients only have to get new ones, but a token that is not revoked may be in the wrong hands.
func (h *Handler) updateUser(req *request) (any, error) {
	var in wire.CommunicationIdentityUpdateRequest
	if err := h.decodeOptional(req, &in); err != nil {
		return nil, err
	}
	return h.revokeTokens(req)
}
