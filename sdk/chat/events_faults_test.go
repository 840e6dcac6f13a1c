package chat_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// eventFaults lists faults of a server with an event stream. The function script causes the fault,
// in the response to the first request or to every request. A feed with the events 1 to 3 answers
// the requests that script does not answer. outcome describes a loop over Client.Events that stops
// after event 3: the events that it yields, the error with which it ends, if any, and the number of
// requests.
var eventFaults = []struct {
	fault   string
	script  func(a *answer, n int) bool
	outcome string
}{
	{"none", nil, "1 2 3, 1 request"},
	{"connection cut before the response", first(func(a *answer) { a.cut() }), "1 2 3, 2 requests"},
	{"cut before hello", first(func(a *answer) { a.write("event: hel"); a.cut() }), "1 2 3, 2 requests"},
	{"cut after an event", first(func(a *answer) { a.hello(); a.events(1); a.cut() }), "1 2 3, 2 requests"},
	{"cut in an event", first(func(a *answer) { a.hello(); a.events(1); a.write(messageFrame(2)[:70]); a.cut() }), "1 2 3, 2 requests"},
	{"cut before the blank line of an event", first(func(a *answer) { a.hello(); a.write(strings.TrimSuffix(messageFrame(1), "\n")); a.cut() }), "1 2 3, 2 requests"},
	{"end in an event", first(func(a *answer) { a.hello(); a.events(1); a.write(messageFrame(2)[:70]) }), "1 2 3, 2 requests"},

	{"token refused at opening", func(a *answer, n int) bool { return a.refuse() }, "1 2 3, 2 requests"},
	{"every token refused", always(func(a *answer) { a.WriteHeader(401) }), "unauthorized, 2 requests"},
	{"token expires in mid-stream", func(a *answer, n int) bool { return a.expire("expired") }, "1 2 3, 2 requests"},
	{"token revoked in mid-stream", func(a *answer, n int) bool { return a.expire("revoked") }, "1 2 3, 2 requests"},
	{"each token expires at once", always(func(a *answer) { a.hello(); a.bye("expired", 0) }), "failed, 8 requests"},
	{"no chat scope", always(func(a *answer) { a.WriteHeader(403) }), "forbidden, 1 request"},
	{"damaged cursor", always(func(a *answer) { a.WriteHeader(400) }), "status 400, 1 request"},
	{"no such route", always(func(a *answer) { a.WriteHeader(404) }), "no event stream, 1 request"},
	{"no such method", always(func(a *answer) { a.WriteHeader(405) }), "no event stream, 1 request"},
	{"redirect", always(func(a *answer) { http.Redirect(a, a.r, "https://elsewhere/", http.StatusTemporaryRedirect) }), "status 307, 1 request"},
	{"204", always(func(a *answer) { a.WriteHeader(204) }), "status 204, 1 request"},
	{"501", always(func(a *answer) { a.WriteHeader(501) }), "status 501, 1 request"},
	{"500", first(func(a *answer) { a.WriteHeader(500) }), "1 2 3, 2 requests"},
	{"503 with Retry-After", first(func(a *answer) { a.Header().Set("Retry-After", "1"); a.WriteHeader(503) }), "1 2 3, 2 requests"},
	{"429 with Retry-After", first(func(a *answer) { a.Header().Set("Retry-After", "1"); a.WriteHeader(429) }), "1 2 3, 2 requests"},
	{"503 twenty times", func(a *answer, n int) bool {
		if n <= 20 {
			a.WriteHeader(503)
		}
		return n <= 20
	}, "1 2 3, 21 requests"},

	{"user deleted", first(func(a *answer) { a.hello(); a.events(1); a.bye("deleted", 0) }), "1, user deleted, 1 request"},
	{"replaced", first(func(a *answer) { a.hello(); a.events(1); a.bye("replaced", 0) }), "1, replaced, 1 request"},
	{"slow", first(func(a *answer) { a.hello(); a.events(1); a.bye("slow", 0) }), "1 2 3, 2 requests"},
	{"draining", first(func(a *answer) { a.hello(); a.events(1); a.bye("draining", time.Millisecond) }), "1 2 3, 2 requests"},
	{"away", first(func(a *answer) { a.hello(); a.events(1); a.bye("away", time.Millisecond) }), "1 2 3, 2 requests"},
	{"unknown reason to end", first(func(a *answer) { a.hello(); a.events(1); a.bye("lunch", time.Millisecond) }), "1 2 3, 2 requests"},

	{"gap", first(func(a *answer) { a.hello(); a.gap("trimmed", 2); a.events(3) }), "gap:trimmed 3, 1 request"},
	{"another epoch", func(a *answer, n int) bool {
		a.hello()
		if n == 1 {
			a.events(2)
			return true
		}
		a.gap("epoch", 1) // the gap means that the store was restored from a backup, and then gave the number 2 to another event
		a.events(3)
		return true
	}, "1 2 gap:epoch 2 3, 2 requests"},
	{"event of an unknown kind", first(func(a *answer) {
		a.hello()
		a.write("event: pollOpened\nid: c2\ndata: {}\n\n")
		a.from = 2
		a.events(3)
	}), "chat.UnknownEvent 3, 1 request"},

	{"garbage once", first(func(a *answer) { a.hello(); a.events(1); a.write("\x00\xff garbage\n\n"); a.events(3) }), "1 2 3, 2 requests"},
	{"garbage in a message", first(func(a *answer) { a.hello(); a.write("event: chatMessageReceived\nid: c1\ndate: {}\n\n") }), "1 2 3, 2 requests"},
	{"event without data", first(func(a *answer) { a.hello(); a.write("event: chatMessageReceived\nid: c1\n\n") }), "1 2 3, 2 requests"},
	{"data without an event", first(func(a *answer) { a.hello(); a.write("data: {}\nid: c1\n\n") }), "1 2 3, 2 requests"},
	{"half of the JSON", first(func(a *answer) { a.hello(); a.write("event: chatMessageReceived\nid: c1\ndata: {\"threadId\":\n\n") }), "1 2 3, 2 requests"},
	{"JSON of another form", first(func(a *answer) { a.hello(); a.write("event: chatMessageReceived\nid: c1\ndata: {\"threadId\":[]}\n\n") }), "1 2 3, 2 requests"},
	{"event without a thread", first(func(a *answer) { a.hello(); a.write("event: chatMessageReceived\nid: c1\ndata: {}\n\n") }), "1 2 3, 2 requests"},
	{"no hello", first(func(a *answer) { a.events(3) }), "1 2 3, 2 requests"},
	{"two hellos", first(func(a *answer) { a.hello(); a.hello() }), "1 2 3, 2 requests"},
	{"garbage for ever", always(func(a *answer) { a.hello(); a.events(1); a.write("garbage\n\n") }), "1, failed, 8 requests"},
	{"a page of a proxy for ever", always(func(a *answer) { a.Header().Set("Content-Type", "text/html"); io.WriteString(a, "<html>") }), "status 200, 8 requests"},
	{"line over 8 MB", first(func(a *answer) {
		a.hello()
		a.events(1)
		a.write("event: chatMessageReceived\nid: c2\ndata: ")
		for range 9 {
			a.write(strings.Repeat(" ", 1<<20))
		}
		a.write("{}\n\n")
		a.events(3)
	}), "1 2 3, 2 requests"},
	{"message over 8 MB in many lines", first(func(a *answer) {
		a.hello()
		a.events(1)
		a.write("event: chatMessageReceived\nid: c2\n")
		for range 9 {
			a.write("data: " + strings.Repeat(" ", 1<<20) + "\n")
		}
		a.write("data: {}\n\n")
		a.events(3)
	}), "1 2 3, 2 requests"},
	{silentFault, first(func(a *answer) { a.hello(); a.events(1); a.hang() }), "1 2 3, 2 requests"},
}

// silentFault names the fault after which the client waits for 45 seconds. It is tested only
// without a network, where waiting takes no time.
const silentFault = "silence for three heartbeats"

// first returns a script that calls the given script for the first request and lets the feed answer
// the other requests.
func first(script func(a *answer)) func(*answer, int) bool {
	return func(a *answer, n int) bool {
		if n == 1 {
			script(a)
		}
		return n == 1
	}
}

// always returns a script that calls the given script for every request.
func always(script func(a *answer)) func(*answer, int) bool {
	return func(a *answer, n int) bool { script(a); return true }
}

// refuse answers 401 if the request has oldToken, the first token of the credential. It reports
// whether it has answered.
func (a *answer) refuse() bool {
	if a.r.Header.Get("Authorization") == "Bearer "+oldToken {
		a.WriteHeader(http.StatusUnauthorized)
		return true
	}
	return false
}

// expire sends event 1 and then ends the stream with the given reason, if the request has oldToken,
// the first token of the credential. It reports whether it has answered.
func (a *answer) expire(reason string) bool {
	if a.r.Header.Get("Authorization") != "Bearer "+oldToken {
		return false
	}
	a.hello()
	a.events(1)
	a.bye(reason, 0)
	return true
}

// gap sends a message gap with the given reason and the cursor of event n. The stream then
// continues after event n.
func (a *answer) gap(reason string, n int) {
	a.write(fmt.Sprintf("event: gap\nid: c%d\ndata: {\"reason\":%q}\n\n", n, reason))
	a.from = n
}

// TestEventFaults runs each fault of eventFaults twice: without a network, where pauses between
// connections take no time, and over TLS with short pauses.
func TestEventFaults(t *testing.T) {
	for _, test := range eventFaults {
		t.Run("memory/"+test.fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed(3)
				f.script = test.script
				testEventFault(t, f, f.client(t, refreshingOnce(t)), test.outcome)
			})
		})
		if test.fault == silentFault {
			continue
		}
		t.Run("TLS/"+test.fault, func(t *testing.T) {
			t.Parallel()
			f := newFeed(3)
			f.script = test.script
			s := f.serve(t)
			testEventFault(t, f, s.client(t, refreshingOnce(t)), test.outcome)
		})
	}
}

func testEventFault(t *testing.T, f *feed, client *chat.Client, want string) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	words, err := receive(ctx, client, nil, 3)
	var parts []string
	if len(words) > 0 {
		parts = append(parts, strings.Join(words, " "))
	}
	if err != nil {
		parts = append(parts, eventsOutcome(err))
		checkError(t, err)
	}
	switch n, _ := f.seen(); n {
	case 1:
		parts = append(parts, "1 request")
	default:
		parts = append(parts, fmt.Sprint(n, " requests"))
	}
	if got := strings.Join(parts, ", "); got != want {
		t.Errorf("got %s, want %s\nerror: %v", got, want, err)
	}
}

// eventsOutcome returns a word for the error with which a loop over events ended, such as the words
// in the column outcome of eventFaults.
func eventsOutcome(err error) string {
	var e *communication.Error
	errors.As(err, &e)
	var response *azcore.ResponseError
	switch {
	case errors.Is(err, chat.ErrNoEventStream) && errors.As(err, &response):
		return "no event stream"
	case errors.Is(err, chat.ErrUserDeleted):
		return "user deleted"
	case errors.Is(err, chat.ErrStreamReplaced):
		return "replaced"
	case errors.Is(err, communication.ErrUnauthorized):
		return "unauthorized"
	case errors.Is(err, communication.ErrForbidden):
		return "forbidden"
	case e != nil && e.StatusCode != 0:
		return fmt.Sprint("status ", e.StatusCode)
	}
	return "failed"
}

// refreshingOnce returns a credential that has oldToken first. After a server has refused that
// token, the credential has goodToken.
func refreshingOnce(t *testing.T) *communication.TokenCredential {
	t.Helper()
	refresh := func(context.Context) (string, error) { return goodToken, nil }
	cred, err := communication.NewRefreshingTokenCredential(refresh, &communication.RefreshingOptions{Token: oldToken})
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

// tlsFeed is a server that serves a feed over TLS.
type tlsFeed struct{ *httptest.Server }

func (f *feed) serve(t *testing.T) tlsFeed {
	t.Helper()
	s := httptest.NewUnstartedServer(f)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return tlsFeed{s}
}

func (s tlsFeed) client(t *testing.T, cred azcore.TokenCredential) *chat.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := chat.NewClient(s.URL, cred, &chat.ClientOptions{
		ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{RetryDelay: time.Millisecond, MaxRetryDelay: 10 * time.Millisecond}},
		CAFile:        file,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestEventsUntrustedServer checks that a loop over events ends at once, without a second attempt,
// if the client does not trust the server's certificate.
func TestEventsUntrustedServer(t *testing.T) {
	f := newFeed(1)
	client, err := chat.NewClient(f.serve(t).URL, exampleToken{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = receive(t.Context(), client, nil, 1)
	if n, _ := f.seen(); err == nil || !strings.Contains(err.Error(), "CAFile") || n != 0 {
		t.Errorf("got %v after %d requests", err, n)
	}
}

// TestEventsLeave ends a loop over events in three ways: with break, by cancelling its context, and
// with a panic in its body. Each time, the connection must be closed and no goroutine of the stream
// may be left.
func TestEventsLeave(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		for _, how := range []string{"break", "cancel", "panic"} {
			t.Run(fmt.Sprint(how, ", HTTP/2 ", http2), func(t *testing.T) {
				left := make(chan struct{})
				f := newFeed(1)
				f.script = func(a *answer, n int) bool {
					if got := a.r.ProtoMajor == 2; got != http2 {
						t.Errorf("the request uses %s", a.r.Proto)
					}
					defer close(left)
					a.hello()
					a.events(1)
					a.hang()
					return true
				}
				s := httptest.NewUnstartedServer(f)
				s.EnableHTTP2 = http2
				s.StartTLS()
				defer s.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				func() {
					defer func() { recover() }()
					for _, err := range events(ctx, tlsFeed{s}.client(t, exampleToken{}), nil) {
						if err != nil {
							if !errors.Is(err, context.Canceled) || how != "cancel" {
								t.Error(err)
							}
							continue
						}
						switch how {
						case "cancel":
							cancel()
						case "panic":
							panic(how)
						case "break":
							return
						}
					}
				}()
				if stacks := goroutinesOfEvents(); stacks != "" {
					t.Errorf("goroutines are left:\n%s", stacks)
				}
				select {
				case <-left:
				case <-time.After(10 * time.Second):
					t.Error("the connection is still open")
				}
			})
		}
	}
}

// TestEventsResumeElsewhere stores the cursor of an event and continues after that event with
// another client.
func TestEventsResumeElsewhere(t *testing.T) {
	f := newFeed(4)
	s := f.serve(t)
	var cursor string
	for event, err := range events(t.Context(), s.client(t, exampleToken{}), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if cursor = event.Info().Cursor; event.Info().Number == 2 {
			break
		}
	}
	words, err := receive(t.Context(), s.client(t, exampleToken{}), &chat.EventsOptions{Cursor: cursor}, 4)
	if err != nil {
		t.Fatal(err)
	}
	wantWords(t, words, "3 4")
}

// TestEventsLarge receives an event of 7 MB on a stream that has already sent 65 MB. Other
// responses may have at most 64 MB, and this limit must not apply to streams.
func TestEventsLarge(t *testing.T) {
	f := newFeed(0)
	f.script = func(a *answer, n int) bool {
		a.hello()
		comment := ":" + strings.Repeat("x", 1<<20) + "\n"
		for range 65 {
			a.write(comment)
		}
		a.write("event: chatMessageReceived\nid: c1\ndata: {\"threadId\":\"t\",\"number\":1,\"message\":\"")
		for range 7 {
			a.write(strings.Repeat("x", 1<<20))
		}
		a.write("\"}\n\n")
		a.hang()
		return true
	}
	for event, err := range events(t.Context(), f.client(t, exampleToken{}), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if got := len(event.(chat.MessageReceived).Message.Content.Message); got != 7<<20 {
			t.Errorf("got %d bytes, want 7 MB", got)
		}
		break
	}
	if n, _ := f.seen(); n != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
}
