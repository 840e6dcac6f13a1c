package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// The contract with the real service leaves some questions open. Each test in this file checks
// Confab's answer to one of them. docs/decisions/0005-settled-on-purpose.md lists the answers.

func code(err error) core.Code {
	var refusal *core.Error
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	if err != nil {
		return core.Code(err.Error())
	}
	return ""
}

func (h *house) pass(d time.Duration) { h.now.Add(d.Milliseconds()) }

func (h *house) add(t *testing.T, caller, thread string, p core.NewParticipant) {
	t.Helper()
	if bad, err := h.AddParticipants(context.Background(), caller, thread, []core.NewParticipant{p}); err != nil || len(bad) > 0 {
		t.Fatalf("add %v: %v, %v", p.User, bad, err)
	}
}

func (h *house) remove(t *testing.T, caller, thread, user string) {
	t.Helper()
	if err := h.RemoveParticipant(context.Background(), caller, thread, communication.ParseRawID(user)); err != nil {
		t.Fatalf("remove %s: %v", user, err)
	}
}

// TestShareHistory adds participants with different share-history times. It checks that each sees
// exactly the messages since this time, to the millisecond. A time in the future counts as the time
// of joining.
func TestShareHistory(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	begin := h.now.Load()
	thread := h.thread(t, ann)
	for i := range 4 {
		h.pass(time.Second)
		h.send(t, ann, thread, fmt.Sprint(i))
	}
	h.pass(time.Second)
	now := h.now.Load()
	all := []string{"3", "2", "1", "0", "topicUpdated"}
	for _, c := range []struct {
		name  string
		share int64
		want  []string // of the old messages
	}{
		{"absent", 0, all},
		{"start", begin, all},
		{"a millisecond after the start", begin + 1, all[:4]},
		{"middle, to the millisecond", begin + 3000, all[:2]},
		{"a millisecond later", begin + 3001, all[:1]},
		{"now", now, nil},
		{"a client clock ahead", now + 3_600_000, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bob := h.user(t)
			h.add(t, ann, thread, core.NewParticipant{User: communication.ParseRawID(bob), ShareHistory: c.share})
			// Ignore the system messages about the participants that earlier cases have added.
			got := slices.DeleteFunc(h.contents(t, bob, thread), func(s string) bool { return strings.HasPrefix(s, "participant") })
			if diff := cmp.Diff(c.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
			hidden := max(4-len(c.want), 0)
			page, err := h.ListMessages(context.Background(), ann, thread, core.ListMessages{Limit: 200})
			ms := page.Messages
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range ms {
				if m.Kind != core.Text {
					continue
				}
				_, err := h.Message(context.Background(), bob, thread, m.ID)
				shown := code(err) == ""
				var n int
				fmt.Sscan(m.Content, &n)
				if want := n >= hidden; shown != want {
					t.Errorf("get of message %q: %v; the list shows it: %v", m.Content, err, want)
				}
			}
			h.remove(t, ann, thread, bob)
		})
	}
}

// TestUpdateMessageWithoutContent updates a message without content. It checks that an empty update
// empties the content, that an update of only metadata or only the priority keeps the content, and
// that an empty value removes its key from the metadata.
func TestUpdateMessageWithoutContent(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	ctx := context.Background()
	id, err := h.SendMessage(ctx, ann, thread, core.SendMessage{Kind: core.Text, Content: "content", Metadata: map[string]string{"a": "1", "b": "2"}})
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		cmd      core.UpdateMessage
		content  string
		high     bool
		metadata map[string]string
	}{
		{core.UpdateMessage{Metadata: map[string]*string{"c": text("3")}}, "content", false, map[string]string{"a": "1", "b": "2", "c": "3"}},
		{core.UpdateMessage{High: new(true)}, "content", true, map[string]string{"a": "1", "b": "2", "c": "3"}},
		{core.UpdateMessage{Metadata: map[string]*string{"a": text(""), "b": nil}}, "content", true, map[string]string{"c": "3"}},
		{core.UpdateMessage{Content: text("other")}, "other", true, map[string]string{"c": "3"}},
		{core.UpdateMessage{}, "", true, map[string]string{"c": "3"}},
		{core.UpdateMessage{High: new(false)}, "", false, map[string]string{"c": "3"}},
	} {
		h.pass(time.Second)
		if err := h.UpdateMessage(ctx, ann, thread, id, c.cmd); err != nil {
			t.Fatal(err)
		}
		m, err := h.Message(ctx, ann, thread, id)
		if err != nil {
			t.Fatal(err)
		}
		if m.Content != c.content || m.High != c.high || !cmp.Equal(m.Metadata, c.metadata) || m.EditedOn != h.now.Load() || m.Version == m.ID || m.CreatedOn == m.EditedOn {
			t.Errorf("after %+v: %+v", c.cmd, m)
		}
	}
}

// TestAddingSomeoneAgain checks that adding a user who is in the thread succeeds and writes
// nothing, and that a user who had left can be added again and then sees old and new messages.
func TestAddingSomeoneAgain(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann, bob)
	before := h.contents(t, ann, thread)
	h.add(t, ann, thread, core.NewParticipant{User: communication.ParseRawID(bob), DisplayName: "ignored", ShareHistory: 5})
	if diff := cmp.Diff(before, h.contents(t, ann, thread)); diff != "" {
		t.Errorf("adding a participant wrote (-before +after):\n%s", diff)
	}
	h.send(t, ann, thread, "one")
	h.remove(t, ann, thread, bob)
	h.send(t, ann, thread, "two")
	if got := h.contents(t, bob, thread); got[0] != "participantRemoved" || got[1] != "one" {
		t.Errorf("who was removed reads %v", got)
	}
	h.add(t, ann, thread, core.NewParticipant{User: communication.ParseRawID(bob), DisplayName: "Bob"})
	if got := h.contents(t, bob, thread); got[0] != "participantAdded" || got[1] != "two" {
		t.Errorf("who came back reads %v", got)
	}
	page, err := h.ListParticipants(context.Background(), bob, thread, 0, 10)
	if ps := page.Participants; err != nil || page.Next != 0 || len(ps) != 2 || ps[1].User != bob || ps[1].DisplayName != "Bob" {
		t.Errorf("participants %+v, %v", page, err)
	}
	// A request that names the same user twice adds that user once.
	eve := core.NewParticipant{User: communication.ParseRawID(h.user(t))}
	if _, err := h.AddParticipants(context.Background(), ann, thread, []core.NewParticipant{eve, eve}); err != nil {
		t.Fatal(err)
	}
	if page, _ = h.ListParticipants(context.Background(), ann, thread, 0, 10); len(page.Participants) != 3 {
		t.Errorf("%d participants, want 3", len(page.Participants))
	}
}

// TestStartTimeAndAnEditedOlderMessage edits an old message and then lists messages since a start
// time after its creation. It checks that the list has exactly the messages created since the start
// time, without the edited message.
func TestStartTimeAndAnEditedOlderMessage(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	old := h.send(t, ann, thread, "old")
	h.pass(time.Minute)
	since := h.now.Load()
	h.send(t, ann, thread, "new")
	h.pass(time.Minute)
	text := "old, edited"
	if err := h.UpdateMessage(context.Background(), ann, thread, old, core.UpdateMessage{Content: &text}); err != nil {
		t.Fatal(err)
	}
	page, err := h.ListMessages(context.Background(), ann, thread, core.ListMessages{Since: since, Limit: 10})
	ms := page.Messages
	if err != nil || len(ms) != 1 || ms[0].Content != "new" {
		t.Errorf("since then: %+v, %v; want the new one alone", ms, err)
	}
	if got := h.contents(t, ann, thread); got[0] != text || got[1] != "new" {
		t.Errorf("the whole list is %v: the edited one stands on top", got)
	}
}

// every returns a function for each operation on a thread, by the operation's name. Each
// function carries out its operation as the user.
func (h *house) every(user, other, thread string, message int64) map[string]func() error {
	ctx := context.Background()
	text := "text"
	return map[string]func() error{
		"get thread":    func() error { _, err := h.Thread(ctx, user, thread); return err },
		"update thread": func() error { return h.UpdateThread(ctx, user, thread, core.UpdateThread{Topic: &text}) },
		"delete thread": func() error { return h.DeleteThread(ctx, user, thread) },
		"send message": func() error {
			_, err := h.SendMessage(ctx, user, thread, core.SendMessage{Kind: core.Text, Content: text})
			return err
		},
		"get message": func() error { _, err := h.Message(ctx, user, thread, message); return err },
		"list messages": func() error {
			_, err := h.ListMessages(ctx, user, thread, core.ListMessages{Limit: 10})
			return err
		},
		"update message":    func() error { return h.UpdateMessage(ctx, user, thread, message, core.UpdateMessage{Content: &text}) },
		"delete message":    func() error { return h.DeleteMessage(ctx, user, thread, message) },
		"list participants": func() error { _, err := h.ListParticipants(ctx, user, thread, 0, 10); return err },
		"add participants": func() error {
			_, err := h.AddParticipants(ctx, user, thread, []core.NewParticipant{{User: communication.ParseRawID(other)}})
			return err
		},
		"update participant": func() error {
			return h.UpdateParticipant(ctx, user, thread, core.UpdateParticipant{User: communication.ParseRawID(user), DisplayName: &text})
		},
		"remove participant": func() error {
			return h.RemoveParticipant(ctx, user, thread, communication.ParseRawID(other))
		},
		"send receipt":  func() error { return h.SendReceipt(ctx, user, thread, message) },
		"list receipts": func() error { _, _, err := h.ListReceipts(ctx, user, thread, 0, 10); return err },
		"typing":        func() error { return h.Typing(ctx, user, thread, "Ann") },
	}
}

// TestEveryOperationAfterDeletion checks that every operation on a deleted thread fails with
// 404, for former participants and for others. Only deleting the thread again succeeds, for
// users who were in it.
func TestEveryOperationAfterDeletion(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob, eve := h.user(t), h.user(t), h.user(t)
	thread := h.thread(t, ann, bob)
	message := h.send(t, ann, thread, "text")
	if err := h.DeleteThread(context.Background(), ann, thread); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{ann, bob, eve} {
		for name, op := range h.every(who, bob, thread, message) {
			want := core.NotFound
			if name == "delete thread" && who != eve {
				want = ""
			}
			if got := code(op()); got != want {
				t.Errorf("%s after the deletion: %q, want %q", name, got, want)
			}
		}
	}
	page, err := h.ListThreads(context.Background(), bob, core.ThreadsCursor{}, 0, 10)
	if err != nil || len(page.Threads) != 1 || page.Threads[0].DeletedOn != h.now.Load() {
		t.Errorf("the list of who was in it: %+v, %v; want the thread, marked", page, err)
	}
}

// TestWellFormedUnknownIDs checks that a participant gets 404 for unknown threads, messages and
// receipts, and that a user who is not in a thread gets 403 for every operation on it.
func TestWellFormedUnknownIDs(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, eve := h.user(t), h.user(t)
	thread := h.thread(t, ann)
	message := h.send(t, ann, thread, "text")
	for name, op := range h.every(ann, ann, "19:00000000000000000000000000000000@thread.v2", message) {
		if got := code(op()); got != core.NotFound {
			t.Errorf("%s of an unknown thread: %q, want %q", name, got, core.NotFound)
		}
	}
	ops := h.every(ann, eve, thread, message+1_000_000)
	for _, name := range []string{"get message", "update message", "delete message", "send receipt"} {
		if got := code(ops[name]()); got != core.NotFound {
			t.Errorf("%s of an unknown id: %q, want %q", name, got, core.NotFound)
		}
	}
	// Removing a user who is not a participant must succeed and write nothing. A sample program of
	// Microsoft does this and expects success.
	before := h.contents(t, ann, thread)
	if err := ops["remove participant"](); err != nil || len(h.contents(t, ann, thread)) != len(before) {
		t.Errorf("removing somebody who is not there: %v; want nothing done, and well", err)
	}
	for name, op := range h.every(eve, ann, thread, message) {
		if got := code(op()); got != core.Forbidden {
			t.Errorf("%s by a stranger: %q, want %q", name, got, core.Forbidden)
		}
	}
}

// TestReplaysAfterwards repeats requests with the same token. It checks that a repeated create
// returns the first answer even after the thread was deleted, and that a repeated send returns the
// first answer only while the thread is live and the sender is a participant.
func TestReplaysAfterwards(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	ctx := context.Background()
	create := func(topic string) core.ThreadProperties {
		t.Helper()
		p, _, err := h.CreateThread(ctx, ann, core.CreateThread{Topic: topic, Token: "token", Participants: []core.NewParticipant{{User: communication.ParseRawID(bob)}}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := create("first")
	send := func() (int64, error) {
		return h.SendMessage(ctx, bob, first.ID, core.SendMessage{Kind: core.Text, Content: "text", Token: "token"})
	}
	message, err := send()
	if err != nil {
		t.Fatal(err)
	}
	topic := "renamed"
	if err := h.UpdateThread(ctx, ann, first.ID, core.UpdateThread{Topic: &topic}); err != nil {
		t.Fatal(err)
	}
	h.pass(48 * time.Hour)
	if again := create("another body"); !cmp.Equal(again, first) {
		t.Errorf("two days later the create is answered with %+v, want %+v", again, first)
	}
	if again, err := send(); again != message || err != nil {
		t.Errorf("and the send with %d, %v, want %d", again, err, message)
	}
	h.remove(t, ann, first.ID, bob)
	if _, err := send(); code(err) != core.Forbidden {
		t.Errorf("a replay by who was removed: %v", err)
	}
	if err := h.DeleteThread(ctx, ann, first.ID); err != nil {
		t.Fatal(err)
	}
	if again := create("first"); !cmp.Equal(again, first) {
		t.Errorf("after the deletion the create is answered with %+v, want %+v", again, first)
	}
}

// TestReceiptsNeverMoveBack sends a read receipt for a message that is older than the stored
// receipt's message. It checks that the stored receipt does not change.
func TestReceiptsNeverMoveBack(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann, bob)
	one, two := h.send(t, ann, thread, "one"), h.send(t, ann, thread, "two")
	for _, m := range []int64{two, one} {
		h.pass(time.Second)
		if err := h.SendReceipt(context.Background(), bob, thread, m); err != nil {
			t.Fatal(err)
		}
	}
	rs, _, err := h.ListReceipts(context.Background(), ann, thread, 0, 10)
	if err != nil || len(rs) != 1 || rs[0].MessageID != two || rs[0].ReadOn != h.now.Load()-1000 {
		t.Errorf("receipts %+v, %v; want the one for %d", rs, err, two)
	}
}

// TestUserDeletion checks that a deleted user's data stays during the grace. After the grace, the
// sweep must remove the user's messages and names, keep the data of other users, and delete a
// thread in which the user was alone.
func TestUserDeletion(t *testing.T) {
	h := newHouse(t, nil, nil)
	ctx := context.Background()
	ann, bob := h.user(t), h.user(t)
	cmd := core.CreateThread{Topic: "topic", Participants: []core.NewParticipant{
		{User: communication.ParseRawID(ann), DisplayName: "Ann"},
		{User: communication.ParseRawID(bob), DisplayName: "Bob", Metadata: map[string]string{"k": "v"}},
	}}
	made, _, err := h.CreateThread(ctx, ann, cmd)
	if err != nil {
		t.Fatal(err)
	}
	thread := made.ID
	own := h.thread(t, bob)
	secret, err := h.SendMessage(ctx, bob, thread, core.SendMessage{Kind: core.Text, Content: "secret", SenderDisplayName: "Bob", Metadata: map[string]string{"k": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	h.send(t, ann, thread, "stays")
	if err := h.SendReceipt(ctx, bob, thread, secret); err != nil {
		t.Fatal(err)
	}
	left := h.thread(t, ann, bob)
	h.send(t, bob, left, "left behind")
	h.remove(t, ann, left, bob)

	if err := h.DeleteUser(ctx, bob); err != nil {
		t.Fatal(err)
	}
	u, err := h.User(ctx, bob)
	if err != nil || u.State != core.UserDeleting || !h.Leaving(u) {
		t.Fatalf("at once: %+v, %v", u, err)
	}
	if next, err := h.Sweep(ctx); err != nil || next.UnixMilli() != h.now.Load()+core.DefaultGrace.Milliseconds() {
		t.Errorf("a sweep in the grace: next %v, %v", next, err)
	}
	if got := h.contents(t, ann, thread); got[1] != "secret" {
		t.Errorf("in the grace the thread reads %v", got)
	}
	h.pass(core.DefaultGrace)
	if h.Leaving(u) {
		t.Error("the grace does not end")
	}
	for range 2 { // done again it does nothing
		if next, err := h.Sweep(ctx); err != nil || !next.IsZero() {
			t.Errorf("the sweep: %v, %v", next, err)
		}
	}
	if u, _ = h.User(ctx, bob); u.State != core.UserDeleted {
		t.Errorf("afterwards the user is %+v", u)
	}
	for _, id := range []string{thread, left} {
		page, err := h.ListMessages(ctx, ann, id, core.ListMessages{Limit: 100})
		ms := page.Messages
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			if m.Sender == bob && (m.Content != "" || m.SenderDisplayName != "" || m.Metadata != nil || m.DeletedOn == 0) {
				t.Errorf("a message of the user is left: %+v", m)
			}
			for _, p := range m.Participants {
				if p.User == bob && p.DisplayName != "" {
					t.Errorf("its name is left in %+v", m)
				}
			}
		}
		th, err := h.Inspect(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if m := th.Member(bob); m.DisplayName != "" || m.Metadata != nil || m.Present() {
			t.Errorf("its row is %+v", m)
		}
		if rs, _, _ := h.ListReceipts(ctx, ann, id, 0, 10); len(rs) != 0 {
			t.Errorf("its receipt is left: %+v", rs)
		}
	}
	got := h.contents(t, ann, thread)
	if diff := cmp.Diff([]string{"", "participantRemoved", "stays", "topicUpdated", "participantAdded"}, got); diff != "" {
		t.Errorf("the thread reads (-want +got):\n%s", diff)
	}
	if th, err := h.Inspect(ctx, own); err != nil || th.DeletedOn == 0 {
		t.Errorf("the thread in which it was alone: %+v, %v", th.Head, err)
	}
	for name, err := range map[string]error{"delete": h.DeleteUser(ctx, bob), "revoke": h.RevokeTokens(ctx, bob)} {
		if code(err) != core.IdentityNotOwned {
			t.Errorf("%s of a deleted user: %v", name, err)
		}
	}
}

// TestMovingIn uses unknown user ids: for a token, in a new thread, as added participants, for a
// revocation and for a deletion. It checks that the user is created only with Options.Adopt, and
// only for an id of this resource, and that a deleted user is never created again.
func TestMovingIn(t *testing.T) {
	unknown := communication.JoinUserID(resourceID, "00000011-9f42-58fb-88f7-08482200b425")
	foreign := communication.JoinUserID("99999999-2222-4333-8444-555555555555", "00000011-9f42-58fb-88f7-08482200b425")
	for _, adopt := range []bool{false, true} {
		h := newHouseWith(t, nil, nil, core.Options{Adopt: adopt})
		ctx := context.Background()
		want := core.IdentityNotOwned
		if adopt {
			want = ""
		}
		if _, err := h.UserForToken(ctx, unknown); code(err) != want {
			t.Errorf("adopting %v: an unknown id: %v, want %q", adopt, err, want)
		}
		if _, err := h.UserForToken(ctx, foreign); code(err) != core.IdentityNotOwned {
			t.Errorf("adopting %v: a foreign id: %v", adopt, err)
		}
		deleted := h.user(t)
		if err := h.DeleteUser(ctx, deleted); err != nil {
			t.Fatal(err)
		}
		if _, err := h.UserForToken(ctx, deleted); code(err) != core.IdentityNotOwned {
			t.Errorf("adopting %v: a deleted one: %v", adopt, err)
		}

		next := 0
		fresh := func() string { // fresh returns a user id that the service has not seen yet
			next++
			return communication.JoinUserID(resourceID, fmt.Sprintf("00000022-9f42-58fb-88f7-%012d", next))
		}
		people := func(ids ...string) (ps []core.NewParticipant) {
			for _, id := range ids {
				ps = append(ps, core.NewParticipant{User: communication.ParseRawID(id)})
			}
			return ps
		}
		ann, inNew, inOld := h.user(t), fresh(), fresh()
		wantBad := []core.InvalidParticipant{
			{User: foreign, Code: "403", Message: "Permissions check failed"}, {User: deleted, Code: "404", Message: "Not found"},
		}
		refused := func(id string) []core.InvalidParticipant {
			if adopt {
				return wantBad
			}
			return append([]core.InvalidParticipant{{User: id, Code: "404", Message: "Not found"}}, wantBad...)
		}
		made, bad, err := h.CreateThread(ctx, ann, core.CreateThread{Topic: "t", Participants: people(inNew, foreign, deleted)})
		if diff := cmp.Diff(refused(inNew), bad); diff != "" || err != nil {
			t.Errorf("adopting %v: a new thread refuses (-want +got):\n%s%v", adopt, diff, err)
		}
		bad, err = h.AddParticipants(ctx, ann, made.ID, people(inOld, foreign, deleted))
		if diff := cmp.Diff(refused(inOld), bad); diff != "" || err != nil {
			t.Errorf("adopting %v: adding refuses (-want +got):\n%s%v", adopt, diff, err)
		}
		for _, id := range []string{inNew, inOld} {
			u, err := h.StoredUser(ctx, id)
			want := core.User{ID: id}
			if adopt {
				want = core.User{ID: id, State: core.UserLive, Generation: 1}
			}
			if u != want || err != nil {
				t.Errorf("adopting %v: the user's row is %+v, %v; want %+v", adopt, u, err, want)
			}
		}
		revoked, gone := fresh(), fresh()
		if err := h.RevokeTokens(ctx, revoked); code(err) != want {
			t.Errorf("adopting %v: a revocation: %v, want %q", adopt, err, want)
		}
		if err := h.DeleteUser(ctx, gone); code(err) != want {
			t.Errorf("adopting %v: a deletion: %v, want %q", adopt, err, want)
		}
		if adopt {
			if _, err := h.UserForToken(ctx, gone); code(err) != core.IdentityNotOwned {
				t.Errorf("a token for an id that was deleted before its first token: %v", err)
			}
			if u, err := h.UserForToken(ctx, revoked); u.Generation != 2 || err != nil {
				t.Errorf("a token for an id whose tokens were revoked before the first: %+v, %v; want generation 2", u, err)
			}
		}
	}
}

// TestLimits exceeds each limit of a service with size limits, and checks that the
// error names the limit.
func TestLimits(t *testing.T) {
	h := newHouseWith(t, nil, nil, core.Options{Limits: core.Limits{Participants: 3, PerRequest: 2, Content: 10, Metadata: 8, Receipts: 2}})
	ctx := context.Background()
	ann := h.user(t)
	some := func(n int) (ps []core.NewParticipant) {
		for range n {
			ps = append(ps, core.NewParticipant{User: communication.ParseRawID(h.user(t))})
		}
		return ps
	}
	if _, _, err := h.CreateThread(ctx, ann, core.CreateThread{Topic: "t", Participants: some(3)}); code(err) != core.BadRequest {
		t.Errorf("3 in one create: %v", err)
	}
	thread := h.thread(t, ann)
	message := h.send(t, ann, thread, "0123456789")
	if _, err := h.SendMessage(ctx, ann, thread, text("01234567890")); code(err) != core.BadRequest {
		t.Errorf("11 bytes: %v", err)
	}
	if _, err := h.SendMessage(ctx, ann, thread, text("äöüäöü")); code(err) != core.BadRequest {
		t.Errorf("12 bytes in 6 characters: %v", err)
	}
	v := "12345678"
	if err := h.UpdateThread(ctx, ann, thread, core.UpdateThread{Metadata: map[string]*string{"k": &v}}); code(err) != core.BadRequest {
		t.Errorf("9 bytes of metadata: %v", err)
	}
	if _, err := h.AddParticipants(ctx, ann, thread, some(2)); err != nil {
		t.Errorf("2 more: %v", err)
	}
	if _, err := h.AddParticipants(ctx, ann, thread, some(1)); code(err) != core.BadRequest {
		t.Errorf("a fourth participant: %v", err)
	}
	if err := h.SendReceipt(ctx, ann, thread, message); err != nil {
		t.Errorf("a receipt in a thread of 3: %v", err)
	}
	if rs, _, err := h.ListReceipts(ctx, ann, thread, 0, 10); len(rs) != 0 || err != nil {
		t.Errorf("receipts of a thread of 3: %v, %v; want none", rs, err)
	}
}
