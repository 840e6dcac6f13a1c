package chat_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// respond is a fake transport. It records each request and returns the response that the function
// answer makes. The argument n of answer is the number of the request, counted from 1.
type respond struct {
	answer func(n int, r *http.Request) (status int, body string, header map[string]string)

	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func (s *respond) Do(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	s.mu.Lock()
	s.requests = append(s.requests, r.Clone(context.Background()))
	s.bodies = append(s.bodies, string(body))
	n := len(s.requests)
	s.mu.Unlock()
	status, text, header := s.answer(n, r)
	h := http.Header{"Content-Type": {"application/json"}}
	for name, value := range header {
		h.Set(name, value)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// tokens returns the idempotency token of each recorded request, or "" for a request without one.
func (s *respond) tokens() []string {
	var tokens []string
	for _, r := range s.requests {
		tokens = append(tokens, r.Header.Get("repeatability-request-id"))
	}
	return tokens
}

func (s *respond) client(t *testing.T) *chat.Client {
	t.Helper()
	client, err := chat.NewClient("https://endpoint", exampleToken{}, &chat.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: s, Retry: policy.RetryOptions{RetryDelay: time.Millisecond}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

var idempotentHeader = map[string]string{"confab-idempotent-send": "true"}

func TestNewClientRefuses(t *testing.T) {
	version := func(v string) *chat.ClientOptions {
		return &chat.ClientOptions{ClientOptions: azcore.ClientOptions{APIVersion: v}}
	}
	for _, test := range []struct {
		endpoint string
		cred     azcore.TokenCredential
		options  *chat.ClientOptions
		want     string
	}{
		{"https://endpoint", nil, nil, "chat client: credential is nil: see communication.NewTokenCredential"},
		{"https://endpoint", (*communication.TokenCredential)(nil), nil, "chat client: credential is nil: see communication.NewTokenCredential"},
		{"", exampleToken{}, nil, "chat client: endpoint is empty"},
		{"https://endpoint", exampleToken{}, version("2021-01-27-preview4"), "chat client: api-version 2021-01-27-preview4 is older than 2021-03-07, the oldest that package chat speaks"},
		{"https://endpoint", exampleToken{}, version("2021-09-07"), ""},
	} {
		_, err := chat.NewClient(test.endpoint, test.cred, test.options)
		if err == nil && test.want == "" {
			continue
		}
		if err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

func TestCreateThreadKeepsItsToken(t *testing.T) {
	s := &respond{answer: func(n int, _ *http.Request) (int, string, map[string]string) {
		if n%2 == 1 {
			return 503, "", nil
		}
		return 201, `{"chatThread":{"id":"19:1@thread.v2"}}`, nil
	}}
	client := s.client(t)
	for range 2 {
		if _, err := client.CreateThread(t.Context(), "topic", nil); err != nil {
			t.Fatal(err)
		}
	}
	mine := &chat.CreateThreadOptions{IdempotencyToken: "mine"}
	if _, err := client.CreateThread(t.Context(), "topic", mine); err != nil {
		t.Fatal(err)
	}
	got := s.tokens()
	if len(got) != 6 || got[0] != got[1] || got[2] != got[3] || got[0] == got[2] || len(got[0]) != 36 {
		t.Errorf("tokens %q, want the same for the tries of one call and another for the next", got)
	}
	if !slices.Equal(got[4:], []string{"mine", "mine"}) {
		t.Errorf("tokens %q, want the caller's", got[4:])
	}
}

// TestSendFollowsTheHeader sends messages after responses with and without the announcement of
// idempotent sends. A message must carry an idempotency token after a response with the
// announcement, and no longer after a successful response without it.
func TestSendFollowsTheHeader(t *testing.T) {
	var next struct {
		status int
		header map[string]string
	}
	s := &respond{answer: func(_ int, r *http.Request) (int, string, map[string]string) {
		if r.Method == http.MethodPost {
			return 201, `{"id":"1"}`, next.header
		}
		return next.status, `{}`, next.header
	}}
	client := s.client(t)
	thread, other := client.NewThreadClient("19:1@thread.v2"), client.NewThreadClient("19:2@thread.v2")
	for _, step := range []struct {
		name   string
		before int // HTTP status of the response to a read that the test sends before the message; 0: the test sends no read
		header map[string]string
		token  bool
	}{
		{"first request", 0, nil, false},
		{"a plain answer", 200, nil, false},
		{"the header on another thread", 200, idempotentHeader, true},
		{"a refusal without it, from a proxy", 403, nil, true},
		{"an answer without it", 200, nil, false},
		{"a refusal with it", 403, idempotentHeader, true},
	} {
		next.status, next.header = step.before, step.header
		if step.before != 0 {
			other.GetProperties(t.Context())
		}
		next.header = nil
		if step.token {
			next.header = idempotentHeader // repeat the announcement of idempotent sends: after a response without it, the client would not send tokens
		}
		if _, err := thread.SendMessage(t.Context(), "hello", nil); err != nil {
			t.Fatal(err)
		}
		tokens := s.tokens()
		if got := tokens[len(tokens)-1] != ""; got != step.token {
			t.Errorf("after %s: sent a token: %v, want %v", step.name, got, step.token)
		}
	}
	next.header = nil
	thread.GetProperties(t.Context())
	if _, err := thread.SendMessage(t.Context(), "hello", &chat.SendMessageOptions{IdempotencyToken: "mine"}); err != nil {
		t.Fatal(err)
	}
	if tokens := s.tokens(); tokens[len(tokens)-1] != "mine" {
		t.Errorf("the caller's token was not sent")
	}
}

// TestAnswerOutlivesTheContext ends the context of SendMessage just after the client has read the
// response. SendMessage must return the response and no error, because after an error the caller
// would send the message again.
func TestAnswerOutlivesTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &respond{answer: func(int, *http.Request) (int, string, map[string]string) {
		cancel()
		return 201, `{"id":"5"}`, nil
	}}
	id, err := s.client(t).NewThreadClient(threadID).SendMessage(ctx, "hello", nil)
	if id != "5" || err != nil {
		t.Errorf("got %q, %v, want the message", id, err)
	}
}

func TestAddParticipantRefused(t *testing.T) {
	s := &respond{answer: func(int, *http.Request) (int, string, map[string]string) {
		return 201, `{"invalidParticipants":[{"target":"` + bob.RawID() + `","code":"403","message":"Permissions check failed"}]}`, nil
	}}
	thread := s.client(t).NewThreadClient(threadID)
	err := thread.AddParticipant(t.Context(), chat.Participant{Identifier: bob})
	want := "add participants: 403 Forbidden: Permissions check failed (target " + bob.RawID() + ")"
	if !errors.Is(err, communication.ErrForbidden) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestFailedParticipantsAreAsGiven(t *testing.T) {
	s := &respond{answer: func(int, *http.Request) (int, string, map[string]string) {
		return 201, `{"chatThread":{"id":"1"},"invalidParticipants":[{"target":"` + bob.RawID() + `","code":"404"},{"target":"8:acs:stranger","code":"403"},{"code":"500"}]}`, nil
	}}
	given := chat.Participant{Identifier: bob, DisplayName: "Bob", ShareHistoryTime: time.Unix(5, 0), Metadata: map[string]string{"k": "v"}}
	result, err := s.client(t).CreateThread(t.Context(), "topic", &chat.CreateThreadOptions{
		Participants: []chat.Participant{{Identifier: alice}, given},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := result.Failed.Participants(), []chat.Participant{given}; len(result.Failed) != 3 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v of %v, want %v of three", got, result.Failed, want)
	}
}

// TestNothingIsSent checks that calls with invalid arguments fail without sending a request.
func TestNothingIsSent(t *testing.T) {
	s := &respond{answer: func(int, *http.Request) (int, string, map[string]string) { return 500, "", nil }}
	client := s.client(t)
	ctx := t.Context()
	thread, nowhere := client.NewThreadClient(threadID), client.NewThreadClient("")
	both := &chat.UpdateThreadOptions{Metadata: map[string]string{"k": "v"}, RemoveMetadata: []string{"k"}}
	nobody := chat.Participant{DisplayName: "Nobody"}
	for want, call := range map[string]func() error{
		"get thread: thread id is empty":             func() error { _, err := nowhere.GetProperties(ctx); return err },
		"send message: thread id is empty":           func() error { _, err := nowhere.SendMessage(ctx, "x", nil); return err },
		"list messages: thread id is empty":          func() error { _, err := nowhere.NewListMessagesPager(nil).NextPage(ctx); return err },
		"delete thread: thread id is empty":          func() error { return client.DeleteThread(ctx, "") },
		`delete thread: thread id ".." is no id`:     func() error { return client.DeleteThread(ctx, "..") },
		"delete message: message id is empty":        func() error { return thread.DeleteMessage(ctx, "") },
		"update message: message id is empty":        func() error { return thread.UpdateMessage(ctx, "", &chat.UpdateMessageOptions{Content: "x"}) },
		"update message: there is nothing to change": func() error { return thread.UpdateMessage(ctx, "1", nil) },
		"update thread: there is nothing to change":  func() error { return thread.Update(ctx, &chat.UpdateThreadOptions{}) },
		"send message: IdempotencyToken has a character that is not printable ASCII, at byte 1": func() error {
			_, err := thread.SendMessage(ctx, "x", &chat.SendMessageOptions{IdempotencyToken: "a\n"})
			return err
		},
		"get message: message id is empty":                              func() error { _, err := thread.GetMessage(ctx, ""); return err },
		"send read receipt: message id is empty":                        func() error { return thread.SendReadReceipt(ctx, "") },
		"add participants: participant 0 has no identifier":             func() error { return thread.AddParticipant(ctx, nobody) },
		"create thread: participant 0 has no identifier":                func() error { return create(ctx, client, nobody) },
		"remove participant: identifier is empty":                       func() error { return thread.RemoveParticipant(ctx, communication.Identifier{}) },
		`update thread: metadata key "k" is both set and removed`:       func() error { return thread.Update(ctx, both) },
		"list threads: MaxPageSize -1 is negative":                      func() error { return firstThreads(ctx, client, chat.ListThreadsOptions{MaxPageSize: -1}) },
		"list participants: Skip -1 is negative":                        func() error { return firstParticipants(ctx, thread, -1) },
		"list threads: the continuation is not a path and query":        func() error { return continued(ctx, client, "https://endpoint/chat/threads?syncState=x") },
		"list threads: the continuation is not a path and query of ":    func() error { return continued(ctx, client, "//other/chat/threads?syncState=x") },
		"list threads: the continuation is not a path and query of an":  func() error { return continued(ctx, client, "?syncState=x") },
		"list threads: continuation: the link to the next page leads":   func() error { return continued(ctx, client, "/chat/threads/19:1@thread.v2/messages") },
		"list threads: continuation: the link to the next page leads ":  func() error { return continued(ctx, client, "/chat/threads/../../identities") },
		"list threads: continuation: the link to the next page leads t": func() error { return continued(ctx, client, `/\other/chat/threads`) },
	} {
		err := call()
		if e := (*communication.Error)(nil); err == nil || !strings.HasPrefix(err.Error(), want) || !errors.As(err, &e) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if failed, err := thread.AddParticipants(ctx); len(failed) != 0 || err != nil {
		t.Errorf("adding nobody: got %v, %v", failed, err)
	}
	if len(s.requests) != 0 {
		t.Errorf("%d requests were sent", len(s.requests))
	}
}

func create(ctx context.Context, c *chat.Client, ps ...chat.Participant) error {
	_, err := c.CreateThread(ctx, "topic", &chat.CreateThreadOptions{Participants: ps})
	return err
}

func firstThreads(ctx context.Context, c *chat.Client, o chat.ListThreadsOptions) error {
	for _, err := range c.ListThreads(ctx, &o) {
		return err
	}
	return nil
}

func continued(ctx context.Context, c *chat.Client, continuation string) error {
	return firstThreads(ctx, c, chat.ListThreadsOptions{Continuation: continuation})
}

func firstParticipants(ctx context.Context, t *chat.ThreadClient, skip int) error {
	for _, err := range t.ListParticipants(ctx, &chat.ListParticipantsOptions{Skip: skip}) {
		return err
	}
	return nil
}

// TestContinuationOfAnotherThread checks that the list of messages of a thread cannot begin at a
// Continuation of another thread's messages.
func TestContinuationOfAnotherThread(t *testing.T) {
	s := &respond{answer: func(int, *http.Request) (int, string, map[string]string) { return 200, `{"value":[]}`, nil }}
	client := s.client(t)
	const stored = "/chat/threads/19:1@thread.v2/messages?syncState=x&api-version=2025-03-15"
	for id, want := range map[string]int{"19:1@thread.v2": 1, "19:2@thread.v2": 0} {
		s.requests = nil
		pager := client.NewThreadClient(id).NewListMessagesPager(&chat.ListMessagesOptions{Continuation: stored, MaxPageSize: 7})
		_, err := pager.NextPage(t.Context())
		if len(s.requests) != want || (err == nil) != (want == 1) {
			t.Errorf("%s: %d requests and %v, want %d requests", id, len(s.requests), err, want)
		}
		for _, r := range s.requests {
			if got := r.URL.RequestURI(); got != stored {
				t.Errorf("asked %s, want %s", got, stored)
			}
		}
	}
}

// TestPagerGoesOnAfterAnError lets every second request for a page fail. It checks that the pager
// returns each element once, and that NextPage after the last page fails without a request.
func TestPagerGoesOnAfterAnError(t *testing.T) {
	s := &respond{answer: func(n int, r *http.Request) (int, string, map[string]string) {
		if n%2 == 0 {
			return 403, "", nil
		}
		page := max(1, len(r.URL.Query().Get("p"))) // the length of the parameter p is the number of the page: p=xx requests page 2
		next := ""
		if page < 3 {
			next = `,"nextLink":"https://endpoint/chat/threads?p=` + strings.Repeat("x", page+1) + `"`
		}
		return 200, fmt.Sprintf(`{"value":[{"id":"%d"}]%s}`, page, next), nil
	}}
	pager := s.client(t).NewListThreadsPager(nil)
	var got []string
	for pager.More() {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			got = append(got, "error")
			continue
		}
		got = append(got, page.Values[0].ID)
	}
	if want := []string{"1", "error", "2", "error", "3"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	asked := len(s.requests)
	if _, err := pager.NextPage(t.Context()); err == nil || len(s.requests) != asked {
		t.Errorf("after the last page: %v and %d requests more, want an error and none", err, len(s.requests)-asked)
	}
}

// TestIteratorStops checks that an iterator requests no further page after the loop ends, and that
// a second loop over the iterator starts at the first page again.
func TestIteratorStops(t *testing.T) {
	s := &respond{answer: func(n int, _ *http.Request) (int, string, map[string]string) {
		return 200, fmt.Sprintf(`{"value":[{"id":"1"},{"id":"2"}],"nextLink":"/chat/threads?p=%d"}`, n), nil
	}}
	threads := s.client(t).ListThreads(t.Context(), nil)
	for range 2 {
		for item, err := range threads {
			if err != nil || item.ID != "1" {
				t.Fatal(item, err)
			}
			break
		}
	}
	if len(s.requests) != 2 || s.requests[0].URL.String() != s.requests[1].URL.String() {
		t.Errorf("%d requests, want the first page twice", len(s.requests))
	}
}

func TestOptionsOfLists(t *testing.T) {
	s := &respond{answer: func(int, *http.Request) (int, string, map[string]string) { return 200, `{}`, nil }}
	client := s.client(t)
	thread := client.NewThreadClient("a/b")
	at := time.Date(2022, 5, 26, 9, 59, 32, 5, time.FixedZone("", 2*60*60))
	for range client.ListThreads(t.Context(), &chat.ListThreadsOptions{StartTime: at, MaxPageSize: 2}) {
	}
	for range thread.ListParticipants(t.Context(), &chat.ListParticipantsOptions{Skip: 3, MaxPageSize: 2}) {
	}
	var got []string
	for _, r := range s.requests {
		got = append(got, r.URL.RequestURI())
	}
	want := []string{
		"/chat/threads?maxPageSize=2&startTime=2022-05-26T07%3A59%3A32Z&api-version=2025-03-15",
		"/chat/threads/a%2Fb/participants?maxPageSize=2&skip=3&api-version=2025-03-15",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestBodiesOfUpdates(t *testing.T) {
	s := &respond{answer: func(int, *http.Request) (int, string, map[string]string) { return 204, "", nil }}
	thread := s.client(t).NewThreadClient(threadID)
	ctx := t.Context()
	for _, err := range []error{
		thread.UpdateTopic(ctx, ""),
		thread.Update(ctx, &chat.UpdateThreadOptions{Topic: "t", Metadata: map[string]string{"a": ""}, RemoveMetadata: []string{"b"}}),
		thread.UpdateMessage(ctx, "1", &chat.UpdateMessageOptions{Content: "<b>", Metadata: map[string]string{"a": "x"}, RemoveMetadata: []string{"b"}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{`{"topic":""}`, `{"topic":"t","metadata":{"a":"","b":null}}`, `{"content":"<b>","metadata":{"a":"x","b":""}}`}
	if !slices.Equal(s.bodies, want) {
		t.Errorf("got  %s\nwant %s", s.bodies, want)
	}
}

func TestConcurrentUse(t *testing.T) {
	s := &respond{answer: func(n int, r *http.Request) (int, string, map[string]string) {
		if r.Method == http.MethodPost {
			return 201, `{"id":"1"}`, idempotentHeader
		}
		return 200, `{"value":[{"id":"1"}]}`, nil
	}}
	client := s.client(t)
	thread := client.NewThreadClient(threadID)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := thread.SendMessage(t.Context(), "hello", nil); err != nil {
					t.Error(err)
				}
				for _, err := range client.ListThreads(t.Context(), nil) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestEveryMethodHasAnExample checks that every exported method of this package has an example.
// Methods that the standard library calls, such as MarshalJSON, need none.
func TestEveryMethodHasAnExample(t *testing.T) {
	examples := map[string]bool{}
	for _, file := range []string{"example_test.go", "example_thread_test.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				examples[f.Name.Name] = true
			}
		}
	}
	for name, v := range map[string]any{
		"Client": &chat.Client{}, "ThreadClient": &chat.ThreadClient{}, "Pager": &chat.Pager[int]{}, "FailedParticipants": chat.FailedParticipants{},
	} {
		typ := reflect.TypeOf(v)
		for m := range typ.NumMethod() {
			if want := "Example" + name + "_" + typ.Method(m).Name; !examples[want] {
				t.Errorf("there is no %s", want)
			}
		}
	}
}
