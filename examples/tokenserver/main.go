// Command tokenserver is the part of your own server that a chat application needs: it checks who
// signs in and issues tokens for the chat user of that person.
//
//	confab run -- go run ./examples/tokenserver
//	curl -X POST -u ann:secret http://localhost:8090/token
//
// For Confab's chat page (docs/web.md) it also does what a web application does: it recognizes by
// a cookie who has signed in, and gives the page that person's token. CHAT_PAGE is the page's
// address. Open http://localhost:8090 in a browser, and sign in.
//
//	confab serve --dev --web-token-url http://localhost:8090/chat-token
//	CHAT_PAGE=http://localhost:8080 confab run -- go run ./examples/tokenserver
//
// The access key stays on this server. A browser or a phone gets a token for its own user. The
// token expires within hours; the browser or phone then requests another one.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "tokenserver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	s, err := newServer(os.Getenv("CONFAB_CONNECTION_STRING"), os.Getenv("CHAT_PAGE"))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", cmp.Or(os.Getenv("LISTEN"), "localhost:8090"))
	if err != nil {
		return err
	}
	fmt.Printf("tokens at http://%s/token, for ann:secret and bob:secret\n", l.Addr())
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	// Wait up to ten seconds for active requests to finish.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return srv.Shutdown(ending)
}

// server issues chat tokens to people that sign in with a name and a password.
type server struct {
	http.ServeMux
	identities *identity.Client
	passwords  map[string]string // the password of each person, by name; a real server stores hashes of passwords

	chatPage string // scheme and host of Confab's chat page; empty if it is not used

	mu       sync.Mutex // guards the fields below
	users    map[string]communication.Identifier
	sessions map[string]string // the name of the signed-in person, by the value of the session cookie; a real server ends sessions
}

func newServer(connection, chatPage string) (*server, error) {
	ids, err := identity.NewClientFromConnectionString(connection, nil)
	if err != nil {
		return nil, err
	}
	s := &server{
		identities: ids,
		passwords:  map[string]string{"ann": "secret", "bob": "secret"},
		users:      map[string]communication.Identifier{}, // the chat user of each person; a real server uses a database, because it must keep the ids
		sessions:   map[string]string{},
		chatPage:   strings.TrimRight(chatPage, "/"),
	}
	s.HandleFunc("POST /token", s.token)
	if chatPage != "" {
		s.HandleFunc("GET /{$}", s.signIn)
		s.HandleFunc("GET /chat-token", s.chatToken)
	}
	return s, nil
}

// answer is the JSON response to a client that signed in. It contains everything that the client
// needs to chat.
type answer struct {
	Endpoint    string    `json:"endpoint"`
	User        string    `json:"user"`
	DisplayName string    `json:"displayName"`
	Token       string    `json:"token"`
	ExpiresOn   time.Time `json:"expiresOn"`
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	if name, ok := s.known(w, r); ok {
		s.answer(w, r, name)
	}
}

// known returns the name of the person whose name and password the request has. If they are
// wrong, it answers the request, and ok is false.
func (s *server) known(w http.ResponseWriter, r *http.Request) (name string, ok bool) {
	name, password, _ := r.BasicAuth()
	if want, known := s.passwords[name]; !known || password != want {
		w.Header().Set("WWW-Authenticate", `Basic realm="chat"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return "", false
	}
	return name, true
}

// sessionCookie is the name of the cookie with which the server recognizes a browser that signed
// in.
const sessionCookie = "session"

// signIn asks a browser for a name and a password. If the two are right, it sets the session cookie
// and redirects the browser to the chat page.
func (s *server) signIn(w http.ResponseWriter, r *http.Request) {
	name, ok := s.known(w, r)
	if !ok {
		return
	}
	session := rand.Text()
	s.mu.Lock()
	s.sessions[session] = name
	s.mu.Unlock()
	// A real server uses https and also sets the attribute Secure of the cookie.
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: session, Path: "/chat-token", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, s.chatPage, http.StatusSeeOther)
}

// chatToken answers a request of the chat page with a token for the user who signed in. Its
// headers allow scripts of the page's origin to send the session cookie and to read the answer.
// Scripts of other origins cannot read it.
func (s *server) chatToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", s.chatPage)
	w.Header().Set("Access-Control-Allow-Credentials", "true")
	var name string
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		s.mu.Lock()
		name = s.sessions[cookie.Value]
		s.mu.Unlock()
	}
	if name == "" {
		http.Error(w, "sign in first", http.StatusUnauthorized)
		return
	}
	s.answer(w, r, name)
}

// answer responds with a new token for the chat user of the person with the given name.
func (s *server) answer(w http.ResponseWriter, r *http.Request, name string) {
	user, err := s.user(r.Context(), name)
	if err != nil {
		s.fail(w, err)
		return
	}
	token, err := s.identities.GetToken(r.Context(), user, []identity.Scope{identity.ScopeChat}, &identity.TokenOptions{ExpiresIn: time.Hour})
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(answer{s.identities.Endpoint(), user.RawID(), name, token.Token, token.ExpiresOn})
}

// user returns the chat user of the person with the given name, and creates the user the first
// time. A mutex ensures that no person gets two users; a real server would use a database instead.
func (s *server) user(ctx context.Context, name string) (communication.Identifier, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if user, ok := s.users[name]; ok {
		return user, nil
	}
	user, err := s.identities.CreateUser(ctx, nil)
	if err == nil {
		s.users[name] = user
	}
	return user, err
}

// fail logs err and sends the client a short error without the details of err.
func (s *server) fail(w http.ResponseWriter, err error) {
	slog.Error("token", "error", err)
	if errors.Is(err, communication.ErrThrottled) {
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	}
	http.Error(w, "no token", http.StatusBadGateway)
}
