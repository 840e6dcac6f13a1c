package chat_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// memory is a transport that calls a handler in the same process, so that it works in synctest
// bubbles. Unlike net/http, it does not interrupt a Read of the response body when the context of
// the request ends.
type memory struct{ handler http.Handler }

func (m memory) Do(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	body, out := io.Pipe()
	w := &memoryWriter{header: http.Header{}, out: out, started: make(chan struct{})}
	go func() {
		defer out.Close()
		defer func() {
			if v := recover(); v == http.ErrAbortHandler {
				out.CloseWithError(io.ErrUnexpectedEOF)
			} else if v != nil {
				panic(v)
			}
		}()
		m.handler.ServeHTTP(w, req.Clone(ctx))
		w.WriteHeader(http.StatusOK)
	}()
	select {
	case <-w.started:
	case <-ctx.Done():
		cancel()
		body.Close()
		return nil, ctx.Err()
	}
	return &http.Response{StatusCode: w.status, Header: w.header, Body: memoryBody{body, cancel}, Request: req}, nil
}

type memoryWriter struct {
	header  http.Header
	status  int
	started chan struct{}
	out     *io.PipeWriter
}

func (w *memoryWriter) Header() http.Header { return w.header }
func (w *memoryWriter) Flush()              {}

func (w *memoryWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		close(w.started)
	}
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(p)
}

// memoryBody is the body of a response. Its method Close also ends the context of the request.
type memoryBody struct {
	*io.PipeReader
	end context.CancelFunc
}

func (b memoryBody) Close() error {
	b.end()
	return b.PipeReader.Close()
}

// feed is a fake server with the event stream of docs/events.md. Event number n has the cursor
// "c" + n.
type feed struct {
	// script answers the nth request, counted from 1. If script returns false, it has not answered
	// the request, and the feed sends its messages.
	script func(w *answer, n int) bool
	// expires, if not nil, returns the expiry of a token, which the feed sends in the message
	// hello.
	expires func(token string) time.Time

	mu       sync.Mutex
	frames   []string
	news     chan struct{} // closed when frames grows
	requests []*http.Request
	times    []time.Time // arrival times of the requests
	open     int         // number of open streams
	least    int         // the smallest number of streams that were open at the same time since the first stream was opened
}

// newFeed returns a feed with messages numbered from 1 to n.
func newFeed(n int) *feed {
	f := &feed{news: make(chan struct{})}
	for range n {
		f.add()
	}
	return f
}

// add appends a message to the feed and returns its number.
func (f *feed) add() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.frames) + 1
	f.frames = append(f.frames, messageFrame(n))
	close(f.news)
	f.news = make(chan struct{})
	return n
}

func messageFrame(n int) string {
	return fmt.Sprintf("event: chatMessageReceived\nid: c%d\ndata: {\"threadId\":%q,\"number\":%d,\"id\":\"%d\",\"type\":\"text\",\"message\":\"text %[1]d\"}\n\n", n, threadID, n, 1000+n)
}

// answer is the response of a feed to one request.
type answer struct {
	http.ResponseWriter
	feed *feed
	r    *http.Request
	from int // number of the last event that was sent; before the first event, the number in the request's cursor, or 0
}

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Clone(context.Background()))
	f.times = append(f.times, time.Now())
	n := len(f.requests)
	f.mu.Unlock()
	a := &answer{ResponseWriter: w, feed: f, r: r}
	fmt.Sscanf(r.URL.Query().Get("cursor"), "c%d", &a.from)
	if f.script == nil || !f.script(a, n) {
		a.hello()
		a.follow()
	}
}

// write sends text at once. If the client has disconnected, it aborts the handler with a panic.
func (a *answer) write(text string) {
	a.Header().Set("Content-Type", "text/event-stream")
	if _, err := io.WriteString(a.ResponseWriter, text); err != nil {
		panic(http.ErrAbortHandler)
	}
	a.ResponseWriter.(http.Flusher).Flush()
}

func (a *answer) hello() {
	expiry := ""
	if a.feed.expires != nil {
		token := strings.TrimPrefix(a.r.Header.Get("Authorization"), "Bearer ")
		expiry = `,"expiresOn":"` + a.feed.expires(token).UTC().Format(time.RFC3339Nano) + `"`
	}
	a.write(fmt.Sprintf("event: hello\nid: c%d\ndata: {\"user\":\"8:acs:a_b\",\"cursor\":\"c%[1]d\"%s}\n\n", a.from, expiry))
}

// events sends the next messages, up to message number n. The first call begins after the cursor of
// the request.
func (a *answer) events(n int) {
	for ; a.from < n; a.from++ {
		a.write(messageFrame(a.from + 1))
	}
}

func (a *answer) bye(reason string, delay time.Duration) {
	a.write(fmt.Sprintf("event: bye\ndata: {\"reason\":%q,\"delay\":%d}\n\n", reason, delay.Milliseconds()))
}

// cut closes the connection in the middle of the response.
func (a *answer) cut() { panic(http.ErrAbortHandler) }

// hang waits until the client disconnects.
func (a *answer) hang() { <-a.r.Context().Done() }

// follow sends the messages after the cursor of the request, and each message that is added later,
// until the client disconnects.
func (a *answer) follow() {
	f := a.feed
	f.mu.Lock()
	f.open++
	if len(f.requests) == 1 {
		f.least = 1
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.open--
		f.least = min(f.least, f.open)
	}()
	for {
		f.mu.Lock()
		frames, news := f.frames[min(a.from, len(f.frames)):], f.news
		f.mu.Unlock()
		for _, frame := range frames {
			a.write(frame)
			a.from++
		}
		if !a.wait(news) {
			return
		}
	}
}

// wait sends a heartbeat every 15 seconds until the channel is closed. It returns false if the
// client disconnects first.
func (a *answer) wait(until <-chan struct{}) bool {
	for {
		select {
		case <-until:
			return true
		case <-a.r.Context().Done():
			return false
		case <-time.After(15 * time.Second):
			a.write(fmt.Sprintf("id: c%d\n\n", a.from))
		}
	}
}

// seen returns how many requests the feed has received, and the query parameter cursor of each.
func (f *feed) seen() (int, []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var cursors []string
	for _, r := range f.requests {
		cursors = append(cursors, r.URL.Query().Get("cursor"))
	}
	return len(f.requests), cursors
}

// client returns a client that sends its requests to the feed without a network.
func (f *feed) client(t *testing.T, cred azcore.TokenCredential) *chat.Client {
	t.Helper()
	client, err := chat.NewClient("https://endpoint", cred, &chat.ClientOptions{
		ClientOptions: azcore.ClientOptions{Transport: memory{f}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// events returns the events of client.Events without the first event, Started. It yields an error
// if the first event is not Started, or if a later event is Started.
func events(ctx context.Context, client *chat.Client, o *chat.EventsOptions) iter.Seq2[chat.Event, error] {
	return func(yield func(chat.Event, error) bool) {
		n := 0
		for event, err := range client.Events(ctx, o) {
			started, ok := event.(chat.Started)
			if ok != (n == 0 && err == nil) {
				err = fmt.Errorf("event %d is a %T, with error %w", n, event, err)
			} else if ok && (started.User != communication.NewUser("8:acs:a_b") || started.Cursor == "") {
				err = fmt.Errorf("started with %+v", started)
			}
			n++
			if !ok && !yield(event, err) {
				return
			}
		}
	}
}

// receive reads events until an event has the number last. It returns a text for each event: the
// number of a MessageReceived, the reason of a Gap, and the type of any other event.
func receive(ctx context.Context, client *chat.Client, o *chat.EventsOptions, last int64) ([]string, error) {
	var words []string
	for event, err := range events(ctx, client, o) {
		if err != nil {
			return words, err
		}
		switch e := event.(type) {
		case chat.Gap:
			words = append(words, "gap:"+string(e.Reason))
		case chat.MessageReceived:
			words = append(words, fmt.Sprint(e.Number))
		default:
			words = append(words, fmt.Sprintf("%T", e))
		}
		if event.Info().Number == last {
			break
		}
	}
	return words, nil
}

func wantWords(t *testing.T, got []string, want string) {
	t.Helper()
	if got := strings.Join(got, " "); got != want {
		t.Errorf("got events %s, want %s", got, want)
	}
}

// TestEventsRequest checks the path, the query and the headers of requests that open a stream. The
// second request must have the cursor of the heartbeat that the first stream sent.
func TestEventsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(0)
		f.script = func(a *answer, n int) bool {
			if n == 1 {
				a.hello()
				a.write(": comment\n\nid: c7\n\n")
				a.cut()
			}
			f.frames = make([]string, 7)
			f.add()
			return false
		}
		o := &chat.EventsOptions{Threads: []string{"19:a@thread.v2", "19:b@thread.v2"}, Cursor: "c5"}
		words, err := receive(t.Context(), f.client(t, exampleToken{}), o, 8)
		if err != nil {
			t.Fatal(err)
		}
		wantWords(t, words, "8")
		if _, cursors := f.seen(); !slices.Equal(cursors, []string{"c5", "c7"}) {
			t.Errorf("cursors of the requests: %q", cursors)
		}
		for _, r := range f.requests {
			q := r.URL.Query()
			if r.Method != "GET" || r.URL.Path != "/chat/events" || q.Get("threads") != "19:a@thread.v2,19:b@thread.v2" || len(q) != 2 {
				t.Errorf("got %s %s", r.Method, r.URL)
			}
			h := r.Header
			if h.Get("Accept") != "text/event-stream" || h.Get("Authorization") != "Bearer token" || h.Get("Accept-Encoding") != "identity" {
				t.Errorf("got headers %v", h)
			}
		}
	})
}

// TestEventsRefusesThreads checks that Events fails without a request if an id in
// EventsOptions.Threads is invalid.
func TestEventsRefusesThreads(t *testing.T) {
	f := newFeed(0)
	for _, id := range []string{"", "19:a@thread.v2,19:b@thread.v2"} {
		_, err := receive(t.Context(), f.client(t, exampleToken{}), &chat.EventsOptions{Threads: []string{id}}, 1)
		if n, _ := f.seen(); err == nil || n != 0 {
			t.Errorf("id %q: got error %v after %d requests", id, err, n)
		}
	}
}

// TestEventsBeginAgain checks that each loop over the same iterator begins at the cursor in the
// options.
func TestEventsBeginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := events(t.Context(), newFeed(3).client(t, exampleToken{}), &chat.EventsOptions{Cursor: "c1"})
		for range 2 {
			var numbers []int64
			for event, err := range all {
				if err != nil {
					t.Fatal(err)
				}
				if numbers = append(numbers, event.Info().Number); len(numbers) == 2 {
					break
				}
			}
			if !slices.Equal(numbers, []int64{2, 3}) {
				t.Errorf("got %v, want 2 and 3", numbers)
			}
		}
	})
}

// TestEventsCutAnywhere closes the connection after each byte of a stream with three events. The
// client must receive each event once.
func TestEventsCutAnywhere(t *testing.T) {
	var whole string
	for n := range 3 {
		whole += messageFrame(n + 1)
	}
	for cut := range len(whole) + 1 {
		synctest.Test(t, func(t *testing.T) {
			f := newFeed(4)
			f.script = func(a *answer, n int) bool {
				if n == 1 {
					a.hello()
					a.write(whole[:cut])
					a.cut()
				}
				return false
			}
			words, err := receive(t.Context(), f.client(t, exampleToken{}), nil, 4)
			if n, _ := f.seen(); strings.Join(words, " ") != "1 2 3 4" || err != nil || n != 2 {
				t.Errorf("cut after byte %d: got events %s, error %v, %d requests", cut, words, err, n)
			}
		})
	}
}

// TestEventsSilence checks that the client replaces a connection on which nothing arrives for 45
// seconds: before the response, before hello, or after an event. Heartbeats must keep the
// connection open.
func TestEventsSilence(t *testing.T) {
	for _, silent := range []string{"response", "hello", "events"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFeed(2)
			f.script = func(a *answer, n int) bool {
				if n > 1 {
					return false
				}
				switch silent {
				case "hello":
					a.write(": wait\n")
				case "events":
					a.hello()
					for range 10 {
						time.Sleep(15 * time.Second)
						a.write("id: c0\n\n")
					}
					a.events(1)
				}
				a.hang()
				return true
			}
			words, err := receive(t.Context(), f.client(t, exampleToken{}), nil, 2)
			if err != nil {
				t.Fatal(err)
			}
			wantWords(t, words, "1 2")
			took := f.times[1].Sub(f.times[0])
			if silent == "events" {
				took -= 150 * time.Second
			}
			if took < 45*time.Second || took > 46*time.Second {
				t.Errorf("silent before %s: connected again after %v, want 45 s", silent, took)
			}
		})
	}
}

// TestEventsSlowLoop checks that the client keeps its connection while the body of the loop takes
// ten minutes for each event.
func TestEventsSlowLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(3)
		got := 0
		for _, err := range events(t.Context(), f.client(t, exampleToken{}), nil) {
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			if got++; got == 3 {
				break
			}
		}
		if n, _ := f.seen(); n != 1 {
			t.Errorf("got %d requests, want 1", n)
		}
	})
}

// TestEventsPauses checks the pauses after connections that fail. The pauses must double after each
// failure, be short again after an event or 45 seconds of connection, and be at least as long as
// the server asks for, up to an hour.
func TestEventsPauses(t *testing.T) {
	const second = time.Second
	for _, test := range []struct {
		name   string
		script func(a *answer, n int)
		pauses [][2]time.Duration // the shortest and the longest allowed length of each pause
	}{
		{"no progress", func(a *answer, n int) { a.hello(); a.cut() }, [][2]time.Duration{
			{400 * time.Millisecond, 800 * time.Millisecond}, {800 * time.Millisecond, 1600 * time.Millisecond},
			{1600 * time.Millisecond, 3200 * time.Millisecond}, {3200 * time.Millisecond, 6400 * time.Millisecond},
			{6400 * time.Millisecond, 12800 * time.Millisecond}, {12800 * time.Millisecond, 25600 * time.Millisecond},
			{15 * second, 30 * second}, {15 * second, 30 * second}, {15 * second, 30 * second},
		}},
		{"progress", func(a *answer, n int) { a.hello(); a.events(n); a.cut() }, [][2]time.Duration{
			{400 * time.Millisecond, 800 * time.Millisecond}, {400 * time.Millisecond, 800 * time.Millisecond},
			{400 * time.Millisecond, 800 * time.Millisecond},
		}},
		{"a minute of heartbeats", func(a *answer, n int) {
			a.hello()
			for range 4 {
				time.Sleep(15 * second)
				a.write(": heartbeat\n\n")
			}
			a.cut()
		}, [][2]time.Duration{
			{time.Minute + 400*time.Millisecond, time.Minute + 800*time.Millisecond},
			{time.Minute + 400*time.Millisecond, time.Minute + 800*time.Millisecond},
		}},
		{"Retry-After", func(a *answer, n int) { a.Header().Set("Retry-After", "100"); a.WriteHeader(503) },
			[][2]time.Duration{{100 * second, 125 * second}, {100 * second, 125 * second}}},
		{"Retry-After of a day", func(a *answer, n int) { a.Header().Set("Retry-After", "86400"); a.WriteHeader(429) },
			[][2]time.Duration{{time.Hour, 75 * time.Minute}}},
		{"draining", func(a *answer, n int) { a.hello(); a.bye("draining", 20*second) },
			[][2]time.Duration{{20 * second, 25 * second}, {20 * second, 25 * second}}},
		{"expired", func(a *answer, n int) { a.hello(); a.bye("expired", 0) },
			[][2]time.Duration{{0, 0}, {800 * time.Millisecond, 1600 * time.Millisecond}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed(len(test.pauses) + 1)
				f.script = func(a *answer, n int) bool {
					if n > len(test.pauses) {
						return false
					}
					test.script(a, n)
					return true
				}
				if _, err := receive(t.Context(), f.client(t, exampleToken{}), nil, int64(len(f.frames))); err != nil {
					t.Fatal(err)
				}
				for i, want := range test.pauses {
					if got := f.times[i+1].Sub(f.times[i]); got < want[0] || got > want[1] {
						t.Errorf("pause %d took %v, want %v to %v", i+1, got, want[0], want[1])
					}
				}
			})
		})
	}
}

// expiring returns a credential whose tokens expire after the duration life, and a function that
// returns the expiry of a token.
func expiring(t *testing.T, life time.Duration) (*communication.TokenCredential, func(string) time.Time) {
	t.Helper()
	var mu sync.Mutex
	expiries := map[string]time.Time{}
	cred, err := communication.NewRefreshingTokenCredential(func(context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		expiry := time.Now().Add(life)
		token := expiringToken(fmt.Sprint("token ", len(expiries)), expiry)
		expiries[token] = expiry
		return token, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cred, func(token string) time.Time {
		mu.Lock()
		defer mu.Unlock()
		return expiries[token]
	}
}

// TestEventsRenewal reads events for five hours with tokens that expire after one hour, from a
// server that sends hello at once and from one that takes 5 seconds for it. The client must open a
// new stream before it closes the old one, receive each event once and in order, and use no stream
// after its token has expired.
func TestEventsRenewal(t *testing.T) {
	for _, slow := range []time.Duration{0, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			cred, expires := expiring(t, time.Hour)
			f := newFeed(0)
			f.expires = expires
			f.script = func(a *answer, n int) bool {
				ctx, cancel := context.WithDeadline(a.r.Context(), expires(strings.TrimPrefix(a.r.Header.Get("Authorization"), "Bearer ")))
				defer cancel()
				a.r = a.r.WithContext(ctx)
				if n > 1 {
					time.Sleep(slow)
				}
				a.hello()
				a.follow()
				if errors.Is(ctx.Err(), context.DeadlineExceeded) {
					t.Errorf("stream %d was still open when its token expired", n)
				}
				return true
			}
			const last = 5 * 60 * 60
			go func() {
				for range last {
					time.Sleep(time.Second)
					f.add()
				}
			}()
			next := int64(1)
			for event, err := range events(t.Context(), f.client(t, cred), nil) {
				if err != nil {
					t.Fatal(err)
				}
				if i := event.Info(); i.Number != next || i.Cursor != fmt.Sprint("c", next) {
					t.Fatalf("got event %d with cursor %s, want event %d", i.Number, i.Cursor, next)
				}
				if next++; next > last {
					f.mu.Lock()
					if len(f.requests) != 6 || f.least != 1 {
						t.Errorf("%d streams, at least %d at a time, want 6 and 1", len(f.requests), f.least)
					}
					f.mu.Unlock()
					break
				}
			}
		})
	}
}

// TestEventsRenewalOfTyping replaces a stream before its token expires. A typing indicator that
// arrives on the old and on the new stream must be yielded once.
func TestEventsRenewalOfTyping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cred, expires := expiring(t, time.Hour)
		f := newFeed(2)
		f.expires = expires
		const typing = "event: typingIndicatorReceived\ndata: {\"threadId\":\"19:a@thread.v2\",\"sender\":\"8:acs:a_b\",\"version\":\"7\"}\n\n"
		opened := make(chan struct{})
		f.script = func(a *answer, n int) bool {
			if n == 1 {
				a.hello()
				a.events(1)
				a.wait(opened)
				a.write(typing)
				a.hang()
				return true
			}
			close(opened)
			time.Sleep(time.Second)
			a.hello()
			a.write(typing)
			a.events(2)
			a.hang()
			return true
		}
		words, err := receive(t.Context(), f.client(t, cred), nil, 2)
		if err != nil {
			t.Fatal(err)
		}
		wantWords(t, words, "1 chat.TypingIndicatorReceived 2")
		if took := f.times[1].Sub(f.times[0]); took < 58*time.Minute {
			t.Errorf("the second stream was opened after %v", took)
		}
	})
}

// TestEventsRenewalForgetsTyping replaces a stream before its token expires. A typing indicator
// arrives on the old stream only. A heartbeat of the new stream must move the cursor nevertheless,
// and the third stream must begin there.
func TestEventsRenewalForgetsTyping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cred, expires := expiring(t, time.Hour)
		f := newFeed(3)
		f.expires = expires
		opened := make(chan struct{})
		f.script = func(a *answer, n int) bool {
			switch n {
			case 1:
				a.hello()
				a.events(1)
				a.wait(opened)
				a.write("event: typingIndicatorReceived\ndata: {\"threadId\":\"19:a@thread.v2\",\"sender\":\"8:acs:a_b\",\"version\":\"7\"}\n\n")
				a.hang()
			case 2:
				close(opened)
				time.Sleep(time.Second)
				a.hello()
				a.write("id: c9\n\n")
				a.cut()
			default:
				a.hello()
				a.from = 1 // send event 2 next: the request's cursor, c9, comes from a heartbeat, and only event 1 was sent
				a.events(2)
				a.hang()
			}
			return true
		}
		words, err := receive(t.Context(), f.client(t, cred), nil, 2)
		if err != nil {
			t.Fatal(err)
		}
		wantWords(t, words, "1 chat.TypingIndicatorReceived 2")
		if _, cursors := f.seen(); !slices.Equal(cursors, []string{"", "c1", "c9"}) {
			t.Errorf("cursors of the requests: %q", cursors)
		}
	})
}

// TestEventsRenewalThenCut replaces a stream before its token expires. The new stream breaks after
// a heartbeat with an earlier cursor, before it has repeated the last event of the old stream. The
// third stream must begin after that event.
func TestEventsRenewalThenCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := renewed(t, func(a *answer) { a.hello(); a.write("id: c1\n\n"); a.cut() })
		words, err := receive(t.Context(), f.client(t, f.cred), nil, 3)
		if err != nil {
			t.Fatal(err)
		}
		wantWords(t, words, "1 2 3")
		if _, cursors := f.seen(); !slices.Equal(cursors, []string{"", "c1", "c2"}) {
			t.Errorf("cursors of the requests: %q", cursors)
		}
	})
}

// TestEventsRenewalTwice replaces a stream twice before its token expires. The third stream is
// opened before the second stream has repeated event 2 of the first stream. The client must yield
// event 2 once.
func TestEventsRenewalTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		third := make(chan struct{})
		f := renewed(t, func(a *answer) {
			a.hello()
			a.wait(third)
			a.events(3)
			a.hang()
		})
		script := f.script
		f.script = func(a *answer, n int) bool {
			if n == 3 {
				close(third)
				a.hang()
			}
			return script(a, n)
		}
		words, err := receive(t.Context(), f.client(t, f.cred), nil, 3)
		if err != nil {
			t.Fatal(err)
		}
		wantWords(t, words, "1 2 3")
		if n, _ := f.seen(); n != 3 {
			t.Errorf("got %d requests, want 3", n)
		}
	})
}

// TestEventsRenewalThenGap replaces a stream before its token expires. The new stream sends a gap
// and then an event 2, which differs from the event 2 of the old stream. The client must yield
// both.
func TestEventsRenewalThenGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := renewed(t, func(a *answer) { a.hello(); a.gap("epoch", 1); a.events(3); a.hang() })
		words, err := receive(t.Context(), f.client(t, f.cred), nil, 3)
		if err != nil {
			t.Fatal(err)
		}
		wantWords(t, words, "1 2 gap:epoch 2 3")
	})
}

// renewedFeed is a feed together with a credential whose tokens expire after an hour.
type renewedFeed struct {
	*feed
	cred *communication.TokenCredential
}

// renewed returns a feed of three events. The first stream sends event 1, and sends event 2 when
// the client opens the second stream. The function second then answers the second request.
func renewed(t *testing.T, second func(a *answer)) renewedFeed {
	cred, expires := expiring(t, time.Hour)
	f := newFeed(3)
	f.expires = expires
	opened := make(chan struct{})
	f.script = func(a *answer, n int) bool {
		switch n {
		case 1:
			a.hello()
			a.events(1)
			a.wait(opened)
			a.events(2)
			a.hang()
		case 2:
			close(opened)
			time.Sleep(time.Second)
			second(a)
		}
		return n <= 2
	}
	return renewedFeed{f, cred}
}

// TestEventsBrokenWithProgress checks that damaged streams do not end the loop if each of them
// delivers an event before the damage.
func TestEventsBrokenWithProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(20)
		f.script = func(a *answer, n int) bool {
			a.hello()
			a.events(n)
			a.write("garbage\n")
			return true
		}
		words, err := receive(t.Context(), f.client(t, exampleToken{}), nil, 20)
		if err != nil || len(words) != 20 {
			t.Errorf("got events %s, error %v", words, err)
		}
	})
}

// TestEventsRenewalFails refuses the request for a new stream. The client must keep the old stream
// and request another stream later. When the server ends the old stream, the client must continue
// with the other stream.
func TestEventsRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cred, expires := expiring(t, time.Hour)
		f := newFeed(1)
		f.expires = expires
		third := make(chan struct{})
		f.script = func(a *answer, n int) bool {
			switch n {
			case 1:
				a.hello()
				a.events(1)
				a.wait(third)
				a.bye("replaced", 0)
			case 2:
				a.WriteHeader(http.StatusForbidden)
			case 3:
				close(third)
				time.Sleep(time.Second)
				a.hello()
				f.add()
				a.follow()
			}
			return true
		}
		words, err := receive(t.Context(), f.client(t, cred), nil, 2)
		if err != nil {
			t.Fatal(err)
		}
		wantWords(t, words, "1 2")
		if n, _ := f.seen(); n != 3 {
			t.Errorf("got %d requests, want 3", n)
		}
	})
}

// TestEventsFixedToken checks that the client uses a token that it cannot renew until the server
// ends the stream, and that the loop then ends with ErrUnauthorized.
func TestEventsFixedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expiry := time.Now().Add(time.Hour)
		cred, err := communication.NewTokenCredential(expiringToken("fixed", expiry))
		if err != nil {
			t.Fatal(err)
		}
		f := newFeed(1)
		f.expires = func(string) time.Time { return expiry }
		f.script = func(a *answer, n int) bool {
			if n > 1 {
				a.WriteHeader(http.StatusUnauthorized)
				return true
			}
			a.hello()
			a.events(1)
			for time.Until(expiry) > 0 {
				time.Sleep(15 * time.Second)
				a.write(": heartbeat\n\n")
			}
			a.bye("expired", 0)
			return true
		}
		words, err := receive(t.Context(), f.client(t, cred), nil, 2)
		if !errors.Is(err, communication.ErrUnauthorized) {
			t.Errorf("got error %v, want unauthorized", err)
		}
		wantWords(t, words, "1")
		if n, _ := f.seen(); n != 2 {
			t.Errorf("got %d requests, want 2", n)
		}
	})
}

// TestEventsEndWithContext checks the error of a loop whose context ends, while the stream is open
// and during a pause between connections. In a pause, the error must also contain the last failure.
func TestEventsEndWithContext(t *testing.T) {
	for _, test := range []struct {
		script func(a *answer, n int) bool
		want   string
	}{
		{nil, "receive events: context deadline exceeded"},
		{func(a *answer, n int) bool { a.WriteHeader(503); return true },
			"receive events: context deadline exceeded, last try: 503 Service Unavailable"},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			f := newFeed(0)
			f.script = test.script
			_, err := receive(ctx, f.client(t, exampleToken{}), nil, 1)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// failingCredential is a credential whose first calls fail. failures is the number of calls that
// still fail.
type failingCredential struct{ failures int }

func (c *failingCredential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if c.failures--; c.failures >= 0 {
		return azcore.AccessToken{}, errors.New("the issuer is away")
	}
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// TestEventsCredentialFails checks that the loop continues after seven failures of the credential
// in a row and ends after eight.
func TestEventsCredentialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		words, err := receive(t.Context(), newFeed(1).client(t, &failingCredential{7}), nil, 1)
		if err != nil {
			t.Error(err)
		}
		wantWords(t, words, "1")
		_, err = receive(t.Context(), newFeed(1).client(t, &failingCredential{8}), nil, 1)
		if err == nil || err.Error() != "receive events: get a token: the issuer is away" {
			t.Errorf("got %v", err)
		}
	})
}

// TestEventsKinds sends an event of each kind with all its fields and checks the Event that the
// client yields.
func TestEventsKinds(t *testing.T) {
	at := time.Date(2026, 1, 15, 3, 4, 5, 678e6, time.UTC)
	anna := chat.Participant{
		Identifier: communication.NewUser("8:acs:a_a"), DisplayName: "안나 🎈", ShareHistoryTime: at, Metadata: map[string]string{"k": "v"},
	}
	info := chat.EventInfo{Cursor: "c1", ThreadID: "19:t@thread.v2", Number: 4}
	typed := info
	typed.Number, typed.Cursor = 0, "c0"
	message := chat.Message{
		ID: "1", Version: "2", Type: chat.MessageTypeHTML, Content: chat.MessageContent{Message: `안녕 100% %41 "é" <b>🎈</b>`},
		Sender: anna.Identifier, SenderDisplayName: "안나 🎈", CreatedOn: at, Metadata: map[string]string{"k": "v"},
	}
	edited := message
	edited.EditedOn = at
	deleted := message
	deleted.Content, deleted.Metadata, deleted.DeletedOn = chat.MessageContent{}, nil, at
	const (
		annaJSON    = `{"id":"8:acs:a_a","displayName":"안나 🎈","shareHistoryTime":"2026-01-15T03:04:05.678Z","metadata":{"k":"v"}}`
		sender      = `"sender":"8:acs:a_a","senderDisplayName":"안나 🎈"`
		messageJSON = `"id":"1","version":"2","type":"html","message":"안녕 100% %41 \"é\" <b>🎈</b>",` + sender + `,"createdOn":"2026-01-15T03:04:05.678Z","metadata":{"k":"v"}`
		properties  = `"properties":{"topic":"주제","metadata":{"k":"v"}},"retentionPolicy":{"kind":"threadCreationDate","deleteThreadAfterDays":90}`
		time        = `"2026-01-15T03:04:05.678Z"`
	)
	kept := map[string]string{"k": "v"}
	policy := chat.RetentionPolicy{Kind: chat.RetentionKindThreadCreationDate, DeleteThreadAfterDays: 90}
	for _, test := range []struct {
		name, data string
		want       chat.Event
	}{
		{"chatMessageReceived", messageJSON, chat.MessageReceived{EventInfo: info, Message: message}},
		{"chatMessageEdited", messageJSON + `,"editedOn":` + time, chat.MessageEdited{EventInfo: info, Message: edited}},
		{"chatMessageDeleted", `"id":"1","version":"2","type":"html",` + sender + `,"createdOn":` + time + `,"deletedOn":` + time,
			chat.MessageDeleted{EventInfo: info, Message: deleted}},
		{"typingIndicatorReceived", sender + `,"version":"2","receivedOn":` + time,
			chat.TypingIndicatorReceived{EventInfo: typed, Sender: anna.Identifier, SenderDisplayName: "안나 🎈", Version: "2", ReceivedOn: at}},
		{"readReceiptReceived", `"chatMessageId":"1","sender":"8:acs:a_a","readOn":` + time,
			chat.ReadReceiptReceived{EventInfo: info, Receipt: chat.ReadReceipt{Sender: anna.Identifier, MessageID: "1", ReadOn: at}}},
		{"chatThreadCreated", `"version":"2","createdOn":` + time + `,"createdBy":` + annaJSON + `,"participants":[` + annaJSON + `],` + properties,
			chat.ThreadCreated{EventInfo: info, Version: "2", CreatedOn: at, CreatedBy: anna, Participants: []chat.Participant{anna}, Topic: "주제", Metadata: kept, RetentionPolicy: policy}},
		{"chatThreadPropertiesUpdated", `"version":"2","updatedOn":` + time + `,"updatedBy":` + annaJSON + `,` + properties,
			chat.ThreadPropertiesUpdated{EventInfo: info, Version: "2", UpdatedOn: at, UpdatedBy: anna, Topic: "주제", Metadata: kept, RetentionPolicy: policy}},
		{"chatThreadDeleted", `"version":"2","deletedOn":` + time + `,"deletedBy":` + annaJSON + `,"reason":"deletedByUser"`,
			chat.ThreadDeleted{EventInfo: info, Version: "2", DeletedOn: at, DeletedBy: anna, Reason: chat.ThreadDeletedByUser}},
		{"chatThreadDeleted", `"version":"2","deletedOn":` + time + `,"deletedBy":null,"reason":"deletedByPolicy"`,
			chat.ThreadDeleted{EventInfo: info, Version: "2", DeletedOn: at, Reason: chat.ThreadDeletedByPolicy}},
		{"participantsAdded", `"version":"2","addedOn":` + time + `,"addedBy":` + annaJSON + `,"participantsAdded":[` + annaJSON + `]`,
			chat.ParticipantsAdded{EventInfo: info, Version: "2", AddedOn: at, AddedBy: anna, Participants: []chat.Participant{anna}}},
		{"participantsRemoved", `"version":"2","removedOn":` + time + `,"removedBy":` + annaJSON + `,"participantsRemoved":[` + annaJSON + `]`,
			chat.ParticipantsRemoved{EventInfo: info, Version: "2", RemovedOn: at, RemovedBy: anna, Participants: []chat.Participant{anna}}},
		{"gap", `"reason":"epoch"`, chat.Gap{EventInfo: chat.EventInfo{Cursor: "c1"}, Reason: chat.GapEpoch}},
		{"pollOpened", `"question":"?"`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed(0)
				data := `{"recipient":"8:acs:a_b","threadId":"19:t@thread.v2","number":4,` + test.data + `}`
				id := "id: c1\n"
				switch test.name {
				case "typingIndicatorReceived":
					data, id = strings.Replace(data, `"number":4,`, "", 1), ""
				case "gap":
					data = "{" + test.data + "}"
				case "pollOpened":
					test.want = chat.UnknownEvent{EventInfo: info, Name: "pollOpened", Data: []byte(data)}
				}
				f.script = func(a *answer, n int) bool {
					a.hello()
					a.write("event: " + test.name + "\n" + id + "data: " + data + "\n\n")
					a.hang()
					return true
				}
				for event, err := range events(t.Context(), f.client(t, exampleToken{}), nil) {
					if err != nil || !reflect.DeepEqual(event, test.want) {
						t.Errorf("got  %#v, %v\nwant %#v", event, err, test.want)
					}
					break
				}
			})
		})
	}
}

// TestEventsLogging checks that events arrive at once although azcore logs response bodies, for
// which it reads a body to its end, and although each attempt of a request has a time limit.
func TestEventsLogging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(1)
		client, err := chat.NewClient("https://endpoint", exampleToken{}, &chat.ClientOptions{ClientOptions: azcore.ClientOptions{
			Transport: memory{f}, Logging: policy.LogOptions{IncludeBody: true}, Retry: policy.RetryOptions{TryTimeout: time.Second},
		}})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(10 * time.Second)
			f.add()
		}()
		words, err := receive(t.Context(), client, nil, 2)
		if err != nil {
			t.Fatal(err)
		}
		wantWords(t, words, "1 2")
		if n, _ := f.seen(); n != 1 {
			t.Errorf("got %d requests, want 1", n)
		}
	})
}

// TestEventsLog checks that the log has a line for each connection that ends, and that it contains
// no token and no cursor.
func TestEventsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(3)
		f.script = first(func(a *answer) { a.hello(); a.events(2); a.write("rubbish\n") })
		var log strings.Builder
		client, err := chat.NewClient("https://endpoint", exampleToken{}, &chat.ClientOptions{
			ClientOptions: azcore.ClientOptions{Transport: memory{f}},
			Logger:        slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := receive(t.Context(), client, &chat.EventsOptions{Cursor: "c0"}, 3); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), `msg="confab event stream ended" reason="the event stream is broken`); n != 1 {
			t.Errorf("got %d lines about the end of a stream, want 1:\n%s", n, log.String())
		}
		for _, secret := range []string{"token", "cursor", "rubbish"} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("the log has %q:\n%s", secret, log.String())
			}
		}
	})
}

// TestEventsChaos reads events for half an hour from a server whose streams fail in random ways,
// with tokens that expire after five minutes. Each event must arrive once and in order. A failure
// prints the seed of the random numbers.
func TestEventsChaos(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) { testEventsChaos(t, seed) })
	}
}

func testEventsChaos(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex // guards random
	number := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	cred, expires := expiring(t, 5*time.Minute)
	f := newFeed(0)
	f.expires = expires
	calm := time.Now().Add(30 * time.Minute) // until then, streams fail
	f.script = func(a *answer, n int) bool {
		if time.Now().After(calm) {
			return false
		}
		time.Sleep(time.Duration(number(3000)) * time.Millisecond)
		switch number(8) {
		case 0:
			a.WriteHeader(http.StatusServiceUnavailable)
			return true
		case 1:
			a.cut()
		case 2:
			a.hang()
			return true
		}
		client := a.r.Context()
		ctx, cancel := context.WithTimeout(client, time.Duration(number(400))*time.Second)
		defer cancel()
		a.r = a.r.WithContext(ctx)
		a.hello()
		a.follow()
		frame := messageFrame(a.from + 1)
		switch number(7) {
		case 0:
			a.bye("draining", time.Duration(number(5000))*time.Millisecond)
		case 1:
			a.bye("expired", 0)
		case 2:
			a.bye("replaced-not", 0)
		case 3:
			a.write(frame[:number(len(frame))])
		case 4:
			a.write("rubbish\n\n")
		case 5:
			<-client.Done() // send nothing, and wait until the client disconnects
		case 6:
			a.cut()
		}
		return true
	}
	const last = 2000
	go func() {
		for range last {
			time.Sleep(time.Duration(number(2000)) * time.Millisecond)
			f.add()
		}
	}()
	next := int64(1)
	for event, err := range events(t.Context(), f.client(t, cred), nil) {
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if i := event.Info(); i.Number != next || i.Cursor != fmt.Sprint("c", next) {
			t.Fatalf("seed %d: got event %d with cursor %s, want event %d", seed, i.Number, i.Cursor, next)
		}
		if number(100) == 0 {
			time.Sleep(time.Duration(number(60)) * time.Second)
		}
		if next++; next > last {
			break
		}
	}
}

// goroutinesOfEvents returns the stacks of the running goroutines that read event streams.
func goroutinesOfEvents() string {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	var found []string
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		if strings.Contains(stack, "chat.(*stream)") || strings.Contains(stack, "chat.(*receiver)") {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}
