package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

// sends creates a user and threads with two participants each. It returns a load in which
// the user sends a message to each thread in turn. The texts are the same in every call, so
// that both servers get the same.
func sends(ctx context.Context, s *server, o options) (load, error) {
	bearer, threads, err := makeThreads(ctx, s, o.threads)
	if err != nil {
		return load{}, err
	}
	random := rand.New(rand.NewPCG(1, 2))
	bodies := make([]string, 1024)
	for i := range bodies {
		bodies[i] = `{"content":"` + text(random, o.size) + `","type":"text"}`
	}
	heads := make([]string, len(threads))
	for i, id := range threads {
		heads[i] = fmt.Sprintf("POST /chat/threads/%s/messages?api-version=2025-03-15 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n", id, s.endpoint.Host, bearer, len(bodies[0]))
	}
	return load{status: http.StatusCreated, request: func(buf []byte, connection, n int) []byte {
		buf = append(buf, heads[(connection+n)%len(heads)]...)
		return append(buf, bodies[(31*connection+n)%len(bodies)]...)
	}}, nil
}

// clients returns the options for SDK clients of a server, and a client that creates users.
// closeIdle closes their idle connections.
func clients(s *server) (o azcore.ClientOptions, identities *identity.Client, closeIdle func(), err error) {
	transport := &http.Transport{TLSClientConfig: s.tls.Clone()}
	o = azcore.ClientOptions{Transport: &http.Client{Transport: transport}}
	key, err := communication.NewAccessKey(s.key)
	if err != nil {
		return o, nil, nil, err
	}
	identities, err = identity.NewClient(s.endpoint.String(), key, &identity.ClientOptions{ClientOptions: o})
	return o, identities, transport.CloseIdleConnections, err
}

// makeThreads creates a user and n threads. It returns an access token of the user and the
// ids of the threads.
func makeThreads(ctx context.Context, s *server, n int) (bearer string, threads []string, err error) {
	client, identities, closeIdle, err := clients(s)
	if err != nil {
		return "", nil, err
	}
	defer closeIdle()
	ann, err := identities.CreateUserAndToken(ctx, []identity.Scope{identity.ScopeChat}, nil)
	if err != nil {
		return "", nil, err
	}
	bob, err := identities.CreateUser(ctx, nil)
	if err != nil {
		return "", nil, err
	}
	cred, err := communication.NewTokenCredential(ann.Token.Token)
	if err != nil {
		return "", nil, err
	}
	chats, err := chat.NewClient(s.endpoint.String(), cred, &chat.ClientOptions{ClientOptions: client})
	if err != nil {
		return "", nil, err
	}
	for i := range n {
		made, err := chats.CreateThread(ctx, fmt.Sprint("Thread ", i), &chat.CreateThreadOptions{Participants: []chat.Participant{{Identifier: bob}}})
		if err != nil {
			return "", nil, err
		}
		threads = append(threads, made.Thread.ID)
	}
	return ann.Token.Token, threads, nil
}

var words = strings.Fields(`the be to of and a in that have it for not on with he as you do at this but his by from they we say
	her she or an will my one all would there their lunch train office meeting tomorrow yesterday please thanks question answer
	number ticket morning evening coffee report customer delivery address invoice weather weekend garden window kitchen`)

// text returns size bytes of ordinary words, so that it compresses about as well as a real
// message. It has no characters that JSON must escape.
func text(random *rand.Rand, size int) string {
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(words[random.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()[:size-1] + "."
}
