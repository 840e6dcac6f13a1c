package communication

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what an [Identifier] identifies. The zero value is KindUnknown.
type Kind uint8

// The kinds of identifier (docs/contract/identity.md §7).
const (
	// KindUnknown is every raw id whose form this package does not know. A later
	// version may know it, so keep such an id rather than reject it.
	KindUnknown Kind = iota
	// KindUser is a communication user: created by an identity client, or by the
	// server itself.
	KindUser
	// KindPhoneNumber is a phone number, an anonymous caller, or one of several
	// connections made through the same number.
	KindPhoneNumber
	// KindTeamsUser is a Microsoft Teams user, or an anonymous visitor of a Teams
	// meeting.
	KindTeamsUser
	// KindTeamsApp is a Microsoft Teams application.
	KindTeamsApp
	// KindTeamsExtensionUser is a Teams Phone user who works through a
	// Communication Services resource.
	KindTeamsExtensionUser
)

// kindNames holds the contract's words, which are also the names of the nested
// members of the JSON form.
var kindNames = [...]string{
	KindUnknown:            "unknown",
	KindUser:               "communicationUser",
	KindPhoneNumber:        "phoneNumber",
	KindTeamsUser:          "microsoftTeamsUser",
	KindTeamsApp:           "microsoftTeamsApp",
	KindTeamsExtensionUser: "teamsExtensionUser",
}

// String returns the word that the wire uses for the kind, such as
// "communicationUser". It returns "unknown" for a Kind that has no name.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return kindNames[KindUnknown]
	}
	return kindNames[k]
}

// Cloud is the Azure cloud that an identifier belongs to. The zero value is
// CloudPublic, which the contract also means when it leaves the cloud out.
type Cloud uint8

// The clouds (docs/contract/identity.md §7).
const (
	// CloudPublic is the Azure that everybody can use.
	CloudPublic Cloud = iota
	// CloudDoD is the cloud of the United States Department of Defense.
	CloudDoD
	// CloudGCCH is the Government Community Cloud High.
	CloudGCCH
)

var cloudNames = [...]string{CloudPublic: "public", CloudDoD: "dod", CloudGCCH: "gcch"}

// String returns the word that the wire uses for the cloud: "public", "dod" or
// "gcch". It returns "public" for a Cloud that has no name.
func (c Cloud) String() string {
	if int(c) >= len(cloudNames) {
		return cloudNames[CloudPublic]
	}
	return cloudNames[c]
}

var errUnknownCloud = errors.New("unknown cloud")

// ParseCloud returns the cloud that the wire calls name, in any case of letters.
// Every other name, the empty one included, is an error: the list of clouds is
// open, and an identifier of a cloud unknown here has no raw id.
func ParseCloud(name string) (Cloud, error) {
	for c, known := range cloudNames {
		if strings.EqualFold(name, known) {
			return Cloud(c), nil
		}
	}
	return CloudPublic, fmt.Errorf("%w %q", errUnknownCloud, name)
}
