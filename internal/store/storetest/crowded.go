package storetest

import (
	"cmp"
	"context"
	"slices"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// testCrowdedMinutes lists the threads of users. One minute has more than core.MaxSortedMinute
// threads, so these are not sorted by time; the other minutes have exactly that many.
func testCrowdedMinutes(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	const first, crowd, sorted = start - start%minute, 150, core.MaxSortedMinute
	ann, bob, eve := user(1), user(2), user(3)
	times := map[string]int64{} // times of the threads by id: Ann is in all threads, Bob only in the threads of the crowded minute
	add := func(at int64, who ...string) string {
		id := thread(len(times))
		apply(t, s, at, create(id, "", who...))
		times[id] = at
		return id
	}
	for i := range int64(sorted) {
		add(first+(i*7)%sorted*1000, ann, eve)
	}
	for i := range int64(crowd) {
		add(first+minute+(i*7)%crowd*100, ann, bob)
	}
	for i := range int64(sorted) {
		add(first+2*minute+(i*7)%sorted*1000, ann)
	}
	crowded := func(id string) bool { return core.MinuteOf(times[id]) == core.MinuteOf(first+minute) }

	for _, q := range []core.ThreadsQuery{
		{User: ann, Limit: 1}, {User: ann, Limit: 7}, {User: ann, Limit: 20}, {User: ann, Limit: 21}, {User: ann, Limit: 1000},
		{User: ann, Limit: 20, Since: first + minute + 7400},
		{User: ann, Limit: 20, Since: first + minute - 10_000},
		{User: bob, Limit: 1}, {User: bob, Limit: 20}, {User: bob, Limit: crowd},
		{User: bob, Limit: 20, Since: first + minute + 7400},
		{User: bob, Limit: 20, Expand: core.Expand{LastMessage: true, Unread: true}},
	} {
		list := inPages(t, e, s, q)
		for i, entry := range list {
			if i > 0 && !(crowded(entry.Thread) && crowded(list[i-1].Thread)) && core.NewestFirst(list[i-1], entry) >= 0 {
				t.Errorf("%+v: %+v comes after %+v", q, entry, list[i-1])
			}
		}
		want := 0
		for id, at := range times {
			if at >= q.Since && (q.User == ann || crowded(id)) {
				want++
			}
		}
		if list = unique(list); len(list) != want || slices.ContainsFunc(list, func(e core.ThreadEntry) bool { return e.LastMessageOn != times[e.Thread] }) {
			t.Errorf("%+v: %d threads, want %d with their times", q, len(list), want)
		}
	}

	// A cursor with a time in a crowded minute, as an earlier version made it, may repeat threads
	// of that minute, but must skip no thread.
	for _, at := range []int64{first + minute, first + minute + 5000, first + 2*minute - 1} {
		seen := map[string]bool{}
		for _, entry := range inPages(t, e, s, core.ThreadsQuery{User: bob, Limit: 20, Before: core.ThreadsCursor{On: at, Thread: thread(0)}}) {
			seen[entry.Thread] = true
		}
		for id, on := range times {
			if crowded(id) && on < at && !seen[id] {
				t.Errorf("after the cursor %d: thread %s of %d is skipped", at, id, on)
			}
		}
	}

	// Make the minute crowded between two pages. The pages together must have all threads.
	page, err := s.Threads(context.Background(), core.ThreadsQuery{User: eve, Limit: 5})
	if err != nil || len(page.Threads) != 5 {
		t.Fatalf("the first page: %+v, %v", page, err)
	}
	add(first+500, ann, eve)
	rest := inPages(t, e, s, core.ThreadsQuery{User: eve, Limit: 5, Before: page.Next})
	if got := len(unique(append(page.Threads, rest...))); got != sorted+1 {
		t.Errorf("a minute that became crowded between two pages: %d threads, want %d", got, sorted+1)
	}
}

// inPages returns the threads of all pages. It fails the test if a page is not sorted or reads too
// many rows. In a crowded minute a page may read three rows for each of its threads, and one row
// for each thread that must be counted to see that the minute is crowded.
func inPages(t *testing.T, e Engine, s core.Store, q core.ThreadsQuery) (list []core.ThreadEntry) {
	t.Helper()
	for {
		page, err := s.Threads(context.Background(), q)
		if err != nil || len(page.Threads) > q.Limit {
			t.Fatalf("%+v: %d threads, %v", q, len(page.Threads), err)
		}
		if !slices.IsSortedFunc(page.Threads, core.NewestFirst) {
			t.Errorf("%+v: a page is not sorted: %+v", q, page.Threads)
		}
		most := 3*q.Limit + core.MaxSortedMinute + 1
		if q.User == user(1) { // a page of this user may begin and end in minutes whose threads are all read and sorted
			most += 6 * core.MaxSortedMinute
		}
		if q.Limit == 20 && q.User == user(2) {
			most = 4 * q.Limit
		}
		if q.Before.On > 0 && q.User == user(2) { // a page after a cursor with a time may also read the threads of the minute that are before the cursor
			most += core.MaxSortedMinute
		}
		plain := q
		plain.Expand = core.Expand{}
		if rows := e.ThreadRows(t, s, plain); q.User != user(3) && rows > most {
			t.Errorf("%+v: %d rows were read, want at most %d", q, rows, most)
		}
		list = append(list, page.Threads...)
		if page.Next == (core.ThreadsCursor{}) {
			return list
		}
		if page.Next == q.Before {
			t.Fatalf("%+v: the cursor of the next page is the same", q)
		}
		q.Before = page.Next
	}
}

// unique returns the entries in the order of ids, each once.
func unique(list []core.ThreadEntry) []core.ThreadEntry {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b core.ThreadEntry) int { return cmp.Compare(a.Thread, b.Thread) })
	return slices.CompactFunc(list, func(a, b core.ThreadEntry) bool { return a.Thread == b.Thread })
}
