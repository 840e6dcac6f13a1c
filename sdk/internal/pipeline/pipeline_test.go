package pipeline

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/communication"
)

// server is a TLS server that calls the function answer for each request. It counts the requests,
// from 1.
type server struct {
	*httptest.Server
	requests atomic.Int32
}

func newServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int)) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, int(s.requests.Add(1)))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// caFile writes the certificate of s to a file and returns the file's name.
func (s *server) caFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// quick holds retry options for tests: the usual number of retries, with short pauses.
var quick = policy.RetryOptions{RetryDelay: time.Millisecond, MaxRetryDelay: 5 * time.Second}

func (s *server) client(t *testing.T, change func(*Config)) *Client {
	t.Helper()
	c := Config{
		Component: "chat",
		Version:   "2025-03-15",
		Endpoint:  s.URL,
		Auth:      Bearer(staticToken("token")),
		Options:   &Options{CAFile: s.caFile(t)},
	}
	c.Options.Retry = quick
	if change != nil {
		change(&c)
	}
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// staticToken is a fake credential of a type outside package communication. It always returns the
// same token.
type staticToken string

func (s staticToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(s), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func read() Request {
	return Request{Operation: "read it", Method: http.MethodGet, Path: "/it", Status: http.StatusOK}
}

// create returns a request that must not be carried out twice.
func create() Request {
	return Request{Operation: "create it", Method: http.MethodPost, Path: "/it", Body: map[string]string{"topic": "<b>"}, Status: http.StatusCreated, Once: true}
}

// edit returns a request that may be carried out twice.
func edit() Request {
	return Request{Operation: "edit it", Method: http.MethodPatch, Path: "/it", Body: map[string]string{"topic": "a"}, MergePatch: true, Status: http.StatusNoContent}
}

func answerJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

// wantError checks that err is a *communication.Error with exactly the message text, and returns
// the error.
func wantError(t *testing.T, err error, text string) *communication.Error {
	t.Helper()
	var e *communication.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %#v, want a *communication.Error", err)
	}
	if got := e.Error(); got != text {
		t.Errorf("error:\n got %s\nwant %s", got, text)
	}
	return e
}

func TestRequestOnTheWire(t *testing.T) {
	var got *http.Request
	var body string
	s := newServer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		text, _ := io.ReadAll(r.Body)
		got, body = r, string(text)
		w.WriteHeader(http.StatusNoContent)
	})
	c := s.client(t, nil)
	r := edit()
	r.Path = "/chat/threads/19%3Aabc%40thread.v2"
	r.Query = url.Values{"startTime": {"2021-09-07T21:44:01Z"}}
	r.Header = map[string]string{"repeatability-request-id": "r"}
	if _, err := c.Do(context.Background(), r, nil); err != nil {
		t.Fatal(err)
	}
	if want := "/chat/threads/19%3Aabc%40thread.v2?startTime=2021-09-07T21%3A44%3A01Z&api-version=2025-03-15"; got.RequestURI != want {
		t.Errorf("target: got %s, want %s", got.RequestURI, want)
	}
	for name, want := range map[string]string{
		"Authorization":            "Bearer token",
		"Accept":                   "application/json",
		"Content-Type":             "application/merge-patch+json",
		"Repeatability-Request-Id": "r",
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("header %s: got %q, want %q", name, value, want)
		}
	}
	if agent := got.UserAgent(); !strings.HasPrefix(agent, "azsdk-go-confab-chat/v") {
		t.Errorf("User-Agent: got %q", agent)
	}
	if got.Header.Get("x-ms-client-request-id") == "" {
		t.Error("no x-ms-client-request-id")
	}
	if want := `{"topic":"a"}`; body != want {
		t.Errorf("body: got %s, want %s", body, want)
	}
}

func TestRequestIDIsKeptOverTries(t *testing.T) {
	var ids []string
	s := newServer(t, func(w http.ResponseWriter, r *http.Request, n int) {
		ids = append(ids, r.Header.Get("x-ms-client-request-id"))
		if n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
	if _, err := s.client(t, nil).Do(context.Background(), read(), nil); err != nil {
		t.Fatal(err)
	}
	if len(ids) != 3 || ids[0] != ids[1] || ids[1] != ids[2] {
		t.Errorf("got ids %q, want the same three times", ids)
	}
}

func TestAPIVersion(t *testing.T) {
	var got []string
	s := newServer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		got = append(got, r.URL.RawQuery)
	})
	c := s.client(t, func(c *Config) { c.Options.APIVersion = "2021-09-07"; c.MinVersion = "2021-03-07" })
	continued := read()
	continued.Path = "/it?syncState=a&startTime=1%2F1%2F1970%2012%3A00&api-version=2023-11-07"
	for _, r := range []Request{read(), continued} {
		if _, err := c.Do(context.Background(), r, nil); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"api-version=2021-09-07", "syncState=a&startTime=1%2F1%2F1970%2012%3A00&api-version=2023-11-07"}; !slices.Equal(got, want) {
		t.Errorf("got queries %q, want %q", got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "not-a-certificate.pem")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, endpoint string
		options        Options
		want           string
	}{
		{"empty", "", Options{}, "endpoint is empty"},
		{"path", "https://localhost/chat", Options{}, "endpoint has a path"},
		{"user", "https://user@localhost", Options{}, "endpoint has a user name or password"},
		{"query", "https://localhost?a=b", Options{}, "endpoint has a query"},
		{"scheme", "ftp://localhost", Options{}, "endpoint is not a URL of the form https://host or http://host"},
		{"http", "http://localhost:8080", Options{}, "endpoint http://localhost:8080 is plain http, where anybody on the way can read the credential: use https, or set InsecureAllowCredentialWithHTTP in the client options"},
		{"old version", "https://localhost", Options{ClientOptions: azcore.ClientOptions{APIVersion: "2020-11-01-preview3"}}, "api-version 2020-11-01-preview3 is older than 2021-03-07, the oldest that package chat speaks"},
		{"no version", "https://localhost", Options{ClientOptions: azcore.ClientOptions{APIVersion: "latest"}}, `api-version "latest" is not of the form 2025-03-15`},
		{"no file", "https://localhost", Options{CAFile: "missing.pem"}, "CAFile in the client options: open missing.pem: no such file or directory"},
		{"no certificate", "https://localhost", Options{CAFile: file}, "CAFile in the client options: " + file + ": the file holds no certificate (PEM)"},
		{"two trusts", "https://localhost", Options{CAFile: file, ClientOptions: azcore.ClientOptions{Transport: http.DefaultClient}}, "client options have a Transport and a CAFile: let the Transport trust the certificates of that file, or leave one of the two out"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(Config{Component: "chat", Version: "2025-03-15", MinVersion: "2021-03-07", Endpoint: test.endpoint, Auth: Bearer(staticToken("token")), Options: &test.options})
			if err == nil || err.Error() != test.want {
				t.Errorf("\n got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestPlainHTTPWhereAllowed(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	o := &Options{}
	o.InsecureAllowCredentialWithHTTP = true
	c, err := New(Config{Component: "chat", Endpoint: s.URL + "/", Auth: Bearer(staticToken("token")), Options: o})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Endpoint(); got != s.URL {
		t.Errorf("Endpoint: got %s, want %s", got, s.URL)
	}
	if _, err := c.Do(context.Background(), read(), nil); err != nil {
		t.Error(err)
	}
}

func TestLogHasNoSecrets(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		w.Header().Set("MS-CV", "cv.0")
		if n == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		answerJSON(w, http.StatusCreated, `{"secret":"answer"}`)
	})
	var b strings.Builder
	c := s.client(t, func(c *Config) {
		c.Options.Logger = slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	r := create()
	r.Query = url.Values{"syncState": {"query-secret"}}
	if _, err := c.Do(context.Background(), r, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err := c.Do(context.Background(), r, nil)
	if err == nil || strings.Contains(err.Error(), "query-secret") {
		t.Errorf("error: got %v", err)
	}
	log := b.String()
	for _, secret := range []string{"token", "query-secret", "topic", "answer"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q:\n%s", secret, log)
		}
	}
	first, _, _ := strings.Cut(log, "\n")
	for _, want := range []string{`"operation":"create it"`, `"method":"POST"`, `"path":"/it"`, `"try":1`, `"status":429`, `"request_id":"cv.0"`, `"ms":`} {
		if !strings.Contains(first, want) {
			t.Errorf("the first line of the log has no %s: %s", want, first)
		}
	}
	if lines := strings.Count(log, "\n"); lines < 3 {
		t.Errorf("got %d lines, want one for each try:\n%s", lines, log)
	}
}

func TestManyAtOnce(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n%5 == 0 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		text, _ := io.ReadAll(r.Body)
		answerJSON(w, http.StatusCreated, string(text))
	})
	c := s.client(t, nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 8 {
				var out struct{ Topic string }
				if _, err := c.Do(context.Background(), create(), &out); err != nil && !errors.Is(err, communication.ErrThrottled) {
					t.Error(err)
				} else if err == nil && out.Topic != "<b>" {
					t.Errorf("got topic %q", out.Topic)
				}
			}
		})
	}
	wg.Wait()
}
