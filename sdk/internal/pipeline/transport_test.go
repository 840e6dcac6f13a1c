package pipeline

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

func TestCAFileOfTheEnvironment(t *testing.T) {
	s := newServer(t, func(http.ResponseWriter, *http.Request, int) {})
	t.Setenv("CONFAB_CA_FILE", s.caFile(t))
	c := s.client(t, func(c *Config) { c.Options.CAFile = "" })
	if _, err := c.Do(context.Background(), read(), nil); err != nil {
		t.Error(err)
	}
	// CAFile in the options takes precedence over the environment variable. If the options have a
	// Transport, the variable is ignored.
	t.Setenv("CONFAB_CA_FILE", "missing.pem")
	s.client(t, nil)
	c = s.client(t, func(c *Config) { c.Options.CAFile, c.Options.Transport = "", s.Client() })
	if _, err := c.Do(context.Background(), read(), nil); err != nil {
		t.Error(err)
	}
	_, err := New(Config{Component: "chat", Endpoint: s.URL, Auth: Bearer(staticToken("token"))})
	if want := "CONFAB_CA_FILE in the environment: open missing.pem: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestClientsShareConnections(t *testing.T) {
	addresses := map[string]bool{}
	s := newServer(t, func(_ http.ResponseWriter, r *http.Request, _ int) { addresses[r.RemoteAddr] = true })
	for range 3 {
		if _, err := s.client(t, nil).Do(context.Background(), read(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(addresses) != 1 {
		t.Errorf("got %d connections, want 1", len(addresses))
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := newServer(t, func(http.ResponseWriter, *http.Request, int) {})
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := newServer(t, func(w http.ResponseWriter, r *http.Request, _ int) {
			w.Header().Set("MS-CV", "cv.0")
			http.Redirect(w, r, elsewhere.URL+"/it?state=1", status)
		})
		for name, change := range map[string]func(*Config){
			"own transport":     nil,
			"another transport": func(c *Config) { c.Options.CAFile, c.Options.Transport = "", s.Client() },
		} {
			for _, r := range []Request{read(), create(), edit()} {
				_, err := s.client(t, change).Do(context.Background(), r, nil)
				want := "the server redirects to " + elsewhere.URL + ", which is not followed: a credential goes to the endpoint and nowhere else (request cv.0)"
				if err == nil || !strings.HasSuffix(err.Error(), want) {
					t.Errorf("%s, %d, %s:\n got %v\nwant ...%s", name, status, r.Operation, err, want)
				}
			}
		}
		if got := s.requests.Load(); got != 6 {
			t.Errorf("%d: got %d requests, want 6", status, got)
		}
	}
	if got := elsewhere.requests.Load(); got != 0 {
		t.Errorf("got %d requests elsewhere, want 0", got)
	}
}

func TestContinuation(t *testing.T) {
	o := &Options{}
	c, err := New(Config{Component: "chat", Endpoint: "https://host.example", Auth: Bearer(staticToken("token")), Options: o})
	if err != nil {
		t.Fatal(err)
	}
	const path = "/chat/threads/19%3Aabc%40thread.v2/messages"
	for _, test := range []struct{ link, want, problem string }{
		{"https://host.example/chat/threads/19:abc@thread.v2/messages?syncState=aa&startTime=1%2F1%2F1970%2012%3A00%3A00%20AM%20%2B00%3A00&api-version=2021-09-07",
			"/chat/threads/19:abc@thread.v2/messages?syncState=aa&startTime=1%2F1%2F1970%2012%3A00%3A00%20AM%20%2B00%3A00&api-version=2021-09-07", ""},
		{"HTTPS://Host.Example:443" + path + "?skip=2", path + "?skip=2", ""},
		{path + "?skip=2", path + "?skip=2", ""},
		{"?skip=2", path + "?skip=2", ""},
		{"https://host.example" + path, path, ""},
		{"", "", "the link to the next page is empty"},
		{"https://evil.example" + path + "?secret=1", "", "the link to the next page leads to https://evil.example, not to https://host.example, and is not followed"},
		{"//evil.example" + path, "", "the link to the next page leads to https://evil.example, not to https://host.example, and is not followed"},
		{"https://host.example.evil" + path, "", "the link to the next page leads to https://host.example.evil, not to https://host.example, and is not followed"},
		{"https://sub.host.example" + path, "", "the link to the next page leads to https://sub.host.example, not to https://host.example, and is not followed"},
		{"https://host.example@evil.example" + path, "", "the link to the next page leads to https://evil.example, not to https://host.example, and is not followed"},
		{"https://user@host.example" + path, "", "the link to the next page leads to https://host.example, not to https://host.example, and is not followed"},
		{"http://host.example" + path, "", "the link to the next page leads to http://host.example, not to https://host.example, and is not followed"},
		{"https://host.example:8443" + path, "", "the link to the next page leads to https://host.example:8443, not to https://host.example, and is not followed"},
		{"/identities?skip=2", "", "the link to the next page leads to /identities, not to " + path + ", and is not followed"},
		{"../messages/1", "", "the link to the next page leads to /chat/threads/messages/1, not to " + path + ", and is not followed"},
		{"https://host.example/%zz", "", `the link to the next page is not a URL: invalid URL escape "%zz"`},
	} {
		got, err := c.Continuation(test.link, path)
		problem := ""
		if err != nil {
			problem = err.Error()
		}
		if got != test.want || problem != test.problem {
			t.Errorf("%s:\n got %q, %s\nwant %q, %s", test.link, got, problem, test.want, test.problem)
		}
	}
}
