package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/sdk/communication"
)

// follower reads the response to a request that follows a thread.
type follower struct {
	*place
	lines chan string // closed when the response ends
}

// follow sends a request that follows a thread, and returns when the header of the response has
// arrived.
func (p *place) follow(id string, after uint64) *follower {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
	p.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://localhost/admin/v1/threads/%s/messages/follow?after=%d", url.PathEscape(id), after), nil)
	if err != nil {
		p.Fatal(err)
	}
	res, err := p.socket.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		p.Fatalf("follow: %s, %s", res.Status, res.Header.Get("Content-Type"))
	}
	f := &follower{place: p, lines: make(chan string, 100)}
	go func() {
		defer close(f.lines)
		in := bufio.NewScanner(res.Body)
		in.Buffer(nil, 8<<20)
		for in.Scan() {
			if data, ok := strings.CutPrefix(in.Text(), "data: "); ok {
				f.lines <- data
			}
		}
	}()
	return f
}

// next returns the next message. ok is false if the response has ended.
func (f *follower) next() (m admin.Message, ok bool) {
	f.Helper()
	select {
	case line, ok := <-f.lines:
		if ok {
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				f.Fatalf("%v: %s", err, line)
			}
		}
		return m, ok
	case <-time.After(time.Minute):
		f.Fatal("nothing was told within a minute")
		return m, false
	}
}

// asUser sends a request with a user's token, checks the status, and decodes the response into
// out.
func (p *place) asUser(status int, token, method, path, body string, out any) {
	p.Helper()
	kind := "application/json"
	if method == http.MethodPatch {
		kind = "application/merge-patch+json"
	}
	req, err := http.NewRequestWithContext(p.Context(), method, p.url+path+"?api-version=2021-09-07", strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := p.client.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != status {
		p.Fatalf("%s %s: %s, want %d", method, path, res.Status, status)
	}
	if out != nil {
		if err := json.NewDecoder(res.Body).Decode(out); err != nil {
			p.Fatal(err)
		}
	}
}

// TestFollow follows a thread, both from its beginning and from its end, while messages are
// written, edited and deleted. It checks that each change arrives once and in order.
func TestFollow(t *testing.T) {
	p := start(t, "CONFAB_ADMIN_READS_MESSAGES=true", "CONFAB_LIMITS=off")
	ann, token := p.newUser()
	_, id := p.newThread(token)
	path := "/chat/threads/" + url.PathEscape(id) + "/messages"
	send := func(text string) string {
		var sent struct{ ID string }
		p.asUser(201, token, http.MethodPost, path, `{"content":"`+text+`","type":"text","senderDisplayName":"Ann"}`, &sent)
		return sent.ID
	}
	all := p.follow(id, 0)
	want := func(f *follower, typ, content string, sequence uint64) admin.Message {
		t.Helper()
		m, ok := f.next()
		if !ok || m.Type != typ || m.Content != content || m.Sequence != sequence {
			t.Fatalf("got %+v, %v, want %s %q with sequence %d", m, ok, typ, content, sequence)
		}
		return m
	}
	var page admin.Messages
	p.want(200, "GET", "/admin/v1/threads/"+url.PathEscape(id)+"/messages", "", &page)
	if len(page.Messages) != 2 {
		t.Fatalf("a new thread has %d messages, want those of its participant and topic", len(page.Messages))
	}
	for i := range page.Messages { // the page has the newest message first, and want has the oldest first
		m := page.Messages[len(page.Messages)-1-i]
		got := want(all, m.Type, m.Content, m.Sequence)
		if got.Initiator != ann || m.Type == "participantAdded" && (len(got.Participants) != 1 || got.Participants[0].ID != ann) {
			t.Errorf("%s tells of %+v by %q", got.Type, got.Participants, got.Initiator)
		}
	}
	first := send("one")
	if m := want(all, "text", "one", 3); m.Sender != ann || m.SenderDisplayName != "Ann" || m.ID != first {
		t.Errorf("got %+v", m)
	}
	p.asUser(204, token, http.MethodPatch, path+"/"+first, `{"content":"uno"}`, nil)
	if m := want(all, "text", "uno", 4); m.EditedOn == "" || m.ID != first {
		t.Errorf("an edit: %+v", m)
	}
	p.asUser(204, token, http.MethodDelete, path+"/"+first, "", nil)
	if m := want(all, "text", "", 5); m.DeletedOn == "" || m.ID != first {
		t.Errorf("a deletion: %+v", m)
	}
	for i := range 55 { // more than two chunks
		send(fmt.Sprint("many ", i))
	}
	later := p.follow(id, 5)
	for i := range 55 {
		want(all, "text", fmt.Sprint("many ", i), uint64(6+i))
		want(later, "text", fmt.Sprint("many ", i), uint64(6+i))
	}

	// The response must end when the thread is deleted.
	p.asUser(204, token, http.MethodDelete, "/chat/threads/"+url.PathEscape(id), "", nil)
	for _, f := range []*follower{all, later} {
		if m, ok := f.next(); ok {
			t.Errorf("a deleted thread tells %+v", m)
		}
	}
	if n := strings.Count(p.log.String(), `"operation":"followMessages"`); n != 2 {
		t.Errorf("the log has %d records of 2 requests that followed the thread", n)
	}
}

// TestFollowRefusals checks that requests that may not follow a thread are refused. One of them is
// the request that exceeds maxStreams.
func TestFollowRefusals(t *testing.T) {
	p := start(t, "CONFAB_ADMIN_READS_MESSAGES=true")
	_, token := p.newUser()
	_, id := p.newThread(token)
	at := func(id, after string) string {
		return "/admin/v1/threads/" + url.PathEscape(id) + "/messages/follow?after=" + after
	}
	p.want(400, "GET", at("x", "0"), "", nil)
	p.want(404, "GET", at(nowhere, "0"), "", nil)
	p.want(400, "GET", at(id, "last"), "", nil)
	for range 10 {
		p.follow(id, 0)
	}
	p.want(503, "GET", at(id, "0"), "", nil)

	closed := start(t)
	if status, text := closed.operate("GET", at(nowhere, "0"), ""); status != 403 || !strings.Contains(text, "--admin-reads-messages") {
		t.Errorf("a server that does not show messages: %d %s", status, text)
	}
}

// TestFollowEndsWithServer checks that the server shuts down while a request follows a thread.
func TestFollowEndsWithServer(t *testing.T) {
	p := start(t, "CONFAB_ADMIN_READS_MESSAGES=true")
	_, token := p.newUser()
	_, id := p.newThread(token)
	f := p.follow(id, 1000)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.server.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	if m, ok := f.next(); ok {
		t.Errorf("got %+v after the end", m)
	}
}

// TestFollowEndsForClientsThatDoNotRead checks that the server shuts down while it writes to a
// follower that does not read.
func TestFollowEndsForClientsThatDoNotRead(t *testing.T) {
	p := start(t, "CONFAB_ADMIN_READS_MESSAGES=true", "CONFAB_LIMITS=off")
	_, token := p.newUser()
	_, id := p.newThread(token)
	body := `{"type":"text","content":"` + strings.Repeat("long ", 12_000) + `"}`
	// The follower must not be able to buffer all messages: its channel holds 100, and the sockets
	// hold some more.
	for range 150 {
		p.asUser(201, token, http.MethodPost, "/chat/threads/"+url.PathEscape(id)+"/messages", body, nil)
	}
	f := p.follow(id, 0)
	if _, ok := f.next(); !ok {
		t.Fatal("nothing was told")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.server.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestListUsers(t *testing.T) {
	p := start(t)
	var none admin.Users
	if text := p.want(200, "GET", "/admin/v1/users", "", &none); len(none.Users) != 0 || !strings.Contains(text, `"users": []`) {
		t.Errorf("no users: %s", text)
	}
	made := map[string]bool{}
	for range 3 {
		id, _ := p.newUser()
		made[id] = true
	}
	var all, rest admin.Users
	p.want(200, "GET", "/admin/v1/users", "", &all)
	if len(all.Users) != 3 || all.Next != "" {
		t.Fatalf("got %+v", all)
	}
	for _, u := range all.Users {
		if !made[u.ID] || u.State != "live" {
			t.Errorf("got %+v", u)
		}
	}
	p.want(200, "GET", "/admin/v1/users?next="+url.QueryEscape(all.Users[0].ID), "", &rest)
	if len(rest.Users) != 2 || rest.Users[0] != all.Users[1] || rest.Users[1] != all.Users[2] {
		t.Errorf("after the first of %+v: %+v", all.Users, rest.Users)
	}
	p.want(400, "GET", "/admin/v1/users?next=x", "", nil)
	if status, _ := p.call(communication.AccessKey{}, "GET", "/admin/v1/users", ""); status != 404 && status != 401 {
		t.Errorf("the port for clients answers %d", status)
	}
}
