package rest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/confab-chat/confab/internal/token"
)

// TestRefusalsDoNotWaitForTheirReason requests a thread that does not exist. Its Options.Access,
// which may read the store to find out the reason of a refusal, waits until the client has the
// answer. The test checks that the answer arrives nevertheless.
func TestRefusalsDoNotWaitForTheirReason(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		answered := make(chan struct{})
		f := newFixture(t, func(o *Options) { o.Access = func(Record) { <-answered } })
		_, bearer := f.user(t, token.Chat)
		server := httptest.NewUnstartedServer(f.Handler)
		server.EnableHTTP2 = http2
		server.StartTLS()
		req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/chat/threads/19:none@thread.v2?api-version=2021-09-07", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		client := server.Client()
		client.Timeout = testTimeout
		resp, err := client.Do(req)
		close(answered)
		if err != nil || resp.StatusCode < 400 || http2 != (resp.ProtoMajor == 2) {
			t.Errorf("HTTP/2 %v: %v, %v", http2, resp, err)
		} else {
			resp.Body.Close()
		}
		server.Close()
	}
}
