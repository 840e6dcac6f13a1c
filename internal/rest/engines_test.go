package rest

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/apiver"
	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/internal/token"
)

// TestEnginesGiveEqualAnswers sends the same two thousand requests to one server for each store
// engine, with the same clock and the same random ids. It checks that all responses are equal,
// byte for byte.
func TestEnginesGiveEqualAnswers(t *testing.T) {
	database := os.Getenv("TEST_POSTGRES_URL")
	if database == "" {
		t.Skip("set TEST_POSTGRES_URL to compare the engines: scripts/postgres -- go test ./internal/rest")
	}
	embedded, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), Initial: engineResource})
	if err != nil {
		t.Fatal(err)
	}
	shared, err := postgres.Open(t.Context(), freshDatabase(t, database), postgres.Options{Initial: engineResource})
	if err != nil {
		t.Fatal(err)
	}
	first, second := newScript(t, embedded), newScript(t, shared)
	for n := range 2000 {
		a, b := first.step(t, n), second.step(t, n)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("request %d (-embedded +postgres):\n%s", n, diff)
		}
	}
	if len(first.statuses) < 6 {
		t.Errorf("the responses have only the statuses %v", first.statuses)
	}
	t.Logf("2000 requests, equal answers; statuses %v", first.statuses)
}

var engineResource = core.Resource{
	ID: resourceID, Epoch: "epoch",
	Keys: [2]core.AccessKeyRow{
		{Serial: 1, Secret: []byte("the primary key, of 32 bytes....")},
		{Serial: 1, Secret: []byte("the secondary key, of 32 bytes..")},
	},
}

// script sends a fixed sequence of requests to a server on one store engine. It keeps
// the ids and links of earlier responses for later requests.
type script struct {
	*fixture
	random            *rand.Rand // chooses the requests
	users, bearers    []string
	threads, messages []string
	links             []string
	owners            map[string]int // creator of each thread, as an index into users
	asker             int
	statuses          map[int]int
}

func newScript(t *testing.T, store core.Store) *script {
	t.Helper()
	t.Cleanup(func() { store.Close() })
	s := &script{random: rand.New(rand.NewPCG(1, 2)), statuses: map[int]int{}, owners: map[string]int{}}
	f := &fixture{clock: &clock{t: time.Date(2026, 1, 2, 23, 50, 0, 0, time.UTC)}}
	var err error
	f.core, err = core.New(t.Context(), store, new(local.Bus), core.Options{Now: f.clock.now, Random: rand.NewChaCha8([32]byte{1})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.core.Close)
	if f.tokens, err = token.New(f.core.Resource(), f.core, f.clock.now); err != nil {
		t.Fatal(err)
	}
	if f.Handler, err = New(Options{Core: f.core, Tokens: f.tokens, Now: f.clock.now}); err != nil {
		t.Fatal(err)
	}
	s.fixture = f
	return s
}

func (s *script) pick(from []string) string {
	if len(from) == 0 {
		return "none"
	}
	return from[s.random.IntN(len(from))]
}

// step sends the next request and returns the request and its response as text.
func (s *script) step(t *testing.T, n int) string {
	t.Helper()
	s.clock.advance(time.Duration(s.random.IntN(3000)) * time.Millisecond)
	who := s.random.IntN(max(len(s.users), 1))
	thread, message, other := s.pick(s.threads), s.pick(s.messages), s.pick(s.users)
	if i := strings.Index(message, "/messages/"); i > 0 && s.random.IntN(2) == 0 {
		thread = message[len("/chat/threads/"):i]
	}
	if owner, ok := s.owners[thread]; ok && s.random.IntN(4) > 0 {
		who = owner // let the thread's creator send most requests, because other users would get only a 403 for most of them
	}
	s.asker = who
	t19 := "/chat/threads/" + thread
	kinds := []struct{ method, path, body string }{
		{"POST", "/identities", `{"createTokenWithScopes":["chat"]}`},
		{"POST", "/chat/threads", fmt.Sprintf(`{"topic":"topic %d","participants":[{"communicationIdentifier":{"rawId":%q},"displayName":"n%d"}],"metadata":{"k":"v%d"}}`, n, other, n, n)},
		{"GET", "/chat/threads?maxPageSize=3", ""},
		{"GET", t19, ""},
		{"PATCH", t19, fmt.Sprintf(`{"topic":"renamed %d","metadata":{"k":null,"l":"%d"}}`, n, n)},
		{"POST", t19 + "/messages", fmt.Sprintf(`{"content":"message %d \u00e4\ud83d\ude00","senderDisplayName":"s%d","metadata":{"a":"1","b":"%d"}}`, n, n, n)},
		{"POST", t19 + "/messages", fmt.Sprintf(`{"content":"<b>%d</b><script>x</script>","type":"html"}`, n)},
		{"GET", t19 + "/messages?maxPageSize=4", ""},
		{"GET", t19 + "/messages?STARTTIME=1900-01-01t00:00:00z&maxPageSize=3", ""},
		{"GET", "/chat/threads?startTime=1969-12-31T23:59:60Z&MaxPageSize=2", ""},
		{"GET", message, ""},
		{"PATCH", message, fmt.Sprintf(`{"content":"edited %d"}`, n)},
		{"DELETE", message, ""},
		{"GET", t19 + "/participants?maxPageSize=2", ""},
		{"POST", t19 + "/participants/:add", fmt.Sprintf(`{"participants":[{"communicationIdentifier":{"rawId":%q}}]}`, other)},
		{"POST", t19 + "/participants/:add", fmt.Sprintf(`{"participants":[{"communicationIdentifier":{"rawId":%q},"shareHistoryTime":"1969-12-31T23:59:59Z"}]}`, other)},
		{"POST", t19 + "/participants/:remove", fmt.Sprintf(`{"rawId":%q}`, other)},
		{"POST", t19 + "/readReceipts", fmt.Sprintf(`{"chatMessageId":%q}`, message[strings.LastIndexByte(message, '/')+1:])},
		{"GET", t19 + "/readReceipts", ""},
		{"POST", t19 + "/typing", ""},
		{"DELETE", t19, ""},
		{"GET", s.pick(s.links), ""},
		{"POST", "/identities/" + other + "/:revokeAccessTokens", ""},
		{"DELETE", "/identities/" + other, ""},
	}
	k := kinds[s.random.IntN(len(kinds))]
	rare := k.method == "DELETE" && !strings.Contains(k.path, "messages") || strings.HasSuffix(k.path, "revokeAccessTokens")
	if rare && s.random.IntN(8) > 0 || len(s.users) < 3 {
		k = kinds[0]
	}
	if !strings.HasPrefix(k.path, "/") {
		k = kinds[1]
	}
	path := k.path
	if !strings.Contains(path, "api-version") {
		path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + "api-version="
		if strings.HasPrefix(path, "/identities") {
			path += "2023-10-01"
		} else {
			versions := apiver.Chat.Versions()
			path += string(versions[s.random.IntN(len(versions))])
		}
	}
	req := httptest.NewRequest(k.method, path, strings.NewReader(k.body))
	if strings.HasPrefix(path, "/identities") {
		s.sign(t, req, 0)
	} else {
		req.Header.Set("Authorization", "Bearer "+s.bearers[who%len(s.bearers)])
		if s.random.IntN(4) == 0 {
			req.Header.Set("repeatability-request-id", fmt.Sprint("token ", s.random.IntN(5)))
		}
	}
	if n%50 == 49 {
		s.clock.advance(core.DefaultGrace)
		if _, err := s.core.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	s.learn(w, path)
	return fmt.Sprintf("%s %s\n%s", k.method, path, transcript(w))
}

// learn stores the ids and links in a response, so that later requests can contain them.
func (s *script) learn(w *httptest.ResponseRecorder, path string) {
	s.statuses[w.Code]++
	body := w.Body.String()
	between := func(a, b string) string {
		_, rest, _ := strings.Cut(body, a)
		found, _, _ := strings.Cut(rest, b)
		return found
	}
	switch {
	case w.Code == 201 && strings.HasPrefix(path, "/identities"):
		s.users = append(s.users, between(`"id":"`, `"`))
		s.bearers = append(s.bearers, between(`"token":"`, `"`))
	case w.Code == 201 && strings.HasPrefix(path, "/chat/threads?"):
		s.threads = append(s.threads, between(`"id":"`, `"`))
		s.owners[s.threads[len(s.threads)-1]] = s.asker
	case w.Code == 201 && strings.Contains(path, "/messages?"):
		thread, _, _ := strings.Cut(path, "/messages?")
		s.messages = append(s.messages, thread+"/messages/"+between(`"id":"`, `"`))
	}
	if link := between(`"nextLink":"`, `"`); link != "" {
		s.links = append(s.links, link[strings.Index(link, "/chat"):])
	}
}

// freshDatabase creates an empty database on the PostgreSQL server at the address and
// returns the URL of the database.
func freshDatabase(t *testing.T, address string) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	name := "engines_" + strings.ToLower(crand.Text()[:10])
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		conn.Close(ctx)
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = name
	return u.String()
}

// transcript returns the status, headers and body of a response as text. It leaves out
// the headers that differ from run to run.
func transcript(w *httptest.ResponseRecorder) string {
	var b bytes.Buffer
	fmt.Fprintln(&b, w.Code)
	var names []string
	for name := range w.Header() {
		if name != http.CanonicalHeaderKey("MS-CV") && name != "X-Ms-Request-Id" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s: %s\n", name, w.Header().Get(name))
	}
	return b.String() + w.Body.String()
}
