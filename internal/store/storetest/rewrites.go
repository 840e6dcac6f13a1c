package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// edit returns the change that replaces the content of message m in the thread with this id.
func edit(id string, revision uint64, m core.Message, content string) *core.Change {
	r := core.Rewrite{Message: m, ReadVersion: m.Version, OldSequence: m.Sequence}
	r.Content = content
	return &core.Change{Key: id, Thread: id, Revision: revision, Rewrites: []core.Rewrite{r}, Events: []core.Event{{Kind: core.MessageEdited, Actor: m.Sender}}}
}

func remove(id string, revision uint64, m core.Message) *core.Change {
	c := edit(id, revision, m, "")
	c.Rewrites[0].How = core.Delete
	c.Events[0].Kind = core.MessageDeleted
	return c
}

func receipt(id string, revision uint64, user string, message int64) *core.Change {
	return &core.Change{Key: id, Thread: id, Revision: revision, Receipt: &core.Receipt{User: user, MessageID: message},
		Events: []core.Event{{Kind: core.ReceiptReceived, Actor: user}}}
}

// leaves returns a change that removes the user from the thread t.
func leaves(t *core.Thread, user string) *core.Change {
	m := *t.Member(user)
	m.Intervals = append([]core.Interval(nil), m.Intervals...)
	m.Intervals[len(m.Intervals)-1].To = core.CloseInterval
	return withRoster(&core.Change{Key: t.ID, Thread: t.ID, Revision: t.Revision, Members: []core.Member{m},
		Messages: []core.Message{{Kind: core.ParticipantRemoved, Initiator: user}},
		Events:   []core.Event{{Kind: core.ParticipantsRemoved, Actor: user}}}, t)
}

func load(t testing.TB, s core.Store, id string) *core.Thread {
	t.Helper()
	th, err := s.Thread(context.Background(), id)
	if err != nil || th == nil {
		t.Fatalf("load %s: %v, %v", id, th, err)
	}
	return th
}

func testRewrites(t *testing.T, e Engine) {
	s := e.Open(t)
	a, ann := thread(1), user(1)
	one, two := send(a, 1, ann, "", "one"), send(a, 1, ann, "", "two")
	apply(t, s, start, create(a, "", ann), one, two)
	first := one.Messages[0]

	// An edit gives the message the next sequence number, which moves the message to the top of
	// the list.
	editing := edit(a, 1, first, "one, edited")
	rs := apply(t, s, start+10, editing, edit(a, 1, first, "decided on the old version"), remove(a, 1, first))
	mustEqual(t, "edit, edit and delete of one version in a batch", statuses(rs), []core.Status{core.Applied, core.Stale, core.Stale})
	edited := first
	edited.Content, edited.Version, edited.Sequence, edited.EditedOn = "one, edited", start+10, 5, start+10
	for _, when := range []string{"before", "after"} {
		page := messages(t, s, core.MessagesQuery{Thread: a, Limit: 10})
		mustEqual(t, "the edited message, "+when+" a restart", page.Messages[0], edited)
		if n := len(page.Messages); n != 4 || page.Messages[1].Content != "two" {
			t.Errorf("%d messages, the second is %q; want 4, the edited one once and on top", n, page.Messages[1].Content)
		}
		mustEqual(t, "by its id, "+when+" a restart", message(t, s, a, first.ID), edited)
		s = e.Reopen(t, s)
	}
	gone := remove(a, 1, edited)
	apply(t, s, start+20, gone)
	if m := messages(t, s, core.MessagesQuery{Thread: a, Limit: 1}).Messages[0]; m.ID != first.ID || m.DeletedOn != start+20 || m.Content != "" || m.Sequence != 6 || m.CreatedOn != start {
		t.Errorf("the tombstone is %+v", m)
	}
	// A rewrite in place must keep the message's version and sequence number, and write no
	// event.
	scrubbed := core.Rewrite{Message: two.Messages[0], ReadVersion: two.Messages[0].Version, OldSequence: two.Messages[0].Sequence, How: core.InPlace}
	scrubbed.SenderDisplayName = ""
	inPlace := &core.Change{Key: a, Thread: a, Revision: 1, Rewrites: []core.Rewrite{scrubbed}}
	refused := apply(t, s, start+30, inPlace)
	if refused[0].Status != core.Stale {
		t.Errorf("a rewrite in place that was not decided on locked rows has status %d, want Stale", refused[0].Status)
	}
	locked := *inPlace
	locked.Decide = func(core.Rows) (*core.Change, error) { return inPlace, nil }
	apply(t, s, start+30, &locked)
	want := two.Messages[0]
	want.SenderDisplayName = ""
	if m := message(t, s, a, want.ID); m.Sequence != want.Sequence || m.SenderDisplayName != "" || m.Version != want.Version {
		t.Errorf("rewritten in place: %+v, want %+v", m, want)
	}
	var kinds []core.EventKind
	for _, ev := range events(t, s) {
		kinds = append(kinds, ev.Kind)
	}
	mustEqual(t, "events", kinds, []core.EventKind{core.ThreadCreated, core.MessageReceived, core.MessageReceived, core.MessageEdited, core.MessageDeleted})
	closeStore(t, s)
}

// testSince lists the messages created since a time, in a thread where edits have moved older
// messages behind newer ones. The list must have exactly these messages.
func testSince(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann := thread(1), user(1)
	apply(t, s, start, create(a, "", ann))
	var sent []core.Message
	for i := range 6 {
		c := send(a, 1, ann, "", fmt.Sprint(i))
		apply(t, s, start+int64(100*(i+1)), c)
		sent = append(sent, c.Messages[0])
	}
	apply(t, s, start+1000, edit(a, 1, sent[1], "1, edited"), edit(a, 1, sent[4], "4, edited"), remove(a, 1, sent[2]))
	for _, c := range []struct {
		since int64
		want  []string
	}{
		{start + 100, []string{"", "4, edited", "1, edited", "5", "3", "0"}},
		{start + 101, []string{"", "4, edited", "1, edited", "5", "3"}},
		{start + 301, []string{"4, edited", "5", "3"}},
		{start + 500, []string{"4, edited", "5"}},
		{start + 601, nil},
		{start + 5000, nil},
	} {
		var got []string
		for _, m := range messages(t, s, core.MessagesQuery{Thread: a, Since: c.since, Limit: 10}).Messages {
			got = append(got, m.Content)
		}
		mustEqual(t, fmt.Sprint("messages since ", c.since-start), got, c.want)
	}
}

func testReceipts(t *testing.T, e Engine) {
	s := e.Open(t)
	a, ann, bob := thread(1), user(1), user(2)
	one, two := send(a, 1, ann, "", "one"), send(a, 1, ann, "", "two")
	apply(t, s, start, create(a, "", ann, bob), one, two)
	first, second := one.Messages[0].ID, two.Messages[0].ID
	apply(t, s, start+1, receipt(a, 1, bob, second))
	back := receipt(a, 1, bob, first)
	if rs := apply(t, s, start+2, back); rs[0].Status != core.Applied {
		t.Errorf("a receipt that would move back has status %d: it does nothing and is well", rs[0].Status)
	}
	apply(t, s, start+3, receipt(a, 1, ann, first), receipt(a, 1, ann, second))
	s = e.Reopen(t, s)
	mustEqual(t, "receipts", receipts(t, s, a), []core.Receipt{{User: bob, MessageID: second, ReadOn: start + 1}, {User: ann, MessageID: second, ReadOn: start + 3}})
	var told int
	for _, ev := range events(t, s) {
		if ev.Kind == core.ReceiptReceived {
			told++
		}
	}
	if told != 3 {
		t.Errorf("%d events of receipts, want 3: none for the one that did nothing", told)
	}
	apply(t, s, start+4, &core.Change{Key: a, Thread: a, Revision: 1, DropReceipts: []string{bob}})
	if got := receipts(t, s, a); len(got) != 1 || got[0].User != ann {
		t.Errorf("after one was taken away: %+v", got)
	}
	closeStore(t, s)
}

func testLeaving(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann, bob := thread(1), user(1), user(2)
	created := create(a, "", ann, bob)
	created.Properties.Metadata, created.Properties.RetentionDays = map[string]string{"a": "1"}, 60
	apply(t, s, start, created, send(a, 1, ann, "", "before")) // events 1 and 2
	apply(t, s, start+90_000, leaves(load(t, s, a), bob))      // event 3
	apply(t, s, start+200_000, withRoster(send(a, 2, ann, "", "after"), load(t, s, a)))
	got := load(t, s, a)
	m := got.Member(bob)
	mustEqual(t, "what the member who left keeps", m.Left, &core.Left{
		On: start + 90_000, Sequence: 4, Topic: "topic of " + a, Metadata: map[string]string{"a": "1"}, RetentionDays: 60,
	})
	mustEqual(t, "its interval", m.Intervals, []core.Interval{{From: 1, To: 3}})
	if len(got.Participants()) != 1 {
		t.Errorf("%d participants, want 1", len(got.Participants()))
	}
	list := func(who string) []core.ThreadEntry {
		page, err := s.Threads(context.Background(), core.ThreadsQuery{User: who, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return page.Threads
	}
	entry := core.ThreadEntry{Thread: a, Topic: "topic of " + a, LastMessageOn: start + 200_000, ExpiresOn: got.ExpiresOn()}
	mustEqual(t, "the list of who stayed", list(ann), []core.ThreadEntry{entry})
	entry.LastMessageOn = start + 90_000
	mustEqual(t, "the list of who left, frozen", list(bob), []core.ThreadEntry{entry})

	again := *m
	again.Intervals = append(again.Intervals, core.Interval{})
	apply(t, s, start+300_000, &core.Change{Key: a, Thread: a, Revision: 2, Members: []core.Member{again}, Roster: got.Participants(),
		Messages: []core.Message{{Kind: core.ParticipantAdded, Initiator: ann}}, Events: []core.Event{{Kind: core.ParticipantsAdded, Actor: ann}}})
	m = load(t, s, a).Member(bob)
	mustEqual(t, "intervals of who came back", m.Intervals, []core.Interval{{From: 1, To: 3}, {From: 5}})
	mustEqual(t, "what the member who came back keeps", m.Left, (*core.Left)(nil))
	entry.LastMessageOn = start + 300_000
	mustEqual(t, "the list of who came back: one entry, live again", list(bob), []core.ThreadEntry{entry})
	mustEqual(t, "and of who stayed", list(ann), []core.ThreadEntry{entry})
}

func withRoster(c *core.Change, t *core.Thread) *core.Change {
	c.Roster = t.Participants()
	return c
}

func testPurge(t *testing.T, e Engine) {
	s := e.Open(t)
	a, b, ann := thread(1), thread(2), user(1)
	m := send(a, 1, ann, "token", "secret")
	apply(t, s, start, create(a, "key", ann), create(b, "", ann), m, send(b, 1, ann, "", "stays"))
	apply(t, s, start, receipt(a, 1, ann, m.Messages[0].ID))
	rs := apply(t, s, start+1000,
		&core.Change{Key: a, Thread: a, Revision: 1, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted, Actor: ann}}},
		send(a, 1, ann, "", "too late"))
	mustEqual(t, "a delete and a send decided on the same head", statuses(rs), []core.Status{core.Applied, core.Stale})
	s = e.Reopen(t, s)
	if got := load(t, s, a); got.DeletedOn != start+1000 || got.Member(ann) == nil || got.Revision != 2 {
		t.Errorf("a deleted thread keeps head and members: %+v", got.Head)
	}
	if page := messages(t, s, core.MessagesQuery{Thread: a, Limit: 10}); len(page.Messages) != 0 || page.Head.Revision != 2 {
		t.Errorf("it still holds %d messages", len(page.Messages))
	}
	if m := message(t, s, a, m.Messages[0].ID); m.ID != 0 {
		t.Errorf("a message of it by id: %+v", m)
	}
	if rs := receipts(t, s, a); len(rs) != 0 {
		t.Errorf("its receipts: %+v", rs)
	}
	if answer(t, s, a) == nil {
		t.Error("its first answer was deleted")
	}
	if n := len(messages(t, s, core.MessagesQuery{Thread: b, Limit: 10}).Messages); n != 3 {
		t.Errorf("another thread has %d messages left, want 3", n)
	}
	page, err := s.Threads(context.Background(), core.ThreadsQuery{User: ann, Limit: 10})
	if err != nil || len(page.Threads) != 2 || page.Threads[0].DeletedOn+page.Threads[1].DeletedOn != start+1000 {
		t.Errorf("the list: %+v, %v; want both, one marked", page, err)
	}
	closeStore(t, s)
}

// testThreads reads a user's list of threads in pages while new messages reorder it.
func testThreads(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	ann := user(1)
	const n = 23
	// Give each minute up to nine threads, whose times are not in the order of their ids. Some of
	// the pages below end within a minute.
	times := map[string]int64{}
	for i := range n {
		id := thread(i)
		at := start + int64(i/9)*60_000 + int64((i*7)%9)*5_000
		apply(t, s, at, create(id, "", ann))
		times[id] = at
	}
	for _, limit := range []int{1, 4, 9, 23, 100} {
		got := listOf(t, s, ann, limit)
		if len(got) != n {
			t.Fatalf("limit %d: %d threads in all, want %d", limit, len(got), n)
		}
		for i, entry := range got {
			if entry.LastMessageOn != times[entry.Thread] || i > 0 && entry.LastMessageOn > got[i-1].LastMessageOn {
				t.Fatalf("limit %d, place %d: %+v after %+v", limit, i, entry, got[max(i-1, 0)])
			}
		}
	}
	for _, limit := range []int{1, 4, 9, 23, 100} {
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			ids, err := s.ThreadsOf(context.Background(), ann, after, limit)
			if err != nil || len(ids) > limit {
				t.Fatalf("limit %d: %d ids, %v", limit, len(ids), err)
			}
			if got = append(got, ids...); len(ids) < limit {
				break
			}
		}
		if want := slices.Sorted(maps.Keys(times)); !slices.Equal(got, want) {
			t.Fatalf("limit %d: ids %v, want %v", limit, got, want)
		}
	}
	// A message in a later minute must move its thread to the top of the list.
	apply(t, s, start+600_000, withRoster(send(thread(0), 1, ann, "", "up"), load(t, s, thread(0))))
	page, err := s.Threads(context.Background(), core.ThreadsQuery{User: ann, Limit: 100})
	if err != nil || len(page.Threads) != n || page.Threads[0].Thread != thread(0) {
		t.Errorf("after a message: %d threads, on top %+v, %v", len(page.Threads), page.Threads[0], err)
	}
	page, err = s.Threads(context.Background(), core.ThreadsQuery{User: ann, Since: start + 600_000, Limit: 100})
	if err != nil || len(page.Threads) != 1 || page.Next != (core.ThreadsCursor{}) {
		t.Errorf("since then: %+v, %v", page, err)
	}
	if page, err = s.Threads(context.Background(), core.ThreadsQuery{User: user(2), Limit: 100}); err != nil || len(page.Threads) != 0 {
		t.Errorf("another user's list: %+v, %v", page, err)
	}
}

func testDeleting(t *testing.T, e Engine) {
	s := e.Open(t)
	u := core.User{ID: user(1), State: core.UserLive, Generation: 1}
	deleting, deleted := u, u
	deleting.State, deleting.DeletedAt = core.UserDeleting, start
	deleted.State, deleted.DeletedAt = core.UserDeleted, start
	apply(t, s, start, putUser(core.User{ID: u.ID}, u))
	for _, step := range []struct {
		from, to core.User
		want     []core.User
	}{{u, deleting, []core.User{deleting}}, {deleting, deleted, nil}} {
		apply(t, s, start, putUser(step.from, step.to))
		s = e.Reopen(t, s)
		got, err := s.Deleting(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "users in deletion", got, step.want)
	}
	closeStore(t, s)
}

func testExpiring(t *testing.T, e Engine) {
	const day = 86_400_000
	s := e.Open(t)
	update := func(id string, revision uint64, days int32) *core.Change {
		head := load(t, s, id)
		return keptFor(days, &core.Change{Key: id, Thread: id, Revision: revision, Properties: &head.Properties})
	}
	purge := func(id string, revision uint64) *core.Change {
		return &core.Change{Key: id, Thread: id, Revision: revision, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted}}}
	}
	a, b, c := thread(1), thread(2), thread(3)
	for _, step := range []struct {
		what   string
		at     int64
		change func() *core.Change
		want   []core.Expiry
	}{
		{"a thread for ever", start, func() *core.Change { return create(c, "", user(1)) }, nil},
		{"one for 60 days", start, func() *core.Change { return keptFor(60, create(a, "", user(1))) }, []core.Expiry{{Thread: a, On: start + 60*day}}},
		{"one for 30 days", start + 5, func() *core.Change { return keptFor(30, create(b, "", user(1))) },
			[]core.Expiry{{Thread: b, On: start + 5 + 30*day}, {Thread: a, On: start + 60*day}}},
		{"a message", start + 6, func() *core.Change { return send(b, 1, user(1), "", "hello") },
			[]core.Expiry{{Thread: b, On: start + 5 + 30*day}, {Thread: a, On: start + 60*day}}},
		{"90 days now", start + 7, func() *core.Change { return update(b, 1, 90) },
			[]core.Expiry{{Thread: a, On: start + 60*day}, {Thread: b, On: start + 5 + 90*day}}},
		{"for ever now", start + 8, func() *core.Change { return update(a, 1, 0) }, []core.Expiry{{Thread: b, On: start + 5 + 90*day}}},
		{"30 days after all", start + 9, func() *core.Change { return update(c, 1, 30) },
			[]core.Expiry{{Thread: c, On: start + 30*day}, {Thread: b, On: start + 5 + 90*day}}},
		{"deleted", start + 10, func() *core.Change { return purge(c, 2) }, []core.Expiry{{Thread: b, On: start + 5 + 90*day}}},
		{"stale", start + 11, func() *core.Change { return purge(b, 1) }, []core.Expiry{{Thread: b, On: start + 5 + 90*day}}},
	} {
		apply(t, s, step.at, step.change())
		s = e.Reopen(t, s)
		got, err := s.Expiring(context.Background(), 100)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, step.what, got, step.want)
	}
	if got, err := s.Expiring(context.Background(), 0); err != nil || len(got) != 0 {
		t.Errorf("none of them: %+v, %v", got, err)
	}
	closeStore(t, s)
}
