package chattest_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"pgregory.net/rapid"

	"github.com/confab-chat/confab/chattest"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// This file tests chat.ThreadClient.MessagesSince with a Confab server and with a fake of the real
// service. The fake implements only the list of messages, as docs/contract/chat.md describes it.

// writer sends, edits and deletes messages of a thread while a test reads them.
type writer interface {
	send(content string) (id string)
	edit(id, content string)
	remove(id string)
	ids() []string // returns the ids of all messages and system messages of the thread, in any order
}

// between is an HTTP transport that a test puts between a client and its server. Before it forwards
// a request for a page of messages, it calls the function in the field before. It also reduces the
// page size in the request, so that few messages fill many pages.
type between struct {
	next       *http.Client
	before     func()
	few, many  int // page sizes that replace the sizes 20 and 200 in the client's requests
	pages      int // number of requests for pages that were forwarded so far
	othersSeen []string
}

// Do forwards the request r. If r is a request for a page of messages, Do first reduces the page
// size. It implements policy.Transporter.
func (b *between) Do(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/messages") {
		b.othersSeen = append(b.othersSeen, r.Method+" "+r.URL.Path)
		return b.next.Do(r)
	}
	b.pages++
	if b.before != nil {
		b.before()
	}
	q := r.URL.Query()
	switch q.Get("maxPageSize") {
	case "20":
		q.Set("maxPageSize", strconv.Itoa(b.few))
	case "200":
		q.Set("maxPageSize", strconv.Itoa(b.many))
	}
	r.URL.RawQuery = q.Encode()
	return b.next.Do(r)
}

// anyToken is a token credential with a made-up token, for a service that checks no token.
type anyToken struct{}

func (anyToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// readThrough returns a client of a thread. The client sends its requests through the transport b.
// If token is empty, the client has the credential anyToken.
func readThrough(t failer, endpoint, token, thread string, b *between) *chat.ThreadClient {
	t.Helper()
	var cred azcore.TokenCredential = anyToken{}
	if token != "" {
		c, err := communication.NewTokenCredential(token)
		if err != nil {
			t.Fatalf("make a credential: %v", err)
		}
		cred = c
	}
	o := &chat.ClientOptions{}
	o.Transport, o.Retry.RetryDelay = b, time.Millisecond
	client, err := chat.NewClient(endpoint, cred, o)
	if err != nil {
		t.Fatalf("make a chat client: %v", err)
	}
	return client.NewThreadClient(thread)
}

// failer has the methods for test failures that testing.T and rapid.T share.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// since is the state of one run of checkSince: the changes that the run has made to the thread and
// the messages that it has read.
type since struct {
	*rapid.T
	w        writer
	contents map[string][]dated // all contents that each sent message has had, by message id
	order    []string           // ids of the sent messages, oldest first
	moment   int                // number of changes that were made to the thread so far
	budget   int                // number of changes to the thread that the test may still make
	cursor   string
	read     []string // ids of all messages that MessagesSince has yielded
}

// dated is a content of a message, with the moment at which the message got this content. A moment
// is the number of changes that were made to the thread before. A deleted message has the content
// "".
type dated struct {
	moment  int
	content string
}

// write makes up to n random changes: it sends, edits or deletes messages.
func (s *since) write(n int) {
	for range rapid.IntRange(0, n).Draw(s.T, "writes") {
		if s.budget == 0 {
			return
		}
		s.budget--
		s.moment++
		content := fmt.Sprint("content ", s.moment)
		kind := rapid.IntRange(0, 5).Draw(s.T, "kind")
		if kind < 3 || len(s.order) == 0 {
			id := s.w.send(content)
			s.order = append(s.order, id)
			s.contents[id] = []dated{{s.moment, content}}
			continue
		}
		id := rapid.SampledFrom(s.order).Draw(s.T, "message")
		states := s.contents[id]
		switch gone := states[len(states)-1].content == ""; {
		case gone:
		case kind == 5:
			s.w.remove(id)
			s.contents[id] = append(states, dated{s.moment, ""})
		default:
			s.w.edit(id, content)
			s.contents[id] = append(states, dated{s.moment, content})
		}
	}
}

// tooFast is the error of MessagesSince when it cannot catch up with a thread: it has read more
// than ten pages again because messages kept changing. The test accepts the error only if at least
// five changes were made during the poll. Fewer changes cannot cause it, because MessagesSince
// reads at least two pages of two messages each time, and a changed message appears at most twice.
const tooFast = "messages since: the thread changes faster than it is read"

// poll reads the messages after the cursor and checks each message. It stops reading after leave+1
// messages, or at the end if leave is negative.
func (s *since) poll(thread *chat.ThreadClient, leave int) {
	began := s.moment
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // limit the time, so that an endless loop fails the test
	defer cancel()
	for m, err := range thread.MessagesSince(ctx, s.cursor) {
		if err != nil && strings.Contains(err.Error(), tooFast) && s.moment-began >= 5 {
			return // stop here: the next poll reads the remaining messages
		}
		if err != nil {
			s.Fatalf("messages since %q, with %d writes meanwhile: %v", s.cursor, s.moment-began, err)
		}
		if len(m.ID) < len(s.cursor) || len(m.ID) == len(s.cursor) && m.ID <= s.cursor {
			s.Fatalf("message %s after the cursor %q", m.ID, s.cursor)
		}
		s.cursor, s.read = m.ID, append(s.read, m.ID)
		if states, ok := s.contents[m.ID]; ok && !stateSince(states, began, m) {
			s.Errorf("message %s is yielded with %q, deleted %v; since the loop began it was %+v", m.ID, m.Content.Message, m.DeletedOn, states)
		}
		if leave == 0 {
			return
		}
		leave--
	}
}

// stateSince reports whether the message m, as it was read, agrees with the message's state at the
// moment began or at a later moment. states lists all contents that the message has had, oldest
// first.
func stateSince(states []dated, began int, m chat.Message) bool {
	for i, d := range states {
		over := i+1 < len(states) && states[i+1].moment <= began
		if !over && d.content == m.Content.Message && (d.content == "") == !m.DeletedOn.IsZero() {
			return true
		}
	}
	return false
}

// checkSince changes a thread at random and polls it with MessagesSince, some polls only in
// part. It checks that the polls together yield each message once and in order.
func checkSince(t *rapid.T, w writer, thread *chat.ThreadClient, b *between) {
	s := &since{T: t, w: w, contents: map[string][]dated{}, budget: 80}
	b.few, b.many = rapid.IntRange(1, 4).Draw(t, "few"), rapid.IntRange(2, 8).Draw(t, "many")
	s.write(40)
	for range rapid.IntRange(1, 4).Draw(t, "polls") {
		b.before = func() { s.write(4) }
		s.poll(thread, rapid.IntRange(-1, 12).Draw(t, "leave"))
		b.before = nil
		s.write(10)
	}
	s.poll(thread, -1)
	want := s.w.ids()
	slices.SortFunc(want, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	if !slices.Equal(want, s.read) {
		t.Errorf("yielded %q\nthe thread has %q", s.read, want)
	}
	s.pollPresent(thread, b)
	if len(b.othersSeen) > 0 {
		t.Errorf("the reader sends other requests: %q", b.othersSeen)
	}
}

// pollPresent sets the cursor to the newest version in the list of messages. It checks that a
// poll then yields only messages that are sent afterwards, and that a poll without new messages
// takes one request.
func (s *since) pollPresent(thread *chat.ThreadClient, b *between) {
	s.cursor, s.read = present(s, thread), nil
	pages := b.pages
	s.poll(thread, -1)
	if b.pages != pages+1 || len(s.read) > 0 {
		s.Errorf("a poll of nothing new yields %q in %d pages", s.read, b.pages-pages)
	}
	sent := s.w.send("new")
	s.poll(thread, -1)
	if !slices.Equal(s.read, []string{sent}) {
		s.Errorf("after the cursor for the present: %q; want the message that was sent then, %s", s.read, sent)
	}
	pages = b.pages
	s.poll(thread, -1)
	if b.pages != pages+1 || len(s.read) > 1 {
		s.Errorf("another poll of nothing new yields %q in %d pages", s.read[1:], b.pages-pages)
	}
}

// present returns a cursor after which the thread has no message yet: the version of the first
// message in the list.
func present(t failer, thread *chat.ThreadClient) (cursor string) {
	t.Helper()
	for m, err := range thread.ListMessages(context.Background(), &chat.ListMessagesOptions{MaxPageSize: 1}) {
		if err != nil {
			t.Fatalf("list the first message: %v", err)
		}
		return m.Version
	}
	return ""
}

// TestMessagesSince runs checkSince with threads of a Confab server.
func TestMessagesSince(t *testing.T) {
	s := chattest.NewServer(t, &chattest.Options{Limits: "off"})
	ann, bob := s.NewUser(), s.NewUser()
	rapid.Check(t, func(t *rapid.T) {
		made, err := s.Chat(ann).CreateThread(context.Background(), "topic", &chat.CreateThreadOptions{Participants: []chat.Participant{{Identifier: bob.ID}}})
		if err != nil {
			t.Fatalf("create a thread: %v", err)
		}
		b := &between{next: s.Client()}
		checkSince(t, serverWriter{t, s.Chat(ann).NewThreadClient(made.Thread.ID)}, readThrough(t, s.Endpoint(), bob.Token(), made.Thread.ID, b), b)
	})
}

// serverWriter sends, edits and deletes messages in a thread of a Confab server. It implements
// writer.
type serverWriter struct {
	t      failer
	thread *chat.ThreadClient
}

func (w serverWriter) send(content string) string {
	id, err := w.thread.SendMessage(context.Background(), content, nil)
	w.must(err)
	return id
}

func (w serverWriter) edit(id, content string) {
	w.must(w.thread.UpdateMessage(context.Background(), id, &chat.UpdateMessageOptions{Content: content}))
}

func (w serverWriter) remove(id string) { w.must(w.thread.DeleteMessage(context.Background(), id)) }

func (w serverWriter) ids() (ids []string) {
	for m, err := range w.thread.ListMessages(context.Background(), nil) {
		w.must(err)
		ids = append(ids, m.ID)
	}
	return ids
}

func (w serverWriter) must(err error) {
	if err != nil {
		w.t.Fatalf("write to the thread: %v", err)
	}
}

// TestMessagesSinceOfTheDocumentedService runs checkSince with the fake of Microsoft's service.
func TestMessagesSinceOfTheDocumentedService(t *testing.T) {
	f := &documented{}
	server := httptest.NewTLSServer(f)
	t.Cleanup(server.Close)
	rapid.Check(t, func(t *rapid.T) {
		f.reset(rapid.IntRange(0, 400).Draw(t, "milliseconds between changes"))
		b := &between{next: server.Client()}
		checkSince(t, f, readThrough(t, server.URL, "", "19:a@thread.v2", b), b)
	})
	t.Run("has no event stream", func(t *testing.T) {
		client, err := chat.NewClient(server.URL, anyToken{}, &chat.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: server.Client()}})
		if err != nil {
			t.Fatal(err)
		}
		for event, err := range client.Events(t.Context(), nil) {
			if !errors.Is(err, chat.ErrNoEventStream) {
				t.Errorf("events of a service without a stream: %v, %v; want %v", event, err, chat.ErrNoEventStream)
			}
		}
	})
}

// documented is a fake of Microsoft's service with one thread. It lists messages as
// docs/contract/chat.md §4.1 and §5.1 describe: by sequenceId, newest first, and with times in
// whole seconds. A page has ten messages if the request names no maxPageSize. Each full page has a
// link to the next page, and the link's syncState is a time. The fake answers all other requests
// with 404.
type documented struct {
	mu       sync.Mutex // guards the fields below
	step     int64      // milliseconds by which each change advances the fake's clock
	now      int64
	version  int64
	sequence int64
	messages []*documentedMessage
}

type documentedMessage struct {
	id, version, sequence int64
	createdOn             int64
	kind, content         string
	edited, deleted       int64
}

// reset replaces the thread with a new one that has two system messages. From then on, each
// change advances the fake's clock by step milliseconds.
func (f *documented) reset(step int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step, f.now, f.version, f.sequence, f.messages = int64(step), 1_653_551_972_669, 0, 0, nil
	for _, kind := range []string{"participantAdded", "topicUpdated"} {
		f.add(kind, "")
	}
}

// place advances the fake's clock and returns the version and the sequence number for the next
// change.
func (f *documented) place() (version, sequence int64) {
	f.now += f.step
	f.version = max(f.now, f.version+1)
	f.sequence++
	return f.version, f.sequence
}

func (f *documented) add(kind, content string) *documentedMessage {
	version, sequence := f.place()
	m := &documentedMessage{id: version, version: version, sequence: sequence, createdOn: f.now, kind: kind, content: content}
	f.messages = append(f.messages, m)
	return m
}

func (f *documented) send(content string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strconv.FormatInt(f.add("text", content).id, 10)
}

func (f *documented) edit(id, content string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.message(id)
	m.version, m.sequence = f.place()
	m.content, m.edited = content, m.version
}

func (f *documented) remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.message(id)
	m.version, m.sequence = f.place()
	m.content, m.edited, m.deleted = "", 0, m.version
}

func (f *documented) message(id string) *documentedMessage {
	i := slices.IndexFunc(f.messages, func(m *documentedMessage) bool { return strconv.FormatInt(m.id, 10) == id })
	return f.messages[i]
}

func (f *documented) ids() (ids []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.messages {
		ids = append(ids, strconv.FormatInt(m.id, 10))
	}
	return ids
}

// ServeHTTP answers a request for a list of messages with a page, and every other request with 404.
func (f *documented) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	q := r.URL.Query()
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/messages") || q.Get("api-version") == "" {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"CommunicationError":{"Code":"NotFound","Details":[]}}`)
		return
	}
	size, before := 10, int64(1)<<62
	if text := q.Get("maxPageSize"); text != "" {
		size, _ = strconv.Atoi(text)
	}
	if text := q.Get("syncState"); text != "" {
		before, _ = strconv.ParseInt(text, 16, 64)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.Clone(f.messages)
	slices.SortFunc(all, func(a, b *documentedMessage) int { return cmp.Compare(b.sequence, a.sequence) })
	all = slices.DeleteFunc(all, func(m *documentedMessage) bool { return m.version >= before })
	page := map[string]any{}
	values := []map[string]any{}
	for _, m := range all[:min(size, len(all))] {
		values = append(values, m.json())
		before = m.version
	}
	page["value"] = values
	if len(values) == size {
		page["nextLink"] = fmt.Sprintf("https://%s/chat/threads/19:a@thread.v2/messages?syncState=%x&startTime=1%%2F1%%2F1970%%2012%%3A00%%3A00%%20AM%%20%%2B00%%3A00&maxPageSize=%d&api-version=%s",
			r.Host, before, size, q.Get("api-version"))
	}
	json.NewEncoder(w).Encode(page)
}

func (m *documentedMessage) json() map[string]any {
	seconds := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
	out := map[string]any{
		"id": strconv.FormatInt(m.id, 10), "type": m.kind, "version": strconv.FormatInt(m.version, 10), "sequenceId": strconv.FormatInt(m.sequence, 10),
		"content": map[string]any{"message": m.content}, "createdOn": seconds(m.createdOn),
	}
	if m.edited != 0 {
		out["editedOn"] = seconds(m.edited)
	}
	if m.deleted != 0 {
		out["deletedOn"] = seconds(m.deleted)
	}
	return out
}

// eachService runs a test twice: with a thread of a Confab server, and with the thread of the fake.
// Each thread begins with two system messages. The client of the thread sends its requests through
// b.
func eachService(t *testing.T, test func(t *testing.T, w writer, thread *chat.ThreadClient, b *between)) {
	t.Run("server", func(t *testing.T) {
		s := chattest.NewServer(t, &chattest.Options{Limits: "off"})
		ann := s.NewUser()
		made, err := s.Chat(ann).CreateThread(t.Context(), "topic", nil)
		if err != nil {
			t.Fatal(err)
		}
		b := &between{next: s.Client(), few: 20, many: 200}
		test(t, serverWriter{t, s.Chat(ann).NewThreadClient(made.Thread.ID)}, readThrough(t, s.Endpoint(), ann.Token(), made.Thread.ID, b), b)
	})
	t.Run("documented service", func(t *testing.T) {
		f := &documented{}
		f.reset(1)
		server := httptest.NewTLSServer(f)
		t.Cleanup(server.Close)
		b := &between{next: server.Client(), few: 20, many: 200}
		test(t, f, readThrough(t, server.URL, "", "19:a@thread.v2", b), b)
	})
}

// readSince returns the ids of the messages after a cursor that MessagesSince yields, and the error
// that it yields last.
func readSince(ctx context.Context, thread *chat.ThreadClient, cursor string) (ids []string, last error) {
	for m, err := range thread.MessagesSince(ctx, cursor) {
		if last = err; err == nil {
			ids = append(ids, m.ID)
		}
	}
	return ids, last
}

// TestMessagesSinceRequests edits all messages of a long thread. Then it changes some messages
// after the cursor's message, and checks how many requests a poll sends for that number of changes.
func TestMessagesSinceRequests(t *testing.T) {
	eachService(t, func(t *testing.T, w writer, thread *chat.ThreadClient, b *between) {
		var old []string
		for range 300 {
			old = append(old, w.send("old"))
		}
		for _, id := range old {
			w.edit(id, "edited")
		}
		for _, c := range []struct{ changes, requests int }{{1, 1}, {0, 1}, {19, 1}, {20, 2}, {199, 2}, {200, 4}} {
			cursor := w.send("the cursor's")
			var sent []string
			for i := range c.changes {
				switch {
				case i == 0:
					w.edit(cursor, "edited")
				case i%3 == 1:
					w.edit(old[i], fmt.Sprint("edited again for ", c.changes))
				default:
					sent = append(sent, w.send("new"))
				}
			}
			b.pages = 0
			if ids, err := readSince(t.Context(), thread, cursor); err != nil || !slices.Equal(ids, sent) || b.pages != c.requests {
				t.Errorf("%d changes: %d messages, %v, in %d requests; want %d messages in %d requests", c.changes, len(ids), err, b.pages, len(sent), c.requests)
			}
		}
	})
}

// TestMessagesSinceInABusyThread polls a thread in which messages change before each request for a
// page. If one message changes each time, the poll must yield all messages. If more messages change
// than a page has, the poll must end with the error tooFast after a bounded number of requests.
func TestMessagesSinceInABusyThread(t *testing.T) {
	eachService(t, func(t *testing.T, w writer, thread *chat.ThreadClient, b *between) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // limit the time, so that an endless loop fails the test
		defer cancel()
		b.few, b.many = 2, 4
		const pages = 10
		var first []string
		for range b.many * pages {
			first = append(first, w.send("first"))
		}
		edits := 0 // number of edits so far; each edit changes the message that has not changed for the longest time
		edit := func() {
			w.edit(first[edits%len(first)], fmt.Sprint("edit ", edits))
			edits++
		}
		before := w.ids()
		slices.Sort(before)

		b.before = edit
		ids, err := readSince(ctx, thread, "")
		if err != nil || !slices.Equal(ids, before) {
			t.Errorf("one change for each request: %d messages, %v; want %d", len(ids), err, len(before))
		}

		b.before = func() {
			edit()
			for range b.many {
				w.send("new")
			}
		}
		b.pages = 0
		ids, err = readSince(ctx, thread, "")
		if len(ids) > 0 || err == nil || !strings.Contains(err.Error(), tooFast) {
			t.Errorf("more changes than are read: %d messages, %v; want %q", len(ids), err, tooFast)
		}
		if first := (len(before)+b.many)/b.many + 1; b.pages > 1+2*first+10 {
			t.Errorf("more changes than are read: %d requests, with %d pages to read", b.pages, first)
		}

		b.before = nil
		want := w.ids()
		slices.Sort(want)
		if ids, err = readSince(ctx, thread, ""); err != nil || !slices.Equal(ids, want) {
			t.Errorf("after the changes: %d messages, %v; want %d", len(ids), err, len(want))
		}
	})
}

// TestMessagesSinceIsCanceled polls a thread five times. It cancels the context at the first
// request, then at the second, and so on. Each poll must yield no message and end with
// context.Canceled.
func TestMessagesSinceIsCanceled(t *testing.T) {
	eachService(t, func(t *testing.T, w writer, thread *chat.ThreadClient, b *between) {
		b.few, b.many = 2, 4
		for range 10 {
			w.send("a message")
		}
		want := w.ids()
		slices.Sort(want)
		const requests = 5 // one poll requests the newest page, three full pages, and an empty page or the top of the list again
		for at := 1; at <= requests; at++ {
			ctx, cancel := context.WithCancel(t.Context())
			b.pages = 0
			b.before = func() {
				if b.pages == at {
					cancel()
				}
			}
			ids, err := readSince(ctx, thread, "")
			cancel()
			if len(ids) > 0 || !errors.Is(err, context.Canceled) || b.pages != at {
				t.Errorf("canceled at request %d: %d messages, %v, in %d requests", at, len(ids), err, b.pages)
			}
		}
		b.before = nil
		if ids, err := readSince(t.Context(), thread, ""); err != nil || !slices.Equal(ids, want) {
			t.Errorf("afterwards: %q, %v; want %q", ids, err, want)
		}
	})
}

// TestMessagesSinceAddedAgain polls as a participant who is removed and later added again
// with access to older messages. MessagesSince must yield the messages that were sent in between,
// but not the older messages that have become visible.
func TestMessagesSinceAddedAgain(t *testing.T) {
	s := chattest.NewServer(t)
	ann, bob := s.NewUser(), s.NewUser()
	made, err := s.Chat(ann).CreateThread(t.Context(), "topic", nil)
	if err != nil {
		t.Fatal(err)
	}
	own, thread := s.Chat(ann).NewThreadClient(made.Thread.ID), s.Chat(bob).NewThreadClient(made.Thread.ID)
	w := serverWriter{t, own}
	add := func(shareHistoryTime time.Time) {
		t.Helper()
		w.must(own.AddParticipant(t.Context(), chat.Participant{Identifier: bob.ID, ShareHistoryTime: shareHistoryTime}))
	}
	sees := func(what string, ids []string, id string, want bool) {
		t.Helper()
		if slices.Contains(ids, id) != want {
			t.Errorf("%s: %q; has %s: %v, want %v", what, ids, id, !want, want)
		}
	}
	poll := func(cursor string) []string {
		t.Helper()
		ids, err := readSince(t.Context(), thread, cursor)
		w.must(err)
		return ids
	}
	hidden, edited := w.send("hidden at first"), w.send("hidden and edited later")
	s.Clock.Advance(time.Minute)
	add(s.Clock.Now())
	shown := w.send("shown")
	ids := poll("")
	sees("first", ids, hidden, false)
	sees("first", ids, shown, true)
	cursor := ids[len(ids)-1]

	w.must(own.RemoveParticipant(t.Context(), bob.ID))
	w.edit(edited, "edited")
	missed := w.send("sent meanwhile")
	add(time.Time{})
	ids = poll(cursor)
	sees("added again", ids, hidden, false)
	sees("added again", ids, edited, false)
	sees("added again", ids, shown, false)
	sees("added again", ids, missed, true)
	list := serverWriter{t, thread}.ids()
	sees("the list", list, hidden, true)
	sees("the list", list, edited, true)
}

// TestMessagesSinceWhileOthersWrite polls a thread while four users send, edit and delete
// messages. It checks that the polls together yield each message once. Pages have the sizes that
// package chat requests, 20 and 200.
func TestMessagesSinceWhileOthersWrite(t *testing.T) {
	const writers, each = 4, 120
	s := chattest.NewServer(t, &chattest.Options{Limits: "off"})
	var users []chattest.User
	var others []chat.Participant
	for range writers {
		u := s.NewUser()
		users, others = append(users, u), append(others, chat.Participant{Identifier: u.ID})
	}
	reader := s.NewUser()
	made, err := s.Chat(reader).CreateThread(t.Context(), "topic", &chat.CreateThreadOptions{Participants: others})
	if err != nil {
		t.Fatal(err)
	}
	thread := s.Chat(reader).NewThreadClient(made.Thread.ID)
	var writing sync.WaitGroup
	for i, u := range users {
		own := s.Chat(u).NewThreadClient(made.Thread.ID)
		writing.Go(func() {
			var sent []string
			for n := range each {
				id, err := own.SendMessage(t.Context(), fmt.Sprintf("%d of %d", n, i), nil)
				if err == nil {
					sent = append(sent, id)
					old := n/2 - n/2%5 // index of an old message, which the code below edits and does not delete
					err = own.UpdateMessage(t.Context(), sent[old], &chat.UpdateMessageOptions{Content: fmt.Sprintf("%d of %d, edited", old, i)})
				}
				if err == nil && n%5 == 4 {
					err = own.DeleteMessage(t.Context(), id)
				}
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { writing.Wait(); close(written) }()
	cursor, seen, polls := "", map[string]bool{}, 0
	for done := false; !done; polls++ {
		select {
		case <-written:
			done = true // all writers have ended, so one more poll reads the remaining messages
		default:
		}
		for m, err := range thread.MessagesSince(t.Context(), cursor) {
			if err != nil {
				<-written
				t.Fatalf("poll %d: %v", polls, err)
			}
			if seen[m.ID] {
				t.Errorf("poll %d: message %s again", polls, m.ID)
			}
			seen[m.ID], cursor = true, m.ID
		}
	}
	for _, id := range (serverWriter{t, thread}).ids() {
		if !seen[id] {
			t.Errorf("message %s was not yielded", id)
		}
		delete(seen, id)
	}
	if len(seen) > 0 {
		t.Errorf("messages that the thread does not have: %v", seen)
	}
	t.Logf("%d messages in %d polls", writers*each, polls)
}

// TestMessagesSinceErrors checks the errors of MessagesSince and the number of its requests: for
// invalid cursors, for a user who is not in the thread, for a context that has ended, and for
// temporary failures.
func TestMessagesSinceErrors(t *testing.T) {
	s := chattest.NewServer(t)
	ann, eve := s.NewUser(), s.NewUser()
	made, err := s.Chat(ann).CreateThread(t.Context(), "topic", nil)
	if err != nil {
		t.Fatal(err)
	}
	poll := func(u chattest.User, ctx context.Context, cursor string) (ids []string, last error) {
		for m, err := range s.Chat(u).NewThreadClient(made.Thread.ID).MessagesSince(ctx, cursor) {
			if last != nil {
				t.Errorf("after the error %v: %+v, %v", last, m, err)
			}
			if last = err; err == nil {
				ids = append(ids, m.ID)
			}
		}
		return ids, last
	}
	if ids, err := poll(ann, t.Context(), ""); err != nil || len(ids) != 2 || s.Requests("list messages") != 1 {
		t.Errorf("two system messages: %q, %v, in %d requests; want one", ids, err, s.Requests("list messages"))
	}
	for _, cursor := range []string{"x", "-1", "1.5", " 1", "19:a@thread.v2", strings.Repeat("9", 30)} {
		if ids, err := poll(ann, t.Context(), cursor); len(ids) > 0 || err == nil || !strings.Contains(err.Error(), "messages since: the cursor") {
			t.Errorf("cursor %q: %q, %v", cursor, ids, err)
		}
	}
	if s.Requests("list messages") != 1 {
		t.Errorf("bad cursors are sent")
	}
	if ids, err := poll(eve, t.Context(), ""); len(ids) > 0 || !errors.Is(err, communication.ErrForbidden) {
		t.Errorf("a stranger: %q, %v", ids, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if ids, err := poll(ann, ended, ""); len(ids) > 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %q, %v", ids, err)
	}
	s.Faults.Add(chattest.Fault{Operation: "list messages", Status: 503, Times: 2})
	if ids, err := poll(ann, t.Context(), ""); err != nil || len(ids) != 2 {
		t.Errorf("after two failures: %q, %v", ids, err)
	}
}
