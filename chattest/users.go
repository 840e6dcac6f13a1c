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

// User is a user of a server.
type User struct {
	// ID is what threads and messages know the user by.
	ID communication.Identifier

	token string
}

// Token is a token of the user's with the scope "chat", for a day of the
// server's clock from the moment that NewUser made it.
func (u User) Token() string { return u.token }

// Format writes the id with every verb, and never the token.
func (u User) Format(f fmt.State, _ rune) { io.WriteString(f, u.ID.RawID()) }

// NewUser makes a user. It asks the server from within: no fault hits it, and
// it is not counted.
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

// TokenOptions of Server.Token; nil, and the zero value, is the default.
type TokenOptions struct {
	// Scopes are what the token allows; none is identity.ScopeChat.
	Scopes []identity.Scope
	// Lifetime is how long the token lasts by the server's clock, in whole
	// seconds; zero is 24 hours. Over the wire the least is an hour; here it
	// is a second.
	Lifetime time.Duration
}

// Token makes a token for a user of the server. As NewUser it asks from within.
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
