package storetest

import (
	"context"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// day is the number of milliseconds of a day.
const day = 86_400_000

// tip gives positions to all committed events, and returns the cursor after the last one.
func tip(t *testing.T, s core.Store) core.Cursor {
	t.Helper()
	if _, err := s.Sequence(context.Background()); err != nil {
		t.Fatal(err)
	}
	c, err := s.Tip(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// logAfter returns the page of the log after a cursor, with at most limit events.
func logAfter(t *testing.T, s core.Store, after core.Cursor, limit int) core.LogPage {
	t.Helper()
	page, err := s.Log(context.Background(), after, limit)
	if err != nil {
		t.Fatalf("read the log after %+v: %v", after, err)
	}
	return page
}

// testEvents checks that every event has a time and a version, even if it has no message. It
// also checks that the log has the event that says that a user's tokens were revoked.
func testEvents(t *testing.T, e Engine) {
	s := e.Open(t)
	a, ann, bob := thread(1), user(1), user(2)
	apply(t, s, start, create(a, "", ann, bob))
	apply(t, s, start+10, &core.Change{Key: a, Thread: a, Revision: 1,
		Properties: &core.Properties{Topic: "topic of " + a, CreatedBy: ann, CreatedOn: start, Metadata: map[string]string{"k": "v"}},
		Events:     []core.Event{{Kind: core.ThreadUpdated, Actor: ann}}})
	live := core.User{ID: ann, State: core.UserLive, Generation: 1}
	apply(t, s, start+20, putUser(core.User{ID: ann}, live))
	revoked := live
	revoked.Generation++
	c := putUser(live, revoked)
	c.Events = []core.Event{{Kind: core.TokensRevoked, Actor: ann}}
	apply(t, s, start+30, c)
	apply(t, s, start+40, send(a, 2, bob, "", "after a version without a message"))
	apply(t, s, start+50, &core.Change{Key: a, Thread: a, Revision: 2, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted, Actor: ann}}})
	for _, when := range []string{"before", "after"} {
		type seen struct {
			kind    core.EventKind
			thread  string
			number  uint64
			version int64
			actor   string
			at      int64
			check   uint32
		}
		var got []seen
		for i, ev := range events(t, s) {
			if ev.Position != uint64(i)+1 || ev.Batch != 0 {
				t.Errorf("event %d has position %d in batch %d", i, ev.Position, ev.Batch)
			}
			if ev.Thread == "" {
				if ev.Number == 0 {
					t.Error("the event of a user has no number")
				}
				ev.Number = 0 // ignore the number of the event, which the engine chooses
			}
			got = append(got, seen{ev.Kind, ev.Thread, ev.Number, ev.Version, ev.Actor, ev.At, ev.Check})
		}
		first := start
		want := []seen{
			{core.ThreadCreated, a, 1, first, ann, start, uint32(first)},
			{core.ThreadUpdated, a, 2, start + 10, ann, start + 10, uint32(first + 10)},
			{core.TokensRevoked, "", 0, start + 30, ann, start + 30, uint32(first + 30)},
			{core.MessageReceived, a, 3, start + 40, bob, start + 40, uint32(first + 40)},
			{core.ThreadDeleted, a, 4, start + 50, ann, start + 50, uint32(first + 50)},
		}
		if !slices.Equal(got, want) {
			t.Errorf("events %s a restart: %+v\nwant %+v", when, got, want)
		}
		s = e.Reopen(t, s)
	}
	closeStore(t, s)
}

// testLogBefore reads the log backwards in pages of all sizes. The log has events of two days, of
// threads and of a user. The test reads the log before and after it trims the first day. Each time
// the pages together must have all events in order.
func testLogBefore(t *testing.T, e Engine) {
	s := e.Open(t)
	ctx := context.Background()
	if got, err := s.LogBefore(ctx, 0, 10); err != nil || len(got) != 0 {
		t.Fatalf("an empty log: %+v, %v", got, err)
	}
	a, b, ann := thread(1), thread(2), user(1)
	apply(t, s, start, create(a, "", ann), create(b, "", ann))
	live := core.User{ID: ann, State: core.UserLive, Generation: 1}
	revoke := putUser(core.User{ID: ann}, live)
	revoke.Events = []core.Event{{Kind: core.TokensRevoked, Actor: ann}}
	apply(t, s, start+1, revoke)
	for i := range int64(5) {
		apply(t, s, start+500*(i+1), send(a, 1, ann, "", "x"), send(b, 1, ann, "", "y")) // midnight is at 1000
	}
	tip(t, s)
	all := events(t, s)
	slices.Reverse(all)
	for _, when := range []string{"before", "after"} {
		for _, limit := range []int{1, 2, 3, 100} {
			var got []core.Event
			for before := uint64(0); ; before = got[len(got)-1].Position {
				page, err := s.LogBefore(ctx, before, limit)
				if err != nil || len(page) > limit {
					t.Fatalf("%s: before %d: %d events, %v", when, before, len(page), err)
				}
				if got = append(got, page...); len(page) < limit {
					break
				}
			}
			if !slices.Equal(got, all) {
				t.Errorf("%s the trim, pages of %d: %+v\nwant %+v", when, limit, got, all)
			}
		}
		if when == "before" {
			if err := s.Trim(ctx, uint32(start/day)+1); err != nil {
				t.Fatal(err)
			}
			all = slices.DeleteFunc(all, func(e core.Event) bool { return e.Day <= uint32(start/day) })
			if len(all) == 0 {
				t.Fatal("no event is left")
			}
		}
	}
	closeStore(t, s)
}

// testListHeads lists threads in the order of their ids. The list must include a deleted thread.
func testListHeads(t *testing.T, e Engine) {
	s := e.Open(t)
	ctx := context.Background()
	ann := user(1)
	var want []string
	for n := range 5 {
		apply(t, s, start+int64(n), create(thread(n+1), "", ann))
		want = append(want, thread(n+1))
	}
	apply(t, s, start+50, &core.Change{Key: thread(2), Thread: thread(2), Revision: 1, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted, Actor: ann}}})
	for _, limit := range []int{1, 2, 100} {
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			page, err := s.ListHeads(ctx, after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("after %q: %d heads, %v", after, len(page), err)
			}
			for _, h := range page {
				got = append(got, h.ID)
				if h.Topic != "topic of "+h.ID || h.Revision == 0 || (h.DeletedOn != 0) != (h.ID == thread(2)) {
					t.Errorf("a head: %+v", h)
				}
			}
			if len(page) < limit {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: %q\nwant %q", limit, got, want)
		}
	}
	closeStore(t, s)
}

// testCursors reads the log with valid cursors, which must return the events after them, and
// with cursors of another epoch, beyond the end and of another event, which must return a gap.
func testCursors(t *testing.T, e Engine) {
	s := e.Open(t)
	a, ann := thread(1), user(1)
	empty := tip(t, s)
	mustEqual(t, "the end of an empty log", empty, core.Cursor{Epoch: Initial.Epoch})
	apply(t, s, start, create(a, "", ann))
	var cursors []core.Cursor
	for i := range 5 {
		cursors = append(cursors, tip(t, s))
		apply(t, s, start+int64(i)+1, send(a, 1, ann, "", "x"))
	}
	end := tip(t, s)
	for i, c := range append([]core.Cursor{empty}, cursors...) {
		page := logAfter(t, s, c, 100)
		if page.Gap != 0 || len(page.Events) != 6-i || page.Next != end || page.Tip != end.Position {
			t.Errorf("after %+v: %+v", c, page)
		}
	}
	if page := logAfter(t, s, cursors[1], 2); len(page.Events) != 2 || page.Next != cursors[3] || page.Tip != end.Position {
		t.Errorf("a page of two: %+v", page)
	}
	other, beyond, wrong, zero := end, end, cursors[2], empty
	other.Epoch = "another"
	beyond.Position++
	wrong.Check++
	zero.Check = 7
	for _, tc := range []struct {
		cursor core.Cursor
		gap    core.GapReason
	}{{other, core.GapEpoch}, {beyond, core.GapLost}, {wrong, core.GapLost}, {zero, core.GapLost}, {core.Cursor{}, core.GapEpoch}} {
		if page := logAfter(t, s, tc.cursor, 10); page.Gap != tc.gap || len(page.Events) != 0 || page.Next != end {
			t.Errorf("after %+v: %+v, want gap %q", tc.cursor, page, tc.gap)
		}
	}
	// After the epoch is replaced, every cursor of the old epoch must return a gap, even after a
	// restart.
	ctx := context.Background()
	if err := s.RenewEpoch(ctx, "not the epoch", "second"); err != nil {
		t.Fatal(err)
	}
	if got := tip(t, s); got != end {
		t.Errorf("an epoch was renewed on a wrong one: %+v", got)
	}
	if err := s.RenewEpoch(ctx, Initial.Epoch, "second"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if page := logAfter(t, s, end, 10); page.Gap != core.GapEpoch {
			t.Errorf("a cursor of the old epoch: %+v", page)
		}
		renewed := end
		renewed.Epoch = "second"
		if got := tip(t, s); got != renewed {
			t.Errorf("the end is %+v, want %+v", got, renewed)
		}
		s = e.Reopen(t, s)
	}
	closeStore(t, s)
}

// testTrim deletes old days of the log. Cursors before the last deleted event must return a
// gap; the cursor of that event and later ones must not. Positions of new events must continue.
func testTrim(t *testing.T, e Engine) {
	s := e.Open(t)
	a, ann := thread(1), user(1)
	zero := tip(t, s)
	apply(t, s, start, create(a, "", ann)) // on day 19,999
	early := tip(t, s)
	apply(t, s, start+1, send(a, 1, ann, "", "x"))
	last := tip(t, s)
	apply(t, s, start+day, send(a, 1, ann, "", "x"))
	second := tip(t, s)
	apply(t, s, start+2*day, send(a, 1, ann, "", "x"))
	end := tip(t, s)
	first := core.DayOf(start)
	check := func(when string, floor, tip core.Cursor, trimmed, kept []core.Cursor) {
		t.Helper()
		for _, c := range trimmed {
			if page := logAfter(t, s, c, 10); page.Gap != core.GapTrimmed {
				t.Errorf("%s: after %+v: %+v, want a gap", when, c, page)
			}
		}
		for _, c := range kept {
			if page := logAfter(t, s, c, 10); page.Gap != 0 || page.Next != tip || uint64(len(page.Events)) != tip.Position-c.Position {
				t.Errorf("%s: after %+v: %+v, want the events up to %d", when, c, page, tip.Position)
			}
		}
		floor.Check++
		if page := logAfter(t, s, floor, 10); page.Gap != core.GapLost {
			t.Errorf("%s: at the start with another check: %+v, want a gap", when, page)
		}
	}
	trim := func(day uint32) {
		t.Helper()
		if err := s.Trim(context.Background(), day); err != nil {
			t.Fatalf("trim before day %d: %v", day, err)
		}
	}
	trim(first)
	check("nothing is old", zero, end, nil, []core.Cursor{zero, early, last, second, end})
	for range 2 { // trimming the same day or an earlier one again changes nothing
		trim(first + 1)
		trim(first)
		check("one day trimmed", last, end, []core.Cursor{zero, early}, []core.Cursor{last, second, end})
		s = e.Reopen(t, s)
	}
	if es, err := s.ThreadEvents(context.Background(), a, 1, 10); err != nil || len(es) != 2 || es[0].Number != 3 {
		t.Errorf("events of the thread: %+v, %v", es, err)
	}
	trim(first + 10) // trims all events
	check("all trimmed", end, end, []core.Cursor{zero, early, last, second}, []core.Cursor{end})
	mustEqual(t, "the end of a log that was trimmed", tip(t, s), end)
	s = e.Reopen(t, s)
	apply(t, s, start+11*day, send(a, 1, ann, "", "x"))
	tip(t, s)
	if page := logAfter(t, s, end, 10); len(page.Events) != 1 || page.Events[0].Position != end.Position+1 || page.Events[0].Number != 5 {
		t.Errorf("after everything was trimmed: %+v", page)
	}
	closeStore(t, s)
}

// testNews asks which threads of a user have events after a position. Among the threads are threads
// without such events, a thread that the user left, and a thread with events of several days.
func testNews(t *testing.T, e Engine) {
	s := e.Open(t)
	ctx := context.Background()
	ann, bob := user(1), user(2)
	for n := 1; n <= 4; n++ {
		apply(t, s, start, create(thread(n), "", ann, bob))
	}
	apply(t, s, start, create(thread(5), "", bob))
	news := func(who string, after core.Cursor, limit int) map[string]uint64 {
		t.Helper()
		all, err := s.News(ctx, who, after.Position, limit)
		if err != nil {
			t.Fatal(err)
		}
		first := map[string]uint64{}
		for _, n := range all {
			if n.Member == nil || n.Member.User != who {
				t.Errorf("news of %s with member %+v", n.Head.ID, n.Member)
			}
			first[n.Head.ID] = n.First
		}
		return first
	}
	equal := func(what string, got, want map[string]uint64) {
		t.Helper()
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
		for id, first := range want {
			if got[id] != first {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
	}
	before := tip(t, s)
	equal("nothing new", news(ann, before, 10), nil)
	equal("from the start", news(ann, core.Cursor{}, 10), map[string]uint64{thread(1): 1, thread(2): 1, thread(3): 1, thread(4): 1})
	if got := news(ann, core.Cursor{}, 2); len(got) != 2 {
		t.Errorf("at most two: %v", got)
	}
	apply(t, s, start+1, send(thread(2), 1, ann, "", "x"))
	middle := tip(t, s)
	apply(t, s, start+day, send(thread(2), 1, ann, "", "x"), send(thread(3), 1, bob, "", "x"), send(thread(5), 1, bob, "", "x"))
	apply(t, s, start+2*day, send(thread(2), 1, ann, "", "x"), leaves(load(t, s, thread(4)), ann))
	for range 2 {
		tip(t, s)
		equal("after the creates", news(ann, before, 10), map[string]uint64{thread(2): 2, thread(3): 2, thread(4): 2})
		equal("after one message", news(ann, middle, 10), map[string]uint64{thread(2): 3, thread(3): 2, thread(4): 2})
		equal("of bob", news(bob, middle, 10), map[string]uint64{thread(2): 3, thread(3): 2, thread(4): 2, thread(5): 2})
		s = e.Reopen(t, s)
	}
	for _, tc := range []struct {
		from  uint64
		limit int
		want  []uint64
	}{{1, 10, []uint64{1, 2, 3, 4}}, {3, 10, []uint64{3, 4}}, {2, 2, []uint64{2, 3}}, {5, 10, nil}} {
		es, err := s.ThreadEvents(ctx, thread(2), tc.from, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for i, ev := range es {
			got = append(got, ev.Number)
			if ev.Thread != thread(2) || i > 0 && ev.Position <= es[i-1].Position || ev.Batch != 0 {
				t.Errorf("events from %d: %+v", tc.from, es)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("events from %d, at most %d: %v, want %v", tc.from, tc.limit, got, tc.want)
		}
	}
	closeStore(t, s)
}

// testNewsOfManyThreads compares News with the events of the log, after positions that few and
// many events follow. An engine may look for news in the user's list of threads or in the log.
func testNewsOfManyThreads(t *testing.T, e Engine) {
	s := e.Open(t)
	ctx := context.Background()
	ann, bob, eve := user(1), user(2), user(3)
	in := map[string]map[string]bool{ann: {}, bob: {}, eve: {}} // the threads of each user
	var cursors []core.Cursor
	for n := 1; n <= 40; n++ {
		in[bob][thread(n)] = true
		if n%2 == 0 { // ann is in every second thread
			in[ann][thread(n)] = true
			apply(t, s, start, create(thread(n), "", bob, ann))
		} else {
			apply(t, s, start, create(thread(n), "", bob))
		}
	}
	for round := range 12 {
		cursors = append(cursors, tip(t, s))
		var sends []*core.Change
		for range 100 {
			sends = append(sends, send(thread(1+round), 1, bob, "", "x"))
		}
		apply(t, s, start+int64(round)*day/4, sends...)
	}
	for n := 30; n <= 33; n++ {
		cursors = append(cursors, tip(t, s))
		apply(t, s, start+3*day, send(thread(n), 1, bob, "", "x"))
	}
	for _, ev := range logAfter(t, s, cursors[11], 500).Events { // positions within a batch too
		cursors = append(cursors, core.Cursor{Epoch: cursors[0].Epoch, Position: ev.Position, Check: ev.Check})
	}
	cursors = append(cursors, core.Cursor{Position: math.MaxUint64})
	for _, after := range cursors {
		want := map[string]uint64{} // the first event of each thread after the cursor
		for at := after; after.Position != math.MaxUint64; {
			page := logAfter(t, s, at, 500)
			for _, ev := range page.Events {
				if want[ev.Thread] == 0 {
					want[ev.Thread] = ev.Number
				}
			}
			if at = page.Next; len(page.Events) == 0 {
				break
			}
		}
		for who, threads := range in {
			got, mine := map[string]uint64{}, map[string]uint64{}
			for id, first := range want {
				if threads[id] {
					mine[id] = first
				}
			}
			news, err := s.News(ctx, who, after.Position, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range news {
				got[n.Head.ID] = n.First
				if n.Member == nil || n.Member.User != who {
					t.Errorf("news of %s with member %+v", n.Head.ID, n.Member)
				}
			}
			if !maps.Equal(got, mine) || len(news) != len(got) {
				t.Errorf("%s after position %d: %d threads %v, want %v", who, after.Position, len(news), got, mine)
			}
			if some, err := s.News(ctx, who, after.Position, 2); err != nil || len(some) != min(2, len(mine)) {
				t.Errorf("%s after position %d, at most two: %d threads, %v", who, after.Position, len(some), err)
			}
		}
	}
	closeStore(t, s)
}

// testThreadDays reads the events of threads whose ids are next to each other, on days with a
// gap between them. It must get each event of a thread once, in order.
func testThreadDays(t *testing.T, e Engine) {
	s := e.Open(t)
	ctx := context.Background()
	ann := user(1)
	for n := 1; n <= 3; n++ {
		apply(t, s, start, create(thread(n), "", ann))
		apply(t, s, start+1, send(thread(n), 1, ann, "", "x"))
	}
	before := tip(t, s)
	apply(t, s, start+5*day, send(thread(2), 1, ann, "", "x"), send(thread(3), 1, ann, "", "x"))
	tip(t, s)
	for n, want := range map[int][]uint64{1: {1, 2}, 2: {1, 2, 3}, 3: {1, 2, 3}} {
		es, err := s.ThreadEvents(ctx, thread(n), 1, 100)
		var got []uint64
		for _, ev := range es {
			got = append(got, ev.Number)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("thread %d has events %v, %v; want %v", n, got, err, want)
		}
	}
	news, err := s.News(ctx, ann, before.Position, 10)
	if err != nil || len(news) != 2 || news[0].First != 3 || news[1].First != 3 {
		t.Errorf("news %+v, %v; want event 3 of two threads", news, err)
	}
	closeStore(t, s)
}

// testTell calls Store.Tell with events of every kind, and checks the rows that it returns.
func testTell(t *testing.T, e Engine) {
	s := e.Open(t)
	ctx := context.Background()
	a, ann, bob := thread(1), user(1), user(2)
	apply(t, s, start, create(a, "", ann, bob))
	c := send(a, 1, ann, "", "one")
	apply(t, s, start+1, c)
	apply(t, s, start+2, edit(a, 1, c.Messages[0], "one, edited"))
	apply(t, s, start+3, receipt(a, 1, bob, c.Messages[0].ID))
	apply(t, s, start+4, leaves(load(t, s, a), bob))
	d := send(a, 2, ann, "", "two")
	apply(t, s, start+5, d)
	apply(t, s, start+6, remove(a, 2, d.Messages[0]))
	live := core.User{ID: ann, State: core.UserLive, Generation: 1}
	u := putUser(core.User{ID: ann}, live)
	u.Events = []core.Event{{Kind: core.TokensRevoked, Actor: ann}}
	apply(t, s, start+7, u)
	all := events(t, s)
	told, err := s.Tell(ctx, all)
	if err != nil || len(told) != len(all) {
		t.Fatalf("%d of %d events: %v", len(told), len(all), err)
	}
	for i, h := range told {
		if h.Event != all[i] {
			t.Errorf("happening %d is of %+v, want %+v", i, h.Event, all[i])
		}
		if h.Thread == "" {
			if h.Properties != nil || h.Message != nil {
				t.Errorf("the event of a user: %+v", h)
			}
			continue
		}
		if created := h.Kind == core.ThreadCreated; h.Revision != 2 || created != (h.Properties != nil) || created && h.Properties.Topic != "topic of "+a {
			t.Errorf("happening %d: revision %d, properties %+v", i, h.Revision, h.Properties)
		}
		var who []string
		for _, m := range h.Members {
			who = append(who, m.User)
		}
		slices.Sort(who)
		var members []string
		content := ""
		switch h.Kind {
		case core.ThreadCreated:
			members = []string{ann, bob}
		case core.ParticipantsRemoved:
			members = []string{bob}
		case core.MessageReceived, core.MessageEdited: // the message as it is now
			content = "one, edited"
			if h.MessageID == d.Messages[0].ID {
				content = ""
			}
		case core.ReceiptReceived:
			if h.Message != nil {
				t.Errorf("a receipt has message %+v", h.Message)
			}
			continue
		}
		if !slices.Equal(who, members) {
			t.Errorf("%s has members %v, want %v", h.Kind, who, members)
		}
		if h.MessageID != 0 && (h.Message == nil || h.Message.ID != h.MessageID || h.Message.Content != content) {
			t.Errorf("%s of message %d has message %+v, want content %q", h.Kind, h.MessageID, h.Message, content)
		}
	}
	if told, err := s.Tell(ctx, nil); err != nil || len(told) != 0 {
		t.Errorf("no events: %v, %v", told, err)
	}
	closeStore(t, s)
}

// testTellCreated calls Store.Tell with the creation of a thread. The row of one of the first
// members no longer has its first interval in the thread; Tell must still return this member,
// because the first message of the thread names it.
func testTellCreated(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann, bob := thread(1), user(1), user(2)
	c := create(a, "", ann, bob)
	c.Messages[0].Participants = []core.MessageParticipant{{User: ann}, {User: bob}}
	apply(t, s, start, c)
	apply(t, s, start+1, send(a, 1, ann, "", "one"))
	apply(t, s, start+2, &core.Change{Key: a, Thread: a, Revision: 1, Roster: load(t, s, a).Participants(),
		Members: []core.Member{{User: bob, Order: 3, JoinedOn: start + 2, Intervals: []core.Interval{{From: 2}}}}})
	told, err := s.Tell(t.Context(), events(t, s)[:1])
	if err != nil || len(told) != 1 {
		t.Fatalf("%d happenings, %v; want 1", len(told), err)
	}
	var who []string
	for _, m := range told[0].Members {
		who = append(who, m.User)
	}
	slices.Sort(who)
	if !slices.Equal(who, []string{ann, bob}) || told[0].Message != nil || told[0].Properties == nil {
		t.Errorf("the new thread has members %v, message %+v and properties %+v; want ann and bob, no message, and properties",
			who, told[0].Message, told[0].Properties)
	}
}
