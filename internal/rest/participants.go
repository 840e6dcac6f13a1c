package rest

import (
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
	"github.com/confab-chat/confab/sdk/communication"
)

func (h *Handler) listParticipants(req *request) (any, error) {
	skip, limit, err := req.skipPage()
	if err != nil {
		return nil, err
	}
	page, err := h.core.ListParticipants(req.Context(), req.caller, req.thread, skip, limit)
	if err != nil {
		return nil, err
	}
	size, short := 0, 0                // short is the number of participants whose sizes together are at most smallPage
	for i := range page.Participants { // the rows are shared with the cache, so only their JSON needs memory
		if size += participantSize(page.Participants[i]); size <= smallPage {
			short = i + 1
		}
	}
	if size > smallPage {
		err := h.reserve(req, int64(size))
		if err == errNoMemory { // a short page needs little memory
			page.Participants, page.Next = page.Participants[:short], skip+short
			err = h.reserve(req, smallPage)
		}
		if err != nil {
			return nil, err
		}
	}
	out := &wire.ChatParticipantsCollection{Value: wire.ParticipantsFromCore(page.Participants)}
	if page.Next > 0 {
		out.NextLink = h.nextSkipLink(req, "/participants", page.Next)
	}
	return out, nil
}

// participantSize returns the approximate size of a participant in an answer, in bytes.
func participantSize(m *core.Member) int {
	n := memberSize(m)
	for k, v := range m.Metadata {
		n += wire.StringSize(k) + wire.StringSize(v)
	}
	for _, id := range m.RoleIDs {
		n += wire.StringSize(id)
	}
	return n
}

// memberSize returns the approximate size of a participant without metadata in an answer, in
// bytes.
func memberSize(m *core.Member) int { return 256 + 3*len(m.User) + wire.StringSize(m.DisplayName) }

func (h *Handler) addParticipants(req *request) (any, error) {
	var in wire.AddChatParticipantsRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	ps, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	invalid, err := h.core.AddParticipants(req.Context(), req.caller, req.thread, ps)
	if err != nil {
		return nil, err
	}
	out := new(wire.AddChatParticipantsResult)
	out.Errors, out.InvalidParticipants = wire.InvalidFromCore(invalid)
	return out, nil
}

func (h *Handler) updateParticipant(req *request) (any, error) {
	var in wire.UpdateChatParticipantRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	return nil, h.core.UpdateParticipant(req.Context(), req.caller, req.thread, cmd)
}

func (h *Handler) removeParticipant(req *request) (any, error) {
	var in wire.CommunicationIdentifierModel
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	who, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	return nil, h.remove(req, who)
}

// removeParticipantByID removes the participant whose id is in the path, as the two oldest versions
// do.
func (h *Handler) removeParticipantByID(req *request) (any, error) {
	return nil, h.remove(req, communication.ParseRawID(req.params[1]))
}

// remove removes a participant from the thread. The token of a deleted user stays valid for a
// while, but only for removing that user itself from threads.
func (h *Handler) remove(req *request, who communication.Identifier) error {
	if req.leaving && who.RawID() != req.caller {
		return errUserDeleted
	}
	return h.core.RemoveParticipant(req.Context(), req.caller, req.thread, who)
}
