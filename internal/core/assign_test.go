package core

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// noon is the time of these tests in epoch milliseconds: noon of a day, so a whole
// minute.
const noon = int64(20_000)*86_400_000 + 12*3_600_000

const (
	thread1 = "19:00000000000000000000000000000001@thread.v2"
	thread2 = "19:00000000000000000000000000000002@thread.v2"
	ann     = "8:acs:11111111-2222-4333-8444-555555555555_00000000-0000-0000-0000-000000000001"
	bob     = "8:acs:11111111-2222-4333-8444-555555555555_00000000-0000-0000-0000-000000000002"
	eve     = "8:acs:11111111-2222-4333-8444-555555555555_00000000-0000-0000-0000-000000000003"
)

// newState returns the batch state of an empty store.
func newState() *BatchState {
	// The change names a row of each kind, so that NewBatchState allocates every map.
	s := NewBatchState(Batch{Changes: []*Change{{
		Thread: "named", ReadUsers: []User{{}}, SendToken: "named", Answer: &CreateAnswer{}, Rewrites: []Rewrite{{}}, Receipt: &Receipt{},
	}}})
	s.Reads = Reads{}
	return s
}

// created returns the batch state after the users created thread1 at noon in an empty
// store.
func created(t *testing.T, users ...string) *BatchState {
	t.Helper()
	l := newState()
	assign(t, l, noon, makeThread(thread1, "", users...))
	return l
}

// assign applies changes with Assign and fails the test unless each is applied. It
// returns the resulting moves in the users' lists of threads.
func assign(t *testing.T, s *BatchState, at int64, changes ...*Change) []ListMove {
	t.Helper()
	outcomes, moves := runAssign(Batch{At: at, Changes: changes}, s)
	for i, o := range outcomes {
		if o.Status != Applied {
			t.Fatalf("change %d has status %d, want %d", i, o.Status, Applied)
		}
	}
	return moves
}

// runAssign calls Assign and copies the rows with their assigned numbers into the changes, so
// that tests can read them from there. It clears the rows in the outcomes that it returns.
func runAssign(b Batch, s *BatchState) (outcomes []Outcome, moves []ListMove) {
	s.Reads = b.reads()
	outcomes = Assign(b, s)
	s.Reads = Reads{}
	for i := range outcomes {
		o := &outcomes[i]
		if o.Status == Applied {
			*b.Changes[i] = *o.Change
		}
		moves = append(moves, o.ListMoves...)
		o.Change, o.ListMoves = nil, nil
	}
	return outcomes, moves
}

func makeThread(id, token string, users ...string) *Change {
	c := &Change{
		Key: id, Thread: id, Properties: &Properties{Topic: "topic", CreatedBy: users[0]},
		Messages: []Message{{Kind: ParticipantAdded, Initiator: users[0]}, {Kind: TopicUpdated, Initiator: users[0], Content: "topic"}},
		Events:   []Event{{Kind: ThreadCreated, Actor: users[0]}},
	}
	for i, u := range users {
		c.Members = append(c.Members, Member{User: u, Order: uint32(i + 1), Intervals: []Interval{{}}})
	}
	if token != "" {
		c.Answer = &CreateAnswer{Topic: "topic", CreatedBy: users[0]}
	}
	return c
}

func makeSend(id string, revision uint64, sender, token string, roster ...string) *Change {
	return &Change{
		Key: id, Thread: id, Revision: revision, SendToken: token, Caller: sender,
		Messages: []Message{{Kind: Text, Sender: sender, Content: "content"}},
		Events:   []Event{{Kind: MessageReceived, Actor: sender}},
		Roster:   rosterOf(roster...),
	}
}

func rosterOf(users ...string) (roster []*Member) {
	for _, u := range users {
		roster = append(roster, &Member{User: u})
	}
	return roster
}

// The functions rename, remove, add and putUser each return a change like the one that the
// corresponding operation of Service commits.

func rename(revision uint64, topic string) *Change {
	return &Change{Key: thread1, Thread: thread1, Revision: revision, Properties: &Properties{Topic: topic, CreatedBy: ann, CreatedOn: noon}}
}

func remove(revision uint64, user string) *Change {
	return &Change{Key: thread1, Thread: thread1, Revision: revision, Members: []Member{{User: user, JoinedOn: noon, Intervals: []Interval{{From: 1, To: CloseInterval}}}}}
}

func add(revision uint64, read User) *Change {
	return &Change{Key: thread1, Thread: thread1, Revision: revision, ReadUsers: []User{read}, Members: []Member{{User: read.ID, Order: 9, Intervals: []Interval{{}}}}}
}

func put(from, to User) *Change {
	return &Change{Key: to.ID, ReadUsers: []User{from}, PutUsers: []User{to}}
}

func TestAssignNumbersACreate(t *testing.T) {
	l := newState()
	l.Position = 41
	c := makeThread(thread1, "token", ann, bob)
	results, listings := runAssign(Batch{At: noon, Changes: []*Change{c}}, l)

	wantHead := Head{ID: thread1, Revision: 1, Properties: Properties{Topic: "topic", CreatedBy: ann, CreatedOn: noon},
		Counters: Counters{LastID: noon + 1, LastSequence: 2, LastEvent: 1, LastPosition: 42, LastMessageOn: noon}}
	want := &Change{
		Key: thread1, Thread: thread1, Properties: &Properties{Topic: "topic", CreatedBy: ann, CreatedOn: noon},
		Members: []Member{
			{User: ann, JoinedOn: noon, Order: 1, Intervals: []Interval{{From: 1}}},
			{User: bob, JoinedOn: noon, Order: 2, Intervals: []Interval{{From: 1}}},
		},
		Messages: []Message{
			{ID: noon, Version: noon, Sequence: 1, CreatedOn: noon, Kind: ParticipantAdded, Initiator: ann},
			{ID: noon + 1, Version: noon + 1, Sequence: 2, CreatedOn: noon, Kind: TopicUpdated, Initiator: ann, Content: "topic"},
		},
		// There is only one event, because the two system messages of a new thread have none.
		Events: []Event{{Thread: thread1, Day: DayOf(noon), Number: 1, Position: 42, Kind: ThreadCreated, Version: noon, Actor: ann, At: noon}},
		Answer: &CreateAnswer{Topic: "topic", CreatedBy: ann, CreatedOn: noon},
	}
	equal(t, "results", results, []Outcome{{Status: Applied, Revision: 1}})
	equal(t, "change", c, want)
	equal(t, "listings", listings, []ListMove{{User: ann, Thread: thread1, To: MinuteOf(noon)}, {User: bob, Thread: thread1, To: MinuteOf(noon)}})
	wantState := newState()
	wantState.Heads[thread1], wantState.Answers[thread1] = &wantHead, want.Answer
	wantState.Position, wantState.Day = 42, DayOf(noon)
	equal(t, "state", l, wantState)
}

func TestAssignIDs(t *testing.T) {
	for _, c := range []struct {
		name  string
		clock []int64 // the times of the sends; the creation of the thread at noon has used the ids noon and noon+1
		ids   []int64
	}{
		{"clock runs", []int64{noon + 10, noon + 20}, []int64{noon + 10, noon + 20}},
		{"clock stands still", []int64{noon, noon, noon}, []int64{noon + 2, noon + 3, noon + 4}},
		{"clock catches up", []int64{noon, noon, noon + 3, noon + 4, noon + 9}, []int64{noon + 2, noon + 3, noon + 4, noon + 5, noon + 9}},
		{"clock steps back", []int64{noon + 500, noon - 100_000, noon - 99_000, noon + 501, noon + 600}, []int64{noon + 500, noon + 501, noon + 502, noon + 503, noon + 600}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := created(t, ann)
			var ids, versions, times []int64
			for _, at := range c.clock {
				send := makeSend(thread1, 1, ann, "")
				assign(t, l, at, send)
				m := send.Messages[0]
				ids, versions, times = append(ids, m.ID), append(versions, m.Version), append(times, m.CreatedOn)
			}
			equal(t, "ids", ids, c.ids)
			equal(t, "versions", versions, c.ids)
			equal(t, "times", times, c.clock) // a message's time is the batch's time, even if its id had to be greater
		})
	}
}

// TestAssignOwnedSends numbers a send twice, as after a batch that was not written. The second time must
// TestAssignOwnedSends checks that Assign, called a second time with a send that was not written,
// gives the send the numbers that a new change would get.
func TestAssignOwnedSends(t *testing.T) {
	send := makeSend(thread1, 1, ann, "")
	for _, at := range []int64{noon + 10, noon - 20} {
		want := Assign(Batch{At: at, Check: 7, Changes: []*Change{makeSend(thread1, 1, ann, "")}}, created(t, ann))
		got := Assign(Batch{At: at, Check: 7, Changes: []*Change{send}, Owned: true}, created(t, ann))
		if got[0].Change != send {
			t.Error("the change was copied")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestAssignNumbersAnyHistory applies random batches to two threads, with a clock that
// jumps at random, and checks the numbers that Assign gives to messages and events.
func TestAssignNumbersAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newState()
		l.Position = uint64(rapid.IntRange(0, 5).Draw(t, "position"))
		at, position, day := noon, l.Position, uint32(0)
		last := map[string]Counters{}
		check := func(c *Change) {
			was := last[c.Thread]
			for _, m := range c.Messages {
				if m.ID <= was.LastID || m.Version != m.ID || m.ID < at || m.CreatedOn != at || m.Sequence != was.LastSequence+1 {
					t.Fatalf("message %+v at %d after %+v", m, at, was)
				}
				was.LastID, was.LastSequence = m.ID, m.Sequence
			}
			for i, e := range c.Events {
				if e.Thread != c.Thread || e.Number != was.LastEvent+1 || e.Position != position+1 || e.Day < day || e.Day < DayOf(at) {
					t.Fatalf("event %+v at %d after %+v, position %d, day %d", e, at, was, position, day)
				}
				if e.Kind == MessageReceived && (e.MessageID != c.Messages[i].ID || e.Version != c.Messages[i].Version) {
					t.Fatalf("event %+v points not at %+v", e, c.Messages[i])
				}
				was.LastEvent, position, day = e.Number, e.Position, e.Day
			}
			last[c.Thread] = was
		}
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			at += int64(rapid.SampledFrom([]int{0, 0, 1, 30_000, 90_000_000, -1, -50_000, -90_000_000}).Draw(t, "step"))
			b := Batch{At: at}
			for range rapid.IntRange(1, 5).Draw(t, "changes") {
				id := rapid.SampledFrom([]string{thread1, thread2}).Draw(t, "thread")
				if rapid.IntRange(0, 4).Draw(t, "create") == 0 {
					b.Changes = append(b.Changes, makeThread(id, "", ann))
				} else {
					b.Changes = append(b.Changes, makeSend(id, 1, ann, ""))
				}
			}
			results, _ := runAssign(b, l)
			for i, r := range results {
				if r.Status == Applied {
					check(b.Changes[i])
				}
			}
		}
		if l.Position != position {
			t.Fatalf("position %d, want %d", l.Position, position)
		}
		for id, want := range last {
			got := l.Heads[id].Counters
			want.LastMessageOn, want.LastPosition = got.LastMessageOn, got.LastPosition
			if got != want {
				t.Fatalf("head of %s has %+v, want %+v", id, got, want)
			}
		}
	})
}

func TestAssignDayNeverGoesBack(t *testing.T) {
	l := created(t, ann)
	today := DayOf(noon)
	for _, step := range []struct {
		at   int64
		want uint32
	}{
		{noon, today},
		{noon + 12*3_600_000 - 1, today},
		{noon + 12*3_600_000, today + 1},
		{noon, today + 1},
		{noon - 10*86_400_000, today + 1},
		{noon + 3*86_400_000, today + 3},
	} {
		send := makeSend(thread1, 1, ann, "")
		assign(t, l, step.at, send)
		if got := send.Events[0].Day; got != step.want || l.Day != step.want {
			t.Errorf("at %d: the event has day %d and the log %d, want %d", step.at, got, l.Day, step.want)
		}
	}
}

func TestAssignStaleness(t *testing.T) {
	nobody := User{ID: eve}
	live := User{ID: eve, State: UserLive, Generation: 1}
	revoked := User{ID: eve, State: UserLive, Generation: 2}
	deleted := User{ID: eve, State: UserDeleted, Generation: 1, DeletedAt: noon}
	bobLive := User{ID: bob, State: UserLive, Generation: 1}
	two := add(1, live)
	two.ReadUsers = append(two.ReadUsers, User{ID: ann})
	for _, c := range []struct {
		name    string
		changes []*Change // the changes to apply to thread1, which has revision 1 and the participants ann and bob; user eve exists
		want    []Status
	}{
		{"send on the head", []*Change{makeSend(thread1, 1, ann, "")}, []Status{Applied}},
		{"send on an older head", []*Change{makeSend(thread1, 0, ann, "")}, []Status{Stale}},
		{"send on a newer head", []*Change{makeSend(thread1, 2, ann, "")}, []Status{Stale}},
		{"send to no thread", []*Change{makeSend(thread2, 1, ann, "")}, []Status{Stale}},
		{"create", []*Change{makeThread(thread2, "", ann)}, []Status{Applied}},
		{"create of what is there", []*Change{makeThread(thread1, "", ann)}, []Status{Stale}},
		{"create with a token of what is there without", []*Change{makeThread(thread1, "token", ann)}, []Status{Stale}},
		{"user as read", []*Change{put(live, revoked)}, []Status{Applied}},
		{"user who must not be there and is", []*Change{put(nobody, live)}, []Status{Stale}},
		{"user who must not be there and is not", []*Change{put(User{ID: bob}, bobLive)}, []Status{Applied}},
		{"user who must be there and is not", []*Change{put(bobLive, User{ID: bob})}, []Status{Stale}},
		{"user with another generation", []*Change{put(revoked, live)}, []Status{Stale}},
		{"user with another state", []*Change{put(deleted, live)}, []Status{Stale}},
		{"user with another deletion time", []*Change{put(User{ID: eve, State: UserLive, Generation: 1, DeletedAt: 1}, live)}, []Status{Stale}},
		{"fresh head, stale user", []*Change{add(1, revoked)}, []Status{Stale}},
		{"stale head, fresh user", []*Change{add(2, live)}, []Status{Stale}},
		{"both fresh", []*Change{add(1, live)}, []Status{Applied}},
		{"second of two users fresh too", []*Change{two}, []Status{Applied}},

		{"messages leave the head fresh", []*Change{makeSend(thread1, 1, ann, ""), makeSend(thread1, 1, bob, ""), rename(1, "x")}, []Status{Applied, Applied, Applied}},
		{"remove, then send", []*Change{remove(1, bob), makeSend(thread1, 1, bob, "")}, []Status{Applied, Stale}},
		{"send, then remove", []*Change{makeSend(thread1, 1, bob, ""), remove(1, bob)}, []Status{Applied, Applied}},
		{"two changes of properties", []*Change{rename(1, "first"), rename(1, "second"), rename(2, "third")}, []Status{Applied, Stale, Applied}},
		{"delete user, then add", []*Change{put(live, deleted), add(1, live)}, []Status{Applied, Stale}},
		{"delete user, then create with it", []*Change{put(live, deleted), withUsers(makeThread(thread2, "", ann, eve), live)}, []Status{Applied, Stale}},
		{"add, then delete user", []*Change{add(1, live), put(live, deleted)}, []Status{Applied, Applied}},
		{"revoke, then delete", []*Change{put(live, revoked), put(live, deleted)}, []Status{Applied, Stale}},
		{"create, then send in it", []*Change{makeThread(thread2, "", ann), makeSend(thread2, 1, ann, "")}, []Status{Applied, Applied}},
		{"send before the create", []*Change{makeSend(thread2, 1, ann, ""), makeThread(thread2, "", ann)}, []Status{Stale, Applied}},
		{"what is stale changes nothing", []*Change{add(7, live), rename(9, "x"), makeThread(thread1, "", ann), makeSend(thread1, 1, ann, "")}, []Status{Stale, Stale, Stale, Applied}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := created(t, ann, bob)
			l.Users[eve] = live
			results, _ := runAssign(Batch{At: noon, Changes: c.changes}, l)
			equal(t, "statuses", statuses(results), c.want)
		})
	}
}

func withUsers(c *Change, read ...User) *Change {
	c.ReadUsers = read
	return c
}

// TestAssignStaleWritesNothing applies a stale change and checks that Assign changes nothing in
// the state and returns nothing of the change.
func TestAssignStaleWritesNothing(t *testing.T) {
	l, want := created(t, ann), created(t, ann)
	live := User{ID: eve, State: UserLive, Generation: 1}
	for name, c := range map[string]*Change{
		"send with a token":   makeSend(thread1, 2, ann, "token", ann),
		"create with a token": makeThread(thread1, "token", ann),
		"user":                put(live, User{ID: eve, State: UserDeleted}),
		"add":                 add(1, live),
		"send to no thread":   makeSend(thread2, 1, ann, "token"),
	} {
		results, listings := runAssign(Batch{At: noon + 120_000, Changes: []*Change{c}}, l)
		equal(t, name+": result", results, []Outcome{{Status: Stale}})
		equal(t, name+": listings", listings, []ListMove(nil))
		equal(t, name+": state", l, want)
		if len(c.Messages) > 0 && c.Messages[0].ID != 0 {
			t.Errorf("%s: a message got id %d", name, c.Messages[0].ID)
		}
	}
}

func TestAssignReplaysSends(t *testing.T) {
	for _, c := range []struct {
		name   string
		second *Change
		want   Status
	}{
		{"same caller, same thread", makeSend(thread1, 1, ann, "token"), Replayed},
		{"same caller, same thread, stale by now", makeSend(thread1, 7, ann, "token"), Replayed},
		{"other caller", makeSend(thread1, 1, bob, "token"), Applied},
		{"other thread", makeSend(thread2, 1, ann, "token"), Applied},
		{"other token", makeSend(thread1, 1, ann, "Token"), Applied},
		{"no token", makeSend(thread1, 1, ann, ""), Applied},
	} {
		for _, batches := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, in %d batches", c.name, batches), func(t *testing.T) {
				l := created(t, ann, bob)
				assign(t, l, noon, makeThread(thread2, "", ann))
				first := makeSend(thread1, 1, ann, "token")
				second := *c.second
				second.Messages, second.Events = []Message{{Kind: Text}}, []Event{{Kind: MessageReceived}}
				var r Outcome
				if batches == 1 {
					results, _ := runAssign(Batch{At: noon + 5, Changes: []*Change{first, &second}}, l)
					r = results[1]
				} else {
					assign(t, l, noon+5, first)
					results, _ := runAssign(Batch{At: noon + 99, Changes: []*Change{&second}}, l)
					r = results[0]
				}
				if r.Status != c.want {
					t.Fatalf("status %d, want %d", r.Status, c.want)
				}
				if c.want == Replayed {
					equal(t, "result", r, Outcome{Status: Replayed, MessageID: noon + 5})
					equal(t, "counters", l.Heads[thread1].LastSequence, uint64(3))
				}
			})
		}
	}
}

func TestAssignReplaysCreates(t *testing.T) {
	for _, batches := range []int{1, 2} {
		t.Run(fmt.Sprintf("in %d batches", batches), func(t *testing.T) {
			l := newState()
			first, second := makeThread(thread1, "token", ann), makeThread(thread1, "token", ann, bob)
			first.Answer.Invalid = []InvalidParticipant{{User: eve, Code: "404", Message: "Not found"}}
			second.Properties.Topic, second.Answer.Topic = "another", "another"
			later := rename(1, "renamed") // a repeated create gets the first answer, even after this change of the topic
			changes := []*Change{first, later, second}
			var results []Outcome
			if batches == 1 {
				results, _ = runAssign(Batch{At: noon, Changes: changes}, l)
			} else {
				assign(t, l, noon, first, later)
				results, _ = runAssign(Batch{At: noon + 99, Changes: []*Change{second}}, l)
			}
			equal(t, "result", results[len(results)-1], Outcome{Status: Replayed, Answer: &CreateAnswer{
				Topic: "topic", CreatedBy: ann, CreatedOn: noon, Invalid: []InvalidParticipant{{User: eve, Code: "404", Message: "Not found"}},
			}})
			equal(t, "topic", l.Heads[thread1].Topic, "renamed")
			equal(t, "revision", l.Heads[thread1].Revision, uint64(2))
		})
	}
}

func TestAssignListings(t *testing.T) {
	minute := MinuteOf(noon)
	moved := func(users ...string) (ls []ListMove) {
		for _, u := range users {
			ls = append(ls, ListMove{User: u, Thread: thread1, From: minute, To: minute + 1})
		}
		return ls
	}
	joins := func(left *Left, messages ...Message) *Change {
		return &Change{Key: thread1, Thread: thread1, Revision: 1, Messages: messages, Roster: rosterOf(ann, bob),
			Members: []Member{{User: eve, Left: left, Intervals: []Interval{{From: 1, To: 1}, {}}}}}
	}
	leaves := remove(1, bob)
	leaves.Messages, leaves.Roster = []Message{{Kind: ParticipantRemoved}}, rosterOf(ann, bob)
	for _, c := range []struct {
		name    string
		at      int64
		changes []*Change
		want    []ListMove
	}{
		{"same minute", noon + 59_999, []*Change{makeSend(thread1, 1, ann, "", ann, bob)}, nil},
		{"next minute", noon + 60_000, []*Change{makeSend(thread1, 1, ann, "", ann, bob)}, moved(ann, bob)},
		{"next minute, two sends", noon + 60_000, []*Change{makeSend(thread1, 1, ann, "", ann, bob), makeSend(thread1, 1, bob, "", ann, bob)}, moved(ann, bob)},
		{"clock back a minute", noon - 60_000, []*Change{makeSend(thread1, 1, ann, "", ann, bob)}, nil},
		{"properties alone", noon + 60_000, []*Change{rename(1, "x")}, nil},
		{"joiner", noon + 1, []*Change{joins(nil)}, []ListMove{{User: eve, Thread: thread1, To: minute}}},
		{"joiner with a message in the next minute", noon + 60_000, []*Change{joins(nil, Message{Kind: ParticipantAdded})},
			append([]ListMove{{User: eve, Thread: thread1, To: minute + 1}}, moved(ann, bob)...)},
		{"joiner without a message in the next minute", noon + 60_000, []*Change{joins(nil)}, []ListMove{{User: eve, Thread: thread1, To: minute}}},
		{"frozen entry of one who comes back", noon + 1, []*Change{joins(&Left{On: (minute-7)*60_000 + 5})}, []ListMove{{User: eve, Thread: thread1, From: minute - 7, To: minute}}},
		{"leaver", noon + 1, []*Change{remove(1, bob)}, nil},
		{"leaver with a message in the next minute", noon + 60_000, []*Change{leaves}, moved(bob, ann)},
		{"leaver, then a send without it", noon + 60_000, []*Change{remove(1, bob), makeSend(thread1, 2, ann, "", ann)}, moved(ann)},
		{"stale send", noon + 60_000, []*Change{makeSend(thread1, 3, ann, "", ann, bob)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := created(t, ann, bob)
			_, got := runAssign(Batch{At: c.at, Changes: c.changes}, l)
			equal(t, "listings", got, c.want)
		})
	}
}

// TestAssignRelistings sends to a thread that has more participants than MaxMoves, and changes the
// thread's members while list entries are being moved. It checks which moves and which Relisting
// Assign returns.
func TestAssignRelistings(t *testing.T) {
	minute := MinuteOf(noon)
	var us []string
	for n := range MaxMoves + 1 {
		us = append(us, fmt.Sprintf("user %03d", n))
	}
	first, last := us[0], us[MaxMoves]
	halfway := Relisting{Thread: thread1, From: minute - 2, To: minute - 1, Through: us[MaxMoves/2]}
	join := func(user string, left *Left) *Change {
		return &Change{Key: thread1, Thread: thread1, Revision: 1, Roster: rosterOf(us...), Messages: []Message{{Kind: ParticipantAdded}},
			Members: []Member{{User: user, Left: left, Intervals: []Interval{{From: 1, To: 1}, {}}}}}
	}
	leave := func(user string) *Change {
		c := remove(1, user)
		c.Messages, c.Roster = []Message{{Kind: ParticipantRemoved}}, rosterOf(us...)
		return c
	}
	begun := &Relisting{Thread: thread1, From: minute, To: minute + 1}
	for _, c := range []struct {
		name    string
		was     *Relisting
		inAll   int
		at      int64
		change  *Change
		begins  *Relisting
		moves   []ListMove // unless there are many
		several int
	}{
		{name: "same minute", at: noon, change: makeSend(thread1, 1, ann, "", us...)},
		{name: "next minute", at: noon + 60_000, change: makeSend(thread1, 1, ann, "", us...), begins: begun},
		{name: "next minute, few participants", at: noon + 60_000, change: makeSend(thread1, 1, ann, "", us[1:]...), several: MaxMoves},
		{name: "next minute, many relistings", inAll: MaxRelistings, at: noon + 60_000, change: makeSend(thread1, 1, ann, "", us...), several: MaxMoves + 1},
		{name: "next minute, while they are moved", was: &halfway, at: noon + 60_000, change: makeSend(thread1, 1, ann, "", us...)},
		{name: "joiner in the next minute", at: noon + 60_000, change: join(ann, nil), begins: begun, moves: []ListMove{{User: ann, Thread: thread1, To: minute}}},
		{name: "joiner whose place was passed", was: &halfway, at: noon, change: join(ann, nil), moves: []ListMove{{User: ann, Thread: thread1, To: minute - 1}}},
		{name: "joiner whose place is to come", was: &halfway, at: noon, change: join("zoe", &Left{On: 60_000}), moves: []ListMove{{User: "zoe", Thread: thread1, From: 1, To: minute - 2}}},
		{name: "leaver in the next minute", at: noon + 60_000, change: leave(first), begins: begun, moves: []ListMove{{User: first, Thread: thread1, From: minute, To: minute + 1}}},
		{name: "leaver whose entry was moved", was: &halfway, at: noon + 60_000, change: leave(first), moves: []ListMove{{User: first, Thread: thread1, From: minute - 1, To: minute + 1}}},
		{name: "leaver whose entry was not moved", was: &halfway, at: noon, change: leave(last), moves: []ListMove{{User: last, Thread: thread1, From: minute - 2, To: minute}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := created(t, us...)
			if l.RelistingsInAll = c.inAll; c.was != nil {
				l.Relistings = map[string]*Relisting{thread1: c.was}
			}
			outcomes, moves := runAssign(Batch{At: c.at, Changes: []*Change{c.change}}, l)
			if len(moves) != c.several+len(c.moves) {
				t.Fatalf("%d moves, want %d", len(moves), c.several+len(c.moves))
			}
			if c.several == 0 {
				equal(t, "moves", moves, c.moves)
			}
			equal(t, "relisting that begins", outcomes[0].Relisting, c.begins)
			if now := l.Relistings[thread1]; c.begins != nil && now != outcomes[0].Relisting || c.begins == nil && now != c.was {
				t.Errorf("the state has the relisting %+v", now)
			}
		})
	}

	next, more := halfway.Next(minute)
	equal(t, "the next relisting", next, Relisting{Thread: thread1, From: minute - 1, To: minute})
	if _, last := next.Next(minute); !more || last {
		t.Errorf("there is a next relisting: %v, and another: %v", more, last)
	}
}

func TestAssignMembers(t *testing.T) {
	l := created(t, ann)
	assign(t, l, noon+1, makeSend(thread1, 1, ann, ""))
	head := l.Heads[thread1]
	head.Metadata, head.RetentionDays = map[string]string{"a": "1"}, 60
	c := &Change{
		Key: thread1, Thread: thread1, Revision: 1,
		Messages: []Message{{Kind: ParticipantAdded}}, Events: []Event{{Kind: MessageReceived}},
		Members: []Member{
			{User: bob, Intervals: []Interval{{}}},
			{User: eve, JoinedOn: noon - 9, Left: &Left{On: 5, Sequence: 1}, Intervals: []Interval{{From: 1, To: 1}, {}}},
			{User: ann, JoinedOn: noon, DisplayName: "stays", Intervals: []Interval{{From: 1}}},
			{User: "leaves", JoinedOn: noon, Intervals: []Interval{{From: 1, To: CloseInterval}}},
			{User: "has left", JoinedOn: noon, Left: &Left{On: 5}, Intervals: []Interval{{From: 1, To: 2}}},
			{User: "was never in"},
		},
	}
	assign(t, l, noon+2, c)
	equal(t, "members", c.Members, []Member{
		// The interval begins with event 3, the event of bob's joining.
		{User: bob, JoinedOn: noon + 2, Intervals: []Interval{{From: 3}}},
		{User: eve, JoinedOn: noon + 2, Intervals: []Interval{{From: 1, To: 1}, {From: 3}}},
		{User: ann, JoinedOn: noon, DisplayName: "stays", Intervals: []Interval{{From: 1}}},
		{User: "leaves", JoinedOn: noon, Intervals: []Interval{{From: 1, To: 3}}, Left: &Left{
			On: noon + 2, Sequence: 4, Topic: "topic", Metadata: map[string]string{"a": "1"}, RetentionDays: 60,
		}},
		{User: "has left", JoinedOn: noon, Left: &Left{On: 5}, Intervals: []Interval{{From: 1, To: 2}}},
		{User: "was never in"},
	})
	equal(t, "revision", l.Heads[thread1].Revision, uint64(2))
}

func statuses(rs []Outcome) []Status {
	out := make([]Status, len(rs))
	for i, r := range rs {
		out[i] = r.Status
	}
	return out
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
