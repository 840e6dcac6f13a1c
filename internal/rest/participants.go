package rest

import (
	"github.com/confab-chat/confab/internal/rest/wire"
	"github.com/confab-chat/confab/sdk/communication"
)

func (h *Handler) listParticipants(q *request) (any, error) {
	skip, limit, err := q.skipPage()
	if err != nil {
		return nil, err
	}
	page, err := h.core.ListParticipants(q.Context(), q.caller, q.thread, skip, limit)
	if err != nil {
		return nil, err
	}
	out := &wire.ChatParticipantsCollection{Value: wire.ParticipantsFromCore(page.Participants)}
	if page.Next > 0 {
		out.NextLink = h.nextSkip(q, "/participants", page.Next)
	}
	return out, nil
}

func (h *Handler) addParticipants(q *request) (any, error) {
	var in wire.AddChatParticipantsRequest
	if err := h.decode(q, &in); err != nil {
		return nil, err
	}
	ps, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	invalid, err := h.core.AddParticipants(q.Context(), q.caller, q.thread, ps)
	if err != nil {
		return nil, err
	}
	out := new(wire.AddChatParticipantsResult)
	out.Errors, out.InvalidParticipants = wire.InvalidFromCore(invalid)
	return out, nil
}

func (h *Handler) removeParticipant(q *request) (any, error) {
	var in wire.CommunicationIdentifierModel
	if err := h.decode(q, &in); err != nil {
		return nil, err
	}
	who, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	return nil, h.remove(q, who)
}

// removeParticipantByID is removeParticipant as 2020-11-01-preview3 has it.
func (h *Handler) removeParticipantByID(q *request) (any, error) {
	return nil, h.remove(q, communication.ParseRawID(q.params[1]))
}

func (h *Handler) remove(q *request, who communication.Identifier) error {
	if q.leaving && who.RawID() != q.caller {
		return errGone
	}
	return h.core.RemoveParticipant(q.Context(), q.caller, q.thread, who)
}
