package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/core"
)

// members returns the ids of n users, in the order of ids.
func members(n int) (us []string) {
	for i := range n {
		us = append(us, user(i))
	}
	return us
}

// relist calls Relist until it returns false, and fails the test if that takes too many calls.
func relist(t rapid.TB, s core.Store, limit int) {
	t.Helper()
	for range 100 {
		more, err := s.Relist(context.Background(), limit)
		if err != nil {
			t.Fatalf("move list entries: %v", err)
		}
		if !more {
			return
		}
	}
	t.Fatalf("list entries are still moved after 100 calls")
}

// joins returns the change by which a user joins a thread, for the first time or again.
func joins(t *core.Thread, who string) *core.Change {
	m := core.Member{User: who, Order: uint32(t.Size() + 1), Intervals: []core.Interval{{}}}
	if old := t.Member(who); old != nil {
		m = *old
		m.Intervals = append(slices.Clone(old.Intervals), core.Interval{})
	}
	return withRoster(&core.Change{Key: t.ID, Thread: t.ID, Revision: t.Revision, Members: []core.Member{m},
		Messages: []core.Message{{Kind: core.ParticipantAdded, Initiator: user(0)}}, Events: []core.Event{{Kind: core.ParticipantsAdded, Actor: user(0)}}}, t)
}

// testRelist sends to a thread with so many participants that a send does not move all their list
// entries. It checks the lists before, during and after the moves.
func testRelist(t *testing.T, e Engine) {
	s := e.Open(t)
	const size = core.MaxMoves + 50
	big, small, us := thread(1), thread(2), members(size+1)
	first, middle, last, later := us[0], us[size/2], us[size-1], us[size]
	apply(t, s, start, create(big, "", us[:size]...))
	apply(t, s, start+minute, create(small, "", first, middle, last, later))

	on := map[string]map[string]int64{} // the time of each thread in the list of each user
	for _, who := range []string{first, middle, last} {
		on[who] = map[string]int64{big: start, small: start + minute}
	}
	on[later] = map[string]int64{small: start + minute}
	check := func(what string) {
		t.Helper()
		for who, times := range on {
			var want []core.ThreadEntry
			for id, at := range times {
				want = append(want, core.ThreadEntry{Thread: id, Topic: "topic of " + id, LastMessageOn: at})
			}
			slices.SortFunc(want, core.NewestFirst)
			for _, limit := range []int{1, 10} {
				mustEqual(t, fmt.Sprintf("%s: the list of %s, by %d", what, who, limit), listOf(t, s, who, limit), want)
			}
			since, err := s.Threads(context.Background(), core.ThreadsQuery{User: who, Limit: 10, Since: want[0].LastMessageOn})
			if err != nil || len(since.Threads) != 1 || since.Threads[0] != want[0] {
				t.Errorf("%s: since its last activity the list of %s has %+v, %v; want %+v", what, who, since.Threads, err, want[0])
			}
			ids, err := s.ThreadsOf(context.Background(), who, "", 10)
			if err != nil || len(ids) != len(want) {
				t.Errorf("%s: %s is in the threads %v, %v", what, who, ids, err)
			}
		}
		checkRows(t, s)
	}
	do := func(at int64, c *core.Change, begins bool, who ...string) {
		t.Helper()
		if c.Roster == nil {
			withRoster(c, load(t, s, big))
		}
		o := apply(t, s, at, c)[0]
		if o.Status != core.Applied || (o.Relisting != nil) != begins || len(o.ListMoves) > 1 {
			t.Fatalf("status %d, relisting %+v, %d moves; want one to begin: %v", o.Status, o.Relisting, len(o.ListMoves), begins)
		}
		for _, u := range who {
			on[u][big] = at
		}
	}
	move := func(limit int) {
		t.Helper()
		if more, err := s.Relist(context.Background(), limit); err != nil || !more {
			t.Fatalf("nothing to move: %v, %v", more, err)
		}
	}
	check("at first")
	do(start+2*minute, send(big, 1, first, "", "one"), true, first, middle, last)
	check("a minute")
	do(start+2*minute+1, send(big, 1, first, "", "two"), false, first, middle, last)
	move(size/2 + 1) // moves the entries of first and middle, but not of last
	check("half of it moved")
	s = e.Reopen(t, s)
	defer func() { closeStore(t, s) }()
	do(start+5*minute, send(big, 1, first, "", "three"), false, first, middle, last)
	check("another minute before all are moved")
	apply(t, s, start+6*minute, withRoster(send(small, 1, first, "", "to few"), load(t, s, small)))
	for who := range on {
		on[who][small] = start + 6*minute
	}
	check("the other thread")

	// Remove one user whose list entry was moved and one user whose entry was not, and add a third
	// user.
	do(start+7*minute, leaves(load(t, s, big), middle), false, first, middle, last)
	do(start+7*minute+1, leaves(load(t, s, big), last), false, first, last)
	do(start+7*minute+2, joins(load(t, s, big), later), false, first, later)
	check("some leave and join")
	move(1)
	do(start+8*minute, joins(load(t, s, big), middle), false, first, middle, later)
	check("one comes back")
	relist(t, s, core.MaxMoves)
	check("all are moved")
	if more, err := s.Relist(context.Background(), 1); more || err != nil {
		t.Errorf("there is more to move: %v, %v", more, err)
	}

	do(start+9*minute, send(big, 5, first, "", "four"), true, first, middle, later)
	move(10)
	apply(t, s, start+10*minute, withRoster(&core.Change{Key: big, Thread: big, Revision: 5, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted}}}, load(t, s, big)))
	relist(t, s, core.MaxMoves)
	for who, times := range on {
		list := listOf(t, s, who, 10)
		if list[0].Thread != big || list[0].LastMessageOn != times[big] || list[0].DeletedOn == 0 {
			if who != last { // the user last had left before
				t.Errorf("after the deletion, the list of %s is %+v, want the deleted thread first", who, list)
			}
		}
	}
	checkRows(t, s)
}

// testRelistHistories compares the lists of some users with a model, while threads get messages,
// users leave and come back, entries are moved, and the store is opened again.
func testRelistHistories(t *testing.T, e Engine) {
	const size = core.MaxMoves + 5
	all := members(size + 2) // the last two users are not in the threads at first
	watched := []string{all[0], all[1], all[size/2], all[size-1], all[size], all[size+1]}
	rapid.Check(t, func(rt *rapid.T) {
		s := e.Open(t)
		at := start
		on := map[string]map[string]int64{} // by user and thread
		deleted := map[string]int64{}
		for _, who := range watched {
			on[who] = map[string]int64{}
		}
		commit := func(c *core.Change) { // commits one change; the function apply would also compare all members with a copy
			os, err := s.Apply(context.Background(), core.Batch{At: at, Changes: []*core.Change{c}})
			if err != nil || os[0].Status != core.Applied {
				rt.Fatalf("change of %s: %+v, %v", c.Thread, os, err)
			}
		}
		activity := func(id string) { // sets the time of the thread in the lists of its participants
			th := load(t, s, id)
			for _, who := range watched {
				if m := th.Member(who); m != nil && m.Present() {
					on[who][id] = at
				}
			}
		}
		for n, ids := range [][]string{all[:size], all[:2], all[1:3]} {
			commit(create(thread(n), "", ids...))
			activity(thread(n))
		}
		check := func(whose ...string) {
			for _, who := range whose {
				times := on[who]
				var want []core.ThreadEntry
				for id, at := range times {
					want = append(want, core.ThreadEntry{Thread: id, Topic: "topic of " + id, LastMessageOn: at, DeletedOn: deleted[id]})
				}
				slices.SortFunc(want, core.NewestFirst)
				if len(want) > 0 {
					mustEqual(rt, "the list of "+who, listOf(t, s, who, rapid.IntRange(1, 4).Draw(rt, "limit")), want)
				}
				since := at - rapid.Int64Range(0, 3*minute).Draw(rt, "since")
				page, err := s.Threads(context.Background(), core.ThreadsQuery{User: who, Limit: 4, Since: since})
				want = slices.DeleteFunc(want, func(e core.ThreadEntry) bool { return e.LastMessageOn < since })
				if err != nil || !slices.Equal(page.Threads, want) {
					rt.Fatalf("since %d the list of %s has %+v, %v; want %+v", since, who, page.Threads, err, want)
				}
			}
			if rapid.IntRange(0, 3).Draw(rt, "rows") == 0 {
				checkRows(rt, s)
			}
		}
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			id := thread(rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(rt, "thread"))
			who := rapid.SampledFrom(watched).Draw(rt, "user")
			at += rapid.SampledFrom([]int64{1, 1000, minute, 2*minute + 1}).Draw(rt, "ms")
			th := load(t, s, id)
			m := th.Member(who)
			var changes []*core.Change
			switch kind := rapid.IntRange(0, 9).Draw(rt, "kind"); {
			case kind < 3:
				changes = []*core.Change{withRoster(send(id, th.Revision, who, "", "text"), th)}
			case kind < 6:
				if _, err := s.Relist(context.Background(), rapid.SampledFrom([]int{1, 50, 100, core.MaxMoves, size + 2}).Draw(rt, "slice")); err != nil {
					rt.Fatalf("move list entries: %v", err)
				}
			case kind == 6 && rapid.IntRange(0, 3).Draw(rt, "delete") == 0:
				changes = []*core.Change{{Key: id, Thread: id, Revision: th.Revision, Purge: true, Roster: th.Participants(), Events: []core.Event{{Kind: core.ThreadDeleted}}}}
			case kind == 6:
				s = e.Reopen(t, s)
			case m != nil && m.Present():
				changes = []*core.Change{leaves(th, who)}
				on[who][id] = at
			default:
				changes = []*core.Change{joins(th, who)}
			}
			for _, c := range changes {
				if commit(c); c.Purge {
					deleted[id] = at
				} else {
					activity(id)
				}
			}
			check(rapid.SampledFrom(watched).Draw(rt, "reader"))
		}
		relist(rt, s, core.MaxMoves)
		check(watched...)
		checkRows(rt, s)
		closeStore(t, s)
	})
}
