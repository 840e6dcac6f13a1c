package wire

import (
	"encoding/json"
	"strings"

	"github.com/confab-chat/confab/sdk/communication"
)

// CommunicationIdentifierModel identifies a participant by its kind, its raw id and one
// member with the details of that kind (docs/contract/chat.md §2, docs/contract/identity.md §7).
//
// Unverified: Encode writes kind at versions whose OpenAPI file defines it, as
// docs/contract/identity.md §7 advises; no recording up to 2023-11-15-preview has it.
type CommunicationIdentifierModel struct {
	Kind               string                             `json:"kind,omitzero" in:"kinds"`
	RawID              string                             `json:"rawId,omitzero"`
	CommunicationUser  *CommunicationUserIdentifierModel  `json:"communicationUser,omitzero"`
	PhoneNumber        *PhoneNumberIdentifierModel        `json:"phoneNumber,omitzero"`
	MicrosoftTeamsUser *MicrosoftTeamsUserIdentifierModel `json:"microsoftTeamsUser,omitzero"`
	MicrosoftTeamsApp  *MicrosoftTeamsAppIdentifierModel  `json:"microsoftTeamsApp,omitzero" in:"Teams apps"`
	TeamsExtensionUser *TeamsExtensionUserIdentifierModel `json:"teamsExtensionUser,omitzero" in:"Teams extension users"`
}

// CommunicationUserIdentifierModel is a user of a resource.
type CommunicationUserIdentifierModel struct {
	ID string `json:"id"`
}

// PhoneNumberIdentifierModel is a phone number.
type PhoneNumberIdentifierModel struct {
	Value       string `json:"value"`
	IsAnonymous bool   `json:"isAnonymous,omitzero" in:"phone details"`
	AssertedID  string `json:"assertedId,omitzero" in:"phone details"`
}

// MicrosoftTeamsUserIdentifierModel is a user of Teams.
type MicrosoftTeamsUserIdentifierModel struct {
	UserID      string `json:"userId"`
	IsAnonymous *bool  `json:"isAnonymous,omitzero"`
	Cloud       string `json:"cloud,omitzero"`
}

// MicrosoftTeamsAppIdentifierModel is an application of Teams.
type MicrosoftTeamsAppIdentifierModel struct {
	AppID string `json:"appId"`
	Cloud string `json:"cloud,omitzero"`
}

// TeamsExtensionUserIdentifierModel is a user of Teams Phone.
type TeamsExtensionUserIdentifierModel struct {
	UserID     string `json:"userId"`
	TenantID   string `json:"tenantId"`
	ResourceID string `json:"resourceId"`
	Cloud      string `json:"cloud,omitzero"`
}

// ToCore converts the model to an identifier. It fails if m is nil or communication.Identifier
// cannot be decoded from the model. A model that has only the member communicationUser, which is
// by far the most common one, takes a fast path.
func (m *CommunicationIdentifierModel) ToCore() (communication.Identifier, error) {
	var id communication.Identifier
	if m == nil {
		return id, errorf("is required")
	}
	if u := m.CommunicationUser; u != nil && u.ID != "" && m.onlyUser() {
		return communication.NewUser(u.ID), nil
	}
	text, err := json.Marshal(m)
	if err == nil {
		err = id.UnmarshalJSON(text)
	}
	if err != nil {
		return id, errorf("is no identifier: %s", strings.TrimPrefix(err.Error(), "identifier: "))
	}
	return id, nil
}

// onlyUser reports whether the model has no member for another kind of identifier than a user.
func (m *CommunicationIdentifierModel) onlyUser() bool {
	return m.PhoneNumber == nil && m.MicrosoftTeamsUser == nil && m.MicrosoftTeamsApp == nil && m.TeamsExtensionUser == nil
}

// IdentifierFromCore converts a raw id to its model.
func IdentifierFromCore(raw string) *CommunicationIdentifierModel { return new(identifier).fill(raw) }

// identifier is the memory of a CommunicationIdentifierModel and of its member for a user, so that
// the model of a user, the most common kind, is one allocation.
type identifier struct {
	CommunicationIdentifierModel
	user CommunicationUserIdentifierModel
}

// fill sets m to the model of a raw id and returns it.
func (m *identifier) fill(raw string) *CommunicationIdentifierModel {
	id := communication.ParseRawID(raw)
	m.CommunicationIdentifierModel = CommunicationIdentifierModel{Kind: id.Kind().String(), RawID: raw}
	if id.Kind() == communication.KindUser {
		m.user.ID = raw
		m.CommunicationUser = &m.user
		return &m.CommunicationIdentifierModel
	}
	switch anonymous, cloud := id.IsAnonymous(), id.Cloud().String(); id.Kind() {
	case communication.KindPhoneNumber:
		m.PhoneNumber = &PhoneNumberIdentifierModel{Value: id.PhoneNumber(), IsAnonymous: anonymous, AssertedID: id.AssertedID()}
	case communication.KindTeamsUser:
		m.MicrosoftTeamsUser = &MicrosoftTeamsUserIdentifierModel{UserID: id.TeamsUserID(), IsAnonymous: &anonymous, Cloud: cloud}
	case communication.KindTeamsApp:
		m.MicrosoftTeamsApp = &MicrosoftTeamsAppIdentifierModel{AppID: id.AppID(), Cloud: cloud}
	case communication.KindTeamsExtensionUser:
		m.TeamsExtensionUser = &TeamsExtensionUserIdentifierModel{
			UserID: id.TeamsUserID(), TenantID: id.TenantID(), ResourceID: id.ResourceID(), Cloud: cloud,
		}
	}
	return &m.CommunicationIdentifierModel
}
