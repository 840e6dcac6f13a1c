package communication

import (
	"encoding/json"
	"flag"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMarshalIdentifier(t *testing.T) {
	tests := []struct{ raw, want string }{
		{"", `null`},
		{"8:acs:R_U", `{"kind":"communicationUser","rawId":"8:acs:R_U","communicationUser":{"id":"8:acs:R_U"}}`},
		{"4:+1425", `{"kind":"phoneNumber","rawId":"4:+1425","phoneNumber":{"value":"+1425"}}`},
		{"4:+1425_5", `{"kind":"phoneNumber","rawId":"4:+1425_5","phoneNumber":{"value":"+1425_5","assertedId":"5"}}`},
		{"4:anonymous", `{"kind":"phoneNumber","rawId":"4:anonymous","phoneNumber":{"value":"anonymous","isAnonymous":true}}`},
		{"8:orgid:u", `{"kind":"microsoftTeamsUser","rawId":"8:orgid:u","microsoftTeamsUser":{"userId":"u","isAnonymous":false,"cloud":"public"}}`},
		{"8:gcch:u", `{"kind":"microsoftTeamsUser","rawId":"8:gcch:u","microsoftTeamsUser":{"userId":"u","isAnonymous":false,"cloud":"gcch"}}`},
		{"8:teamsvisitor:u", `{"kind":"microsoftTeamsUser","rawId":"8:teamsvisitor:u","microsoftTeamsUser":{"userId":"u","isAnonymous":true,"cloud":"public"}}`},
		{"28:dod:a", `{"kind":"microsoftTeamsApp","rawId":"28:dod:a","microsoftTeamsApp":{"appId":"a","cloud":"dod"}}`},
		{"8:acs:r_t_u", `{"kind":"teamsExtensionUser","rawId":"8:acs:r_t_u","teamsExtensionUser":{"userId":"u","tenantId":"t","resourceId":"r","cloud":"public"}}`},
		{"28:x", `{"kind":"unknown","rawId":"28:x"}`},
	}
	for _, tt := range tests {
		got, err := json.Marshal(ParseRawID(tt.raw))
		if err != nil || string(got) != tt.want {
			t.Errorf("Marshal(%q) = %s, %v\nwant %s", tt.raw, got, err, tt.want)
		}
		var back Identifier
		if err := json.Unmarshal(got, &back); err != nil || back.RawID() != tt.raw {
			t.Errorf("Unmarshal(%s) = %q, %v", got, back, err)
		}
	}
}

func TestUnmarshalIdentifier(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"user with rawId", `{"rawId":"8:acs:R_U","communicationUser":{"id":"8:acs:R_U"}}`, "8:acs:R_U"},
		{"user alone", `{"communicationUser":{"id":"8:acs:R_U"}}`, "8:acs:R_U"},
		{"rawId alone", `{"rawId":"8:acs:R_U"}`, "8:acs:R_U"},
		{"rawId alone, other kind", `{"kind":"phoneNumber","rawId":"8:acs:R_U"}`, "8:acs:R_U"},
		{"plain string", `"8:acs:R_U"`, "8:acs:R_U"},
		{"empty string", `""`, ""},
		{"kind ignored", `{"kind":"phoneNumber","communicationUser":{"id":"8:acs:R_U"}}`, "8:acs:R_U"},
		{"kind of another type", `{"kind":7,"communicationUser":{"id":"8:acs:R_U"}}`, "8:acs:R_U"},
		{"null members are absent", `{"rawId":null,"phoneNumber":null,"communicationUser":{"id":"8:acs:R_U"}}`, "8:acs:R_U"},
		{"unknown members", `{"rawId":"9:x","futureBot":{"id":"x"}}`, "9:x"},
		{"user of future form", `{"communicationUser":{"id":"someFutureFormat"}}`, "someFutureFormat"},

		{"phone", `{"phoneNumber":{"value":"+1425"}}`, "4:+1425"},
		{"phone, asserted within", `{"phoneNumber":{"value":"+1425_5","assertedId":"5"}}`, "4:+1425_5"},
		{"phone, asserted apart", `{"phoneNumber":{"value":"+1425","assertedId":"5"}}`, "4:+1425_5"},
		{"phone, anonymous", `{"phoneNumber":{"value":"anonymous","isAnonymous":true}}`, "4:anonymous"},

		{"teams user, defaults", `{"microsoftTeamsUser":{"userId":"u"}}`, "8:orgid:u"},
		{"teams user, full", `{"microsoftTeamsUser":{"userId":"u","isAnonymous":false,"cloud":"dod"}}`, "8:dod:u"},
		{"teams user, cloud in capitals", `{"microsoftTeamsUser":{"userId":"u","cloud":"GCCH"}}`, "8:gcch:u"},
		{"teams user, cloud null", `{"microsoftTeamsUser":{"userId":"u","isAnonymous":null,"cloud":null}}`, "8:orgid:u"},
		{"teams visitor", `{"microsoftTeamsUser":{"userId":"u","isAnonymous":true,"cloud":"public"}}`, "8:teamsvisitor:u"},
		{"teams app", `{"microsoftTeamsApp":{"appId":"a"}}`, "28:orgid:a"},
		{"teams app in a cloud", `{"microsoftTeamsApp":{"appId":"a","cloud":"gcch"}}`, "28:gcch:a"},
		{"extension user", `{"teamsExtensionUser":{"userId":"u","tenantId":"t","resourceId":"r","cloud":"dod"}}`, "8:dod-acs:r_t_u"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantUnmarshal(t, tt.in, tt.want) })
	}
}

func wantUnmarshal(t *testing.T, in, want string) {
	t.Helper()
	var got Identifier
	if err := json.Unmarshal([]byte(in), &got); err != nil {
		t.Fatal(err)
	}
	if got != ParseRawID(want) {
		t.Errorf("got %q of kind %v, want %q", got, got.Kind(), want)
	}
}

// TestUnverifiedNestedMemberWinsOverRawID decodes identifiers whose nested member and rawId differ,
// or in which one of the two lacks details. The nested member must win. Unverified: that the real
// service does the same.
func TestUnverifiedNestedMemberWinsOverRawID(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nested wins", `{"rawId":"8:acs:R_V","communicationUser":{"id":"8:acs:R_U"}}`, "8:acs:R_U"},
		{"nested wins, other kind", `{"rawId":"4:+1","communicationUser":{"id":"8:acs:R_U"}}`, "8:acs:R_U"},
		{"phone, stripped rawId", `{"rawId":"4:1425","phoneNumber":{"value":"+1425"}}`, "4:+1425"},
		{"phone, asserted in rawId only", `{"rawId":"4:+1425_5","phoneNumber":{"value":"+1425"}}`, "4:+1425_5"},
		{"phone, asserted contradicts rawId", `{"rawId":"4:+1425_5","phoneNumber":{"value":"+1425","assertedId":"6"}}`, "4:+1425_6"},
		{"phone, other number in rawId", `{"rawId":"4:+1999_5","phoneNumber":{"value":"+1425"}}`, "4:+1425"},
		{"teams user, rest from rawId", `{"rawId":"8:gcch:u","microsoftTeamsUser":{"userId":"u"}}`, "8:gcch:u"},
		{"teams visitor by rawId", `{"rawId":"8:teamsvisitor:u","microsoftTeamsUser":{"userId":"u"}}`, "8:teamsvisitor:u"},
		{"teams user against visitor rawId", `{"rawId":"8:teamsvisitor:u","microsoftTeamsUser":{"userId":"u","isAnonymous":false}}`, "8:orgid:u"},
		{"extension user, cloud from rawId", `{"rawId":"8:gcch-acs:r_t_u","teamsExtensionUser":{"userId":"u","tenantId":"t","resourceId":"r"}}`, "8:gcch-acs:r_t_u"},
		{"future cloud", `{"rawId":"8:mars:u","microsoftTeamsUser":{"userId":"u","isAnonymous":false,"cloud":"mars"}}`, "8:mars:u"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantUnmarshal(t, tt.in, tt.want) })
	}
}

func TestUnmarshalIdentifierErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{}`, "neither rawId nor a member"},
		{`{"rawId":""}`, "neither rawId nor a member"},
		{`{"kind":"communicationUser"}`, "neither rawId nor a member"},
		{`{"communicationUser":{"id":"8:acs:R_U"},"phoneNumber":{"value":"+1"}}`,
			"only one of the members [communicationUser phoneNumber] may be present"},
		{`{"microsoftTeamsApp":{},"teamsExtensionUser":{}}`, "[microsoftTeamsApp teamsExtensionUser]"},
		{`{"rawId":"8:acs:R_U","communicationUser":{}}`, "communicationUser.id is missing"},
		{`{"phoneNumber":{"isAnonymous":true}}`, "phoneNumber.value is missing"},
		{`{"microsoftTeamsUser":{}}`, "microsoftTeamsUser.userId is missing"},
		{`{"microsoftTeamsApp":{}}`, "microsoftTeamsApp.appId is missing"},
		{`{"teamsExtensionUser":{"tenantId":"t","resourceId":"r"}}`, "teamsExtensionUser.userId is missing"},
		{`{"teamsExtensionUser":{"userId":"u","resourceId":"r"}}`, "teamsExtensionUser.tenantId is missing"},
		{`{"teamsExtensionUser":{"userId":"u","tenantId":"t"}}`, "teamsExtensionUser.resourceId is missing"},
		{`{"microsoftTeamsUser":{"userId":"a:b"}}`, "microsoftTeamsUser holds a value that cannot be part of a raw id"},
		{`{"microsoftTeamsApp":{"appId":"a","cloud":"mars"}}`, `unknown cloud "mars"`},
		{`{"teamsExtensionUser":{"userId":"u","tenantId":"t","resourceId":"r","cloud":"mars"}}`, `unknown cloud "mars"`},
		{`{"teamsExtensionUser":{"userId":"u_x","tenantId":"t","resourceId":"r"}}`, "teamsExtensionUser holds a value"},
		{`{"microsoftTeamsUser":{"userId":"u","cloud":"mars"}}`, `unknown cloud "mars"`},
		{`{"rawId":"8:acs:R_U","microsoftTeamsUser":{"userId":"u","cloud":"mars"}}`, `unknown cloud "mars"`},
		{`{"rawId":7}`, "rawId"},
		{`7`, "number"},
		{`[]`, "array"},
	}
	for _, tt := range tests {
		got := NewUser(userID)
		err := json.Unmarshal([]byte(tt.in), &got)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Unmarshal(%s) = %q, error %v, want one with %q", tt.in, got, err, tt.want)
		}
		if got != NewUser(userID) {
			t.Errorf("Unmarshal(%s) failed and changed the identifier to %q", tt.in, got)
		}
	}
}

func TestUnmarshalNullLeavesIdentifier(t *testing.T) {
	got := NewUser(userID)
	if err := json.Unmarshal([]byte("null"), &got); err != nil || got != NewUser(userID) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestIdentifierAsJSONKey(t *testing.T) {
	in := map[Identifier]int{NewUser("8:acs:R_U"): 1}
	text, err := json.Marshal(in)
	if want := `{"8:acs:R_U":1}`; err != nil || string(text) != want {
		t.Fatalf("Marshal = %s, %v, want %s", text, err, want)
	}
	var out map[Identifier]int
	if err := json.Unmarshal(text, &out); err != nil || out[NewUser("8:acs:R_U")] != 1 {
		t.Errorf("Unmarshal = %v, %v", out, err)
	}
}

func TestIdentifierAsTextFlag(t *testing.T) {
	var got Identifier
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.TextVar(&got, "user", Identifier{}, "")
	if err := flags.Parse([]string{"-user", "8:acs:R_U"}); err != nil || got != NewUser("8:acs:R_U") {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzIdentifierJSON(f *testing.F) {
	for _, tt := range rawIDs {
		f.Add(tt.raw)
		text, _ := json.Marshal(ParseRawID(tt.raw))
		f.Add(string(text))
	}
	f.Add(`{"rawId":"4:+1425_5","phoneNumber":{"value":"+1425"}}`)
	f.Add(`{"communicationUser":{"id":"x"},"phoneNumber":{}}`)
	f.Fuzz(func(t *testing.T, s string) {
		// Use the fuzzer's text as a raw id, and then as a JSON document.
		ids := []Identifier{ParseRawID(s)}
		var read Identifier
		if json.Unmarshal([]byte(s), &read) == nil {
			ids = append(ids, read)
		}
		for _, id := range ids {
			if !utf8.ValidString(id.RawID()) {
				continue // JSON cannot encode it
			}
			text, err := json.Marshal(id)
			if err != nil {
				t.Fatalf("Marshal(%q): %v", id, err)
			}
			var back Identifier
			if err := json.Unmarshal(text, &back); err != nil || back != id {
				t.Fatalf("%q became %s became %q, %v", id, text, back, err)
			}
		}
	})
}
