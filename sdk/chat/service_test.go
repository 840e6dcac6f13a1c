package chat_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/internal/recorded"
)

// This file contains fake services for the examples. They respond with recorded traffic of the real
// service, or with hand-written traffic if no recording exists. A program needs no fake service: it
// gets its client from chat.NewClient.

// The ids of the users in the recorded traffic.
var (
	alice = communication.NewUser("8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-58fb-88f7-08482200b425")
	bob   = communication.NewUser("8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-59f5-88f7-08482200b426")
	carol = communication.NewUser("8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-71b4-88f7-08482200b429")
)

const (
	threadID  = "19:aWuNSmqHe3jJOGl36l6DBhxQDcimoCzk5-N6HxAeDWI1@thread.v2"
	messageID = "1653551972669"
)

// recordedService returns a transport that responds with exchanges from a recorded file. The
// argument exchanges contains their indexes in the file, in the order of the responses.
func recordedService(name string, exchanges ...int) *recorded.Transport {
	all := recorded.MustLoad("testdata/recordings/chat-" + name + ".json").Exchanges
	t := &recorded.Transport{AnyVersion: true}
	for _, i := range exchanges {
		e := all[i]
		e.Request.Body = withKind(e.Request.Body)
		t.Exchanges = append(t.Exchanges, e)
	}
	return t
}

// withKind adds the member kind to the identifiers in a recorded request. The SDKs of 2022, whose
// traffic was recorded, did not send this member.
func withKind(body json.RawMessage) json.RawMessage {
	var v any
	if len(body) == 0 {
		return body
	}
	if err := json.Unmarshal(body, &v); err != nil {
		panic(err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if _, ok := v["communicationUser"]; ok {
				v["kind"] = "communicationUser"
			}
			for _, member := range v {
				walk(member)
			}
		case []any:
			for _, element := range v {
				walk(element)
			}
		}
	}
	walk(v)
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// writtenService returns a transport that responds with the given hand-written exchanges in order.
// It sets the api-version in the query of each exchange, so that the tests need not write it.
func writtenService(exchanges ...recorded.Exchange) *recorded.Transport {
	for i := range exchanges {
		q := &exchanges[i].Request.Query
		if *q == nil {
			*q = map[string]string{}
		}
		(*q)["api-version"] = "2025-03-15"
	}
	return &recorded.Transport{Exchanges: exchanges}
}

func newClient(service *recorded.Transport) *chat.Client {
	client, err := chat.NewClient("https://endpoint", exampleToken{}, &chat.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: service},
	})
	if err != nil {
		panic(err)
	}
	return client
}

func newThread(service *recorded.Transport) *chat.ThreadClient {
	return newClient(service).NewThreadClient(threadID)
}

// newEventClient returns a client that reads event streams from the given texts. Its first
// connection receives the first text, the second connection the second, and so on.
func newEventClient(streams ...string) *chat.Client {
	client, err := chat.NewClient("https://endpoint", exampleToken{}, &chat.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Transport: &writtenStreams{streams: streams},
			Retry:     policy.RetryOptions{RetryDelay: time.Millisecond},
		},
	})
	if err != nil {
		panic(err)
	}
	return client
}

// writtenStreams is a transport that responds to each request with an event stream, the next text
// in the field streams.
type writtenStreams struct {
	mu      sync.Mutex
	streams []string
}

func (w *writtenStreams) Do(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.streams) == 0 {
		return nil, errors.New("there are no more streams")
	}
	body := io.NopCloser(strings.NewReader(w.streams[0]))
	w.streams = w.streams[1:]
	header := http.Header{"Content-Type": {"text/event-stream"}}
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: body, Request: r}, nil
}

// exampleToken is a credential for examples. The fake services do not check its token.
type exampleToken struct{}

func (exampleToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// addBody returns the body of a request that adds users to a thread.
func addBody(users ...communication.Identifier) json.RawMessage {
	var body struct {
		Participants []chat.Participant `json:"participants"`
	}
	for _, u := range users {
		body.Participants = append(body.Participants, chat.Participant{Identifier: u})
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return text
}
