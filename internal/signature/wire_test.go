package signature

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/confab-chat/confab/sdk/communication"
)

// TestSignedRequestsOnTheWire sends signed requests through net/http and checks that a server
// verifies them.
func TestSignedRequestsOnTheWire(t *testing.T) {
	key := mustKey(t, testKey)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed := Of(r)
		_, err := Verify(signed, []communication.AccessKey{key}, vectorTime) // Verify runs before the server reads the body
		if body, _ := io.ReadAll(r.Body); err == nil {
			err = signed.CheckBody(body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
		}
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()

	targets := []string{
		"", "/", "?", "?api-version=2023-10-01", createTarget, issueTarget, issueDecoded,
		"/a%20b/c%2Fd/%C3%A9?q=%20+~'()*&x=é&y=%zz", "//double//slash", "/a/../b/./c",
	}
	for _, server := range []*httptest.Server{plain, secure} {
		for _, target := range targets {
			for _, method := range []string{"GET", "POST", "DELETE", "PATCH"} {
				req, err := http.NewRequest(method, server.URL+target, strings.NewReader(vectorBody))
				if err != nil {
					t.Fatal(err)
				}
				if err := key.Sign(req, vectorTime); err != nil {
					t.Fatal(err)
				}
				resp, err := server.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("%s %s%s: %s %s", method, server.URL, target, resp.Status, text)
				}
			}
		}
	}
}
