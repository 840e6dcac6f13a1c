package rest

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/token"
)

// TestRepeatedSends sends a message twice with the same x-ms-client-request-id, as an SDK does
// that got no answer, at several api-versions. It checks that the second answer equals the first
// one and that nothing is written. The repeated request must count against the limits of requests,
// and not against the limit of written bytes.
func TestRepeatedSends(t *testing.T) {
	f := newFixture(t, nil)
	f.limiter = limits.New(limits.Azure, f.clock.now)
	f.Handler.written = limits.NewWritten(1000, f.clock.now)
	ann, bearer := f.user(t, token.Chat)
	thread, _ := f.thread(t, ann)
	const id = "5d0b4c3e-8f5f-4f0a-9d3a-2f1f5f0c9d11"
	send := func(version, content string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/chat/threads/"+thread+"/messages?api-version="+version, strings.NewReader(`{"content":"`+content+`"}`))
		r.Header.Set("Authorization", "Bearer "+bearer)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w
	}
	content := strings.Repeat("x", 300)
	first := send("2021-09-07", content, "x-ms-client-request-id", id)
	if first.Code != 201 {
		t.Fatalf("the first try: %d %s", first.Code, first.Body)
	}
	before := f.written()
	for _, version := range []string{"2021-09-07", "2025-03-15", "2020-11-01-preview3", "2021-09-07", "2025-03-15"} {
		w := send(version, content, "X-Ms-Client-Request-Id", strings.ToUpper(id))
		if w.Code != 201 || w.Body.String() != first.Body.String() || w.Header().Get("Location") != first.Header().Get("Location") {
			t.Errorf("another try at %s: %d %s at %s; want 201 %s at %s", version, w.Code, w.Body, w.Header().Get("Location"), first.Body, first.Header().Get("Location"))
		}
	}
	if f.written() != before {
		t.Error("another try has written something")
	}
	for i, headers := range [][]string{{"x-ms-client-request-id", id, "repeatability-request-id", "token"}, {}} {
		if w := send("2021-09-07", content, headers...); w.Code != 201 || w.Body.String() == first.Body.String() {
			t.Errorf("new message %d: %d %s", i, w.Code, w.Body)
		}
	}
	// By now three messages of 300 characters have used up most of the limit of 1000 bytes, and eight
	// requests most of the limit of ten requests.
	if w := send("2021-09-07", content); w.Code != 429 || !strings.Contains(w.Body.String(), "bytes written per hour") {
		t.Errorf("one message too many: %d %s", w.Code, w.Body)
	}
	if w := send("2021-09-07", "x"); w.Code != 201 {
		t.Errorf("the tenth request: %d %s", w.Code, w.Body)
	}
	if w := send("2021-09-07", content, "x-ms-client-request-id", id); w.Code != 429 || !strings.Contains(w.Body.String(), "10 per 10 s in a thread") {
		t.Errorf("a try above the limit of requests: %d %s", w.Code, w.Body)
	}
}
