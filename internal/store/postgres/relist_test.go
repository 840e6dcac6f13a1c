package postgres

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// TestRelistWritesFewRows sends to a thread of 10,000 participants, adds one and removes one, each
// as the first change of a minute. None of these changes may move a list entry of another
// participant. Relist must move all entries, a bounded number at a time. The test prints how long
// each step takes, and how long a send takes that moves all entries.
func TestRelistWritesFewRows(t *testing.T) {
	url := emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	ctx, conn := t.Context(), dial(t, url)
	defer conn.Close(ctx)
	const size, thread = 10_000, "big"
	c := newThread(thread)
	c.Members = nil
	for n := range size {
		c.Members = append(c.Members, core.Member{User: fmt.Sprintf("user %05d", n), Order: uint32(n + 1), Intervals: []core.Interval{{}}})
	}
	mustApply(t, s, core.Applied, c)
	execute(t, url, "ANALYZE")
	now := at
	entries := func() (n int) { // returns the number of list entries in this minute
		t.Helper()
		if err := conn.QueryRow(ctx, `SELECT count(*) FROM user_threads WHERE minute = $1`, core.MinuteOf(now)).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	do := func(what string, most int, m ...core.Member) {
		t.Helper()
		now += core.MillisPerMinute
		th, err := s.Thread(ctx, thread)
		if err != nil {
			t.Fatal(err)
		}
		c := text(thread, "text")
		c.Revision, c.Members, c.Roster = th.Revision, m, th.Participants()
		begun := time.Now()
		o, err := s.Apply(ctx, core.Batch{At: now, Changes: []*core.Change{c}})
		if err != nil || o[0].Status != core.Applied {
			t.Fatalf("%s: %+v, %v", what, o, err)
		}
		t.Logf("%s takes %v", what, time.Since(begun))
		if n := entries(); n > most {
			t.Errorf("%s writes %d list entries, want at most %d", what, n, most)
		}
		var calls []time.Duration
		for before := entries(); ; before = entries() {
			begun := time.Now()
			more, err := s.Relist(ctx, core.MaxMoves)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			calls = append(calls, time.Since(begun))
			if n := entries() - before; n > core.MaxMoves {
				t.Errorf("a call of Relist moves %d entries, want at most %d", n, core.MaxMoves)
			}
		}
		if n, want := entries(), len(o[0].Change.Roster); n < want || n > want+1 {
			t.Errorf("after %s there are %d entries of this minute, want those of %d participants", what, n, want)
		}
		if slices.Sort(calls); len(calls) > 0 {
			t.Logf("%d calls of Relist: shortest %v, median %v, longest %v", len(calls), calls[0], calls[len(calls)/2], calls[len(calls)-1])
		}
	}
	do("the first send of a minute", 0)
	do("the next one", 0)
	do("an addition", 0, core.Member{User: "user 05000a", Order: size + 1, Intervals: []core.Interval{{}}})
	do("a removal", 1, core.Member{User: "user 07000", Order: 7001, Intervals: []core.Interval{{From: 1, To: core.CloseInterval}}})
	s.relistings.Store(core.MaxRelistings)
	do("a send that moves all entries", size)
}
