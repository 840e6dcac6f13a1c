package admin_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
)

// domain returns a core service on an empty store in memory.
func domain(t *testing.T) *core.Service {
	t.Helper()
	store, err := pebble.Open("store", pebble.Options{FS: vfs.NewMem(), Initial: core.Resource{ID: "11111111-2222-4333-8444-555555555555", Epoch: "epoch"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := core.New(t.Context(), store, new(local.Bus), core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestNamesNeedTLS calls the handler of the operator's port by host names. It checks that a name of
// the server is accepted only with TLS, because the certificate then proves the name.
func TestNamesNeedTLS(t *testing.T) {
	h := admin.New(admin.Options{Core: domain(t), Logger: slog.New(slog.DiscardHandler)})
	names := []string{"chat.example.com", "*.wild.example"}
	plain := httptest.NewServer(h.TCP(admin.Door{Secret: "secret", Names: names}))
	defer plain.Close()
	secure := httptest.NewTLSServer(h.TCP(admin.Door{Secret: "secret", Names: names, TLS: true}))
	defer secure.Close()
	for _, tt := range []struct {
		host, origin string
		tls          bool
		want         int
	}{
		{"localhost:1", "", false, 200},
		{"chat.example.com", "", false, 403},
		{"192.0.2.7", "", false, 403},
		{"chat.example.com", "", true, 200},
		{"a.wild.example:8082", "", true, 200},
		{"192.0.2.7:8082", "", true, 200},
		{"evil.example", "", true, 403},
		{"chat.example.com", "https://chat.example.com", true, 200},
		{"chat.example.com", "http://chat.example.com", true, 403},
		{"chat.example.com", "https://chat.example.com:8443", true, 403},
		{"localhost:8082", "http://localhost:8082", false, 200},
		{"localhost:8082", "http://localhost:8080", false, 403}, // the origin of the chat page
	} {
		srv := plain
		if tt.tls {
			srv = secure
		}
		req, err := http.NewRequest(http.MethodGet, srv.URL+"/admin/v1/session", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		req.Header.Set("Authorization", "Bearer secret")
		if tt.origin != "" {
			req.Header.Set("Origin", tt.origin)
		}
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != tt.want {
			t.Errorf("%+v: %s", tt, res.Status)
		}
	}
}
