package sse_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/internal/gateway/sse"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/token"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestResponse opens a stream and checks the status, the headers and the first message, hello.
func TestResponse(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		ann := h.user()
		r := h.request("GET", h.token(ann, token.ChatJoinLimited), "")
		// use a host that is not a loopback name, because responses to loopback names have no
		// Strict-Transport-Security
		r.Host = "chat.example"
		r.Header.Set("Origin", "https://app.example")
		r.Header.Set("X-Ms-Client-Request-Id", "request-1")
		s := h.openWith(r)
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
			"Access-Control-Allow-Origin": "https://app.example", "Vary": "Origin", "X-Ms-Client-Request-Id": "request-1",
			"Strict-Transport-Security": "max-age=2592000", "Date": time.Now().UTC().Format(http.TimeFormat),
		} {
			if got := s.resp.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if got, want := s.resp.ProtoMajor == 2, h.over == http2; got != want {
			t.Errorf("HTTP/2 is %v, want %v", got, want)
		}
		want := fmt.Sprintf(`{"user":"%s","cursor":"%s","expiresOn":"2000-01-01T01:00:00.000Z"}`, ann.ID, s.hello.id)
		if s.hello.data != want {
			t.Errorf("hello is %s, want %s", s.hello.data, want)
		}
	})
}

// TestEvents causes all ten kinds of events and checks every field of the messages.
func TestEvents(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		ctx := t.Context()
		ann, bob, cy := h.user(), h.user(), h.user()
		s := h.open(bob, "")
		name := "Bob \"100%\" 안녕\u2028\n"
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		made, _, err := h.core.CreateThread(ctx, ann.ID, core.CreateThread{Topic: "plans", Metadata: map[string]string{"b": "2", "a": "1"}, RetentionDays: 90, Participants: []core.NewParticipant{
			{User: communication.ParseRawID(ann.ID), DisplayName: "Ann"},
			{User: communication.ParseRawID(bob.ID), DisplayName: name, ShareHistory: 900000000123, Metadata: map[string]string{"role": "x"}},
		}})
		must(err)
		thread := made.ID
		message, err := h.core.SendMessage(ctx, ann.ID, thread, core.SendMessage{Content: "one\r\ntwo\u2029\x01", Kind: core.HTML, SenderDisplayName: "Ann", Metadata: map[string]string{"k": "v"}})
		must(err)
		time.Sleep(time.Second) // of the bubble's clock
		text := "edited"
		must(h.core.UpdateMessage(ctx, ann.ID, thread, message, core.UpdateMessage{Content: &text}))
		// wait until the hub has read the log, because a typing notification would overtake events
		// that it has not read
		synctest.Wait()
		must(h.core.Typing(ctx, ann.ID, thread, "Ann T."))
		must(h.core.SendReceipt(ctx, bob.ID, thread, message))
		must(h.core.DeleteMessage(ctx, ann.ID, thread, message))
		topic := "new"
		must(h.core.UpdateThread(ctx, ann.ID, thread, core.UpdateThread{Topic: &topic}))
		_, err = h.core.AddParticipants(ctx, ann.ID, thread, []core.NewParticipant{{User: communication.ParseRawID(cy.ID), DisplayName: "Cy"}})
		must(err)
		must(h.core.RemoveParticipant(ctx, ann.ID, thread, communication.ParseRawID(cy.ID)))
		must(h.core.DeleteThread(ctx, ann.ID, thread))

		first, later := "2000-01-01T00:00:00.000Z", "2000-01-01T00:00:01.000Z"
		annIs := map[string]any{"id": ann.ID, "displayName": "Ann"}
		cyIs := map[string]any{"id": cy.ID, "displayName": "Cy"}
		policy := map[string]any{"kind": "threadCreationDate", "deleteThreadAfterDays": 90.0}
		sent := func(more map[string]any) map[string]any {
			m := map[string]any{"id": fmt.Sprint(message), "type": "html", "sender": ann.ID, "senderDisplayName": "Ann"}
			for k, v := range more {
				m[k] = v
			}
			return m
		}
		var number float64
		for _, want := range []struct {
			event  string
			fields map[string]any
		}{
			{"chatThreadCreated", map[string]any{"createdOn": first, "createdBy": annIs, "retentionPolicy": policy,
				"properties": map[string]any{"topic": "plans", "metadata": map[string]any{"a": "1", "b": "2"}},
				"participants": []any{annIs, map[string]any{"id": bob.ID, "displayName": name,
					"shareHistoryTime": "1998-07-09T16:00:00.123Z", "metadata": map[string]any{"role": "x"}}}}},
			{"chatMessageReceived", sent(map[string]any{"message": "one\r\ntwo\u2029\x01", "metadata": map[string]any{"k": "v"}})},
			{"chatMessageEdited", sent(map[string]any{"message": "edited", "metadata": map[string]any{"k": "v"}, "editedOn": later})},
			{"typingIndicatorReceived", map[string]any{"sender": ann.ID, "senderDisplayName": "Ann T.", "receivedOn": later}},
			{"readReceiptReceived", map[string]any{"chatMessageId": fmt.Sprint(message), "sender": bob.ID, "readOn": later}},
			{"chatMessageDeleted", sent(nil)},
			{"chatThreadPropertiesUpdated", map[string]any{"updatedBy": annIs, "retentionPolicy": policy,
				"properties": map[string]any{"topic": "new", "metadata": map[string]any{"a": "1", "b": "2"}}}},
			{"participantsAdded", map[string]any{"addedBy": annIs, "participantsAdded": []any{cyIs}}},
			{"participantsRemoved", map[string]any{"removedBy": annIs, "participantsRemoved": []any{cyIs}}},
			{"chatThreadDeleted", map[string]any{"deletedBy": annIs, "reason": "deletedByUser"}},
		} {
			m := s.want(want.event)
			var got map[string]any
			if err := json.Unmarshal([]byte(m.data), &got); err != nil {
				t.Fatal(err)
			}
			want.fields["recipient"], want.fields["threadId"] = bob.ID, thread
			if want.event != "typingIndicatorReceived" {
				number++
				want.fields["number"] = number
			} else if m.id != "" {
				t.Errorf("a typing indicator has the id %q", m.id)
			}
			// ids run ahead of the clock, so the test below checks only the form of times that come
			// from ids
			want.event = ""
			for _, field := range []string{"version", "createdOn", "deletedOn", "updatedOn", "addedOn", "removedOn"} {
				if _, ok := want.fields[field]; !ok && got[field] != nil {
					want.fields[field] = got[field]
				}
			}
			if diff := cmp.Diff(want.fields, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", m.event, diff)
			}
		}
	})
}

// TestResume closes streams and opens others at a cursor, in the query parameter or in the
// header Last-Event-ID. It checks that the new streams have the events after the cursor.
func TestResume(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		ann := h.user()
		s := h.open(ann, "")
		thread := h.thread("plans", ann)
		h.send(ann, thread, "one")
		created := s.want("chatThreadCreated")
		one := s.want("chatMessageReceived")
		s.resp.Body.Close()
		h.send(ann, thread, "two")

		m := h.open(ann, "?cursor="+one.id).want("chatMessageReceived")
		if !strings.Contains(m.data, `"message":"two"`) {
			t.Errorf("got %s after one", m.data)
		}
		r := h.request("GET", h.token(ann, token.Chat), "?cursor="+m.id)
		r.Header.Set("Last-Event-ID", s.hello.id)
		end := h.openWith(r) // the parameter wins
		r = h.request("GET", h.token(ann, token.Chat), "")
		r.Header.Set("Last-Event-ID", s.hello.id)
		all := h.openWith(r)
		if all.hello.id != s.hello.id {
			t.Errorf("hello has the cursor %s, want that of the request, %s", all.hello.id, s.hello.id)
		}
		if again := all.want("chatThreadCreated"); again != created {
			t.Errorf("got %+v again, want %+v", again, created)
		}
		if again := all.want("chatMessageReceived"); again != one {
			t.Errorf("got %+v again, want %+v", again, one)
		}
		all.want("chatMessageReceived")
		h.send(ann, thread, "three")
		for _, s := range []*stream{all, end} {
			if m := s.want("chatMessageReceived"); !strings.Contains(m.data, `"message":"three"`) {
				t.Errorf("got %s, want three", m.data)
			}
		}
	})
}

// TestThreads checks that a stream of one thread has no events of another thread, and that its
// cursors are refused for a stream of other threads.
func TestThreads(t *testing.T) {
	inBubble(t, plain, gateway.Bounds{}, sse.Options{}, func(t *testing.T, h *house) {
		ann := h.user()
		one, two := h.thread("one", ann), h.thread("two", ann)
		s := h.open(ann, "?threads="+one)
		h.send(ann, two, "in two")
		h.send(ann, one, "in one")
		m := s.want("chatMessageReceived")
		if !strings.Contains(m.data, `"message":"in one"`) {
			t.Errorf("got %s", m.data)
		}
		h.open(ann, "?threads="+one+","+one+"&cursor="+m.id)
		h.open(ann, "?Threads="+one+"&CURSOR="+m.id) // names of parameters match without case
		h.refused(400, "of another user or of other threads", h.request("GET", h.token(ann, token.Chat), "?cursor="+m.id))
		h.refused(400, "of another user or of other threads", h.request("GET", h.token(ann, token.Chat), "?Cursor="+m.id))
	})
}

// refused sends a request and fails the test unless the response has this status and part in
// its body. A 401 must have no body.
func (h *house) refused(status int, part string, r *http.Request) *http.Response {
	h.t.Helper()
	resp := h.do(r)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if resp.StatusCode != status || !strings.Contains(string(body), part) {
		h.t.Errorf("got %d %s, want %d and %q", resp.StatusCode, body, status, part)
	}
	if status == 401 && len(body) > 0 {
		h.t.Errorf("a 401 has the body %s", body)
	}
	return resp
}

// TestRefusals sends invalid requests and checks the status and the message of the responses.
func TestRefusals(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		ann, bob := h.user(), h.user()
		bearer := h.token(ann, token.Chat)
		cursor := h.open(bob, "").hello.id
		get := func(query string) *http.Request { return h.request("GET", bearer, query) }
		many := strings.TrimSuffix(strings.Repeat("19:%d@thread.v2,", 101), ",")
		ids := make([]any, 101)
		for i := range ids {
			ids[i] = i
		}
		h.refused(400, "the cursor is damaged", get("?cursor=x"))
		h.refused(400, "the cursor is damaged", get("?cursor="+strings.Replace(cursor, cursor[10:14], "zzzz", 1)))
		h.refused(400, "of another user", get("?cursor="+cursor))
		h.refused(400, "more than 100", get("?threads="+fmt.Sprintf(many, ids...)))
		h.refused(400, "not the id of a thread", get("?threads=plans"))
		h.refused(400, "not the id of a thread", get("?threads=19:a@thread.v2,"))
		h.refused(400, "not the id of a thread", get("?threads=19:"+strings.Repeat("a", 200)+"@thread.v2"))
		h.refused(400, "query", get("?cursor=%zz"))
		h.refused(401, "", h.request("GET", "", ""))
		h.refused(401, "", h.request("GET", "", "?token="+bearer+"&access_token="+bearer))
		h.refused(401, "", h.request("GET", "wrong", ""))
		two := get("")
		two.Header.Add("Authorization", "Bearer "+bearer)
		h.refused(400, "more than one Authorization header", two)
		h.refused(403, "Forbidden", h.request("GET", h.token(ann, token.VoIP), ""))
		for _, method := range []string{"POST", "HEAD", "PUT", "DELETE"} {
			if resp := h.refused(405, "", h.request(method, bearer, "")); resp.Header.Get("Allow") != "GET, OPTIONS" {
				t.Errorf("%s: Allow is %q", method, resp.Header.Get("Allow"))
			}
		}
		if err := h.core.DeleteUser(t.Context(), ann.ID); err != nil {
			t.Fatal(err)
		}
		// the request is refused although the deletion of the user is still in its grace period
		h.refused(401, "", get(""))
	})
}

// TestPreflight checks the response to the OPTIONS request that a browser sends before a page
// of another origin may open a stream.
func TestPreflight(t *testing.T) {
	inBubble(t, plain, gateway.Bounds{}, sse.Options{}, func(t *testing.T, h *house) {
		r := h.request("OPTIONS", "", "")
		r.Header.Set("Origin", "https://app.example")
		r.Header.Set("Access-Control-Request-Headers", "authorization,x-mine")
		resp := h.refused(204, "", r)
		for name, want := range map[string]string{"Access-Control-Allow-Origin": "https://app.example",
			"Access-Control-Allow-Headers": "authorization,x-mine", "Access-Control-Allow-Methods": "GET, OPTIONS", "Access-Control-Max-Age": "7200"} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	})
}

// TestTooManyStreams opens more streams of one user, and of all users, than are allowed, and
// checks the status and Retry-After of the refusals.
func TestTooManyStreams(t *testing.T) {
	inBubble(t, plain, gateway.Bounds{Sessions: 25}, sse.Options{}, func(t *testing.T, h *house) {
		ann, bob := h.user(), h.user()
		var first *stream
		for range 20 {
			first = h.open(ann, "")
		}
		if resp := h.refused(429, "TooManyRequests", h.request("GET", h.token(ann, token.Chat), "")); resp.Header.Get("Retry-After") != "10" {
			t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
		}
		for range 5 {
			h.open(bob, "")
		}
		if resp := h.refused(503, "too many", h.request("GET", h.token(bob, token.Chat), "")); resp.Header.Get("Retry-After") != "10" {
			t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
		}
		first.resp.Body.Close()
		synctest.Wait()
		h.open(ann, "") // there is room again
	})
}

// TestGaps opens streams at cursors after which events are missing from the event log, and checks
// the reason in the message gap. It also checks that a stream that resumes at the gap's cursor has
// no gap.
func TestGaps(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		ann := h.user()
		thread := h.thread("plans", ann)
		for _, c := range []struct {
			from   core.Cursor
			reason string
		}{
			{core.Cursor{Epoch: "other", Position: 1}, "epoch"},
			{core.Cursor{Epoch: "first", Position: 1, Check: 7}, "lost"},
		} {
			s := h.open(ann, "?cursor="+gateway.FormatCursor(c.from, ann.ID, nil))
			gap := s.want("gap")
			if gap.data != `{"reason":"`+c.reason+`"}` {
				t.Errorf("got %s, want %s", gap.data, c.reason)
			}
			h.send(ann, thread, "one")
			s.want("chatMessageReceived")
			h.open(ann, "?cursor="+gap.id).want("chatMessageReceived")
		}
	})
}

// TestTooMuch opens a stream whose user has missed events in more threads than
// gateway.Bounds.News allows, and checks the message gap.
func TestTooMuch(t *testing.T) {
	inBubble(t, plain, gateway.Bounds{News: 1}, sse.Options{}, func(t *testing.T, h *house) {
		ann := h.user()
		cursor := h.open(ann, "").hello.id
		h.thread("one", ann)
		h.thread("two", ann)
		// wait until the hub has both events: the session then receives later events directly, not
		// as missed events
		synctest.Wait()
		if gap := h.open(ann, "?cursor="+cursor).want("gap"); gap.data != `{"reason":"tooMuch"}` {
			t.Errorf("got %+v", gap)
		}
	})
}

// TestByes ends streams for each reason that clients are told, and checks the message bye and
// the access records.
func TestByes(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		ann, bob, cy := h.user(), h.user(), h.user()
		a, b, c := h.open(ann, ""), h.open(bob, ""), h.open(cy, "")
		if err := h.core.RevokeTokens(t.Context(), ann.ID); err != nil {
			t.Fatal(err)
		}
		a.wantBye(`{"reason":"revoked","delay":0}`)
		if err := h.core.DeleteUser(t.Context(), bob.ID); err != nil {
			t.Fatal(err)
		}
		b.wantBye(`{"reason":"deleted","delay":0}`)
		for m := c.next(); ; m = c.next() {
			if m.event == "bye" {
				if m.data != `{"reason":"expired","delay":0}` {
					t.Errorf("got %s", m.data)
				}
				break
			}
		}
		c.wantEnd()
		d := h.open(h.user(), "")
		h.hub.EndAll(gateway.Away)
		d.wantBye(`{"reason":"away","delay":1000}`)
		e := h.open(h.user(), "")
		// drain in a goroutine, because Drain waits until the client has read the message bye
		go h.hub.Drain(context.Background())
		e.wantBye(`{"reason":"draining","delay":1000}`)
		if resp := h.refused(503, "shutting down", h.request("GET", h.token(cy, token.Chat), "")); resp.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
		}
		h.wantNotes("opened", "opened", "opened", "opened", "opened",
			"ended: revoked", "ended: deleted", "ended: expired", "ended: away", "ended: draining", "The server is shutting down.")
	})
}

// TestHeartbeats waits while a user gets no events, for longer than the write timeout of the
// http.Server. It checks that the stream then has a comment, or a later cursor if other users got
// events meanwhile.
func TestHeartbeats(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		ann, bob := h.user(), h.user()
		s := h.open(ann, "")
		start := time.Now()
		for range 5 {
			s.want(":")
		}
		if waited := time.Since(start); waited != 75*time.Second {
			t.Errorf("five heartbeats took %v", waited)
		}
		h.thread("plans", bob)
		beat := s.want("")
		if beat.id == "" || beat.id == s.hello.id || beat.data != "" {
			t.Errorf("got %+v", beat)
		}
		s.want(":")
		thread := h.thread("plans", ann)
		s.want("chatThreadCreated")
		s = h.open(ann, "?cursor="+beat.id)
		if m := s.want("chatThreadCreated"); !strings.Contains(m.data, thread) {
			t.Errorf("got %+v", m)
		}
	})
}

// TestClientCloses closes streams from the client's side and checks that their sessions end.
func TestClientCloses(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		s := h.open(h.user(), "")
		h.wantNotes("opened")
		s.resp.Body.Close()
		h.wantNotes("ended: gone")
		if n := h.hub.Stats().Sessions; n != 0 {
			t.Errorf("%d sessions are open", n)
		}
	})
}

// TestSlowClient sends many messages to a client that has stopped reading its stream, and checks
// that the server closes the stream 30 seconds after the client has read the last byte.
func TestSlowClient(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		ann := h.user()
		thread := h.thread("plans", ann)
		s := h.open(ann, "")
		for range 170 { // more messages than an HTTP/2 client accepts without reading
			h.send(ann, thread, strings.Repeat("x", 28<<10))
		}
		h.wantNotes("opened")
		time.Sleep(29 * time.Second) // of the bubble's clock
		h.wantNotes()
		time.Sleep(2 * time.Second)
		h.wantNotes("ended: slow")
		for {
			if _, err := s.read(); err == io.EOF {
				t.Fatal("the stream seems complete")
			} else if err != nil {
				break
			}
		}
	})
}

// TestRevokedWhileSlow revokes the tokens of a user whose client does not read its stream, and
// checks that the connection is closed within 100 ms.
func TestRevokedWhileSlow(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		ann := h.user()
		thread := h.thread("plans", ann)
		h.open(ann, "")
		for range 170 {
			h.send(ann, thread, strings.Repeat("x", 28<<10))
		}
		synctest.Wait()
		if err := h.core.RevokeTokens(t.Context(), ann.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // of the bubble's clock
		h.wantNotes("opened", "ended: revoked")
	})
}

// TestClientSendsGarbage sends bytes on the connection of a stream after the request. It
// checks that a few bytes are ignored and that too many end the stream.
func TestClientSendsGarbage(t *testing.T) {
	for _, over := range []transport{plain, tls1} {
		t.Run(string(over), func(t *testing.T) {
			inBubble(t, over, gateway.Bounds{}, sse.Options{}, func(t *testing.T, h *house) {
				conn, s := h.raw("GET /chat/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + h.token(h.user(), token.Chat) + "\r\n\r\nearly garbage")
				fmt.Fprint(conn, "late garbage")
				s.want("hello", ":")
				// write in a goroutine, because the write blocks when the server stops reading
				go fmt.Fprint(conn, strings.Repeat("x", 17<<10))
				s.wantBye(`{"reason":"hostile","delay":0}`)
				conn.Close()
				h.wantNotes("opened", "ended: hostile")
			})
		})
	}
}

// TestBodyThatDoesNotArrive sends a request that has no token and whose headers announce a
// body that is never sent. It checks that the server closes the connection after a while.
func TestBodyThatDoesNotArrive(t *testing.T) {
	inBubble(t, plain, gateway.Bounds{}, sse.Options{}, func(t *testing.T, h *house) {
		conn, err := h.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		start := time.Now()
		go io.WriteString(conn, "POST /chat/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
		conn.SetReadDeadline(start.Add(time.Hour))
		if _, err := io.ReadAll(conn); err != nil || time.Since(start) > time.Minute {
			t.Errorf("the connection was open for %v: %v", time.Since(start), err)
		}
	})
}

// raw writes a text to a new connection. It returns the connection and the stream with which
// the server responds.
func (h *house) raw(text string) (net.Conn, *stream) {
	h.t.Helper()
	conn, err := h.dial(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	if h.over == tls1 {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(conn, text); err != nil {
		h.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return conn, &stream{t: h.t, resp: resp, lines: bufio.NewReader(resp.Body)}
}

// TestHTTP10 opens a stream with a request of HTTP/1.0, whose response is not chunked.
func TestHTTP10(t *testing.T) {
	inBubble(t, plain, gateway.Bounds{}, sse.Options{}, func(t *testing.T, h *house) {
		_, s := h.raw("GET /chat/events HTTP/1.0\r\nAuthorization: Bearer " + h.token(h.user(), token.Chat) + "\r\n\r\n")
		if s.resp.Proto != "HTTP/1.0" || len(s.resp.TransferEncoding) > 0 || !s.resp.Close {
			t.Errorf("got %s %q", s.resp.Proto, s.resp.TransferEncoding)
		}
		s.want("hello", ":")
		h.hub.EndAll(gateway.Draining)
		s.wantBye(`{"reason":"draining","delay":1000}`)
	})
}

// TestFaults adds rules for injected faults and checks their effect on requests for streams.
func TestFaults(t *testing.T) {
	for _, over := range []transport{plain, tls1, http2} {
		t.Run(string(over), func(t *testing.T) {
			inBubble(t, over, gateway.Bounds{}, sse.Options{}, func(t *testing.T, h *house) {
				faults := h.faults
				ann := h.user()
				bearer := h.token(ann, token.Chat)
				add := func(f rest.Fault) {
					t.Helper()
					f.Operation = sse.Operation
					if _, err := faults.Add(f); err != nil {
						t.Fatal(err)
					}
				}
				add(rest.Fault{Status: 503, RetryAfter: 1500 * time.Millisecond, Delay: 3 * time.Second})
				start := time.Now()
				resp := h.refused(503, "ServiceUnavailable", h.request("GET", bearer, ""))
				if resp.Header.Get("Retry-After") != "2" || time.Since(start) != 3*time.Second {
					t.Errorf("Retry-After is %q after %v", resp.Header.Get("Retry-After"), time.Since(start))
				}
				add(rest.Fault{Status: 504})
				h.refused(504, "GatewayTimeout", h.request("GET", bearer, ""))
				add(rest.Fault{Status: 401})
				h.refused(401, "", h.request("GET", bearer, ""))
				h.notes()
				for _, d := range []rest.Drop{rest.DropBefore, rest.DropAfter} {
					// the rule must apply to every request, because the client of net/http tries
					// again
					add(rest.Fault{Drop: d, Times: rest.Always})
					if resp, err := h.client.Do(h.request("GET", bearer, "")); err == nil {
						t.Errorf("drop %s: got %s", d, resp.Status)
					}
					faults.Clear()
				}
				if notes := h.notes(); !slices.Contains(notes, "dropped on purpose: not carried out") || !slices.Contains(notes, "dropped on purpose: the answer is lost") {
					t.Errorf("notes are %q", notes)
				}
				h.open(ann, "")
			})
		})
	}
}

// TestRateLimit uses up the rate limit of a user. It checks that the user's request for a stream is
// refused with 429, and that another user can open a stream.
func TestRateLimit(t *testing.T) {
	limiter := limits.New(limits.Fair, time.Now)
	inBubble(t, plain, gateway.Bounds{PerUser: 2000}, sse.Options{Limiter: limiter}, func(t *testing.T, h *house) {
		ann := h.user()
		for range 1000 {
			if _, ok := limiter.Allow(sse.Operation, ann.ID, ""); !ok {
				t.Fatal("refused too early")
			}
		}
		if resp := h.refused(429, "1000 per 5 s", h.request("GET", h.token(ann, token.Chat), "")); resp.Header.Get("Retry-After") != "5" {
			t.Errorf("Retry-After is %q", resp.Header.Get("Retry-After"))
		}
		h.open(h.user(), "")
	})
}

// TestErrorsAreThoseOfREST sends the same invalid requests to the event stream and to the REST API,
// and checks that the responses have the same status, headers and structure of the body.
func TestErrorsAreThoseOfREST(t *testing.T) {
	inBubble(t, plain, gateway.Bounds{}, sse.Options{}, func(t *testing.T, h *house) {
		api, err := rest.New(rest.Options{Core: h.core, Tokens: h.tokens})
		if err != nil {
			t.Fatal(err)
		}
		ann := h.user()
		form := func(handler http.Handler, r *http.Request) string {
			w := httptest.NewRecorder()
			r.Host = "chat.example"
			r.Header.Set("Origin", "https://app.example")
			r.Header.Set("X-Ms-Client-Request-Id", "request-1")
			handler.ServeHTTP(w, r)
			text := fmt.Sprintln(w.Code, w.Header().Get("Content-Type"), w.Header().Get("X-Ms-Error-Code"), len(w.Header().Get("Ms-Cv")),
				w.Header().Get("X-Ms-Client-Request-Id"), w.Header().Get("Strict-Transport-Security"), w.Header().Get("Access-Control-Allow-Origin") != "")
			return text + regexp.MustCompile(`"([mM]essage)":"[^"]+"`).ReplaceAllString(w.Body.String(), `"$1":""`)
		}
		for _, c := range []struct{ method, bearer, query, restPath string }{
			{"GET", "", "", "/chat/threads"},
			{"GET", "wrong", "", "/chat/threads"},
			{"GET", h.token(ann, token.VoIP), "", "/chat/threads"},
			{"PUT", h.token(ann, token.Chat), "", "/chat/threads"},
		} {
			r := httptest.NewRequest(c.method, c.restPath+"?api-version=2021-09-07", nil)
			if c.bearer != "" {
				r.Header.Set("Authorization", "Bearer "+c.bearer)
			}
			want := form(api, r)
			got := form(h.sse, h.request(c.method, c.bearer, c.query))
			if got != want {
				t.Errorf("%+v:\ngot  %s\nwant %s", c, got, want)
			}
		}
	})
}

// TestBigMessages sends messages that are larger than a TLS record, and many messages at once, and
// checks that the stream contains all of them completely.
func TestBigMessages(t *testing.T) {
	eachTransport(t, sse.Options{}, func(t *testing.T, h *house) {
		ann := h.user()
		thread := h.thread("plans", ann)
		s := h.open(ann, "")
		for i := range 30 {
			h.send(ann, thread, strings.Repeat("안\n", 1+i*1000)+fmt.Sprint(i))
		}
		for i := range 30 {
			var got struct{ Message string }
			if err := json.Unmarshal([]byte(s.want("chatMessageReceived").data), &got); err != nil {
				t.Fatal(err)
			}
			if want := strings.Repeat("안\n", 1+i*1000) + fmt.Sprint(i); got.Message != want {
				t.Fatalf("message %d has %d bytes, want %d", i, len(got.Message), len(want))
			}
		}
	})
}

// TestSlowClientOnSockets opens a stream over TCP and does not read it, while the test fills the
// kernel's buffers with messages. It checks that the session ends for the reason "slow".
func TestSlowClientOnSockets(t *testing.T) {
	for _, over := range []transport{plain, tls1, http2} {
		t.Run(string(over), func(t *testing.T) {
			h := newHouse(t, gateway.Bounds{}, sse.Options{WriteTimeout: 100 * time.Millisecond})
			defer h.stop()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			h.over = over
			h.dial = func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
			}
			defer h.serve(l)()
			ann := h.user()
			thread := h.thread("plans", ann)
			h.open(ann, "")
			for h.hub.Stats().Sessions > 0 {
				h.send(ann, thread, strings.Repeat("x", 256<<10))
			}
			if ended := h.hub.Stats().Ended; ended["slow"] != 1 {
				t.Errorf("the session ended as %v", ended)
			}
		})
	}
}
