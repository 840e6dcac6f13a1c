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
// service. The fake implements only the list of messages, as it is documented.

// writer changes the messages of a thread while a test reads them.
type writer interface {
	send(content string) (id string)
	edit(id, content string)
	remove(id string)
	ids() []string // of all messages, system messages included, in any order
}

// between is a transport that a test puts between a client and its server. Before each request for
// a page of messages it calls before. It also replaces the page size in the request by a smaller
// one, so that few messages fill many pages.
type between struct {
	next       *http.Client
	before     func()
	few, many  int // page sizes in the place of 20 and 200
	pages      int // requests for pages so far
	othersSeen []string
}

// Do sends the request with a smaller page size. It implements policy.Transporter.
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

// anyToken is a credential for a service that checks no token.
type anyToken struct{}

func (anyToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// readThrough returns a client of a thread that sends its requests through b. If token is empty,
// the client has the credential anyToken.
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

// failer contains the methods that this file uses of both testing.T and rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// since is the state of one run of checkSince: the changes that it has made and the messages that
// it has read.
type since struct {
	*rapid.T
	w        writer
	contents map[string][]dated // of each message that was sent, by id
	order    []string           // their ids
	moment   int                // number of writes so far
	budget   int                // writes that may still follow
	cursor   string
	read     []string // ids that were yielded
}

// dated is the content of a message from a moment on. The content is "" after the message is
// deleted. A moment is a number of changes to the thread.
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

// poll reads the messages since the cursor and checks them. If leave is not negative, it leaves the
// loop after leave+1 messages.
func (s *since) poll(thread *chat.ThreadClient, leave int) {
	began := s.moment
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // a reader that never ends fails the test
	defer cancel()
	for m, err := range thread.MessagesSince(ctx, s.cursor) {
		if err != nil {
			s.Fatalf("messages since %q: %v", s.cursor, err)
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

// stateSince reports whether m has a content that the message had at some moment not before began.
// states lists all contents of the message.
func stateSince(states []dated, began int, m chat.Message) bool {
	for i, d := range states {
		over := i+1 < len(states) && states[i+1].moment <= began
		if !over && d.content == m.Content.Message && (d.content == "") == !m.DeletedOn.IsZero() {
			return true
		}
	}
	return false
}

// checkSince changes a thread and polls it with MessagesSince in a random order, and checks that
// each message was yielded once and in order.
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
	pages, before := b.pages, len(s.read)
	s.poll(thread, -1)
	if b.pages > pages+4+len(want)/b.many || len(s.read) != before {
		t.Errorf("a poll of nothing new yields %d messages in %d pages", len(s.read)-before, b.pages-pages)
	}
	if len(b.othersSeen) > 0 {
		t.Errorf("the reader sends other requests: %q", b.othersSeen)
	}
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

// serverWriter implements writer with a thread of a Confab server.
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

// TestMessagesSinceOfTheDocumentedService runs checkSince with the fake of the real service.
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

// documented is a fake of the real service with one thread. Its list of messages is as
// docs/contract/chat.md §4.1 and §5.1 describe it: ordered by sequenceId, newest first, with times
// in whole seconds, ten messages in a page without maxPageSize, a link after each full page, and a
// time in syncState. It answers all other requests with 404.
type documented struct {
	mu       sync.Mutex // guards the fields below
	step     int64      // milliseconds by which the clock goes on with each change
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

// reset replaces the thread by a new one with two system messages. With each change, its clock
// advances by step milliseconds.
func (f *documented) reset(step int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step, f.now, f.version, f.sequence, f.messages = int64(step), 1_653_551_972_669, 0, 0, nil
	for _, kind := range []string{"participantAdded", "topicUpdated"} {
		f.add(kind, "")
	}
}

// place advances the clock and returns the version and the sequence for the next change.
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

// TestMessagesSinceWhileOthersWrite polls a thread in which four users send, edit and delete
// messages at the same time. Unlike checkSince, it uses the page sizes of package chat.
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
					old := n/2 - n/2%5 // not one that is deleted below
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
			done = true // one more poll has the rest
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

// TestMessagesSinceErrors checks what MessagesSince yields for invalid cursors, for a user who is
// not in the thread, for a context that has ended and after temporary failures, and how many
// requests it sends.
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
