package token

import (
	"fmt"
	"strings"
)

// Scopes is a set of token scopes (docs/contract/identity.md §6.5).
type Scopes uint8

// The known scopes. VoIP and VoIPJoin permit nothing on this server.
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

// ParseScope returns the scope with the name, such as "chat.join". ok is false if no scope has the
// name.
func ParseScope(name string) (scope Scopes, ok bool) {
	for _, s := range scopeNames {
		if s.name == name {
			return s.scope, true
		}
	}
	return 0, false
}

// Has reports whether the set contains all scopes of want.
func (s Scopes) Has(want Scopes) bool { return s&want == want }

// Any reports whether the set contains at least one scope of want.
func (s Scopes) Any(want Scopes) bool { return s&want != 0 }

// String returns the names of the scopes, separated by commas, as in the claim acsScope.
func (s Scopes) String() string {
	var names []string
	for _, n := range scopeNames {
		if s.Has(n.scope) {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// MissingScope returns a text for the server's log that says which scopes a token has, and which
// of the scopes it would need, such as "scope: needs chat or chat.join, has voip".
func MissingScope(has, needs Scopes) string {
	return "scope: needs " + needs.List("or") + ", has " + has.List("and")
}

// List returns the names of the scopes, joined by the given word, such as "chat or chat.join".
func (s Scopes) List(word string) string { return strings.ReplaceAll(s.String(), ",", " "+word+" ") }

// parseScopes parses the claim acsScope of a token. It fails for an unknown scope name.
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
