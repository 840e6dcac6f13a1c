package communication

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// identifierJSON is the JSON form of an identifier, with the members of all API versions.
// docs/contract/identity.md §7 calls the form CommunicationIdentifierModel.
type identifierJSON struct {
	Kind               any                     `json:"kind"` // the kind of the identifier; MarshalJSON writes it, and UnmarshalJSON ignores it
	RawID              string                  `json:"rawId"`
	CommunicationUser  *userJSON               `json:"communicationUser,omitempty"`
	PhoneNumber        *phoneNumberJSON        `json:"phoneNumber,omitempty"`
	MicrosoftTeamsUser *teamsUserJSON          `json:"microsoftTeamsUser,omitempty"`
	MicrosoftTeamsApp  *teamsAppJSON           `json:"microsoftTeamsApp,omitempty"`
	TeamsExtensionUser *teamsExtensionUserJSON `json:"teamsExtensionUser,omitempty"`
}

type userJSON struct {
	ID string `json:"id"`
}

type phoneNumberJSON struct {
	Value       string `json:"value"`
	IsAnonymous bool   `json:"isAnonymous,omitempty"` // true if Value is "anonymous"; UnmarshalJSON ignores this member
	AssertedID  string `json:"assertedId,omitempty"`
}

type teamsUserJSON struct {
	UserID      string `json:"userId"`
	IsAnonymous *bool  `json:"isAnonymous"` // MarshalJSON always writes this member, because SDKs require it; nil if the decoded JSON lacks it
	Cloud       string `json:"cloud"`
}

type teamsAppJSON struct {
	AppID string `json:"appId"`
	Cloud string `json:"cloud"`
}

type teamsExtensionUserJSON struct {
	UserID     string `json:"userId"`
	TenantID   string `json:"tenantId"`
	ResourceID string `json:"resourceId"`
	Cloud      string `json:"cloud"`
}

// MarshalJSON encodes the identifier as a CommunicationIdentifierModel (docs/contract/identity.md
// §7), with the members kind, rawId and the nested member that is named after the kind, in this
// order. SDKs of all versions from 2021 on can read this form: older SDKs ignore a kind that they
// do not know. An identifier of unknown kind has only kind and rawId. The cloud of Teams users and
// applications, and isAnonymous of Teams users, are always present, because SDKs require them. The
// zero Identifier is null.
func (id Identifier) MarshalJSON() ([]byte, error) {
	if id.IsZero() {
		return []byte("null"), nil
	}
	m := identifierJSON{Kind: id.kind.String(), RawID: id.raw}
	switch id.kind {
	case KindUser:
		m.CommunicationUser = &userJSON{ID: id.raw}
	case KindPhoneNumber:
		m.PhoneNumber = &phoneNumberJSON{
			Value:       id.PhoneNumber(),
			IsAnonymous: id.IsAnonymous(),
			AssertedID:  id.AssertedID(),
		}
	case KindTeamsUser:
		anonymous := id.IsAnonymous()
		m.MicrosoftTeamsUser = &teamsUserJSON{
			UserID:      id.TeamsUserID(),
			IsAnonymous: &anonymous,
			Cloud:       id.cloud.String(),
		}
	case KindTeamsApp:
		m.MicrosoftTeamsApp = &teamsAppJSON{AppID: id.AppID(), Cloud: id.cloud.String()}
	case KindTeamsExtensionUser:
		m.TeamsExtensionUser = &teamsExtensionUserJSON{
			UserID:     id.TeamsUserID(),
			TenantID:   id.TenantID(),
			ResourceID: id.ResourceID(),
			Cloud:      id.cloud.String(),
		}
	}
	return json.Marshal(m)
}

// UnmarshalJSON decodes a CommunicationIdentifierModel (docs/contract/identity.md §7) in every form
// that clients and servers send: a nested member with or without rawId, or rawId alone. A string is
// decoded as a raw id, as in the API versions of 2020 and in map keys. The member kind and unknown
// members are ignored.
//
// If rawId and the nested member contradict each other, the nested member wins. An optional member
// that it omits (cloud, isAnonymous, assertedId) is taken from rawId, if rawId has the same kind.
// The kind of the result is that of the resulting raw id: if the id of a communicationUser is not
// the raw id of a user, the result keeps that id and has another kind. A Teams identifier of an
// cloud that this package does not know, with a rawId of unknown form, has the kind KindUnknown.
//
// UnmarshalJSON fails if there is more than one nested member, if there is neither a nested member
// nor a rawId, if the nested member lacks a required member, or if the nested member has a value
// that a raw id of its kind cannot have. JSON null does not change id.
func (id *Identifier) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	if len(data) > 0 && data[0] == '"' {
		var raw string
		if err := json.Unmarshal(data, &raw); err != nil {
			return fmt.Errorf("identifier: %w", err)
		}
		*id = ParseRawID(raw)
		return nil
	}
	var m identifierJSON
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("identifier: %w", err)
	}
	parsed, err := m.identifier()
	if err != nil {
		return fmt.Errorf("identifier: %w", err)
	}
	*id = parsed
	return nil
}

// MarshalText returns the raw id, so that an Identifier can be a map key in JSON and a text flag.
func (id Identifier) MarshalText() ([]byte, error) { return []byte(id.raw), nil }

// UnmarshalText sets id to ParseRawID(text). It never fails.
func (id *Identifier) UnmarshalText(text []byte) error {
	*id = ParseRawID(string(text))
	return nil
}

func (m *identifierJSON) identifier() (Identifier, error) {
	var present []Kind
	for _, member := range []struct {
		kind Kind
		is   bool
	}{
		{KindUser, m.CommunicationUser != nil},
		{KindPhoneNumber, m.PhoneNumber != nil},
		{KindTeamsUser, m.MicrosoftTeamsUser != nil},
		{KindTeamsApp, m.MicrosoftTeamsApp != nil},
		{KindTeamsExtensionUser, m.TeamsExtensionUser != nil},
	} {
		if member.is {
			present = append(present, member.kind)
		}
	}
	switch {
	case len(present) > 1:
		return Identifier{}, fmt.Errorf("only one of the members %v may be present", present)
	case len(present) == 1:
		return m.nested(present[0])
	case m.RawID == "":
		return Identifier{}, errors.New("neither rawId nor a member such as communicationUser is present")
	}
	return ParseRawID(m.RawID), nil
}

// nested returns the identifier that m contains in the nested member of the given kind, which must
// be present.
//
// Unverified: that the nested member wins over rawId, and that members that the nested member omits
// are taken from rawId. In no recorded request do the two contradict each other.
func (m *identifierJSON) nested(kind Kind) (Identifier, error) {
	raw := ParseRawID(m.RawID)
	base := raw // members that the nested member omits are taken from base
	if base.kind != kind {
		base = Identifier{}
	}

	var id Identifier
	var err error
	switch kind {
	case KindUser:
		// The member communicationUser may contain any raw id, so return here, before the code
		// below checks the kind.
		if m.CommunicationUser.ID == "" {
			return Identifier{}, missing(kind, "id")
		}
		return NewUser(m.CommunicationUser.ID), nil
	case KindPhoneNumber:
		id, err = m.PhoneNumber.identifier(base)
	case KindTeamsUser:
		id, err = m.MicrosoftTeamsUser.identifier(base)
	case KindTeamsApp:
		id, err = m.MicrosoftTeamsApp.identifier(base)
	case KindTeamsExtensionUser:
		id, err = m.TeamsExtensionUser.identifier(base)
	}

	switch {
	case errors.Is(err, errUnknownCloud) && !raw.IsZero() && raw.kind == KindUnknown:
		return raw, nil
	case err != nil:
		return Identifier{}, err
	case id.kind != kind:
		return Identifier{}, fmt.Errorf("%v holds a value that cannot be part of a raw id", kind)
	}
	return id, nil
}

func (p *phoneNumberJSON) identifier(base Identifier) (Identifier, error) {
	if p.Value == "" {
		return Identifier{}, missing(KindPhoneNumber, "value")
	}
	asserted := p.AssertedID
	if asserted == "" && base.PhoneNumber() == p.Value+"_"+base.AssertedID() {
		asserted = base.AssertedID()
	}
	if asserted == "" || strings.HasSuffix(p.Value, "_"+asserted) {
		return NewPhoneNumber(p.Value), nil
	}
	return NewPhoneNumber(p.Value + "_" + asserted), nil
}

func (t *teamsUserJSON) identifier(base Identifier) (Identifier, error) {
	if t.UserID == "" {
		return Identifier{}, missing(KindTeamsUser, "userId")
	}
	cloud, err := readCloud(t.Cloud, base)
	if err != nil {
		return Identifier{}, err
	}
	anonymous := base.IsAnonymous()
	if t.IsAnonymous != nil {
		anonymous = *t.IsAnonymous
	}
	if anonymous {
		return NewAnonymousTeamsUser(t.UserID), nil
	}
	return NewTeamsUser(t.UserID, cloud), nil
}

func (a *teamsAppJSON) identifier(base Identifier) (Identifier, error) {
	if a.AppID == "" {
		return Identifier{}, missing(KindTeamsApp, "appId")
	}
	cloud, err := readCloud(a.Cloud, base)
	if err != nil {
		return Identifier{}, err
	}
	return NewTeamsApp(a.AppID, cloud), nil
}

func (e *teamsExtensionUserJSON) identifier(base Identifier) (Identifier, error) {
	switch "" {
	case e.UserID:
		return Identifier{}, missing(KindTeamsExtensionUser, "userId")
	case e.TenantID:
		return Identifier{}, missing(KindTeamsExtensionUser, "tenantId")
	case e.ResourceID:
		return Identifier{}, missing(KindTeamsExtensionUser, "resourceId")
	}
	cloud, err := readCloud(e.Cloud, base)
	if err != nil {
		return Identifier{}, err
	}
	return NewTeamsExtensionUser(e.ResourceID, e.TenantID, e.UserID, cloud), nil
}

func readCloud(name string, base Identifier) (Cloud, error) {
	if name == "" {
		return base.cloud, nil
	}
	return ParseCloud(name)
}

func missing(kind Kind, member string) error {
	return fmt.Errorf("%v.%s is missing", kind, member)
}
