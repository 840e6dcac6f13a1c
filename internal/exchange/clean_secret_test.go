package exchange

import (
	"strings"
	"testing"
)

// TestSecretMembersAreHiddenWhole cleans bodies in which the value of a secret member is an array
// or an object. It checks that no string inside the value remains.
func TestSecretMembersAreHiddenWhole(t *testing.T) {
	for in, want := range map[string]string{
		`{"token":["a","b"],"x":"c"}`:                                           `{"token":["sanitized","sanitized"],"x":"c"}`,
		`{"password":{"old":"a","new":{"b":"c"}}}`:                              `{"password":{"old":"sanitized","new":{"b":"sanitized"}}}`,
		`{"accessToken":{"token":"a","expiresOn":"2026-11-28T00:00:00+00:00"}}`: `{"accessToken":{"token":"sanitized","expiresOn":"2026-11-28T00:00:00+00:00"}}`,
	} {
		if got := string(JSON([]byte(in))); got != want {
			t.Errorf("%s is recorded as %s, want %s", in, got, want)
		}
	}
}

// TestSecretMembersAreHiddenWhereBodiesEnd cuts a body off at every byte of a secret and cleans the
// body. It checks that no part of the secret remains.
func TestSecretMembersAreHiddenWhereBodiesEnd(t *testing.T) {
	const body = `{"name":"Ann","password":"hush\\\"hush\nhush"}`
	for n := strings.Index(body, "hush") + len("hush"); n < len(body); n++ {
		if got, changed := BodyText([]byte(body[:n])); strings.Contains(got, "hush") || !changed {
			t.Errorf("%s becomes %s", body[:n], got)
		}
	}
}
