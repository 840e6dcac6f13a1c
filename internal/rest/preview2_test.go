package rest

import "testing"

// TestAnOperationHasTheSameRightsAtAllVersions checks that all routes of an operation accept the
// same tokens. The matrix of callers (TestAuthorizationMatrix) asks the newest version only.
func TestAnOperationHasTheSameRightsAtAllVersions(t *testing.T) {
	first := map[string]route{}
	for _, r := range routes {
		f, ok := first[r.operation]
		if !ok {
			first[r.operation] = r
			continue
		}
		if r.scopes != f.scopes || r.users != f.users {
			t.Errorf("%s %s in %q accepts other tokens than %s %s in %q", r.method, r.path, r.in, f.method, f.path, f.in)
		}
	}
}
