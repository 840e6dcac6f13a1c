package wire

import (
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// ChatParticipant is a participant of a thread or of a request to add participants. The
// participant may read messages since ShareHistoryTime or, if that is zero or absent, the whole
// history (docs/contract/chat.md §0.7).
type ChatParticipant struct {
	ID               string                        `json:"id" required:"true" in:"flat ids"`
	Identifier       *CommunicationIdentifierModel `json:"communicationIdentifier" required:"true" in:"identifier models"`
	DisplayName      string                        `json:"displayName,omitzero"`
	ShareHistoryTime Time                          `json:"shareHistoryTime"`
	Metadata         map[string]string             `json:"metadata,omitzero" in:"thread metadata"`
	RoleIDs          []string                      `json:"roleIds,omitzero" in:"roles"`
}

// UpdateChatParticipantRequest is the body of POST .../participants/:update, which the OpenAPI
// file calls a ChatParticipant. It is a merge patch for the participant whom Identifier names.
// Unverified: that null removes the display name and the role ids, as RFC 7396 says, and that null
// leaves the share-history time unchanged.
type UpdateChatParticipantRequest struct {
	Identifier       *CommunicationIdentifierModel `json:"communicationIdentifier" required:"true"`
	DisplayName      *string                       `json:"displayName,omitzero" null:"\"\""`
	ShareHistoryTime *Time                         `json:"shareHistoryTime,omitzero"`
	RoleIDs          []string                      `json:"roleIds,omitzero" null:"[]"`
}

// ToCore converts the request to a command of package core. It fails for an invalid identifier.
func (r *UpdateChatParticipantRequest) ToCore() (core.UpdateParticipant, error) {
	user, err := r.Identifier.ToCore()
	if err != nil {
		return core.UpdateParticipant{}, inMember(err, "communicationIdentifier")
	}
	return core.UpdateParticipant{
		User: user, DisplayName: r.DisplayName, ShareHistory: (*int64)(r.ShareHistoryTime), RoleIDs: r.RoleIDs,
	}, nil
}

// ChatParticipantsCollection is a page of participants. NextLink is empty on the last page.
type ChatParticipantsCollection struct {
	Value    []ChatParticipant `json:"value"`
	NextLink string            `json:"nextLink,omitzero"`
}

// AddChatParticipantsRequest is the body of POST .../participants/:add.
type AddChatParticipantsRequest struct {
	Participants []ChatParticipant `json:"participants"`
}

// AddChatParticipantsResult is the response to POST .../participants/:add. If all participants
// were added, Errors is nil and the JSON is {}, because the Python SDK of the previews fails on
// an empty list.
type AddChatParticipantsResult struct {
	Errors              *ParticipantsErrors  `json:"errors,omitzero" in:"errors object"`
	InvalidParticipants []CommunicationError `json:"invalidParticipants,omitzero" in:"invalid participants"`
}

// ParticipantsErrors lists the participants that were not added, in the form of the
// preview versions.
type ParticipantsErrors struct {
	InvalidParticipants []CommunicationError `json:"invalidParticipants"`
}

// CommunicationError says why a participant was not added. Target is the participant's
// raw id, by which the Python SDK finds it (docs/contract/chat.md §3.1).
type CommunicationError struct {
	Code       string               `json:"code"`
	Message    string               `json:"message"`
	Target     string               `json:"target,omitzero"`
	Details    []CommunicationError `json:"details,omitzero"`
	InnerError *CommunicationError  `json:"innererror,omitzero"`
}

// ToCore converts the request to the participants to add. It fails with an *Error for an
// invalid identifier.
func (r *AddChatParticipantsRequest) ToCore() ([]core.NewParticipant, error) {
	ps, err := newParticipants(r.Participants)
	if err != nil {
		return nil, inMember(err, "participants")
	}
	return ps, nil
}

// newParticipants converts participants to add. It fails for an invalid identifier.
func newParticipants(ps []ChatParticipant) ([]core.NewParticipant, error) {
	news := make([]core.NewParticipant, len(ps))
	for i, p := range ps {
		user := communication.ParseRawID(p.ID)
		if p.Identifier != nil {
			var err error
			if user, err = p.Identifier.ToCore(); err != nil {
				return nil, inElement(inMember(err, "communicationIdentifier"), i)
			}
		}
		news[i] = core.NewParticipant{
			User: user, DisplayName: p.DisplayName, ShareHistory: int64(p.ShareHistoryTime), Metadata: p.Metadata,
			RoleIDs: p.RoleIDs,
		}
	}
	return news, nil
}

// ParticipantsFromCore converts the members of a thread to their JSON form.
func ParticipantsFromCore(ms []*core.Member) []ChatParticipant {
	page := make([]ChatParticipant, len(ms))
	for i, m := range ms {
		page[i] = ChatParticipant{
			ID: m.User, Identifier: IdentifierFromCore(m.User), DisplayName: m.DisplayName,
			ShareHistoryTime: Time(m.ShareHistory), Metadata: m.Metadata, RoleIDs: m.RoleIDs,
		}
	}
	return page
}

// InvalidFromCore converts the participants that were not added to two JSON forms: the form of the
// preview api-versions and the form of all later ones. Both results are nil if ps is empty
// (docs/contract/chat.md §3.1).
func InvalidFromCore(ps []core.InvalidParticipant) (*ParticipantsErrors, []CommunicationError) {
	if len(ps) == 0 {
		return nil, nil
	}
	errs := make([]CommunicationError, len(ps))
	for i, p := range ps {
		errs[i] = CommunicationError{Code: p.Code, Message: p.Message, Target: p.User}
	}
	return &ParticipantsErrors{InvalidParticipants: errs}, errs
}
