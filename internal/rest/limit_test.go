package rest

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestEveryChatOperationHasALimit checks that every chat operation has a rate limit in
// the limit profiles, because the Limiter always allows an operation without a limit.
func TestEveryChatOperationHasALimit(t *testing.T) {
	for _, r := range routes {
		if r.api == chat && !slices.Contains(limits.Operations(), r.operation) {
			t.Errorf("no profile knows the operation %q", r.operation)
		}
	}
}

func TestTooManyRequests(t *testing.T) {
	f := newFixture(t, nil)
	f.limiter = limits.New(limits.Azure, f.clock.now)
	ann, bearer := f.user(t, token.Chat)
	bob, bobs := f.user(t, token.Chat)
	thread, _ := f.thread(t, ann)
	if _, err := f.core.AddParticipants(context.Background(), ann, thread, []core.NewParticipant{{User: communication.ParseRawID(bob)}}); err != nil {
		t.Fatal(err)
	}
	_, eves := f.user(t, token.Chat)
	send := func(bearer string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/chat/threads/"+thread+"/messages?api-version=2021-09-07", strings.NewReader(`{"content":"text"}`))
		r.Header.Set("Authorization", "Bearer "+bearer)
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w
	}
	for range 20 { // send requests of a user who is not a participant; they must not use up the thread's limit
		if w := send(eves); w.Code != 403 && w.Code != 429 {
			t.Fatalf("a stranger: %d", w.Code)
		}
	}
	for i := range 10 {
		if w := send([]string{bearer, bobs}[i%2]); w.Code != 201 {
			t.Fatalf("send %d: %d %s", i+1, w.Code, w.Body)
		}
	}
	f.clock.advance(2500 * time.Millisecond)
	before := f.written()
	w := send(bearer)
	if w.Code != 429 || w.Header().Get("Retry-After") != "8" || w.Header().Get("x-ms-error-code") != "TooManyRequests" {
		t.Errorf("the eleventh: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	for _, want := range []string{`"error":{`, `"CommunicationError":{`, "10 per 10 s in a thread"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the refusal lacks %q:\n%s", want, w.Body)
		}
	}
	if f.written() != before {
		t.Error("a refused send was written")
	}
	f.clock.advance(8 * time.Second)
	if w := send(bearer); w.Code != 201 {
		t.Errorf("after Retry-After: %d", w.Code)
	}
}
