package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/confab-chat/confab/chattest"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestMain starts a server and sets CONFAB_CA_FILE, as `confab run` does.
func TestMain(m *testing.M) { os.Exit(chattest.Main(m)) }

// TestTokens signs in and creates a thread with the token that the server issued. Then it checks
// that the token expires.
func TestTokens(t *testing.T) {
	s := chattest.Shared(t)
	tokens, err := newServer(s.ConnectionString(), "")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name, password string) (a answer, status int) {
		t.Helper()
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/token", nil)
		r.SetBasicAuth(name, password)
		tokens.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
				t.Fatal(err)
			}
		}
		return a, w.Code
	}
	for _, wrong := range [][2]string{{"ann", "x"}, {"eve", "secret"}, {"eve", ""}} {
		if _, status := ask(wrong[0], wrong[1]); status != http.StatusUnauthorized {
			t.Errorf("%s with %q is answered %d", wrong[0], wrong[1], status)
		}
	}
	ann, status := ask("ann", "secret")
	again, _ := ask("ann", "secret")
	bob, _ := ask("bob", "secret")
	if status != http.StatusOK || ann.User != again.User || ann.User == bob.User {
		t.Fatalf("%d: ann is %s and %s, bob %s", status, ann.User, again.User, bob.User)
	}
	cred, err := communication.NewTokenCredential(ann.Token)
	if err != nil {
		t.Fatal(err)
	}
	client, err := chat.NewClient(ann.Endpoint, cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateThread(t.Context(), "t", &chat.CreateThreadOptions{
		Participants: []chat.Participant{{Identifier: communication.ParseRawID(bob.User)}},
	}); err != nil {
		t.Error(err)
	}
	s.Clock.Advance(61 * time.Minute)
	if _, err := client.CreateThread(t.Context(), "t", nil); err == nil {
		t.Error("a token of an hour was accepted after 61 minutes")
	}
}

// TestChatPage signs in as a browser does. Then it requests a token as the chat page does,
// with the cookie, and checks that the response lets only the page's own origin read it.
func TestChatPage(t *testing.T) {
	s := chattest.Shared(t)
	tokens, err := newServer(s.ConnectionString(), "http://localhost:8080/")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path, password string, cookies ...*http.Cookie) *http.Response {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
		if password != "" {
			r.SetBasicAuth("ann", password)
		}
		for _, c := range cookies {
			r.AddCookie(c)
		}
		tokens.ServeHTTP(w, r)
		return w.Result()
	}
	if got := ask("/", "wrong"); got.StatusCode != http.StatusUnauthorized || len(got.Cookies()) != 0 {
		t.Errorf("a wrong password: %s with %d cookies", got.Status, len(got.Cookies()))
	}
	in := ask("/", "secret")
	if in.StatusCode != http.StatusSeeOther || in.Header.Get("Location") != "http://localhost:8080" || len(in.Cookies()) != 1 {
		t.Fatalf("signing in: %s, headers %v", in.Status, in.Header)
	}
	if got := ask("/chat-token", ""); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a cookie: %s", got.Status)
	}
	if got := ask("/chat-token", "", &http.Cookie{Name: sessionCookie, Value: "x"}); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("with another cookie: %s", got.Status)
	}
	got := ask("/chat-token", "", in.Cookies()...)
	var a answer
	if err := json.NewDecoder(got.Body).Decode(&a); err != nil || got.StatusCode != http.StatusOK || a.DisplayName != "ann" {
		t.Fatalf("%s %+v %v", got.Status, a, err)
	}
	if got.Header.Get("Access-Control-Allow-Origin") != "http://localhost:8080" || got.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("the headers are %v", got.Header)
	}
	if _, err := communication.NewTokenCredential(a.Token); err != nil {
		t.Error(err)
	}
}
