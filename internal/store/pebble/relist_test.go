package pebble

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
)

// countingReader counts the calls of Get and the iterators that are made.
type countingReader struct {
	*pebble.DB
	gets, iterators int
}

func (c *countingReader) Get(key []byte) ([]byte, io.Closer, error) {
	c.gets++
	return c.DB.Get(key)
}

func (c *countingReader) NewIter(o *pebble.IterOptions) (*pebble.Iterator, error) {
	c.iterators++
	return c.DB.NewIter(o)
}

// room is a thread with many members, for tests that count rows.
type room struct {
	t  *testing.T
	s  *Store
	th *core.Thread
	at int64
}

func memberID(n int) string { return fmt.Sprintf("8:acs:member-%06d", n) }

// newRoom creates a thread with size participants and size former members.
func newRoom(t *testing.T, s *Store, size int) *room {
	t.Helper()
	r := &room{t: t, s: s, at: 1_700_000_000_000}
	c := &core.Change{Key: threadID(1), Thread: threadID(1), Properties: &core.Properties{Topic: "topic"}, Messages: []core.Message{{Kind: core.TopicUpdated}}}
	for n := range 2 * size {
		m := core.Member{User: memberID(n), Order: uint32(n + 1), Intervals: []core.Interval{{}}}
		if n >= size {
			m.Intervals[0], m.Left = core.Interval{From: 1, To: 1}, &core.Left{On: 1, Topic: "topic"}
		}
		c.Members = append(c.Members, m)
	}
	c.Events = []core.Event{{Kind: core.ThreadCreated}}
	r.write(c)
	return r
}

// write applies a change, and returns the number of rows that it writes and the rows that it reads.
func (r *room) write(c *core.Change) (written int, read countingReader) {
	r.t.Helper()
	b := core.Batch{At: r.at, Changes: []*core.Change{c}}
	read.DB = r.s.db
	if err := load(&read, newHeadCache(), core.NewBatchState(b)); err != nil {
		r.t.Fatal(err)
	}
	outcomes, l, err := r.s.write(b)
	if err != nil || outcomes[0].Status != core.Applied {
		r.t.Fatalf("write: %+v, %v", outcomes, err)
	}
	written = int(l.batch.Count())
	if err := r.s.sync(l); err != nil {
		r.t.Fatal(err)
	}
	if r.th, err = r.s.Thread(r.t.Context(), threadID(1)); err != nil {
		r.t.Fatal(err)
	}
	read.DB = nil
	return written, read
}

func (r *room) change(m ...core.Member) *core.Change {
	c := &core.Change{Key: r.th.ID, Thread: r.th.ID, Revision: r.th.Revision, Roster: r.th.Participants(), Members: m,
		Messages: []core.Message{{Kind: core.Text, Content: "text"}}, Events: []core.Event{{Kind: core.MessageReceived}}}
	return c
}

// TestChangesWriteFewRows counts the rows that changes of a thread read and write. The counts must
// not depend on the number of participants and former members, except that the first change of a
// minute in a small thread moves the thread's list entries. In a large thread that change writes
// only one row for the list entries, and Relist moves them later.
func TestChangesWriteFewRows(t *testing.T) {
	const send = 5 // rows that a send writes: head, message, id, event, position
	type counts struct {
		written int
		read    countingReader
	}
	figures := map[int]map[string]counts{}
	for _, size := range []int{2, core.MaxMoves, 10_000} {
		s := mustOpen(t, "store", vfs.NewMem())
		r := newRoom(t, s, size)
		figures[size] = map[string]counts{}
		do := func(what string, c *core.Change) {
			t.Helper()
			written, read := r.write(c)
			figures[size][what] = counts{written, read}
		}
		settle := func() (calls int) {
			t.Helper()
			for {
				_, l, err := s.relist(core.MaxMoves)
				if err != nil || l == nil {
					if err != nil {
						t.Fatal(err)
					}
					return calls
				}
				calls++
				if n := l.batch.Count(); n > 2*core.MaxMoves+1 {
					t.Errorf("a call of Relist writes %d rows, want at most %d", n, 2*core.MaxMoves+1)
				}
				if err := s.sync(l); err != nil {
					t.Fatal(err)
				}
			}
		}
		do("a send in the same minute", r.change())
		r.at += 60_000
		do("the first send of a minute", r.change())
		calls := settle()
		if most := 2 * size / core.MaxMoves; size > core.MaxMoves && calls != most || size <= core.MaxMoves && calls != 0 {
			t.Errorf("%d participants, and as many former members: %d calls of Relist", size, calls)
		}
		for n, what := range []string{"one is added", "one is added in the next minute", "one comes back"} {
			m := core.Member{User: memberID(2*size + n), Order: uint32(2*size + n + 1), Intervals: []core.Interval{{}}}
			if n == 2 {
				m = *r.th.Member(memberID(size))
				m.Intervals = append(m.Intervals, core.Interval{})
			}
			if n == 1 {
				r.at += 60_000
			}
			do(what, r.change(m))
		}
		for n, what := range []string{"one is removed", "one is removed in the next minute"} {
			m := *r.th.Member(memberID(n))
			m.Intervals = []core.Interval{{From: 1, To: core.CloseInterval}}
			if r.at += int64(n) * 60_000; size == 2 && n == 1 {
				m.User = memberID(2 * size) // one that was added
			}
			do(what, r.change(m))
		}
		settle()
		if len(s.relistings) > 0 {
			t.Errorf("after all moves there are relistings: %v", s.relistings)
		}
		mustClose(t, s)
	}
	for size, of := range figures {
		for what, got := range of {
			t.Logf("%s, %d participants: %d rows read, %d written", what, size, got.read.gets, got.written)
			if got.read.gets != 1 || got.read.iterators != 0 { // the head
				t.Errorf("%s, %d participants: %d rows and %d iterators are read, want 1 and 0", what, size, got.read.gets, got.read.iterators)
			}
			if first := what == "the first send of a minute"; first && size <= core.MaxMoves {
				if got.written != send+2*size {
					t.Errorf("%s to %d participants writes %d rows, want %d", what, size, got.written, send+2*size)
				}
			} else if most := map[bool]int{true: send + 1, false: send + 3}[first]; size > 2 && got.written > most { // a member, and its entry
				t.Errorf("%s, %d participants: %d rows are written, want at most %d", what, size, got.written, most)
			}
		}
	}
}

// TestRelistFigures prints how long the first send of a minute in a thread of 10,000 members holds
// the lock that other batches wait for: once when the send moves all list entries, and once when
// Relist moves them later. It never fails because of a figure.
func TestRelistFigures(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	r := newRoom(t, s, 10_000)
	for n := range core.MaxRelistings {
		s.relistings[fmt.Sprint(n)] = &core.Relisting{Thread: fmt.Sprint(n)}
	}
	timed := func(do func() *logged) time.Duration {
		begun := time.Now()
		l := do()
		took := time.Since(begun)
		if l != nil {
			if err := s.sync(l); err != nil {
				t.Fatal(err)
			}
		}
		return took
	}
	send := func() *logged {
		r.at += 60_000
		_, l, err := s.write(core.Batch{At: r.at, Changes: []*core.Change{r.change()}})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	all, one := time.Hour, time.Hour
	var calls []time.Duration
	for range 5 {
		all = min(all, timed(send))
	}
	clear(s.relistings)
	for range 5 {
		one = min(one, timed(send))
		for more := true; more; {
			took := timed(func() *logged {
				_, l, err := s.relist(core.MaxMoves)
				if err != nil {
					t.Fatal(err)
				}
				more = l != nil
				return l
			})
			if more {
				calls = append(calls, took)
			}
		}
	}
	slices.Sort(calls)
	t.Logf("shortest of 5 sends with all moves %v; shortest of 5 sends without %v; %d calls of Relist: shortest %v, median %v, longest %v",
		all, one, len(calls), calls[0], calls[len(calls)/2], calls[len(calls)-1])
}

// TestRelistAfterAPowerCut cuts the power after each call of Relist. After each cut the store must
// be consistent and show all lists unchanged, and further calls must complete the moves.
func TestRelistAfterAPowerCut(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "store", mem)
	const size = core.MaxMoves + 50
	us := make([]core.Member, size)
	for n := range us {
		us[n] = core.Member{User: memberID(n), Order: uint32(n + 1), Intervals: []core.Interval{{}}}
	}
	at := int64(1_700_000_000_000)
	apply := func(c *core.Change) {
		t.Helper()
		o, err := s.Apply(t.Context(), core.Batch{At: at, Changes: []*core.Change{c}})
		if err != nil || o[0].Status != core.Applied {
			t.Fatalf("apply: %+v, %v", o, err)
		}
	}
	for n := range 2 {
		apply(&core.Change{Key: threadID(n), Thread: threadID(n), Properties: &core.Properties{Topic: "topic"}, Members: us,
			Messages: []core.Message{{Kind: core.TopicUpdated}}, Events: []core.Event{{Kind: core.ThreadCreated}}})
		at += 60_000
	}
	roster := core.NewRoster(us)
	apply(&core.Change{Key: threadID(0), Thread: threadID(0), Revision: 1, Roster: roster.Participants(), Messages: []core.Message{{Kind: core.Text}}, Events: []core.Event{{Kind: core.MessageReceived}}})
	check := func(s *Store) {
		t.Helper()
		if _, err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		for n := range us {
			page, err := s.Threads(t.Context(), core.ThreadsQuery{User: memberID(n), Limit: 10})
			if err != nil || len(page.Threads) != 2 || page.Threads[0].Thread != threadID(0) {
				t.Fatalf("the list of %s: %+v, %v", memberID(n), page.Threads, err)
			}
		}
	}
	for calls, more := 0, true; more; calls++ {
		check(s)
		again := mustOpen(t, "store", mem.CrashClone(vfs.CrashCloneCfg{}))
		check(again)
		left := 0
		for ok := true; ok; left++ {
			var err error
			if ok, err = again.Relist(t.Context(), 60); err != nil {
				t.Fatal(err)
			}
		}
		if want := size/60 + 2 - calls; left != want {
			t.Errorf("a cut after %d calls leaves work for %d, want %d", calls, left, want)
		}
		check(again)
		mustClose(t, again)
		var err error
		if more, err = s.Relist(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
}
