package token

import (
	"fmt"
	"strings"
)

// Scopes is a set of the scopes of docs/contract/identity.md §6.5.
type Scopes uint8

// The scopes. Those of voice have no effect here.
const (
	Chat Scopes = 1 << iota
	VoIP
	ChatJoin
	ChatJoinLimited
	VoIPJoin
)

var scopeNames = []struct {
	scope Scopes
	name  string
}{
	{Chat, "chat"},
	{VoIP, "voip"},
	{ChatJoin, "chat.join"},
	{ChatJoinLimited, "chat.join.limited"},
	{VoIPJoin, "voip.join"},
}

// ParseScope reads the name of one scope; ok is false for any other text.
func ParseScope(name string) (scope Scopes, ok bool) {
	for _, s := range scopeNames {
		if s.name == name {
			return s.scope, true
		}
	}
	return 0, false
}

// Has reports whether all of want are in the set.
func (s Scopes) Has(want Scopes) bool { return s&want == want }

// Any reports whether any of want is in the set.
func (s Scopes) Any(want Scopes) bool { return s&want != 0 }

// String is the claim acsScope: the names, separated by commas.
func (s Scopes) String() string {
	var names []string
	for _, n := range scopeNames {
		if s.Has(n.scope) {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

func parseScopes(claim string) (s Scopes, err error) {
	for name := range strings.SplitSeq(claim, ",") {
		scope, ok := ParseScope(name)
		if !ok {
			return 0, fmt.Errorf("unknown scope %q: %w", name, ErrInvalid)
		}
		s |= scope
	}
	return s, nil
}
