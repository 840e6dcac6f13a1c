package trouter

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/confab-chat/confab/internal/gateway/requests"
	"github.com/confab-chat/confab/internal/inbound"
	"github.com/confab-chat/confab/internal/why"
)

// registration has the fields of a registration's JSON body that Confab uses
// (docs/contract/realtime.md §6).
type registration struct {
	ID         string `json:"registrationId"`
	Transports struct {
		Trouter []struct {
			Path string `json:"path"`
		} `json:"TROUTER"`
	} `json:"transports"`
}

// register accepts a registration without storing it, because a client gets events as soon as
// its socket is open. It fails with 403 if the client names a connection of another user.
func (h *Handler) register(req *request) error {
	c, err := h.skype(req)
	if err != nil {
		return err
	}
	var r registration
	b, err := req.readBody()
	if errors.As(err, new(*refusal)) {
		return err
	}
	if err == nil {
		err = json.Unmarshal(inbound.JSON(b), &r)
	}
	if err != nil || r.ID == "" || !validEndpoint(r.ID) {
		return requests.BadRequest("not a registration", why.Because(why.Registration, "problem", "not a registration"))
	}
	for _, t := range r.Transports.Trouter {
		u, err := url.Parse(t.Path)
		if err != nil {
			return requests.BadRequest("not a path of a connection", why.Because(why.Registration, "problem", "not a path of a connection"))
		}
		id := strings.TrimSuffix(strings.TrimPrefix(u.Path, "/v4/f/"), "/")
		if u.Path != pathOf(id) || !ownsConnection(id, c.User) {
			return &refusal{Status: http.StatusForbidden, Message: "the connection is not one of this user",
				Why: why.Because(why.Registration, "problem", "the connection is not one of this user")}
		}
	}
	h.endpoints.stay(c.User, r.ID)
	req.respond(http.StatusAccepted, "", nil)
	return nil
}

// unregister removes an endpoint, so that the client does not get the events in between when it
// connects again. It succeeds for unknown ids. An endpoint with an open socket is removed when that
// socket closes.
func (h *Handler) unregister(req *request) error {
	c, err := h.skype(req)
	if err != nil {
		return err
	}
	if validEndpoint(req.id) {
		if err := h.endpoints.drop(req.Context(), c.User, req.id); err != nil {
			return requests.Away(req.Context(), err)
		}
	}
	req.respond(http.StatusAccepted, "", nil)
	return nil
}
