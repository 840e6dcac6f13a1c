package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// person is the JSON answer of /dev/join and /dev/token.
type person struct {
	User, Token, Lobby, Thread string
	Expires                    time.Time
}

// join sends POST /dev/join with a body to the listener of the chat page, and returns the person
// in the answer.
func (r *running) join(t *testing.T, body string) (p person) {
	t.Helper()
	status, answer := r.post(t, r.HTTP+"/dev/join", body)
	if status != http.StatusCreated {
		t.Fatalf("join %s: %d %s", body, status, answer)
	}
	if err := json.Unmarshal([]byte(answer), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// chats sends a request to the chat API as a person.
func (r *running) chats(t *testing.T, p person, method, path, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequest(method, r.HTTP+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.Token)
	req.Header.Set("Content-Type", "application/json")
	return r.do(t, req)
}

const version = "?api-version=2023-11-07"

func devSettings(t *testing.T, pairs ...string) server.Options {
	t.Helper()
	return server.Options{Config: settings(t, append([]string{"dev", "true", "listen-http", "localhost:0"}, pairs...)...)}
}

// TestTwoTabs joins as two people, as two tabs of a browser do. It checks that they are different
// users in one Lobby, and that each can read the messages of the other.
func TestTwoTabs(t *testing.T) {
	s := start(t, devSettings(t))
	before := time.Now()
	ann, bob := s.join(t, `{"name":" Ann "}`), s.join(t, `{"name":"밥"}`)
	if ann.User == bob.User || ann.Lobby == "" || ann.Lobby != bob.Lobby || ann.Thread != ann.Lobby {
		t.Fatalf("got %+v and %+v, want two users in one Lobby", ann, bob)
	}
	if life := ann.Expires.Sub(before); life < 23*time.Hour || life > 25*time.Hour {
		t.Errorf("the token is valid for %v, want a day", life)
	}
	if status, answer := s.chats(t, ann, "POST", "/chat/threads/"+ann.Lobby+"/messages"+version, `{"content":"lunch?"}`); status != 201 {
		t.Fatalf("send: %d %s", status, answer)
	}
	if status, answer := s.chats(t, bob, "GET", "/chat/threads/"+ann.Lobby+"/messages"+version, ""); status != 200 || !strings.Contains(answer, "lunch?") {
		t.Errorf("list: %d %s", status, answer)
	}
	late := s.join(t, `{"name":"Cleo"}`) // Cleo joins late and must be able to read the earlier messages
	if status, answer := s.chats(t, late, "GET", "/chat/threads/"+ann.Lobby+"/messages"+version, ""); status != 200 || !strings.Contains(answer, "lunch?") {
		t.Errorf("list: %d %s", status, answer)
	}
	status, answer := s.chats(t, bob, "GET", "/chat/threads/"+ann.Lobby+"/participants"+version, "")
	for _, want := range []string{`"Ann"`, `"밥"`, `"Cleo"`, `"Confab"`, ann.User} {
		if status != 200 || !strings.Contains(answer, want) {
			t.Errorf("the participants do not have %s: %d %s", want, status, answer)
		}
	}
	if status, answer := s.chats(t, bob, "GET", "/chat/threads/"+ann.Lobby+version, ""); status != 200 || !strings.Contains(answer, `"topic":"Lobby"`) {
		t.Errorf("the Lobby: %d %s", status, answer)
	}
}

// TestManyTabsAtOnce lets as many people as are in a school class join at the same moment. It
// checks that all are in one Lobby.
func TestManyTabsAtOnce(t *testing.T) {
	s := start(t, devSettings(t))
	var all sync.WaitGroup
	lobbies := make([]string, 20)
	for i := range lobbies {
		all.Go(func() {
			resp, err := s.client.Post(s.HTTP+"/dev/join", "application/json", strings.NewReader(`{"name":"x"}`))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			var p person
			if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.StatusCode != 201 {
				t.Errorf("%s: %v", resp.Status, err)
			}
			lobbies[i] = p.Lobby
		})
	}
	all.Wait()
	for _, lobby := range lobbies {
		if lobby == "" || lobby != lobbies[0] {
			t.Fatalf("the Lobbies are %q, want one", lobbies)
		}
	}
}

// TestJoinAThread joins a thread that a user has created, as the chat page does at the path /t/ID.
func TestJoinAThread(t *testing.T) {
	s := start(t, devSettings(t))
	ann := s.join(t, `{"name":"Ann"}`)
	status, answer := s.chats(t, ann, "POST", "/chat/threads"+version, `{"topic":"lunch"}`)
	var made struct{ ChatThread struct{ ID string } }
	if err := json.Unmarshal([]byte(answer), &made); err != nil || status != 201 {
		t.Fatalf("create: %d %s %v", status, answer, err)
	}
	thread := made.ChatThread.ID
	messages := "/chat/threads/" + thread + "/messages" + version
	bob := s.join(t, `{"name":"Bob","thread":"`+thread+`"}`)
	if bob.Thread != thread || bob.Lobby != ann.Lobby {
		t.Errorf("got %+v", bob)
	}
	if status, answer := s.chats(t, bob, "POST", messages, `{"content":"hi"}`); status != 201 {
		t.Errorf("send: %d %s", status, answer)
	}

	// A person who has joined before joins another thread, and must stay the same
	// user.
	cleo := s.join(t, `{"name":"Cleo"}`)
	if status, _ := s.chats(t, cleo, "GET", messages, ""); status != 403 && status != 404 {
		t.Errorf("a stranger reads: %d", status)
	}
	again := s.join(t, `{"name":"Cleo","user":"`+cleo.User+`","thread":"`+thread+`"}`)
	if again.User != cleo.User || again.Thread != thread || again.Lobby != ann.Lobby {
		t.Errorf("got %+v, want the user %s", again, cleo.User)
	}
	if status, answer := s.chats(t, again, "GET", messages, ""); status != 200 || !strings.Contains(answer, "hi") {
		t.Errorf("list: %d %s", status, answer)
	}

	// A thread can still be joined after its creator has left. A deleted thread cannot be joined.
	if status, answer := s.chats(t, ann, "POST", "/chat/threads/"+thread+"/participants/:remove"+version, `{"rawId":"`+ann.User+`","communicationUser":{"id":"`+ann.User+`"}}`); status != 204 {
		t.Fatalf("leave: %d %s", status, answer)
	}
	if dave := s.join(t, `{"name":"Dave","thread":"`+thread+`"}`); dave.Thread != thread {
		t.Errorf("got %+v", dave)
	}
	if status, answer := s.chats(t, bob, "DELETE", "/chat/threads/"+thread+version, ""); status != 204 {
		t.Fatalf("delete: %d %s", status, answer)
	}
	for _, id := range []string{thread, "19:nothing@thread.v2", "no thread at all", strings.Repeat("x", 2000)} {
		if status, answer := s.post(t, s.HTTP+"/dev/join", `{"name":"Eve","thread":"`+id+`"}`); status != 404 || !strings.Contains(answer, `"error":{"code":"NotFound","message":"`) {
			t.Errorf("join %.40s: %d %s", id, status, answer)
		}
	}
}

// TestLobbyStays restarts a server. It checks that the chat page gets the id of the same Lobby as
// before, even before anybody joins, and that a person who then joins is in that Lobby.
func TestLobbyStays(t *testing.T) {
	o := devSettings(t, "data", t.TempDir())
	s := start(t, o)
	if lobby := s.facts(t).Lobby; lobby != nil {
		t.Errorf("the Lobby is %q before anybody has joined", *lobby)
	}
	ann := s.join(t, `{"name":"Ann"}`)
	s.stop(t)
	s = start(t, o)
	if lobby := s.facts(t).Lobby; lobby == nil || *lobby != ann.Lobby {
		t.Errorf("the Lobby is %v after a restart, want %s", lobby, ann.Lobby)
	}
	if bob := s.join(t, `{"name":"Bob"}`); bob.Lobby != ann.Lobby {
		t.Errorf("the Lobby is %s after a restart, want %s", bob.Lobby, ann.Lobby)
	}
	if status, answer := s.chats(t, ann, "GET", "/chat/threads/"+ann.Lobby+"/messages"+version, ""); status != 200 {
		t.Errorf("the token of before: %d %s", status, answer)
	}
}

// TestTwoServersShareTheLobby joins at two servers with the same database, and checks that both
// people are in one Lobby.
func TestTwoServersShareTheLobby(t *testing.T) {
	database := os.Getenv("TEST_POSTGRES_URL")
	if database == "" {
		t.Skip("set TEST_POSTGRES_URL to the URL of a PostgreSQL database to test two servers")
	}
	one, two := start(t, devSettings(t, "database", database)), start(t, devSettings(t, "database", database))
	ann, bob := one.join(t, `{"name":"Ann"}`), two.join(t, `{"name":"Bob"}`)
	if ann.Lobby != bob.Lobby {
		t.Errorf("the Lobbies are %s and %s, want one", ann.Lobby, bob.Lobby)
	}
	if status, answer := two.chats(t, ann, "GET", "/chat/threads/"+ann.Lobby+"/messages"+version, ""); status != 200 {
		t.Errorf("the other server's person: %d %s", status, answer)
	}
}

// TestAnotherLobby makes the Lobby impossible to join, in several ways. It checks that the next
// person joins a new Lobby.
func TestAnotherLobby(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *running, person){
		"deleted": func(t *testing.T, s *running, p person) {
			host := s.host(t, p)
			host.Token, _, _ = s.IssueToken(t.Context(), host.User, token.Chat, time.Hour)
			if status, answer := s.chats(t, host, "DELETE", "/chat/threads/"+p.Lobby+version, ""); status != 204 {
				t.Fatalf("delete: %d %s", status, answer)
			}
		},
		"without its host": func(t *testing.T, s *running, p person) {
			host := s.host(t, p)
			if status, answer := s.chats(t, p, "POST", "/chat/threads/"+p.Lobby+"/participants/:remove"+version, `{"rawId":"`+host.User+`","communicationUser":{"id":"`+host.User+`"}}`); status != 204 {
				t.Fatalf("remove: %d %s", status, answer)
			}
		},
		"full": func(t *testing.T, s *running, p person) {
			s.join(t, `{"name":"Bob"}`) // let Bob join: with its host and two people the Lobby is then full
		},
		"its host deleted": func(t *testing.T, s *running, p person) {
			if status := s.signed(t, "DELETE", "/identities/"+s.host(t, p).User+"?api-version=2023-10-01"); status != 204 {
				t.Fatalf("delete: %d", status)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, devSettings(t, "max-participants", "3"))
			ann := s.join(t, `{"name":"Ann"}`)
			spoil(t, s, ann)
			cleo := s.join(t, `{"name":"Cleo"}`)
			if cleo.Lobby == "" || cleo.Lobby == ann.Lobby {
				t.Fatalf("the Lobby is %q, want another than %q", cleo.Lobby, ann.Lobby)
			}
			if status, answer := s.chats(t, cleo, "POST", "/chat/threads/"+cleo.Lobby+"/messages"+version, `{"content":"hi"}`); status != 201 {
				t.Errorf("send: %d %s", status, answer)
			}
			if dave := s.join(t, `{"name":"Dave"}`); dave.Lobby != cleo.Lobby {
				t.Errorf("the Lobby is %s, want %s as before", dave.Lobby, cleo.Lobby)
			}
		})
	}
}

// host returns the user who created the Lobby, as a person without a token.
func (r *running) host(t *testing.T, p person) person {
	t.Helper()
	status, answer := r.chats(t, p, "GET", "/chat/threads/"+p.Lobby+version, "")
	var thread struct {
		CreatedByCommunicationIdentifier communication.Identifier
	}
	if err := json.Unmarshal([]byte(answer), &thread); err != nil || status != 200 {
		t.Fatalf("get the Lobby: %d %s %v", status, answer, err)
	}
	return person{User: thread.CreatedByCommunicationIdentifier.RawID()}
}

// TestRenewedToken renews a person's token after the first token has expired. It checks that users
// which /dev/join has not created get no token.
func TestRenewedToken(t *testing.T) {
	s := start(t, devSettings(t))
	ann := s.join(t, `{"name":"Ann"}`)
	s.advance(t, "25h")
	if status, _ := s.chats(t, ann, "GET", "/chat/threads"+version, ""); status != 401 {
		t.Fatalf("the old token: %d, want 401", status)
	}
	status, answer := s.post(t, s.HTTP+"/dev/token", `{"user":"`+ann.User+`"}`)
	var again person
	if err := json.Unmarshal([]byte(answer), &again); err != nil || status != 200 || again.User != ann.User {
		t.Fatalf("renew: %d %s %v", status, answer, err)
	}
	if status, answer := s.chats(t, again, "GET", "/chat/threads"+version, ""); status != 200 {
		t.Errorf("the new token: %d %s", status, answer)
	}
	again.Lobby = ann.Lobby
	other, err := s.CreateUser(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	unknown := ann.User[:len(ann.User)-4] + "0000"
	for _, user := range []string{other, unknown, s.host(t, again).User, "8:acs:x", "28:orgid:y"} {
		for path, body := range map[string]string{"/dev/token": `{"user":"` + user + `"}`, "/dev/join": `{"name":"Eve","user":"` + user + `"}`} {
			if status, answer := s.post(t, s.HTTP+path, body); status != 404 || strings.Contains(answer, "token\"") {
				t.Errorf("%s for %s: %d %s, want 404", path, user, status, answer)
			}
		}
	}
}

// TestBadJoins sends invalid bodies to /dev/join. Each must be refused with a message that names
// the mistake, and no user may be created.
func TestBadJoins(t *testing.T) {
	s := start(t, devSettings(t))
	long := strings.Repeat("가", 256)
	s.join(t, `{"name":"`+long+`"}`)
	for body, want := range map[string]string{
		`{}`:                                "name is required",
		`{"name":null}`:                     "name is required",
		`{"name":""}`:                       "name is empty",
		`{"name":" \t　 "}`:                  "name is empty",
		`{"name":"` + long + `x"}`:          "name has 257 characters; at most 256 are allowed",
		`{"name":"a\nb"}`:                   "control character",
		`{"name":"a\u0000b"}`:               "control character",
		`{"name":"\u200b\u200d"}`:           "no visible character",
		`{"name":5}`:                        "name is not of the right type",
		`{"name":"Ann","nam":"x"}`:          `no member "nam": it has name, thread and user`,
		`{"name":"Ann"`:                     "the body is not JSON",
		`["Ann"]`:                           "the body is not a JSON object",
		`{"name":"Ann","thread":{"id":""}}`: "thread is not of the right type",
	} {
		if status, answer := s.post(t, s.HTTP+"/dev/join", body); status != 400 || !strings.Contains(unescaped(answer), want) {
			t.Errorf("%s: %d %s, want 400 with %q", body, status, answer, want)
		}
	}
	if status, answer := s.post(t, s.HTTP+"/dev/join", `{"name":"`+strings.Repeat("x", 8<<10)+`"}`); status != 413 {
		t.Errorf("a long body: %d %s", status, answer)
	}
	if status, answer := s.post(t, s.HTTP+"/dev/token", `{}`); status != 400 || !strings.Contains(answer, "user is required") {
		t.Errorf("no user: %d %s", status, answer)
	}
	if status, _ := s.get(t, s.HTTP+"/dev/join"); status != 405 {
		t.Errorf("GET: %d, want 405", status)
	}
}

// unescaped returns a JSON text without the backslashes before quotes.
func unescaped(text string) string { return strings.ReplaceAll(text, `\"`, `"`) }

// TestNoJoinForPagesOfOthers checks that only the chat page and programs can call /dev/join. A
// page of another origin must be refused, even a page of this machine, and a page whose host name
// was made to resolve to this machine.
func TestNoJoinForPagesOfOthers(t *testing.T) {
	s := start(t, devSettings(t))
	own := strings.TrimPrefix(s.HTTP, "http://")
	for _, path := range []string{"/dev/join", "/dev/token"} {
		for name, c := range map[string]struct {
			host, origin, headers string
			want                  int
		}{
			"a foreign origin":     {"", "https://evil.example", "Content-Type: application/json", 403},
			"a page of a sandbox":  {"", "null", "Content-Type: application/json", 403},
			"another port":         {"", "http://localhost:1", "Content-Type: application/json", 403},
			"told by the browser":  {"", "", "Content-Type: application/json\nSec-Fetch-Site: cross-site", 403},
			"a page of this site":  {"", "", "Content-Type: application/json\nSec-Fetch-Site: same-site", 403},
			"a foreign host":       {"evil.example", "", "Content-Type: application/json", 403},
			"its own rebound page": {"evil.example", "http://evil.example", "Content-Type: application/json", 403},
			"a form":               {"", "", "Content-Type: text/plain", 415},
			"no type":              {"", "", "", 415},
			"its own page":         {own, "http://" + own, "Content-Type: application/json\nSec-Fetch-Site: same-origin", 400},
		} {
			got := s.page(t, pageRequest{method: "POST", address: s.HTTP + path, host: c.host, origin: c.origin, headers: c.headers, body: `{"name":"","user":""}`})
			if path == "/dev/token" && c.want == 400 {
				got = s.page(t, pageRequest{method: "POST", address: s.HTTP + path, host: c.host, origin: c.origin, headers: c.headers, body: `{"user":""}`})
			}
			if got.status != c.want || got.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s, %s: %d %q %s, want %d without CORS headers", path, name, got.status, got.header.Get("Access-Control-Allow-Origin"), got.body, c.want)
			}
		}
	}
}

// TestNoJoinWithoutDev checks that a production server answers /dev/join and /dev/token like
// unknown paths, on both listeners, even if the chat page is on.
func TestNoJoinWithoutDev(t *testing.T) {
	s := start(t, server.Options{Config: settings(t, "web", "on", "listen-http", "localhost:0")})
	for _, base := range []string{s.LocalEndpoint, s.HTTP} {
		_, unknown := s.post(t, base+"/nothing", `{"name":"Ann"}`)
		for _, path := range []string{"/dev/join", "/dev/token"} {
			if status, answer := s.post(t, base+path, `{"name":"Ann"}`); status != 404 || answer != unknown {
				t.Errorf("%s%s: %d %s, want 404 %s", base, path, status, answer, unknown)
			}
		}
	}
}
