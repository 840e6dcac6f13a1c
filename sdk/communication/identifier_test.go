package communication

import (
	"strings"
	"testing"
)

const (
	guidA  = "bbbcbc1e-9f06-482a-b5d8-20e3f26ef0cd"
	guidB  = "45ab2481-1c1c-4005-be24-0ffb879b1130"
	guidC  = "207ffef6-9444-41fb-92ab-20eacaae2768"
	userID = "8:acs:" + guidA + "_" + guidB
)

// parts holds the results of all methods of an Identifier that return one of its parts, except
// RawID.
type parts struct {
	kind       Kind
	cloud      Cloud
	anonymous  bool
	phone      string
	assertedID string
	teamsUser  string
	app        string
	tenant     string
	resource   string
}

func partsOf(id Identifier) parts {
	return parts{
		kind:       id.Kind(),
		cloud:      id.Cloud(),
		anonymous:  id.IsAnonymous(),
		phone:      id.PhoneNumber(),
		assertedID: id.AssertedID(),
		teamsUser:  id.TeamsUserID(),
		app:        id.AppID(),
		tenant:     id.TenantID(),
		resource:   id.ResourceID(),
	}
}

// rawIDs lists raw ids with the expected parts of their identifiers: the examples in the tests of
// the official SDKs, and some more.
var rawIDs = []struct {
	raw  string
	want parts
}{
	{"", parts{}},

	{userID, parts{kind: KindUser, resource: guidA}},
	{"8:gcch-acs:" + guidA + "_" + guidB, parts{kind: KindUser, cloud: CloudGCCH, resource: guidA}},
	{"8:dod-acs:" + guidA + "_" + guidB, parts{kind: KindUser, cloud: CloudDoD, resource: guidA}},
	{"8:spool:" + guidA + "_" + guidB, parts{kind: KindUser}},
	{"8:acs:something", parts{kind: KindUser}},
	{"8:acs:invalidUserId", parts{kind: KindUser}},
	{"8:acs:a_b", parts{kind: KindUser, resource: "a"}},
	{"8:acs:a_b_c_d", parts{kind: KindUser, resource: "a"}},
	{"8:acs:a__c", parts{kind: KindUser, resource: "a"}},
	{"8:acs:_", parts{kind: KindUser}},

	{"8:acs:a_b_c", parts{kind: KindTeamsExtensionUser, resource: "a", tenant: "b", teamsUser: "c"}},
	{"8:acs:" + guidA + "_" + guidB + "_" + guidC,
		parts{kind: KindTeamsExtensionUser, resource: guidA, tenant: guidB, teamsUser: guidC}},
	{"8:gcch-acs:" + guidA + "_" + guidB + "_" + guidC,
		parts{kind: KindTeamsExtensionUser, cloud: CloudGCCH, resource: guidA, tenant: guidB, teamsUser: guidC}},
	{"8:dod-acs:" + guidA + "_" + guidB + "_" + guidC,
		parts{kind: KindTeamsExtensionUser, cloud: CloudDoD, resource: guidA, tenant: guidB, teamsUser: guidC}},
	{"8:spool:a_b_c", parts{kind: KindUser}},

	{"8:orgid:" + guidB, parts{kind: KindTeamsUser, teamsUser: guidB}},
	{"8:dod:" + guidB, parts{kind: KindTeamsUser, cloud: CloudDoD, teamsUser: guidB}},
	{"8:gcch:" + guidB, parts{kind: KindTeamsUser, cloud: CloudGCCH, teamsUser: guidB}},
	{"8:teamsvisitor:" + guidB, parts{kind: KindTeamsUser, anonymous: true, teamsUser: guidB}},
	{"8:orgid:legacyFormat", parts{kind: KindTeamsUser, teamsUser: "legacyFormat"}},

	{"28:orgid:" + guidB, parts{kind: KindTeamsApp, app: guidB}},
	{"28:gcch:" + guidB, parts{kind: KindTeamsApp, cloud: CloudGCCH, app: guidB}},
	{"28:dod:" + guidB, parts{kind: KindTeamsApp, cloud: CloudDoD, app: guidB}},

	{"4:112345556789", parts{kind: KindPhoneNumber, phone: "112345556789"}},
	{"4:+112345556789", parts{kind: KindPhoneNumber, phone: "+112345556789"}},
	{"4:" + guidC, parts{kind: KindPhoneNumber, phone: guidC}},
	{"4:+112345556789_" + guidC, parts{kind: KindPhoneNumber, phone: "+112345556789_" + guidC, assertedID: guidC}},
	{"4:+112345556789_" + guidC + "_123",
		parts{kind: KindPhoneNumber, phone: "+112345556789_" + guidC + "_123", assertedID: "123"}},
	{"4:" + guidC + "_", parts{kind: KindPhoneNumber, phone: guidC + "_"}},
	{"4:_123", parts{kind: KindPhoneNumber, phone: "_123", assertedID: "123"}},
	{"4:anonymous", parts{kind: KindPhoneNumber, phone: "anonymous", anonymous: true}},
	{"4:anonymous_123", parts{kind: KindPhoneNumber, phone: "anonymous_123", assertedID: "123"}},
	{"4:_anonymous", parts{kind: KindPhoneNumber, phone: "_anonymous", assertedID: "anonymous"}},
	{"4:+1:2", parts{kind: KindPhoneNumber, phone: "+1:2"}},

	{"28:" + guidB, parts{}},
	{"28:gcch-global:" + guidB, parts{}},
	{"28:dod-global:" + guidB, parts{}},
	{"48:" + guidB, parts{}},
	{"someFutureFormat", parts{}},
	{":", parts{}},
	{"::", parts{}},
	{"8:", parts{}},
	{"8:acs", parts{}},
	{"8:ACS:a_b", parts{}},
	{" 8:acs:a_b", parts{}},
	{"8:newcloud:x", parts{}},
	{"19:abc@thread.v2", parts{}},
}

func TestParseRawID(t *testing.T) {
	for _, tt := range rawIDs {
		id := ParseRawID(tt.raw)
		if got := partsOf(id); got != tt.want {
			t.Errorf("ParseRawID(%q) = %+v, want %+v", tt.raw, got, tt.want)
		}
		if id.RawID() != tt.raw || id.String() != tt.raw {
			t.Errorf("ParseRawID(%q): RawID = %q, String = %q", tt.raw, id.RawID(), id.String())
		}
		if id.IsZero() != (tt.raw == "") {
			t.Errorf("ParseRawID(%q).IsZero() = %v", tt.raw, id.IsZero())
		}
	}
}

// TestUnverifiedThirdColonIsUnknown checks that a raw id with a third colon has the kind
// KindUnknown. Unverified: that the real service does the same. The JavaScript SDK does, the Python
// SDK does not.
func TestUnverifiedThirdColonIsUnknown(t *testing.T) {
	for _, raw := range []string{"8:orgid:a:b", "8:acs:" + guidA + "_" + guidB + ":", "28:dod::x"} {
		if got := ParseRawID(raw).Kind(); got != KindUnknown {
			t.Errorf("ParseRawID(%q).Kind() = %v, want %v", raw, got, KindUnknown)
		}
	}
}

func TestEmptySuffixIsUnknown(t *testing.T) {
	for _, p := range rawPrefixes {
		if got := ParseRawID(p.prefix).Kind(); got != KindUnknown {
			t.Errorf("ParseRawID(%q).Kind() = %v, want %v", p.prefix, got, KindUnknown)
		}
	}
	if got := ParseRawID("4:").Kind(); got != KindUnknown {
		t.Errorf("ParseRawID(4:).Kind() = %v, want %v", got, KindUnknown)
	}
}

func TestConstructors(t *testing.T) {
	tests := []struct {
		got  Identifier
		raw  string
		kind Kind
	}{
		{NewUser(userID), userID, KindUser},
		{NewPhoneNumber("+14255550123"), "4:+14255550123", KindPhoneNumber},
		{NewPhoneNumber("anonymous"), "4:anonymous", KindPhoneNumber},
		{NewPhoneNumber(""), "4:", KindUnknown},
		{NewTeamsUser(guidB, CloudPublic), "8:orgid:" + guidB, KindTeamsUser},
		{NewTeamsUser(guidB, CloudDoD), "8:dod:" + guidB, KindTeamsUser},
		{NewTeamsUser(guidB, CloudGCCH), "8:gcch:" + guidB, KindTeamsUser},
		{NewTeamsUser(guidB, Cloud(99)), "8:orgid:" + guidB, KindTeamsUser},
		{NewTeamsUser("a:b", CloudPublic), "8:orgid:a:b", KindUnknown},
		{NewAnonymousTeamsUser(guidB), "8:teamsvisitor:" + guidB, KindTeamsUser},
		{NewTeamsApp(guidB, CloudPublic), "28:orgid:" + guidB, KindTeamsApp},
		{NewTeamsApp(guidB, CloudDoD), "28:dod:" + guidB, KindTeamsApp},
		{NewTeamsApp(guidB, CloudGCCH), "28:gcch:" + guidB, KindTeamsApp},
		{NewTeamsExtensionUser("r", "t", "u", CloudPublic), "8:acs:r_t_u", KindTeamsExtensionUser},
		{NewTeamsExtensionUser("r", "t", "u", CloudDoD), "8:dod-acs:r_t_u", KindTeamsExtensionUser},
		{NewTeamsExtensionUser("r", "t", "u", CloudGCCH), "8:gcch-acs:r_t_u", KindTeamsExtensionUser},
		{NewTeamsExtensionUser("r", "t", "u_x", CloudPublic), "8:acs:r_t_u_x", KindUser},
	}
	for _, tt := range tests {
		if tt.got.RawID() != tt.raw || tt.got.Kind() != tt.kind {
			t.Errorf("got %q of kind %v, want %q of kind %v", tt.got.RawID(), tt.got.Kind(), tt.raw, tt.kind)
		}
		if tt.got != ParseRawID(tt.raw) {
			t.Errorf("%q differs from its parsed self", tt.raw)
		}
	}
}

func TestIdentifierAsMapKey(t *testing.T) {
	seen := map[Identifier]int{}
	seen[NewUser(userID)]++
	seen[ParseRawID(strings.Clone(userID))]++
	seen[NewTeamsUser(guidB, CloudPublic)]++
	if len(seen) != 2 || seen[NewUser(userID)] != 2 {
		t.Errorf("map = %v, want two entries, the user twice", seen)
	}
}

func TestParseRawIDDoesNotAllocate(t *testing.T) {
	var sink parts
	for _, tt := range rawIDs {
		if n := testing.AllocsPerRun(10, func() { sink = partsOf(ParseRawID(tt.raw)) }); n != 0 {
			t.Errorf("ParseRawID(%q) and its accessors: %v allocations, want 0", tt.raw, n)
		}
	}
	_ = sink
}

func TestKindAndCloudNames(t *testing.T) {
	if got := Kind(200).String(); got != "unknown" {
		t.Errorf("Kind(200) = %q", got)
	}
	if got := Cloud(200).String(); got != "public" {
		t.Errorf("Cloud(200) = %q", got)
	}
	for _, c := range []Cloud{CloudPublic, CloudDoD, CloudGCCH} {
		if got, err := ParseCloud(strings.ToUpper(c.String())); got != c || err != nil {
			t.Errorf("ParseCloud(%v) = %v, %v", c, got, err)
		}
	}
	for _, name := range []string{"", "mars", "public "} {
		if _, err := ParseCloud(name); err == nil {
			t.Errorf("ParseCloud(%q): no error", name)
		}
	}
}

func TestValidUserID(t *testing.T) {
	const real = "8:acs:fa5c4fc3-a269-43e2-9eb6-0ca17b388993_0000000c-6219-6975-dc7b-2548220015a8"
	const zero = "00000000-0000-0000-0000-000000000000"
	for _, id := range []string{
		real,
		userID,
		"8:gcch-acs:" + guidA + "_" + guidB,
		"8:dod-acs:" + guidA + "_" + guidB,
		"8:acs:" + zero + "_" + zero,
	} {
		if !ValidUserID(id) {
			t.Errorf("ValidUserID(%q) = false, want true", id)
		}
	}
	for _, id := range []string{
		"",
		"8:acs:",
		"8:acs:invalidUserId",
		"8:acs:" + guidA,
		"8:acs:" + guidA + "_",
		"8:acs:_" + guidB,
		"8:acs:" + guidA + "-" + guidB,
		"8:acs:" + guidA + "__" + guidB,
		"8:acs:" + guidA + "_" + guidB + "_" + guidC,
		"8:acs:" + guidA + "_" + guidB + ":",
		"8:acs:" + guidA + "_" + guidB + "\n",
		" " + userID,
		userID + " ",
		"8:spool:" + guidA + "_" + guidB,
		"8:orgid:" + guidA,
		"4:+14255550123",
		guidA + "_" + guidB,
		strings.Replace(userID, "-", "_", 1),
		strings.Replace(userID, "-", "0", 1),
		strings.Replace(userID, "482a", "48ga", 1),
		strings.Replace(userID, "482a", "48é", 1),
	} {
		if ValidUserID(id) {
			t.Errorf("ValidUserID(%q) = true, want false", id)
		}
	}
}

// TestUnverifiedUpperCaseUserIDIsMalformed checks that ValidUserID rejects ids with upper-case
// digits. Unverified: no recorded id has such digits.
func TestUnverifiedUpperCaseUserIDIsMalformed(t *testing.T) {
	if id := "8:acs:" + strings.ToUpper(guidA) + "_" + guidB; ValidUserID(id) {
		t.Errorf("ValidUserID(%q) = true, want false", id)
	}
}

func TestSplitUserID(t *testing.T) {
	resource, user, ok := SplitUserID(userID)
	if resource != guidA || user != guidB || !ok {
		t.Errorf("SplitUserID(%q) = %q, %q, %v", userID, resource, user, ok)
	}
	if got := JoinUserID(resource, user); got != userID {
		t.Errorf("JoinUserID = %q, want %q", got, userID)
	}
	if r, u, ok := SplitUserID("8:acs:a_b"); r != "" || u != "" || ok {
		t.Errorf("SplitUserID(8:acs:a_b) = %q, %q, %v, want nothing", r, u, ok)
	}
}

func FuzzParseRawID(f *testing.F) {
	for _, tt := range rawIDs {
		f.Add(tt.raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		id := ParseRawID(raw)
		if id.RawID() != raw || ParseRawID(id.RawID()) != id {
			t.Fatalf("ParseRawID(%q) = %q, does not round trip", raw, id.RawID())
		}
		p := partsOf(id)
		var again Identifier
		switch p.kind {
		case KindUnknown:
			if p != (parts{}) {
				t.Fatalf("%q: unknown, but has parts %+v", raw, p)
			}
			return
		case KindUser:
			again = NewUser(raw)
		case KindPhoneNumber:
			again = NewPhoneNumber(p.phone)
		case KindTeamsUser:
			again = NewTeamsUser(p.teamsUser, p.cloud)
			if p.anonymous {
				again = NewAnonymousTeamsUser(p.teamsUser)
			}
		case KindTeamsApp:
			again = NewTeamsApp(p.app, p.cloud)
		case KindTeamsExtensionUser:
			again = NewTeamsExtensionUser(p.resource, p.tenant, p.teamsUser, p.cloud)
		}
		if again != id {
			t.Fatalf("%q: rebuilt from its parts it is %q", raw, again)
		}
		if resource, user, ok := SplitUserID(raw); ok {
			if p.kind != KindUser || resource != p.resource || !strings.HasSuffix(raw, ":"+resource+"_"+user) {
				t.Fatalf("SplitUserID(%q) = %q, %q, of kind %v", raw, resource, user, p.kind)
			}
		}
	})
}
