package core

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/confab-chat/confab/sdk/communication"
)

const foreign = "8:acs:99999999-2222-4333-8444-555555555555_00000000-0000-0000-0000-000000000001"

func person(id, name string) NewParticipant {
	return NewParticipant{User: communication.ParseRawID(id), DisplayName: name}
}

// rows returns the user rows that the decision functions get in these tests. Some of the users do
// not exist.
func rows() map[string]User {
	return map[string]User{
		ann:    {ID: ann, State: UserLive, Generation: 1},
		bob:    {ID: bob, State: UserLive, Generation: 3},
		eve:    {ID: eve},
		"gone": {ID: "gone", State: UserDeleted},
	}
}

// creation returns the change by which ann creates a thread.
func creation(t *testing.T, cmd CreateThread) *Change {
	t.Helper()
	c, err := decideCreate(thread1, ann, cmd, rows(), false, Limits{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDecideCreateByADeletedUser(t *testing.T) {
	for _, caller := range []string{"gone", eve} {
		if c, err := decideCreate(thread1, caller, CreateThread{Topic: "t"}, rows(), false, Limits{}, noon); c != nil || err != errUserDeleted {
			t.Errorf("by %s: %+v, %v; want %v", caller, c, err, errUserDeleted)
		}
	}
}

func TestDecideCreateParticipants(t *testing.T) {
	member := func(id, name string, order uint32) Member {
		return Member{User: id, DisplayName: name, Order: order, Intervals: []Interval{{}}}
	}
	notFound := func(id string) InvalidParticipant { return InvalidParticipant{id, "404", "Not found"} }
	denied := func(id string) InvalidParticipant {
		return InvalidParticipant{id, "403", "Permissions check failed"}
	}
	bobRow := rows()[bob]
	for _, c := range []struct {
		name    string
		list    []NewParticipant
		members []Member
		read    []User
		invalid []InvalidParticipant
	}{
		{"nobody", nil, []Member{member(ann, "", 1)}, nil, nil},
		{"creator absent", []NewParticipant{person(bob, "Bob")}, []Member{member(ann, "", 1), member(bob, "Bob", 2)}, []User{bobRow}, nil},
		{"creator listed", []NewParticipant{person(ann, "Ann")}, []Member{member(ann, "Ann", 1)}, nil, nil},
		{"creator not first", []NewParticipant{person(bob, "Bob"), person(ann, "Ann")}, []Member{member(bob, "Bob", 1), member(ann, "Ann", 2)}, []User{bobRow}, nil},
		{"creator twice", []NewParticipant{person(ann, "Ann"), person(ann, "Again")}, []Member{member(ann, "Ann", 1)}, nil, nil},
		{"duplicate", []NewParticipant{person(bob, "Bob"), person(bob, "Again"), person(ann, "")}, []Member{member(bob, "Bob", 1), member(ann, "", 2)}, []User{bobRow}, nil},
		{"unknown", []NewParticipant{person(eve, "Eve"), person(bob, "")}, []Member{member(ann, "", 1), member(bob, "", 2)}, []User{bobRow}, []InvalidParticipant{notFound(eve)}},
		{"unknown twice", []NewParticipant{person(eve, ""), person(eve, "")}, []Member{member(ann, "", 1)}, nil, []InvalidParticipant{notFound(eve)}},
		{"deleted", []NewParticipant{person("gone", "")}, []Member{member(ann, "", 1)}, nil, []InvalidParticipant{notFound("gone")}},
		{"other resource", []NewParticipant{person(foreign, "")}, []Member{member(ann, "", 1)}, nil, []InvalidParticipant{denied(foreign)}},
		{"every other kind", []NewParticipant{person("4:+14255550123", ""), person("8:orgid:u", ""), person("28:orgid:app", ""), person("8:acs:a_b_c", "")},
			[]Member{member(ann, "", 1)}, nil,
			[]InvalidParticipant{denied("4:+14255550123"), denied("8:orgid:u"), denied("28:orgid:app"), denied("8:acs:a_b_c")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := CreateThread{Topic: "topic", Participants: c.list}
			change := creation(t, cmd)
			equal(t, "members", change.Members, c.members)
			equal(t, "users read", change.ReadUsers, append([]User{rows()[ann]}, c.read...))
			equal(t, "invalid participants", change.Invalid, c.invalid)
			var named []MessageParticipant
			for _, m := range c.members {
				named = append(named, MessageParticipant{User: m.User, DisplayName: m.DisplayName})
			}
			equal(t, "participants in the system message", change.Messages[0].Participants, named)
		})
	}
}

func TestDecideCreateChange(t *testing.T) {
	metadata := map[string]string{"k": "v"}
	bobs := person(bob, "Bob")
	bobs.Metadata, bobs.ShareHistory = map[string]string{"role": "guest"}, noon-5
	cmd := CreateThread{Topic: "topic", Metadata: metadata, RetentionDays: 60, Token: "token", Participants: []NewParticipant{bobs}}
	change := creation(t, cmd)
	want := &CreateAnswer{Topic: "topic", CreatedBy: ann, Metadata: metadata, RetentionDays: 60}
	equal(t, "change", change, &Change{
		Key: thread1, Thread: thread1, ReadUsers: []User{rows()[ann], rows()[bob]}, Answer: want,
		Properties: &Properties{Topic: "topic", CreatedBy: ann, Metadata: metadata, RetentionDays: 60},
		Members: []Member{
			{User: ann, Order: 1, Intervals: []Interval{{}}},
			{User: bob, DisplayName: "Bob", ShareHistory: noon - 5, Order: 2, Intervals: []Interval{{}}, Metadata: map[string]string{"role": "guest"}},
		},
		Messages: []Message{
			{Kind: ParticipantAdded, Initiator: ann, Participants: []MessageParticipant{{User: ann}, {User: bob, DisplayName: "Bob", ShareHistory: noon - 5}}},
			{Kind: TopicUpdated, Initiator: ann, Content: "topic"},
		},
		Events: []Event{{Kind: ThreadCreated, Actor: ann}},
	})
	// The rows must not share maps with the command: changing the command's maps must leave the
	// rows unchanged.
	metadata["k"], bobs.Metadata["role"] = "changed", "changed"
	if change.Properties.Metadata["k"] != "v" || change.Answer.Metadata["k"] != "v" || change.Members[1].Metadata["role"] != "guest" {
		t.Error("a row changes with the command's map")
	}
	cmd.Token = ""
	if change := creation(t, cmd); change.Answer != nil {
		t.Errorf("without a token: stored answer %+v, want none", change.Answer)
	}
}

func TestDecideCreateShareHistory(t *testing.T) {
	for _, c := range []struct{ given, want int64 }{{0, 0}, {-5, -5}, {1000, 1000}, {noon, noon}, {noon + 1, noon}, {1<<62 - 1, noon}} {
		for _, who := range []string{ann, bob} {
			p := person(who, "")
			p.ShareHistory = c.given
			change := creation(t, CreateThread{Topic: "t", Participants: []NewParticipant{p}})
			m := change.Members[len(change.Members)-1]
			if m.User != who || m.ShareHistory != c.want {
				t.Errorf("share history %d of %s became %d of %s, want %d", c.given, who, m.ShareHistory, m.User, c.want)
			}
			if got := change.Messages[0].Participants[len(change.Members)-1].ShareHistory; got != c.want {
				t.Errorf("the system message says %d, want %d", got, c.want)
			}
		}
	}
}

func TestCheckCreate(t *testing.T) {
	with := func(ps ...NewParticipant) CreateThread { return CreateThread{Topic: "t", Participants: ps} }
	for _, c := range []struct {
		name            string
		cmd             CreateThread
		target, message string // of the refusal; empty: accepted
	}{
		{"plain", CreateThread{Topic: "t"}, "", ""},
		{"longest topic", CreateThread{Topic: strings.Repeat("ä", 250)}, "", ""},
		{"no topic", CreateThread{}, "topic", "The topic field is required."},
		{"long topic", CreateThread{Topic: strings.Repeat("ä", 251)}, "topic", "The topic field has 251 characters"},
		{"topic in no encoding", CreateThread{Topic: "\xff"}, "topic", "The topic field is not valid UTF-8."},
		{"topic with NUL", CreateThread{Topic: "a\x00"}, "topic", "The topic field must not contain the NUL"},
		{"long token", CreateThread{Topic: "t", Token: strings.Repeat("a", 257)}, "repeatability-request-id", "The repeatability-request-id"},
		{"long name", with(person(bob, strings.Repeat("x", 257))), "participants[0].displayName", "The participants[0].displayName field has 257"},
		{"all kinds", with(person(ann, ""), person(foreign, ""), person("4:+1", ""), person("8:orgid:u", ""), person("28:orgid:a", ""), person("8:acs:a_b_c", "")), "", ""},
		// One malformed id makes the whole request fail, even if other ids are valid.
		{"malformed", with(person(bob, ""), person("8:acs:invalidUserId", "")), "communicationIdentifier", "Identifier format is invalid (8:acs:invalidUserId)."},
		{"upper case", with(person(strings.ToUpper(bob), "")), "communicationIdentifier", "Identifier format is invalid"},
		{"no kind", with(person("bob", "")), "communicationIdentifier", "Identifier format is invalid (bob)."},
		{"nobody", with(person("", "")), "communicationIdentifier", "Identifier format is invalid ()."},
		{"long id", with(person(strings.Repeat("a", 5000), "")), "communicationIdentifier", "Identifier format is invalid (aaa"},
	} {
		err := c.cmd.check(Limits{})
		if c.message == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		wantRefusal(t, c.name, err, BadRequest, c.message)
		if e, ok := err.(*Error); ok && (e.Target != c.target || len(e.Message) > 200) {
			t.Errorf("%s: target %q, want %q; message of %d bytes", c.name, e.Target, c.target, len(e.Message))
		}
	}
}

// thread1With returns a thread with the head row h, the participants ann and "back" (who had left
// and joined again), the former participant bob, and "never in", who has a row but never joined.
func thread1With(h Head) *Thread {
	h.ID, h.Revision = thread1, 7
	return NewThread(h, []Member{
		{User: ann, Order: 1, Intervals: []Interval{{From: 1}}},
		{User: bob, Order: 2, Intervals: []Interval{{From: 1, To: 4}}},
		{User: "back", Order: 3, Intervals: []Interval{{From: 1, To: 4}, {From: 9}}},
		{User: "never in", Order: 4},
	})
}

func TestParticipant(t *testing.T) {
	live, deleted := thread1With(Head{}), thread1With(Head{Properties: Properties{DeletedOn: noon}})
	for _, c := range []struct {
		name   string
		thread *Thread
		caller string
		want   error
	}{
		{"in it", live, ann, nil},
		{"has left", live, bob, errNotParticipant},
		{"is back", live, "back", nil},
		{"has no interval", live, "never in", errNotParticipant},
		{"stranger", live, eve, errNotParticipant},
		{"nobody", live, "", errNotParticipant},
		{"in a deleted one", deleted, ann, errThreadNotFound},
		{"stranger to a deleted one", deleted, eve, errThreadNotFound},
	} {
		m, err := participant(c.thread, c.caller)
		if !errors.Is(err, c.want) || (err == nil) != (m != nil && m.User == c.caller) {
			t.Errorf("%s: %+v, %v; want error %v", c.name, m, err, c.want)
		}
		_, err = decideSend(c.thread, c.caller, SendMessage{Content: "x", Kind: Text}, Fingerprint{}, func() (string, error) { return "x", nil })
		if !errors.Is(err, c.want) {
			t.Errorf("%s: send fails with %v, want %v", c.name, err, c.want)
		}
	}
	if got := len(live.Participants()); got != 2 {
		t.Errorf("%d participants, want 2", got)
	}
}

func TestDecideSend(t *testing.T) {
	metadata := map[string]string{"k": "v"}
	th := thread1With(Head{})
	got, err := decideSend(th, ann, SendMessage{Content: "<b>hi</b>", Kind: HTML, High: true, SenderDisplayName: "Ann", Metadata: metadata, Token: "token"}, Fingerprint{7},
		func() (string, error) { return "<b>hi</b>", nil })
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "change", got, &Change{
		Key: thread1, Thread: thread1, Revision: 7, SendToken: "token", Caller: ann,
		Messages: []Message{{Kind: HTML, High: true, Fingerprint: Fingerprint{7}, Sender: ann, SenderDisplayName: "Ann", Content: "<b>hi</b>", Metadata: map[string]string{"k": "v"}}},
		Events:   []Event{{Kind: MessageReceived, Actor: ann}},
		Roster:   []*Member{th.Member(ann), th.Member("back")}, // without bob, who has left
	})
	metadata["k"] = "changed"
	if got.Messages[0].Metadata["k"] != "v" {
		t.Error("the row changes with the command's map")
	}
}

func TestCheckSend(t *testing.T) {
	for _, c := range []struct {
		name    string
		cmd     SendMessage
		message string // of the refusal; empty: accepted
	}{
		{"text", SendMessage{Content: "x", Kind: Text}, ""},
		{"html", SendMessage{Content: "x", Kind: HTML}, ""},
		{"no kind", SendMessage{Content: "x"}, "type: must be text or html"},
		{"system kind", SendMessage{Content: "x", Kind: TopicUpdated}, "type: must be text or html"},
		{"no content", SendMessage{Kind: Text}, "The content field is required."},
		{"NUL", SendMessage{Content: "a\x00", Kind: Text}, "The content field must not contain the NUL"},
		{"no encoding", SendMessage{Content: "\xff", Kind: Text}, "The content field is not valid UTF-8."},
		{"longest name", SendMessage{Content: "x", Kind: Text, SenderDisplayName: strings.Repeat("ä", 256)}, ""},
		{"long name", SendMessage{Content: "x", Kind: Text, SenderDisplayName: strings.Repeat("ä", 257)}, "The senderDisplayName field has 257"},
		{"most content", SendMessage{Content: strings.Repeat("x", MaxContent), Kind: Text}, ""},
		{"too much content", SendMessage{Content: strings.Repeat("x", MaxContent+1), Kind: Text}, "The content field has 1048577 bytes"},
		{"token with a line break", SendMessage{Content: "x", Kind: Text, Token: "a\n"}, "The repeatability-request-id"},
	} {
		err := c.cmd.check()
		if c.message == "" && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.message != "" {
			wantRefusal(t, c.name, err, BadRequest, c.message)
		}
	}
}

func TestCheckRetentionDays(t *testing.T) {
	for _, days := range []int32{30, 60, 90} {
		if err := CheckRetentionDays(days); err != nil {
			t.Errorf("%d days: %v", days, err)
		}
	}
	for _, days := range []int32{-60, 0, 29, 91} {
		wantRefusal(t, fmt.Sprint(days, " days"), CheckRetentionDays(days), BadRequest, "retentionPolicy.deleteThreadAfterDays: must be from 30 to 90")
	}
}

func TestVisibleFrom(t *testing.T) {
	for _, c := range []struct{ share, joined, want int64 }{{0, 100, 0}, {50, 100, 50}, {100, 100, 100}, {200, 100, 100}} {
		m := Member{ShareHistory: c.share, JoinedOn: c.joined}
		if got := m.VisibleFrom(); got != c.want {
			t.Errorf("shared from %d, joined at %d: visible from %d, want %d", c.share, c.joined, got, c.want)
		}
	}
}
