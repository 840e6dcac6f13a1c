package communication

import "strings"

// Identifier names a participant of any kind. It is a small value: compare it
// with ==, use it as a map key, copy it freely.
//
// Two identifiers are equal exactly when their raw ids are. The raw id decides
// everything else too, so ParseRawID(id.RawID()) == id for every identifier,
// whichever way it was made.
//
// The zero Identifier has an empty raw id and the kind KindUnknown. It stands for
// "nobody"; IsZero finds it.
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

// The prefixes of the kinds that know clouds, indexed by Cloud.
var (
	userPrefixes      = [...]string{CloudPublic: "8:acs:", CloudDoD: "8:dod-acs:", CloudGCCH: "8:gcch-acs:"}
	teamsUserPrefixes = [...]string{CloudPublic: "8:orgid:", CloudDoD: "8:dod:", CloudGCCH: "8:gcch:"}
	teamsAppPrefixes  = [...]string{CloudPublic: "28:orgid:", CloudDoD: "28:dod:", CloudGCCH: "28:gcch:"}
)

// rawPrefixes is the grammar of docs/contract/identity.md §7 for all that is not a phone number. No prefix
// begins another one, so their order means nothing; the commonest comes first.
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

// ParseRawID returns the identifier with the given raw id. It never fails and
// never allocates: a raw id of no known form has the kind KindUnknown, and the
// empty one is the zero Identifier.
//
// The kinds are told apart by the grammar of docs/contract/identity.md §7, which looks at prefixes only. So
// "8:acs:anything" is of kind KindUser although no server issues such an id;
// [ValidUserID] is the strict test. An id of three parts, "8:acs:a_b_c", is a
// Teams extension user.
func ParseRawID(raw string) Identifier {
	if strings.HasPrefix(raw, phonePrefix) && len(raw) > len(phonePrefix) {
		return Identifier{raw: raw, kind: KindPhoneNumber}
	}
	for _, p := range rawPrefixes {
		suffix, ok := strings.CutPrefix(raw, p.prefix)
		if !ok {
			continue
		}
		// Unverified: what the real service makes of a third colon. The newest
		// JavaScript SDK says unknown, Python keeps it in the id. An empty suffix
		// is unknown here alone: it names nobody.
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

// NewUser returns the identifier of a communication user from its id, which is
// its raw id: "8:acs:RESOURCE_USER", as an identity client returns it. The id is
// not checked; an id of another form yields an identifier of the kind it has. To
// build an id from its parts, see [JoinUserID].
func NewUser(id string) Identifier {
	return ParseRawID(id)
}

// NewPhoneNumber returns the identifier of a phone number in E.164 form, such as
// "+14255550123". The number is not checked. "anonymous" is the number of a
// caller who hides it. An empty number names nobody and has the kind KindUnknown.
func NewPhoneNumber(number string) Identifier {
	return ParseRawID(phonePrefix + number)
}

// NewTeamsUser returns the identifier of a Microsoft Teams user: userID is the
// object id that Entra ID gave to the user. It must be neither empty nor contain
// a colon: no raw id of this kind has such a part, and the identifier would be of
// kind KindUnknown.
func NewTeamsUser(userID string, cloud Cloud) Identifier {
	return ParseRawID(cloudPrefix(&teamsUserPrefixes, cloud) + userID)
}

// NewAnonymousTeamsUser returns the identifier of somebody who joined a Teams
// meeting without an account: visitorID is the id that Teams gave for the visit.
// The raw id of a visitor does not name a cloud, so Cloud reports CloudPublic. As
// for NewTeamsUser, visitorID must be neither empty nor contain a colon.
func NewAnonymousTeamsUser(visitorID string) Identifier {
	return ParseRawID(teamsVisitorPrefix + visitorID)
}

// NewTeamsApp returns the identifier of a Microsoft Teams application from its
// application id. As for NewTeamsUser, appID must be neither empty nor contain a
// colon.
func NewTeamsApp(appID string, cloud Cloud) Identifier {
	return ParseRawID(cloudPrefix(&teamsAppPrefixes, cloud) + appID)
}

// NewTeamsExtensionUser returns the identifier of a Teams Phone user who works
// through a Communication Services resource: resourceID is the resource's GUID,
// tenantID and userID are the tenant and the object id in Entra ID. None of the
// three may be empty or contain a colon or an underscore: the raw id joins them
// with underscores, and the identifier would be of another kind.
func NewTeamsExtensionUser(resourceID, tenantID, userID string, cloud Cloud) Identifier {
	return ParseRawID(cloudPrefix(&userPrefixes, cloud) + resourceID + "_" + tenantID + "_" + userID)
}

// cloudPrefix treats a Cloud without a name as public, as Cloud.String does.
func cloudPrefix(prefixes *[len(cloudNames)]string, c Cloud) string {
	if int(c) >= len(prefixes) {
		c = CloudPublic
	}
	return prefixes[c]
}

// RawID returns the identifier as one string, the form to keep in a database and
// to give to [ParseRawID] later. Raw ids compare byte by byte.
func (id Identifier) RawID() string { return id.raw }

// String returns the raw id.
func (id Identifier) String() string { return id.raw }

// Kind returns what the identifier identifies.
func (id Identifier) Kind() Kind { return id.kind }

// Cloud returns the cloud that the identifier's raw id names, and CloudPublic for
// identifiers that name none.
func (id Identifier) Cloud() Cloud { return id.cloud }

// IsZero reports whether id is the zero Identifier, the one without a raw id.
func (id Identifier) IsZero() bool { return id == Identifier{} }

// IsAnonymous reports whether the identifier is a Teams visitor or the phone
// number of a caller who hides it ("4:anonymous").
func (id Identifier) IsAnonymous() bool {
	switch id.kind {
	case KindTeamsUser:
		return strings.HasPrefix(id.raw, teamsVisitorPrefix)
	case KindPhoneNumber:
		return id.raw[len(phonePrefix):] == anonymousPhone
	}
	return false
}

// PhoneNumber returns the phone number of a KindPhoneNumber, and "" for every
// other kind. Where the number carries an asserted id, that is part of the result
// ("+14255550123_5"), as it is in every official SDK and in the JSON member value.
func (id Identifier) PhoneNumber() string {
	if id.kind != KindPhoneNumber {
		return ""
	}
	return id.raw[len(phonePrefix):]
}

// AssertedID returns what follows the last underscore of a phone number: the id
// that tells connections through one number apart. It returns "" for a phone
// number without one and for every other kind.
func (id Identifier) AssertedID() string {
	number := id.PhoneNumber()
	if i := strings.LastIndexByte(number, '_'); i >= 0 {
		return number[i+1:]
	}
	return ""
}

// TeamsUserID returns the Entra ID object id of a KindTeamsUser or a
// KindTeamsExtensionUser, and the visitor's id of an anonymous Teams user. It
// returns "" for every other kind.
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

// AppID returns the application id of a KindTeamsApp, and "" for every other
// kind.
func (id Identifier) AppID() string {
	if id.kind != KindTeamsApp {
		return ""
	}
	return id.suffix()
}

// TenantID returns the tenant of a KindTeamsExtensionUser, and "" for every other
// kind.
func (id Identifier) TenantID() string {
	if id.kind != KindTeamsExtensionUser {
		return ""
	}
	_, tenantID, _, _ := cutThree(id.suffix())
	return tenantID
}

// ResourceID returns the Communication Services resource of a KindUser
// ("8:acs:RESOURCE_USER") or a KindTeamsExtensionUser. It returns "" for every
// other kind and for users whose raw id has no such part. The result is the text
// as it stands; whether it is a GUID is for [ValidUserID] to say.
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

// suffix returns what follows the prefix. Every known raw id that is not a phone
// number has exactly two colons.
func (id Identifier) suffix() string {
	return id.raw[strings.LastIndexByte(id.raw, ':')+1:]
}

// cutThree splits a_b_c. It is not ok when there are more or fewer parts, or when
// one is empty.
func cutThree(s string) (a, b, c string, ok bool) {
	a, rest, _ := strings.Cut(s, "_")
	b, c, _ = strings.Cut(rest, "_")
	ok = a != "" && b != "" && c != "" && strings.IndexByte(c, '_') < 0
	return a, b, c, ok
}
