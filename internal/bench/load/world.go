package load

import (
	"context"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"golang.org/x/sync/errgroup"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

// World is the set of chat threads, with access tokens of their members, that a load uses in its
// requests.
type World struct{ Threads []Thread }

// Thread is a chat thread.
type Thread struct {
	ID      string
	Bearers []string // an access token of each member
}

// Clients returns the options for SDK clients of a server, and an SDK client that creates users.
// The function closeIdle closes the idle connections of all these clients.
func Clients(s *Server) (o azcore.ClientOptions, identities *identity.Client, closeIdle func(), err error) {
	transport := &http.Transport{TLSClientConfig: s.TLS.Clone(), MaxIdleConnsPerHost: setups}
	o = azcore.ClientOptions{Transport: &http.Client{Transport: transport}}
	key, err := communication.NewAccessKey(s.Key)
	if err != nil {
		return o, nil, nil, err
	}
	identities, err = identity.NewClient(s.Endpoint.String(), key, &identity.ClientOptions{ClientOptions: o})
	return o, identities, transport.CloseIdleConnections, err
}

// setups is the number of concurrent requests that Populate makes.
const setups = 16

// Populate creates threads on a Confab server. Each has the given number of members, who are
// new users and in no other thread.
func Populate(ctx context.Context, s *Server, threads, members int) (World, error) {
	return PopulateShared(ctx, s, threads, members, threads*members)
}

// PopulateShared creates threads on a Confab server, each with the given number of members. It
// first creates the given number of people, at least members. Each of them becomes a member of
// about the same number of threads.
func PopulateShared(ctx context.Context, s *Server, threads, members, people int) (World, error) {
	o, identities, closeIdle, err := Clients(s)
	if err != nil {
		return World{}, err
	}
	defer closeIdle()
	users := make([]identity.UserAndToken, people)
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(setups)
	for i := range users {
		group.Go(func() (err error) {
			users[i], err = identities.CreateUserAndToken(within, []identity.Scope{identity.ScopeChat}, nil)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return World{}, err
	}
	w := World{make([]Thread, threads)}
	group, within = errgroup.WithContext(ctx)
	group.SetLimit(setups)
	for i := range w.Threads {
		of := make([]identity.UserAndToken, members)
		for j := range of {
			of[j] = users[(i*members+j)%people]
		}
		group.Go(func() (err error) {
			w.Threads[i], err = createThread(within, s, o, fmt.Sprint("Thread ", i), of)
			return err
		})
	}
	return w, group.Wait()
}

// createThread creates a thread with the given users. The first one is its creator.
func createThread(ctx context.Context, s *Server, o azcore.ClientOptions, topic string, users []identity.UserAndToken) (t Thread, err error) {
	cred, err := communication.NewTokenCredential(users[0].Token.Token)
	if err != nil {
		return t, err
	}
	chats, err := chat.NewClient(s.Endpoint.String(), cred, &chat.ClientOptions{ClientOptions: o})
	if err != nil {
		return t, err
	}
	var others []chat.Participant
	for i, u := range users {
		if i > 0 {
			others = append(others, chat.Participant{Identifier: u.User})
		}
		t.Bearers = append(t.Bearers, u.Token.Token)
	}
	made, err := chats.CreateThread(ctx, topic, &chat.CreateThreadOptions{Participants: others})
	t.ID = made.Thread.ID
	return t, err
}
