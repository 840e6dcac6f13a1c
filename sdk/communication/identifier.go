package communication

import "strings"

// Identifier identifies a participant of any kind. It is a small value: compare identifiers with
// ==, use them as map keys, copy them freely.
//
// Two identifiers are equal if and only if their raw ids are equal. The raw id determines all other
// properties, so ParseRawID(id.RawID()) == id for every identifier.
//
// The zero Identifier has an empty raw id and the kind KindUnknown. It identifies nobody. The
// method IsZero recognizes it.
type Identifier struct {
	raw   string
	kind  Kind
	cloud Cloud
}

const (
	phonePrefix        = "4:"
	anonymousPhone     = "anonymous"
	teamsVisitorPrefix = "8:teamsvisitor:"
)

// The prefixes of raw ids, for the kinds of identifiers that exist in several clouds. The index of
// each array is a Cloud.
var (
	userPrefixes      = [...]string{CloudPublic: "8:acs:", CloudDoD: "8:dod-acs:", CloudGCCH: "8:gcch-acs:"}
	teamsUserPrefixes = [...]string{CloudPublic: "8:orgid:", CloudDoD: "8:dod:", CloudGCCH: "8:gcch:"}
	teamsAppPrefixes  = [...]string{CloudPublic: "28:orgid:", CloudDoD: "28:dod:", CloudGCCH: "28:gcch:"}
)

// rawPrefixes lists the prefixes of the raw ids of all kinds except phone numbers
// (docs/contract/identity.md §7). No prefix is the beginning of another, so their order does not
// matter; the most common prefix is first.
var rawPrefixes = [...]struct {
	prefix string
	kind   Kind
	cloud  Cloud
}{
	{userPrefixes[CloudPublic], KindUser, CloudPublic},
	{userPrefixes[CloudGCCH], KindUser, CloudGCCH},
	{userPrefixes[CloudDoD], KindUser, CloudDoD},
	{"8:spool:", KindUser, CloudPublic},
	{teamsVisitorPrefix, KindTeamsUser, CloudPublic},
	{teamsUserPrefixes[CloudPublic], KindTeamsUser, CloudPublic},
	{teamsUserPrefixes[CloudGCCH], KindTeamsUser, CloudGCCH},
	{teamsUserPrefixes[CloudDoD], KindTeamsUser, CloudDoD},
	{teamsAppPrefixes[CloudPublic], KindTeamsApp, CloudPublic},
	{teamsAppPrefixes[CloudGCCH], KindTeamsApp, CloudGCCH},
	{teamsAppPrefixes[CloudDoD], KindTeamsApp, CloudDoD},
}

// ParseRawID returns the identifier with the given raw id. It never fails and never allocates: a
// raw id of unknown form has the kind KindUnknown, and the empty string is the zero Identifier.
//
// The kind depends only on the prefix of the raw id and on the number of parts after the prefix,
// which underscores separate (docs/contract/identity.md §7). So "8:acs:anything" has the kind
// KindUser, although no server issues such an id; [ValidUserID] checks the whole form. An id of
// three parts, "8:acs:a_b_c", is a Teams extension user.
func ParseRawID(raw string) Identifier {
	if strings.HasPrefix(raw, phonePrefix) && len(raw) > len(phonePrefix) {
		return Identifier{raw: raw, kind: KindPhoneNumber}
	}
	for _, p := range rawPrefixes {
		suffix, ok := strings.CutPrefix(raw, p.prefix)
		if !ok {
			continue
		}
		// Unverified: which kind the real service gives to an id with a third colon. The newest
		// JavaScript SDK returns an unknown identifier, as this function does; Python keeps the
		// colon in the id. The SDKs accept an empty suffix; this function returns an unknown
		// identifier for it, because such an id names nobody.
		if suffix == "" || strings.IndexByte(suffix, ':') >= 0 {
			break
		}
		id := Identifier{raw: raw, kind: p.kind, cloud: p.cloud}
		if p.prefix == userPrefixes[p.cloud] {
			if _, _, _, ok := cutThree(suffix); ok {
				id.kind = KindTeamsExtensionUser
			}
		}
		return id
	}
	return Identifier{raw: raw}
}

// NewUser returns the identifier of a communication user. id is the raw id of the user,
// "8:acs:RESOURCE_USER", as an identity client returns it. NewUser does not check id: for an id of
// another form it returns an identifier of another kind. To build an id from its parts, see
// [JoinUserID].
func NewUser(id string) Identifier {
	return ParseRawID(id)
}

// NewPhoneNumber returns the identifier of a phone number in E.164 form, such as "+14255550123". It
// does not check the number. The number "anonymous" stands for a caller with a hidden number. An
// empty number returns an identifier of kind KindUnknown.
func NewPhoneNumber(number string) Identifier {
	return ParseRawID(phonePrefix + number)
}

// NewTeamsUser returns the identifier of a Microsoft Teams user. userID is the user's object id in
// Entra ID. If userID is empty or contains a colon, the identifier has the kind KindUnknown.
func NewTeamsUser(userID string, cloud Cloud) Identifier {
	return ParseRawID(cloudPrefix(&teamsUserPrefixes, cloud) + userID)
}

// NewAnonymousTeamsUser returns the identifier of a visitor who joined a Teams meeting without an
// account. visitorID is the id that Teams assigned for the visit. Raw ids of visitors contain no
// cloud, so Cloud returns CloudPublic. If visitorID is empty or contains a colon, the identifier
// has the kind KindUnknown.
func NewAnonymousTeamsUser(visitorID string) Identifier {
	return ParseRawID(teamsVisitorPrefix + visitorID)
}

// NewTeamsApp returns the identifier of a Microsoft Teams application with the given application
// id. If appID is empty or contains a colon, the identifier has the kind KindUnknown.
func NewTeamsApp(appID string, cloud Cloud) Identifier {
	return ParseRawID(cloudPrefix(&teamsAppPrefixes, cloud) + appID)
}

// NewTeamsExtensionUser returns the identifier of a Teams Phone user of a Communication Services
// resource. resourceID is the GUID of the resource; tenantID and userID are the tenant and the
// object id in Entra ID. If one of the three is empty or contains a colon or an underscore, the
// identifier has another kind, because the raw id joins them with underscores.
func NewTeamsExtensionUser(resourceID, tenantID, userID string, cloud Cloud) Identifier {
	return ParseRawID(cloudPrefix(&userPrefixes, cloud) + resourceID + "_" + tenantID + "_" + userID)
}

// cloudPrefix returns the element of prefixes for the cloud c: the prefix of raw ids in that cloud.
// For an invalid c it returns the prefix for CloudPublic.
func cloudPrefix(prefixes *[len(cloudNames)]string, c Cloud) string {
	if int(c) >= len(prefixes) {
		c = CloudPublic
	}
	return prefixes[c]
}

// RawID returns the identifier as a string, which can be stored in a database and passed to
// [ParseRawID] later. Raw ids are case-sensitive.
func (id Identifier) RawID() string { return id.raw }

// String returns the raw id.
func (id Identifier) String() string { return id.raw }

// Kind returns the kind of the identifier, such as KindUser.
func (id Identifier) Kind() Kind { return id.kind }

// Cloud returns the cloud that the raw id names, or CloudPublic if the raw id names no cloud.
func (id Identifier) Cloud() Cloud { return id.cloud }

// IsZero reports whether id is the zero Identifier, which has an empty raw id.
func (id Identifier) IsZero() bool { return id == Identifier{} }

// IsAnonymous reports whether the identifier is a Teams visitor without an account or a caller with
// a hidden phone number ("4:anonymous").
func (id Identifier) IsAnonymous() bool {
	switch id.kind {
	case KindTeamsUser:
		return strings.HasPrefix(id.raw, teamsVisitorPrefix)
	case KindPhoneNumber:
		return id.raw[len(phonePrefix):] == anonymousPhone
	}
	return false
}

// PhoneNumber returns the phone number of an identifier of kind KindPhoneNumber, and "" for other
// kinds. The result includes an asserted id ("+14255550123_5"), as in all official SDKs and in the
// JSON member value.
func (id Identifier) PhoneNumber() string {
	if id.kind != KindPhoneNumber {
		return ""
	}
	return id.raw[len(phonePrefix):]
}

// AssertedID returns the part of a phone number after its last underscore, an id that distinguishes
// connections through the same number. It returns "" if the number has no underscore, and for other
// kinds of identifiers.
func (id Identifier) AssertedID() string {
	number := id.PhoneNumber()
	if i := strings.LastIndexByte(number, '_'); i >= 0 {
		return number[i+1:]
	}
	return ""
}

// TeamsUserID returns the Entra ID object id of a KindTeamsUser or a KindTeamsExtensionUser, and
// the visitor id of an anonymous Teams user. It returns "" for other kinds of identifiers.
func (id Identifier) TeamsUserID() string {
	switch id.kind {
	case KindTeamsUser:
		return id.suffix()
	case KindTeamsExtensionUser:
		_, _, userID, _ := cutThree(id.suffix())
		return userID
	}
	return ""
}

// AppID returns the application id of a KindTeamsApp, and "" for other kinds.
func (id Identifier) AppID() string {
	if id.kind != KindTeamsApp {
		return ""
	}
	return id.suffix()
}

// TenantID returns the Entra ID tenant of a KindTeamsExtensionUser, and "" for other kinds.
func (id Identifier) TenantID() string {
	if id.kind != KindTeamsExtensionUser {
		return ""
	}
	_, tenantID, _, _ := cutThree(id.suffix())
	return tenantID
}

// ResourceID returns the id of the Communication Services resource of a KindUser
// ("8:acs:RESOURCE_USER") or a KindTeamsExtensionUser. It returns "" for other kinds and for users
// whose raw id has no such part. It does not check that the result is a GUID; [ValidUserID] does.
func (id Identifier) ResourceID() string {
	switch {
	case id.kind == KindTeamsExtensionUser:
	case id.kind == KindUser && strings.HasPrefix(id.raw, userPrefixes[id.cloud]):
	default:
		return ""
	}
	resourceID, _, ok := strings.Cut(id.suffix(), "_")
	if !ok {
		return ""
	}
	return resourceID
}

// suffix returns the part of the raw id after its last colon. The raw ids of all known kinds,
// except phone numbers, have exactly two colons.
func (id Identifier) suffix() string {
	return id.raw[strings.LastIndexByte(id.raw, ':')+1:]
}

// cutThree splits a string of the form "a_b_c" at its underscores. ok is false if s does not have
// exactly three non-empty parts.
func cutThree(s string) (a, b, c string, ok bool) {
	a, rest, _ := strings.Cut(s, "_")
	b, c, _ = strings.Cut(rest, "_")
	ok = a != "" && b != "" && c != "" && strings.IndexByte(c, '_') < 0
	return a, b, c, ok
}
