package chattest

import (
	"time"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

// retryDelay is the first pause between the attempts of the clients that Chat and Identity return.
// The number of retries is the default one, and they wait as long as a Retry-After says.
const retryDelay = 5 * time.Millisecond

// Chat returns a chat client that acts for u, with the token that NewUser issued. It does not renew
// the token: after the token has expired, requests fail with communication.ErrUnauthorized. It
// retries as often as any client, with pauses of milliseconds, or as long as a Retry-After asks
// for.
func (s *Server) Chat(u User) *chat.Client {
	s.t.Helper()
	o := &chat.ClientOptions{}
	o.Transport, o.Retry.RetryDelay = s.client, retryDelay
	cred, err := communication.NewTokenCredential(u.token)
	if err != nil {
		s.t.Fatalf("chattest: make a chat client: %v", err)
	}
	c, err := chat.NewClient(s.Endpoint(), cred, o)
	if err != nil {
		s.t.Fatalf("chattest: make a chat client: %v", err)
	}
	return c
}

// Identity returns an identity client with the server's access key, for tests that do what a token
// server does. Faults apply to its requests, and Requests counts them.
func (s *Server) Identity() *identity.Client {
	s.t.Helper()
	o := &identity.ClientOptions{}
	o.Transport, o.Retry.RetryDelay = s.client, retryDelay
	c, err := identity.NewClientFromConnectionString(s.ConnectionString(), o)
	if err != nil {
		s.t.Fatalf("chattest: make an identity client: %v", err)
	}
	return c
}
