package chattest

import (
	"time"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

// retryDelay is the pause before the first retry of a client that Chat or Identity returns. It is
// short to keep tests fast. If a response has a Retry-After header, the client waits for the time
// in the header instead.
const retryDelay = 5 * time.Millisecond

// Chat returns a chat client for the user u. It uses the token that NewUser issued. The client
// does not renew the token: after the token has expired, requests fail with
// communication.ErrUnauthorized. The client makes the default number of retries, with pauses of
// milliseconds. If a response has a Retry-After header, the client waits for the time in the
// header.
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

// Identity returns an identity client with the server's access key. It is for tests that create
// users and issue tokens, as a token server does. Faults apply to the requests of this client, and
// Server.Requests counts them.
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
