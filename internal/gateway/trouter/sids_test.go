package trouter

import (
	"testing"

	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/token"
)

// TestBoundsOfSids adds as many sids (one-time ids for opening sockets) as the hub's bounds allow,
// and checks that one more sid is refused, both for one user and for the whole server.
func TestBoundsOfSids(t *testing.T) {
	s := newSids(gateway.Bounds{Sessions: 3, PerUser: 1})
	for i, c := range []struct {
		user string
		ok   bool
	}{{"ann", true}, {"ann", true}, {"ann", false}, {"bob", true}, {"cy", false}} {
		if _, ok := s.add(token.Claims{User: c.user}, params{}); ok != c.ok {
			t.Errorf("sid %d, of %s: %v, want %v", i, c.user, ok, c.ok)
		}
	}
}
