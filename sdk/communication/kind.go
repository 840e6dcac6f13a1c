package communication

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is the kind of an [Identifier]. The zero value is KindUnknown.
type Kind uint8

// The kinds of identifiers (docs/contract/identity.md §7).
const (
	// KindUnknown is the kind of raw ids whose form this package does not know. Keep such an id
	// instead of rejecting it: a later version of this package may know the form.
	KindUnknown Kind = iota
	// KindUser is a communication user, created by an identity client or by the server.
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

// kindNames holds the names of the kinds in JSON, which are also the names of the nested JSON
// members. The index is a Kind.
var kindNames = [...]string{
	KindUnknown:            "unknown",
	KindUser:               "communicationUser",
	KindPhoneNumber:        "phoneNumber",
	KindTeamsUser:          "microsoftTeamsUser",
	KindTeamsApp:           "microsoftTeamsApp",
	KindTeamsExtensionUser: "teamsExtensionUser",
}

// String returns the name of the kind in JSON, such as "communicationUser". It returns "unknown"
// for an invalid Kind.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return kindNames[KindUnknown]
	}
	return kindNames[k]
}

// Cloud is the Azure cloud that an identifier belongs to. The zero value is CloudPublic, the
// default of the contract if an identifier names no cloud.
type Cloud uint8

// The Azure clouds in which a user or an app can be registered (docs/contract/identity.md §7).
const (
	// CloudPublic is the public Azure cloud.
	CloudPublic Cloud = iota
	// CloudDoD is the cloud of the United States Department of Defense.
	CloudDoD
	// CloudGCCH is the United States Government Community Cloud High.
	CloudGCCH
)

var cloudNames = [...]string{CloudPublic: "public", CloudDoD: "dod", CloudGCCH: "gcch"}

// String returns the name of the cloud in JSON: "public", "dod" or "gcch". It returns "public" for
// an invalid Cloud.
func (c Cloud) String() string {
	if int(c) >= len(cloudNames) {
		return cloudNames[CloudPublic]
	}
	return cloudNames[c]
}

var errUnknownCloud = errors.New("unknown cloud")

// ParseCloud returns the cloud with the given JSON name, in any letter case. It fails for all other
// names, including "". Azure may add clouds, and an identifier of an unknown cloud has no raw id.
func ParseCloud(name string) (Cloud, error) {
	for c, known := range cloudNames {
		if strings.EqualFold(name, known) {
			return Cloud(c), nil
		}
	}
	return CloudPublic, fmt.Errorf("%w %q", errUnknownCloud, name)
}
