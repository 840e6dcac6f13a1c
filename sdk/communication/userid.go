package communication

import "strings"

// guidLen is the length of a GUID in its usual form: 8-4-4-4-12 digits.
const guidLen = 36

// JoinUserID returns the id of the communication user called user in a resource:
// "8:acs:RESOURCE_USER". It does not check its arguments; the result satisfies
// [ValidUserID] when both are GUIDs in lower case.
func JoinUserID(resourceID, user string) string {
	return userPrefixes[CloudPublic] + resourceID + "_" + user
}

// SplitUserID splits a well-formed id of a communication user into the GUID of
// its resource and the part that tells the users of that resource apart. It is ok
// exactly when ValidUserID(id) is.
func SplitUserID(id string) (resourceID, user string, ok bool) {
	p := ParseRawID(id)
	if p.kind != KindUser {
		return "", "", false
	}
	suffix, ok := strings.CutPrefix(id, userPrefixes[p.cloud])
	if !ok || len(suffix) != guidLen+1+guidLen || suffix[guidLen] != '_' {
		return "", "", false
	}
	resourceID, user = suffix[:guidLen], suffix[guidLen+1:]
	if !isGUID(resourceID) || !isGUID(user) {
		return "", "", false
	}
	return resourceID, user, true
}

// ValidUserID reports whether id has the form in which a server issues ids of
// communication users: "8:acs:", "8:gcch-acs:" or "8:dod-acs:", then two GUIDs
// joined by an underscore. A GUID here is 32 digits 0-9a-f in groups of
// 8-4-4-4-12, with hyphens between; no version or variant is asked of it, because
// the second one only looks like a GUID ("0000000c-6219-6975-dc7b-2548220015a8").
//
// Everything else is malformed: "8:acs:invalidUserId", the three GUIDs of a Teams
// extension user, ids with blanks around them, upper-case digits. That the id
// belongs to anybody is not checked.
//
// Unverified: whether the real service takes upper-case digits. No recorded id has
// any, ids are compared byte by byte, and a second spelling would be a second user.
func ValidUserID(id string) bool {
	_, _, ok := SplitUserID(id)
	return ok
}

func isGUID(s string) bool {
	if len(s) != guidLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
				return false
			}
		}
	}
	return true
}
