package chattest

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

// User is a chat user on a server, with a token.
type User struct {
	// ID identifies the user in threads and messages.
	ID communication.Identifier

	token string
}

// Token returns the token that NewUser issued for the user. It has the scope "chat" and expires
// after a day of the server's clock.
func (u User) Token() string { return u.token }

// Format implements fmt.Formatter. It writes the user's raw id for every verb, so that a token
// never appears in output.
func (u User) Format(f fmt.State, _ rune) { io.WriteString(f, u.ID.RawID()) }

// NewUser creates a user. It calls the server's code directly, not over HTTP, so that faults do not
// apply to NewUser and Requests does not count the call.
func (s *Server) NewUser() User {
	s.t.Helper()
	id, err := s.server.CreateUser(context.Background())
	if err != nil {
		s.t.Fatalf("chattest: create a user: %v", err)
	}
	u := User{ID: communication.NewUser(id)}
	u.token = s.Token(u.ID, nil)
	return u
}

// TokenOptions are the optional settings of Server.Token. The zero value selects the defaults.
type TokenOptions struct {
	// Scopes are the scopes of the token. If Scopes is empty, the token has identity.ScopeChat.
	Scopes []identity.Scope
	// Lifetime is the lifetime of the token by the server's clock, from 1 second to 24 hours, in
	// whole seconds. 0 means 24 hours. Through the protocol, clients can request only tokens of at
	// least an hour.
	Lifetime time.Duration
}

// Token issues a token for a user of the server. Nil options select the defaults. Like NewUser, it
// calls the server's code directly, not over HTTP. It fails the test if the user does not exist or
// the options are invalid.
func (s *Server) Token(user communication.Identifier, o *TokenOptions) string {
	s.t.Helper()
	scopes, lifetime, err := o.read()
	if err != nil {
		s.t.Fatalf("chattest: issue a token: %v", err)
	}
	text, _, err := s.server.IssueToken(context.Background(), user.RawID(), scopes, lifetime)
	if err != nil {
		s.t.Fatalf("chattest: issue a token for %q: %v", user.RawID(), err)
	}
	return text
}

func (o *TokenOptions) read() (scopes token.Scopes, lifetime time.Duration, err error) {
	names, lifetime := []identity.Scope{identity.ScopeChat}, 24*time.Hour
	if o != nil && len(o.Scopes) > 0 {
		names = o.Scopes
	}
	if o != nil && o.Lifetime != 0 {
		lifetime = o.Lifetime
	}
	if lifetime < time.Second || lifetime > 24*time.Hour {
		return 0, 0, fmt.Errorf("the lifetime %v is not from a second to a day", lifetime)
	}
	for _, name := range names {
		scope, ok := token.ParseScope(string(name))
		if !ok {
			return 0, 0, fmt.Errorf("there is no scope %q", name)
		}
		scopes |= scope
	}
	return scopes, lifetime, nil
}
