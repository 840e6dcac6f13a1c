package communication

import "strings"

// guidLen is the length of a GUID as text, with groups of 8-4-4-4-12 digits.
const guidLen = 36

// JoinUserID returns the id of a communication user in a resource, "8:acs:RESOURCE_USER". It does
// not check its arguments; the result satisfies [ValidUserID] if both are lower-case GUIDs.
func JoinUserID(resourceID, user string) string {
	return userPrefixes[CloudPublic] + resourceID + "_" + user
}

// SplitUserID splits the id of a communication user into the GUID of its resource and the GUID of
// the user within the resource. ok is false if ValidUserID(id) is false.
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

// ValidUserID reports whether id has the form of ids that servers issue to communication users:
// "8:acs:", "8:gcch-acs:" or "8:dod-acs:", then two GUIDs joined by an underscore. A GUID is 32
// digits 0-9a-f in groups of 8-4-4-4-12, joined by hyphens. Version and variant are not checked,
// because the second GUID has no valid version and variant
// ("0000000c-6219-6975-dc7b-2548220015a8").
//
// All other ids are malformed: "8:acs:invalidUserId", the three GUIDs of a Teams extension user,
// ids with surrounding white space or with upper-case digits. ValidUserID does not check that the
// user exists.
//
// Unverified: whether the real service accepts upper-case digits. No recorded id has any. Ids are
// compared byte by byte, so an id in upper case would name another user.
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
