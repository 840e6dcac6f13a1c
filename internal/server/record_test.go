package server_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/server"
)

// TestRecord records a user who signs in, sends a message, and opens live connections over both
// versions of HTTP. The recorded files must contain the messages, but no token, no access key, and
// no parameter that opens a live connection.
func TestRecord(t *testing.T) {
	folder := t.TempDir()
	s := start(t, server.Options{Config: settings(t, "dev", "true", "record", folder)})
	if filepath.Dir(s.Record) != folder {
		t.Errorf("records to %s, want a folder in %s", s.Record, folder)
	}
	_, _, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	secrets := []string{bearer, s.AccessKey}
	request := func(method, path, body string, headers ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, s.Endpoint+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		return s.do(t, req)
	}
	if status, body := request("POST", "/chat/threads/"+thread+"/messages?api-version=2025-03-15", `{"content":"my token is `+bearer+`, said she"}`,
		"Authorization", "Bearer "+bearer, "Content-Type", "application/json"); status != 201 {
		t.Fatal(status, body)
	}
	if status, body := request("GET", "/", "", "Accept", "text/html"); status != 200 {
		t.Fatal(status, body)
	}
	status, body := request("POST", "/v4/a?api-version=x&ccid=hidden-ccid", "", "X-Skypetoken", bearer)
	var opened struct{ ConnectParams map[string]string }
	if err := json.Unmarshal([]byte(body), &opened); err != nil || status != 200 || len(opened.ConnectParams) == 0 {
		t.Fatal(status, body, err)
	}
	for _, value := range opened.ConnectParams {
		if len(value) > 15 { // shorter values are words, not secrets
			secrets = append(secrets, value)
		}
	}
	for _, c := range s.clients(t) {
		s.openStream(t, c, bearer, "").resp.Body.Close()
	}
	s.stop(t)

	files, err := filepath.Glob(filepath.Join(s.Record, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var names, all []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names, all = append(names, filepath.Base(file)), append(all, string(data))
		for _, secret := range append(secrets, "hidden-ccid") {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s holds %s:\n%s", file, secret, data)
			}
		}
	}
	want := []string{
		"000001-POST-identities-201.json", "000002-POST-chat-threads-201.json", "000003-POST-chat-threads-id-messages-201.json",
		"000004-GET-200.json", "000005-POST-id-a-200.json", "000006-GET-chat-events-200.json", "000007-GET-chat-events-200.json",
	}
	if got, want := strings.Join(names, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("files:\n%s\nwant:\n%s", got, want)
	}
	for _, text := range []string{`"content": "my token is sanitized, said she"`, `"token": "sanitized"`, `"X-Skypetoken": "sanitized"`, `"Authorization": "Bearer sanitized"`, `"Authorization": "HMAC-SHA256 sanitized"`} {
		if !strings.Contains(strings.Join(all, ""), text) {
			t.Errorf("no file has %s", text)
		}
	}
}
