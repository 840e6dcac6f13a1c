package communication

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// identifierJSON is CommunicationIdentifierModel (docs/contract/identity.md §7), the union of all versions.
type identifierJSON struct {
	Kind               any                     `json:"kind"` // written, never read
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
	IsAnonymous bool   `json:"isAnonymous,omitempty"` // follows from Value, never read
	AssertedID  string `json:"assertedId,omitempty"`
}

type teamsUserJSON struct {
	UserID      string `json:"userId"`
	IsAnonymous *bool  `json:"isAnonymous"` // nil only when read; SDKs demand it
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

// MarshalJSON writes the contract's CommunicationIdentifierModel (docs/contract/identity.md §7) with the
// members kind, rawId and the nested one that belongs to the kind, in this order.
// Every version from 2021 on can read it: older SDKs pass over a kind that they
// do not know. Of an unknown kind only kind and rawId are written. The cloud of
// Teams users and apps, and whether a Teams user is anonymous, are always written,
// because SDKs refuse an answer without them. The zero Identifier is null.
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

// UnmarshalJSON reads a CommunicationIdentifierModel (docs/contract/identity.md §7) in every form that
// clients and servers send: a nested member with or without rawId, or rawId
// alone. A string is read as a raw id; the versions of 2020 write identifiers so,
// and so do keys of maps. The member kind is ignored, as are members without a
// meaning here.
//
// Where rawId and the nested member contradict each other, the nested member wins;
// an optional member that it leaves out (cloud, isAnonymous, assertedId) is taken
// from a rawId of the same kind. The result has the kind of the raw id so made: a
// communicationUser whose id is no raw id of a user keeps that id and has another
// kind. A Teams identifier of a cloud that is unknown here has the kind
// KindUnknown, if a rawId of unknown form comes with it.
//
// It is an error when there is more than one nested member, when there is neither
// a nested member nor a rawId, when the nested member lacks a required member, and
// when it holds a value that no raw id of its kind can hold. As usual, null leaves
// id as it is.
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

// MarshalText returns the raw id, so that an Identifier can be the key of a map
// in JSON and the value of a text flag.
func (id Identifier) MarshalText() ([]byte, error) { return []byte(id.raw), nil }

// UnmarshalText is ParseRawID: it never fails.
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

// nested reads the member called kind, which is present.
//
// Unverified: that the nested member wins over rawId, and that rawId completes it.
// No recorded request has the two contradict each other.
func (m *identifierJSON) nested(kind Kind) (Identifier, error) {
	raw := ParseRawID(m.RawID)
	base := raw // where the nested member finds what it leaves out
	if base.kind != kind {
		base = Identifier{}
	}

	var id Identifier
	var err error
	switch kind {
	case KindUser:
		// No check of the kind below: the id is the raw id, whatever it is.
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
