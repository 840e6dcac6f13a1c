package rest

import (
	"github.com/confab-chat/confab/internal/rest/wire"
)

// exchangeTeamsToken refuses to exchange a Microsoft Teams token, as exchangeToken does, at the
// api-versions at which the request has only the token.
func (h *Handler) exchangeTeamsToken(req *request) (any, error) {
	var in wire.TeamsUserAccessTokenRequest
	if err := h.decodeOptional(req, &in); err != nil {
		return nil, err
	}
	return nil, errBadExchange
}

// exchangeEntraToken is never called, because authenticateEntra refuses every request.
func (h *Handler) exchangeEntraToken(*request) (any, error) { return nil, errBadExchange }

// noAssignments refuses the operations that give users of a Microsoft Entra tenant access to the
// resource.
func (h *Handler) noAssignments(*request) (any, error) {
	return nil, notServed("This server has no Microsoft tenant, so it keeps no assignments. Create a user for each account instead, with its own customId.")
}
