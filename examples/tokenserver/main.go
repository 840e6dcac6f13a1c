// Command tokenserver is the part of your own server that a chat application
// needs: it knows who is signed in, and hands out the tokens of chat users.
//
//	go run ./cmd/confab run -- go run ./examples/tokenserver
//	curl -X POST -u ann:secret http://localhost:8090/token
//
// The access key stays here. A browser or a phone gets a token of its own user,
// which ends within hours, and asks again when it does.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
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
	s, err := newServer(os.Getenv("CONFAB_CONNECTION_STRING"))
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
	// Whoever is being answered is answered to the end.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return srv.Shutdown(ending)
}

// server issues tokens to whoever signs in.
type server struct {
	http.ServeMux
	identities *identity.Client
	passwords  map[string]string // of your sign-in, here in the plainest form

	mu    sync.Mutex // guards users
	users map[string]communication.Identifier
}

func newServer(connection string) (*server, error) {
	ids, err := identity.NewClientFromConnectionString(connection, nil)
	if err != nil {
		return nil, err
	}
	s := &server{
		identities: ids,
		passwords:  map[string]string{"ann": "secret", "bob": "secret"},
		users:      map[string]communication.Identifier{}, // in a database, in earnest: an id is for life
	}
	s.HandleFunc("POST /token", s.token)
	return s, nil
}

// answer is what a client needs to chat.
type answer struct {
	Endpoint  string    `json:"endpoint"`
	User      string    `json:"user"`
	Token     string    `json:"token"`
	ExpiresOn time.Time `json:"expiresOn"`
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	name, password, _ := r.BasicAuth()
	if want, known := s.passwords[name]; !known || password != want {
		w.Header().Set("WWW-Authenticate", `Basic realm="chat"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
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
	json.NewEncoder(w).Encode(answer{s.identities.Endpoint(), user.RawID(), token.Token, token.ExpiresOn})
}

// user returns the chat user of somebody, and makes it when it is the first time: one
// after the other, so that nobody gets two. A database would see to that in earnest.
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

// fail tells the client nothing that it could not help, and the log everything.
func (s *server) fail(w http.ResponseWriter, err error) {
	slog.Error("token", "error", err)
	if errors.Is(err, communication.ErrThrottled) {
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	}
	http.Error(w, "no token", http.StatusBadGateway)
}
