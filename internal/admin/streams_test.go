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
	"github.com/confab-chat/confab/internal/figures"
	"github.com/confab-chat/confab/internal/traffic"
	"github.com/confab-chat/confab/sdk/communication"
)

// told is an event of a stream.
type told struct{ name, id, data string }

// stream opens a stream of the operator's API at the port and returns its events. The channel is
// closed when the stream ends.
func (m *matrix) stream(path, token string, header ...string) <-chan told {
	m.Helper()
	ctx, cancel := context.WithTimeout(m.Context(), time.Minute)
	m.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.info.Admin+"/admin/v1"+path, nil)
	if err != nil {
		m.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := m.client.Do(req)
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		m.Fatalf("%s: %s", path, res.Status)
	}
	events := make(chan told, 5000)
	go func() {
		defer close(events)
		var e told
		for in := bufio.NewScanner(res.Body); in.Scan(); {
			name, value, _ := strings.Cut(in.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					events <- e
				}
				e = told{}
			}
		}
	}()
	return events
}

// next returns the next event of a stream. ok is false if the stream has ended.
func (m *matrix) next(events <-chan told) (e told, ok bool) {
	m.Helper()
	select {
	case e, ok = <-events:
		return e, ok
	case <-time.After(time.Minute):
		m.Fatal("nothing was told within a minute")
		return e, false
	}
}

// TestStreamsEndWithTheirSession opens a stream of figures with a session, and ends the session. It
// checks that the stream ends.
func TestStreamsEndWithTheirSession(t *testing.T) {
	m := &matrix{place: start(t)}
	session := m.session("viewer")
	events := m.stream("/overview/stream", session)
	e, ok := m.next(events)
	var p figures.Point
	if err := json.Unmarshal([]byte(e.data), &p); err != nil || !ok || e.name != "figures" || p.Time == "" {
		t.Fatalf("%+v, %v, %v", e, ok, err)
	}
	if a := m.ask("DELETE", "/session", "", communication.AccessKey{}, bearer(session)...); a.status != 204 {
		t.Fatalf("end the session: %d %s", a.status, a.body)
	}
	for ok {
		_, ok = m.next(events)
	}
}

// TestFollowEvents checks which events a client gets that follows the event log from the end, from
// an event, and from an event id that does not exist.
func TestFollowEvents(t *testing.T) {
	m := &matrix{place: start(t)}
	_, token := m.newUser()
	_, id := m.newThread(token)
	all := m.stream("/events/stream?kind=messageReceived", m.info.AdminSecret)
	send := func(n int) {
		m.asUser(201, token, "POST", "/chat/threads/"+url.PathEscape(id)+"/messages", fmt.Sprintf(`{"content":"%d"}`, n), nil)
	}
	var ids []string
	want := func(events <-chan told) string {
		t.Helper()
		e, ok := m.next(events)
		var got admin.LogEvent
		if err := json.Unmarshal([]byte(e.data), &got); err != nil || !ok || e.name != "event" || got.Thread != id || got.Kind != "messageReceived" || fmt.Sprint(got.Position) != e.id {
			t.Fatalf("%+v, %v", e, err)
		}
		return e.id
	}
	for n := range 3 {
		send(n)
		ids = append(ids, want(all))
	}
	again := m.stream("/events/stream", m.info.AdminSecret, "Last-Event-ID", ids[0])
	for _, id := range ids[1:] {
		if got := want(again); got != id {
			t.Errorf("after event %s: %s, want %s", ids[0], got, id)
		}
	}
	gap := m.stream("/events/stream?after=4000000", m.info.AdminSecret)
	if e, ok := m.next(gap); !ok || e.name != "lost" || e.data != `{"count":0}` {
		t.Errorf("after an event that never was: %+v", e)
	}
	send(3)
	want(gap)
}

// TestFollowRequests checks that the stream of requests has the refused requests. It also continues
// after a request that the server no longer keeps.
func TestFollowRequests(t *testing.T) {
	m := &matrix{place: start(t), spec: loadSpec(t)}
	_, token := m.newUser()
	refused := m.stream("/requests/stream?status=4xx", m.info.AdminSecret)
	m.asUser(200, token, "GET", "/chat/threads", "", nil)
	m.asUser(404, token, "GET", "/chat/threads/"+url.PathEscape(nowhere), "", nil)
	e, ok := m.next(refused)
	var r traffic.Request
	if err := json.Unmarshal([]byte(e.data), &r); err != nil || !ok || e.name != "request" || r.Status != 404 || r.Why == nil || fmt.Sprint(r.Seq) != e.id {
		t.Fatalf("%+v, %v", e, err)
	}
	if err := m.spec.valid("/components/schemas/Request", []byte(e.data)); err != nil {
		t.Error(err)
	}
	for range traffic.DefaultRequests + 500 {
		m.server.Traffic().Add(traffic.Exchange{Time: time.Now(), Status: 200, Method: "GET", Path: "/chat/threads", Operation: "list threads"})
	}
	late := m.stream("/requests/stream?after=1", m.info.AdminSecret)
	var lost struct{ Count int }
	if e, ok := m.next(late); !ok || e.name != "lost" || json.Unmarshal([]byte(e.data), &lost) != nil || lost.Count < 500 {
		t.Errorf("a reader that is behind gets %+v first", e)
	}
}

// TestSeenBy checks which messages of a thread four users see: a member, a member without the
// history, a removed member, and a user who was never in the thread.
func TestSeenBy(t *testing.T) {
	p := start(t, "CONFAB_LIMITS=off", "CONFAB_ADMIN_READS_MESSAGES=true")
	ann, token := p.newUser()
	bob, bobToken := p.newUser()
	cem, _ := p.newUser()
	_, id := p.newThread(token)
	thread := "/chat/threads/" + url.PathEscape(id)
	send := func(text string) {
		p.asUser(201, token, "POST", thread+"/messages", `{"content":"`+text+`"}`, nil)
	}
	send("before")
	p.asUser(201, token, "POST", thread+"/participants/:add", `{"participants":[{"communicationIdentifier":{"communicationUser":{"id":"`+bob+`"}}}]}`, nil)
	send("meanwhile")
	p.asUser(204, token, "POST", thread+"/participants/:remove", `{"communicationUser":{"id":"`+bob+`"}}`, nil)
	send("after")
	at := "/admin/v1/threads/" + url.PathEscape(id) + "/seen-by/"
	sees := func(user string) admin.SeenBy {
		t.Helper()
		var s admin.SeenBy
		p.want(200, "GET", at+url.PathEscape(user)+"?content=true", "", &s)
		return s
	}
	texts := func(s admin.SeenBy) (seen []string) {
		for _, m := range s.Messages {
			if m.Visible && m.Type == "text" {
				seen = append(seen, m.Content)
			}
			if m.Why == "" {
				t.Errorf("no reason: %+v", m)
			}
		}
		return seen
	}
	if s := sees(ann); s.Sees != "all" || strings.Join(texts(s), " ") != "after meanwhile before" {
		t.Errorf("ann: %+v", s)
	}
	s := sees(bob)
	var own struct {
		Value []struct{ Content struct{ Message string } }
	}
	p.asUser(200, bobToken, "GET", thread+"/messages", "", &own)
	var read []string
	for _, m := range own.Value {
		if m.Content.Message != "" {
			read = append(read, m.Content.Message)
		}
	}
	if s.Sees != "part" || strings.Join(texts(s), " ") != strings.Join(read, " ") || !strings.Contains(s.Why, "was removed from this thread by "+ann) || s.Member == nil || !s.Member.Left {
		t.Errorf("bob reads %q: %+v", read, s)
	}
	if s := sees(cem); s.Sees != "none" || len(texts(s)) != 0 || s.Member != nil {
		t.Errorf("cem: %+v", s)
	}
	if text := p.want(200, "GET", at+url.PathEscape(ann), "", nil); strings.Contains(text, "meanwhile") {
		t.Errorf("contents that nobody asked for: %s", text)
	}
	closed := start(t)
	_, token = closed.newUser()
	_, id = closed.newThread(token)
	closed.want(403, "GET", "/admin/v1/threads/"+url.PathEscape(id)+"/seen-by/"+url.PathEscape(nobody)+"?content=true", "", nil)
	closed.want(200, "GET", "/admin/v1/threads/"+url.PathEscape(id)+"/seen-by/"+url.PathEscape(nobody), "", nil)
}

// TestLists creates users and threads. It checks that lists and searches find them: in the order of
// the event log, by text, by id, and page by page.
func TestLists(t *testing.T) {
	p := start(t, "CONFAB_LIMITS=off")
	ann, token := p.newUser()
	bob, _ := p.newUser()
	var ids []string
	for range 5 {
		_, id := p.newThread(token)
		ids = append(ids, id)
	}
	p.asUser(204, token, "PATCH", "/chat/threads/"+url.PathEscape(ids[1]), `{"topic":"A Picnic"}`, nil)
	var got []string
	for next := ""; ; {
		var page admin.Threads
		p.want(200, "GET", "/admin/v1/threads?limit=2"+next, "", &page)
		for _, one := range page.Threads {
			got = append(got, one.ID)
		}
		if page.Next == "" {
			break
		}
		next = "&next=" + page.Next
	}
	want := []string{ids[1], ids[4], ids[3], ids[2], ids[0]}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("recent threads %q, want %q", got, want)
	}
	var found admin.Threads
	p.want(200, "GET", "/admin/v1/threads?search=picnic", "", &found)
	if len(found.Threads) != 1 || found.Threads[0].ID != ids[1] || found.Looked != 5 || found.Complete == nil || !*found.Complete {
		t.Errorf("a search by topic: %+v", found)
	}
	var users admin.Users
	p.want(200, "GET", "/admin/v1/users?search="+url.QueryEscape(ann[len(ann)-9:]), "", &users)
	if len(users.Users) != 1 || users.Users[0].ID != ann {
		t.Errorf("a search by a part of the id: %+v", users)
	}
	p.asUser(201, token, "POST", "/chat/threads/"+url.PathEscape(ids[0])+"/participants/:add", `{"participants":[{"communicationIdentifier":{"communicationUser":{"id":"`+bob+`"}},"displayName":"Bob Lee"}]}`, nil)
	p.want(200, "GET", "/admin/v1/users?search=lee", "", &users)
	if len(users.Users) != 1 || users.Users[0].ID != bob || users.Users[0].DisplayName != "Bob Lee" || users.Complete == nil || !*users.Complete {
		t.Errorf("a search by display name: %+v", users)
	}
	var events admin.Events
	p.want(200, "GET", "/admin/v1/events?kind=threadUpdated&user="+url.QueryEscape(ann), "", &events)
	if len(events.Events) != 1 || events.Events[0].Thread != ids[1] || events.Events[0].Time == "" || !events.Complete {
		t.Errorf("events: %+v", events)
	}
	for _, q := range []string{ann, ids[0]} {
		var hits admin.Hits
		p.want(200, "GET", "/admin/v1/search?q="+url.QueryEscape(q), "", &hits)
		if len(hits.Hits) != 1 || hits.Hits[0].ID != q {
			t.Errorf("search %s: %+v", q, hits)
		}
	}
	var overview admin.Overview
	p.want(200, "GET", "/admin/v1/overview", "", &overview)
	if !overview.Ready || len(overview.Servers) != 1 || !overview.Servers[0].Self || overview.Storage.Position == 0 || overview.Connections.Most == 0 {
		t.Errorf("overview: %+v", overview)
	}
}
