package chattest

import (
	"time"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

// retryDelay is the first pause between the attempts of a ready made client. It
// tries again as often as any other, and waits as long as a Retry-After says.
const retryDelay = 5 * time.Millisecond

// Chat is a chat client that speaks for a user with the token that NewUser made,
// and with no other when that has expired. It tries again as often as any client,
// after pauses of milliseconds, or as long as a Retry-After asks for.
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

// Identity is an identity client with the server's access key, for what token
// servers do. Its requests are met by faults and counted as any other.
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
