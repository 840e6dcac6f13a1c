package server_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/dev"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// post sends a POST request with a JSON body.
func (r *running) post(t *testing.T, address, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequest("POST", address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return r.do(t, req)
}

// signed sends a request without a body, signed with the server's access key, and returns the
// status of the response.
func (r *running) signed(t *testing.T, method, path string) (status int) {
	t.Helper()
	req, err := http.NewRequest(method, r.Endpoint+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := communication.NewAccessKey(r.AccessKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Sign(req, time.Now()); err != nil {
		t.Fatal(err)
	}
	status, _ = r.do(t, req)
	return status
}

func (r *running) advance(t *testing.T, d string) {
	t.Helper()
	if status, body := r.post(t, r.Endpoint+"/dev/clock", `{"advance":"`+d+`"}`); status != 200 {
		t.Fatalf("advance by %s: %d %s", d, status, body)
	}
}

func TestDevelopmentDoors(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "dev", "true", "listen-http", "localhost:0")})
	for _, base := range []string{s.Endpoint, s.HTTP, strings.Replace(s.HTTP, "localhost", "127.0.0.1", 1)} {
		before := s.Clock().Ahead()
		if status, body := s.post(t, base+"/dev/clock", `{"advance":"1h"}`); status != 200 || s.Clock().Ahead() != before+time.Hour {
			t.Errorf("%s: %d %s", base, status, body)
		}
		if status, body := s.post(t, base+"/dev/faults", `{"status":503}`); status != 201 || len(s.Faults().List()) != 1 {
			t.Errorf("%s: %d %s", base, status, body)
		}
		s.Faults().Clear()
	}
	if status, _ := s.get(t, s.Endpoint+"/dev/nothing"); status != 404 {
		t.Errorf("an unknown path: %d, want 404", status)
	}
}

// TestNoDoorsWithoutDev checks that a server without --dev answers requests for paths below /dev/
// in the same way as requests for unknown paths.
func TestNoDoorsWithoutDev(t *testing.T) {
	s := start(t, server.Options{Config: settings(t)})
	_, unknown := s.get(t, s.Endpoint+"/nothing")
	for _, path := range []string{"/dev/clock", "/dev/faults", "/dev/"} {
		if status, body := s.get(t, s.Endpoint+path); status != 404 || body != unknown {
			t.Errorf("%s: %d %s, want 404 as for any unknown path: %s", path, status, body, unknown)
		}
		if status, body := s.post(t, s.Endpoint+path, `{"advance":"1h"}`); status != 404 || body != unknown {
			t.Errorf("%s: %d %s, want 404", path, status, body)
		}
	}
	if s.Clock() != nil || s.Faults() != nil {
		t.Error("there is a clock or there are faults")
	}
}

func TestTokensExpireAfterAnAdvance(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "dev", "true")})
	_, user, bearer := s.newUser(t, s.AccessKey)
	s.newThread(t, bearer)
	s.advance(t, "23h59m")
	if status, body := s.chat(t, "GET", "", bearer, ""); status != 200 {
		t.Errorf("a token of 24 hours after 23h59m: %d %s", status, body)
	}
	s.advance(t, "1m")
	if status, body := s.chat(t, "GET", "", bearer, ""); status != 401 || body != "" {
		t.Errorf("a token of 24 hours a day later: %d %s, want an empty 401", status, body)
	}
	// Requests that are signed with the real time are still valid after the clock was moved, because
	// the clocks of clients have not moved.
	status, _, fresh := s.newUser(t, s.AccessKey)
	if status != 201 {
		t.Fatalf("a request signed with the real time: %d", status)
	}
	if status, _ := s.chat(t, "GET", "", fresh, ""); status != 200 {
		t.Errorf("a token made after the advance: %d, want 200", status)
	}
	again, expires, err := s.IssueToken(t.Context(), user, token.Chat, time.Hour)
	if err != nil || time.Until(expires) < 24*time.Hour {
		t.Fatalf("issue a token: %v, expires %v", err, expires)
	}
	if status, body := s.chat(t, "GET", "", again, ""); status != 200 || !strings.Contains(body, "lunch") {
		t.Errorf("the user with a new token: %d %s", status, body)
	}
	status, body := s.chat(t, "POST", "", again, `{"topic":"later"}`)
	var made struct{ ChatThread struct{ CreatedOn time.Time } }
	if err := json.Unmarshal([]byte(body), &made); err != nil || status != 201 || time.Until(made.ChatThread.CreatedOn) < 23*time.Hour {
		t.Errorf("a thread made a day later: %d, created on %v, %v", status, made.ChatThread.CreatedOn, err)
	}
}

func TestThrottlingEndsAfterAnAdvance(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "dev", "true", "limits", "azure")})
	_, _, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	send := func() int {
		status, _ := s.chat(t, "POST", "/"+thread+"/messages", bearer, `{"content":"text"}`)
		return status
	}
	for i := range 10 {
		if status := send(); status != 201 {
			t.Fatalf("send %d: %d", i+1, status)
		}
	}
	if status := send(); status != 429 {
		t.Fatalf("the eleventh: %d, want 429", status)
	}
	s.advance(t, "10s")
	if status := send(); status != 201 {
		t.Errorf("ten seconds later: %d, want 201", status)
	}
}

// TestAnAdvanceSweeps deletes a user and moves the development clock ahead by the deletion grace,
// the time after which a deleted user is erased. When the response to the move arrives, the user
// must no longer be a participant of the thread.
func TestAnAdvanceSweeps(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "dev", "true")})
	_, ann, bearer := s.newUser(t, s.AccessKey)
	_, bob, _ := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	if status, body := s.chat(t, "POST", "/"+thread+"/participants/:add", bearer, `{"participants":[{"communicationIdentifier":{"rawId":"`+bob+`"},"displayName":"Bob"}]}`); status != 201 {
		t.Fatalf("add: %d %s", status, body)
	}
	if _, body := s.chat(t, "GET", "/"+thread+"/participants", bearer, ""); !strings.Contains(body, `"Bob"`) {
		t.Fatalf("Bob is not a participant: %s", body)
	}
	if status := s.signed(t, "DELETE", "/identities/"+bob+"?api-version=2023-10-01"); status != 204 {
		t.Fatalf("delete Bob: %d", status)
	}
	s.advance(t, "30s") // move the clock by the deletion grace, the time after which a deleted user is erased
	if _, body := s.chat(t, "GET", "/"+thread+"/participants", bearer, ""); strings.Contains(body, bob) || !strings.Contains(body, ann) {
		t.Errorf("after the grace of the deletion the participants are %s", body)
	}
}

// TestDelaysDoNotHoldUpTheEnd sends a request that a fault rule delays, and closes the server.
// It checks that closing ends the delay.
func TestDelaysDoNotHoldUpTheEnd(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "dev", "true")})
	if _, err := s.Faults().Add(rest.Fault{Delay: dev.MaxDelay}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan int, 1)
	go func() {
		r, err := s.client.Get(s.Endpoint + "/chat/threads?api-version=2021-09-07")
		if err != nil {
			answered <- 0
			return
		}
		r.Body.Close()
		answered <- r.StatusCode
	}()
	for len(s.Faults().List()) > 0 { // wait until the request has used up the fault rule
		runtime.Gosched()
	}
	start := time.Now()
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the server took %v to stop", took)
	}
	if status := <-answered; status != 401 {
		t.Errorf("the request that waited: %d, want 401", status)
	}
	s.client.CloseIdleConnections()
}

// TestNoFiles checks that a server with Options.NoFiles writes no files, and that clients can
// trust the authority in Info.CA.
func TestNoFiles(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	s := start(t, server.Options{Config: settings(t, "dev", "true"), NoFiles: true})
	if s.CAFile != "" || s.BundleFile != "" || s.TrustStoreFile != "" {
		t.Errorf("Info names files: %+v", s.Info)
	}
	s.roots = x509.NewCertPool()
	if !s.roots.AppendCertsFromPEM(s.CA) {
		t.Fatalf("Info.CA is not a certificate: %s", s.CA)
	}
	s.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = s.roots
	id, err := s.CreateUser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bearer, _, err := s.IssueToken(t.Context(), id, token.Chat, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s.newThread(t, bearer)
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("files were written: %v %v", left, err)
	}
}
