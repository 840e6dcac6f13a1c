package exchange

import "testing"

// TestSecretMembersAreHiddenWhole cleans bodies whose secret members are arrays and objects.
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
