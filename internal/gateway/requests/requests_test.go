package requests

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/token"
)

// someTokens is a fake implementation of Tokens. It maps the text of a token to a function whose
// results Verify returns.
type someTokens map[string]func() (token.Claims, error)

func (s someTokens) Verify(_ context.Context, text string) (token.Claims, error) { return s[text]() }

// TestReasons checks the status and the reason of each refusal of a token, and that the
// message for the client does not tell the reason.
func TestReasons(t *testing.T) {
	revoked := func() (token.Claims, error) { return token.Claims{}, token.Refusal{Reason: token.ReasonRevoked} }
	c := New(Checks{Tokens: someTokens{
		"good":    func() (token.Claims, error) { return token.Claims{User: "ann", Scopes: token.Chat}, nil },
		"voip":    func() (token.Claims, error) { return token.Claims{User: "ann", Scopes: token.VoIP}, nil },
		"leaving": func() (token.Claims, error) { return token.Claims{User: "ann", Scopes: token.Chat, Leaving: true}, nil },
		"revoked": revoked,
	}})
	for _, tt := range []struct {
		name    string
		headers http.Header
		skype   bool
		status  int // 0: accepted
		reason  string
	}{
		{"good", http.Header{"Authorization": {"Bearer good"}}, false, 0, ""},
		{"none", nil, false, 401, "no bearer token"},
		{"revoked", http.Header{"Authorization": {"Bearer revoked"}}, false, 401, "token: revoked"},
		{"leaving", http.Header{"Authorization": {"Bearer leaving"}}, false, 401, "token: user deleted"},
		{"voip", http.Header{"Authorization": {"Bearer voip"}}, false, 403, "scope: needs chat or chat.join or chat.join.limited, has voip"},
		{"two tokens", http.Header{"Authorization": {"Bearer good", "Bearer good"}}, false, 400, ""},
		{"good skype token", http.Header{"X-Skypetoken": {"good"}}, true, 0, ""},
		{"revoked skype token", http.Header{"X-Skypetoken": {"revoked"}}, true, 401, "token: revoked"},
		{"two skype tokens", http.Header{"X-Skypetoken": {"good", "revoked"}}, true, 400, ""},
		{"a skype token and two tokens", http.Header{"X-Skypetoken": {"good"}, "Authorization": {"a", "b"}}, true, 400, ""},
	} {
		r := httptest.NewRequest("GET", "/chat/events", nil)
		r.Header = tt.headers
		check := c.Bearer
		if tt.skype {
			check = c.Skype
		}
		_, err := check(r)
		if tt.status == 0 {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		got := RefusalOf(err)
		if got.Status != tt.status || got.Reason != tt.reason || got.Message == tt.reason && tt.reason != "no bearer token" {
			t.Errorf("%s: %+v, want status %d and the reason %q", tt.name, got, tt.status, tt.reason)
		}
	}
	for _, why := range gateway.Reasons() {
		if r := OfHub(&gateway.OpenError{Why: why}); r.Status == 401 && r.Reason != "token: "+why.String() {
			t.Errorf("%v: %+v has no reason", why, r)
		}
	}
}
