package rest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/internal/token"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata; read the diff")

// TestExchanges sends the requests in testdata/*.txtar and compares the responses with those in
// the files. The comment at the top of a file says what the file tests. Each section is a request,
// a line "---", and the expected response.
//
// Three request headers are instructions to this test: "As: alice" adds the user's token (or a
// signature: "As: key", "As: secondary"), "Scopes: chat.join" gives the token other scopes than
// chat, "After: 2s" moves the clock first. Ids that differ from run to run are written {alice},
// {thread1}, {token1}, {cursor1}. The files leave out headers that every response has, unless
// the comment has the line "All headers." They always leave out x-ms-request-id, because it is
// the same as MS-CV.
func TestExchanges(t *testing.T) {
	playAll(t, *update, func(t *testing.T) *fixture { return newFixture(t, nil) })
}

// TestEnginesPlayTheSameExchanges sends the requests in testdata/*.txtar to servers that store
// their data in PostgreSQL. It expects the same responses as TestExchanges.
func TestEnginesPlayTheSameExchanges(t *testing.T) {
	database := os.Getenv("TEST_POSTGRES_URL")
	if database == "" {
		t.Skip("set TEST_POSTGRES_URL to run on PostgreSQL: scripts/postgres -- go test ./internal/rest")
	}
	playAll(t, false, func(t *testing.T) *fixture {
		store, err := postgres.Open(t.Context(), freshDatabase(t, database), postgres.Options{Initial: engineResource})
		if err != nil {
			t.Fatal(err)
		}
		return newFixtureOn(t, store, nil)
	})
}

// playAll sends the requests of each file in testdata to a new server and compares the responses
// with those in the file. If update is true, playAll writes the server's responses to the file
// instead of comparing them.
func playAll(t *testing.T, update bool, newFixture func(t *testing.T) *fixture) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no files in testdata", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			comment, sections := parseArchive(string(data))
			p := &play{fixture: newFixture(t), t: t, names: map[string]string{}, values: map[string]string{},
				all: strings.Contains(comment, "All headers.")}
			for _, name := range []string{"alice", "bob", "carol"} {
				id, _ := p.user(t, token.Chat)
				p.learn(name, strings.TrimPrefix(id, "8:acs:"))
			}
			updated := comment
			for _, s := range sections {
				request, want, _ := strings.Cut(s.data, "---\n")
				got := p.exchange(s.name, request)
				if diff := cmp.Diff(want, got); diff != "" && !update {
					t.Errorf("%s (-want +got):\n%s", s.name, diff)
				}
				updated += "-- " + s.name + " --\n" + strings.TrimRight(request, "\n") + "\n---\n" + got
			}
			if update {
				if err := os.WriteFile(file, []byte(updated), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

type section struct{ name, data string }

// parseArchive parses a text in the txtar format: a comment, then sections that each begin with a
// line "-- name --".
func parseArchive(text string) (comment string, sections []section) {
	into := &comment
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- "); ok && strings.HasSuffix(line, " --\n") {
			sections = append(sections, section{name: name})
			into = &sections[len(sections)-1].data
			continue
		}
		*into += line
	}
	return comment, sections
}

type play struct {
	*fixture
	t      *testing.T
	names  map[string]string // of values
	values map[string]string // by name
	count  map[string]int
	all    bool
}

func (p *play) learn(name, value string) {
	if _, known := p.names[value]; !known {
		p.names[value], p.values[name] = name, value
	}
}

func (p *play) exchange(name, text string) string {
	p.t.Helper()
	for name, value := range p.values {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	head, body, _ := strings.Cut(strings.TrimRight(text, "\n"), "\n\n")
	raw := strings.Replace(head, "\n", " HTTP/1.1\nHost: confab.test\n", 1)
	if !strings.Contains(head, "\n") {
		raw = head + " HTTP/1.1\nHost: confab.test"
	}
	raw = strings.ReplaceAll(fmt.Sprintf("%s\nContent-Length: %d", raw, len(body)), "\n", "\r\n") + "\r\n\r\n" + body
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	req.TLS = new(tls.ConnectionState)
	p.prepare(req, body)
	w := httptest.NewRecorder()
	p.ServeHTTP(w, req.WithContext(p.t.Context()))
	return p.show(w)
}

func (p *play) prepare(req *http.Request, body string) {
	p.t.Helper()
	if after := req.Header.Get("After"); after != "" {
		d, err := time.ParseDuration(after)
		if err != nil {
			p.t.Fatal(err)
		}
		p.clock.advance(d)
	}
	as, scopes := req.Header.Get("As"), token.Chat
	for name := range strings.FieldsSeq(req.Header.Get("Scopes")) {
		s, _ := token.ParseScope(name)
		scopes = s | scopes&^token.Chat
	}
	req.Header.Del("After")
	req.Header.Del("As")
	req.Header.Del("Scopes")
	switch as {
	case "":
	case "key", "secondary":
		signed, err := http.NewRequest(req.Method, "https://confab.test"+req.RequestURI, strings.NewReader(body))
		if err != nil {
			p.t.Fatal(err)
		}
		p.sign(p.t, signed, map[string]int{"key": 0, "secondary": 1}[as])
		for name := range signed.Header {
			if req.Header.Get(name) == "" { // keep a wrong value of this header, which an exchange sets in order to test it
				req.Header.Set(name, signed.Header.Get(name))
			}
		}
	default:
		user, err := p.core.User(p.t.Context(), "8:acs:"+p.values[as])
		if err != nil {
			p.t.Fatal(err)
		}
		text, _, err := p.tokens.Issue(user, scopes, time.Hour, p.tokens.Held()[0])
		if err != nil {
			p.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+text)
	}
}

// constant lists the headers that almost every response has. The test files leave them
// out.
var constant = []string{"Api-Supported-Versions", "Confab-Idempotent-Send", "Content-Length", "Ms-Cv", "Strict-Transport-Security", "X-Processing-Time"}

func (p *play) show(w *httptest.ResponseRecorder) string {
	p.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", w.Code)
	var names []string
	if cv, id := w.Header().Get("Ms-Cv"), w.Header().Get("X-Ms-Request-Id"); cv != id {
		p.t.Errorf("MS-CV is %q and x-ms-request-id %q, want the same", cv, id)
	}
	for name := range w.Header() {
		if name != "X-Ms-Request-Id" && (p.all || !slices.Contains(constant, name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		value := w.Header().Get(name)
		if name == "Ms-Cv" {
			value = regexp.MustCompile(`^[A-Za-z0-9+/]{22}\.0$`).ReplaceAllString(value, "{cv}")
		}
		fmt.Fprintf(&b, "%s: %s\n", name, value)
	}
	if w.Body.Len() > 0 {
		var indented bytes.Buffer
		if err := json.Indent(&indented, w.Body.Bytes(), "", "  "); err != nil {
			p.t.Errorf("answer is not JSON: %v\n%s", err, w.Body)
		}
		fmt.Fprintf(&b, "\n%s\n", &indented)
	}
	return p.mask(b.String())
}

var random = []struct {
	name string
	re   *regexp.Regexp
}{
	{"user", regexp.MustCompile(`8:acs:(` + resourceID + `_[0-9a-f-]{36})`)},
	{"thread", regexp.MustCompile(`19(?::|%3A)([0-9a-zA-Z_-]{32,44})@thread\.v2`)},
	{"token", regexp.MustCompile(`"(ey[\w-]+\.[\w-]+\.[\w-]+)"`)},
	{"cursor", regexp.MustCompile(`syncState=([0-9a-f]+)`)},
}

// mask returns the text with names, such as {thread1}, instead of values that differ from run to
// run. It makes a new name for a value that it has not met before.
func (p *play) mask(s string) string {
	for _, r := range random {
		for _, m := range r.re.FindAllStringSubmatch(s, -1) {
			if _, known := p.names[m[1]]; !known {
				if p.count == nil {
					p.count = map[string]int{}
				}
				p.count[r.name]++
				p.learn(fmt.Sprint(r.name, p.count[r.name]), m[1])
			}
		}
	}
	for value, name := range p.names {
		s = strings.ReplaceAll(s, value, "{"+name+"}")
	}
	return s
}
