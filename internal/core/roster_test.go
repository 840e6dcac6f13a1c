package core

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// drawMembers draws changes of members, as the Service makes them: users join, leave, come back, get
// other names, and their data is erased. A change may have several rows of one user. It returns the
// rows of the change; rows becomes what the store then has.
func drawMembers(rt *rapid.T, rows map[string]Member, order *uint32, sequence *uint64) (ms []Member) {
	for range rapid.IntRange(0, 60).Draw(rt, "rows") {
		user := fmt.Sprint("user ", rapid.IntRange(0, 400).Draw(rt, "user"))
		m, was := rows[user]
		m.User, m.DisplayName = user, rapid.StringN(0, 5, -1).Draw(rt, "name")
		m.Intervals = slices.Clone(m.Intervals)
		switch leaves := rapid.Bool().Draw(rt, "leaves"); {
		case was && m.Present() && leaves:
			*sequence += uint64(rapid.IntRange(0, 2).Draw(rt, "messages"))
			m.Intervals[len(m.Intervals)-1].To = *sequence + 1
			m.Left = &Left{On: rapid.Int64Range(0, 9).Draw(rt, "left"), Sequence: *sequence, Topic: "topic", Metadata: map[string]string{"k": m.DisplayName}}
		case was && m.Left != nil && leaves: // its data is erased
			m.Left = &Left{Topic: "topic"}
			m.Metadata, m.DisplayName = nil, ""
		case !was || !m.Present():
			*order++
			m.Order, m.Intervals, m.Left = *order, append(m.Intervals, Interval{From: 1}), nil
			m.Metadata = map[string]string{"of": m.DisplayName}
			m.JoinedOn = rapid.Int64Range(0, 9).Draw(rt, "joined")
		}
		ms = append(ms, m)
		rows[user] = m
	}
	return ms
}

// checkAgainst compares the roster with what a walk over all rows of its members finds.
func (r *Roster) checkAgainst(t rapid.TB, rows map[string]Member) {
	t.Helper()
	var all, present, former []*Member
	order, users, growth, kept, maps := uint32(0), 0, 0, 0, 0
	byOrder := func(a, b *Member) int { return cmp.Compare(a.Order, b.Order) }
	for _, m := range rows {
		all = append(all, &m)
		if m.Present() {
			present = append(present, &m)
		} else {
			former = append(former, &m)
		}
		order, users, growth = max(order, m.Order), users+len(m.User), growth+m.growth()
		maps += mapBytes(m.Metadata)
		if m.Left != nil {
			maps += mapBytes(m.Left.Metadata)
			kept += sizeOf(m.Metadata) + sizeOf(m.Left.Metadata)
		}
		if got := r.Member(m.User); !gocmp.Equal(got, &m) {
			t.Fatalf("the row of %s is %+v, want %+v", m.User, got, &m)
		}
	}
	slices.SortFunc(all, byOrder)
	slices.SortFunc(present, byOrder)
	slices.SortFunc(former, byOrder)
	sortedFormer := slices.SortedFunc(slices.Values(r.Former()), byOrder)
	for what, ms := range map[string][2][]*Member{"participants": {present, r.Participants()}, "former members": {former, sortedFormer}, "members": {all, r.Members()}} {
		if !gocmp.Equal(ms[0], ms[1]) && len(ms[0])+len(ms[1]) > 0 {
			t.Fatalf("%s (-want +got):\n%s", what, gocmp.Diff(ms[0], ms[1]))
		}
	}
	if !slices.IsSortedFunc(r.Former(), func(a, b *Member) int { return cmp.Compare(a.LastSequence(), b.LastSequence()) }) {
		t.Fatalf("the former members are not sorted by what they may read: %v", r.Former())
	}
	if r.Size() != len(rows) || r.order != order || r.users != users || r.growth != growth || r.kept != kept || r.maps != maps {
		t.Fatalf("size %d, order %d, users %d, growth %d, kept %d, maps %d, want %d, %d, %d, %d, %d, %d", r.Size(), r.order, r.users, r.growth, r.kept, r.maps, len(rows), order, users, growth, kept, maps)
	}
	for _, none := range []string{"", "nobody", "user 401"} {
		if m := r.Member(none); m != nil {
			t.Fatalf("the row of %q, who was never in the thread, is %+v", none, m)
		}
	}
}

// written returns all that a roster has, as text.
func (r *Roster) written(t rapid.TB) string {
	text, err := json.Marshal([][]*Member{r.present, r.former, r.Members()})
	if err != nil {
		t.Fatal(err)
	}
	indexed := 0
	for _, shard := range r.byUser {
		for user, m := range shard {
			if m != r.Member(user) || m.User != user {
				t.Fatalf("the index has the row of %s under %s", m.User, user)
			}
			indexed++
		}
	}
	return fmt.Sprint(string(text), indexed, r.order, r.users, r.growth, r.kept, r.maps)
}

// TestRosterChanges changes a roster many times, each time the last one or an earlier one. Each result
// must have what its rows say, and must stay as it was while others are made of it.
func TestRosterChanges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type state struct {
			Roster
			rows    map[string]Member
			written string
		}
		order, sequence := uint32(0), uint64(0)
		first := state{rows: map[string]Member{}}
		first.written = first.Roster.written(rt)
		states := []state{first}
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			from := states[len(states)-1]
			if rapid.IntRange(0, 3).Draw(rt, "of an earlier one") == 0 {
				from = states[rapid.IntRange(0, len(states)-1).Draw(rt, "earlier")]
			}
			next := state{rows: maps.Clone(from.rows)}
			next.Roster = from.with(drawMembers(rt, next.rows, &order, &sequence))
			next.written = next.Roster.written(rt)
			next.checkAgainst(rt, next.rows)
			states = append(states, next)
		}
		for i, s := range states {
			if got := s.Roster.written(rt); got != s.written {
				rt.Fatalf("roster %d of %d was changed (-before +after):\n%s", i, len(states), gocmp.Diff(s.written, got))
			}
			read := NewRoster(slices.Collect(maps.Values(s.rows)))
			if read.checkAgainst(rt, s.rows); !s.equal(&read) {
				rt.Fatalf("roster %d of %d differs from a new one of its rows", i, len(states))
			}
		}
	})
}

// TestRosterFindsReaders compares the searches for former members who may read an old version of a
// message with a walk over all members.
func TestRosterFindsReaders(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		order, sequence, rows := uint32(0), uint64(0), map[string]Member{}
		th := &Thread{}
		for range rapid.IntRange(1, 4).Draw(rt, "changes") {
			th.Roster = th.with(drawMembers(rt, rows, &order, &sequence))
		}
		for range 20 {
			at := rapid.Int64Range(0, 10).Draw(rt, "created")
			v := Superseded{Message: Message{CreatedOn: at, Sequence: rapid.Uint64Range(1, sequence+1).Draw(rt, "sequence")}}
			v.Until = v.Sequence + rapid.Uint64Range(1, 5).Draw(rt, "versions")
			keep, readers := false, false
			for _, m := range rows {
				readers = readers || m.SeesVersion(&v)
				if m.Left == nil || m.Left.Sequence == 0 || at > m.Left.On || at < m.VisibleFrom() {
					continue
				}
				keep = keep || v.Sequence <= m.Left.Sequence
			}
			w := Rewrite{Message: v.Message, OldSequence: v.Sequence}
			w.keepFor(th)
			if none := readerless(th)(&v); w.Keep != keep || none == readers {
				rt.Fatalf("version %+v: keep %v, without readers %v, want %v, %v", v, w.Keep, none, keep, !readers)
			}
		}
	})
}

// TestRosterTakesItsBytes measures the memory of rosters that were read and changed. What the cache of threads
// counts for them must be near.
func TestRosterTakesItsBytes(t *testing.T) {
	rows := func(n int, name string) []Member {
		ms := make([]Member, n)
		for i := range ms {
			ms[i] = Member{User: fmt.Sprintf("8:acs:%036d_%036d", n, i), DisplayName: strings.Clone(name), Order: uint32(i + 1), Intervals: []Interval{{From: 1}}}
		}
		return ms
	}
	heap := func() int {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int(s.HeapAlloc)
	}
	long := strings.Repeat("long", 64)
	withMetadata := func(keys int) func(Roster) Roster {
		return func(r Roster) Roster {
			ms := rows(r.Size(), "")
			for i := range ms {
				ms[i].Metadata = map[string]string{}
				for k := range keys {
					ms[i].Metadata[fmt.Sprintf("%016d", k)] = "v"
				}
			}
			return r.with(ms)
		}
	}
	for _, test := range []struct {
		what     string
		members  int
		of       int // threads
		changing func(Roster) Roster
	}{
		{"2 members", 2, 5000, nil},
		{"10 members", 10, 1000, nil},
		{"100 members", 100, 100, nil},
		{"10,000 members", 10_000, 1, nil},
		{"2,000 members one after another", 2000, 1, func(r Roster) Roster {
			r = Roster{}
			for _, m := range rows(2000, long) {
				r = r.with([]Member{m})
			}
			return r
		}},
		{"10,000 members but for one with a shorter name", 10_000, 1, func(r Roster) Roster {
			return r.with(rows(10_000, "short")[1:])
		}},
		{"100 members but for one who have left", 100, 100, func(r Roster) Roster {
			for _, m := range r.Members()[1:] {
				left := *m
				left.Intervals, left.Left = []Interval{{From: 1, To: 2}}, &Left{On: 1, Sequence: 1, Topic: "topic"}
				r = r.with([]Member{left})
			}
			return r
		}},
		{"100 members with 1 key of metadata", 100, 100, withMetadata(1)},
		{"100 members with 9 keys of metadata", 100, 100, withMetadata(9)},
		{"100 members with 29 keys of metadata", 100, 30, withMetadata(29)},
		{"100 members with 100 keys of metadata", 100, 10, withMetadata(100)},
		{"100 members who have left a thread with 100 keys of metadata", 100, 10, func(r Roster) Roster {
			r = withMetadata(100)(r)
			for _, m := range r.Members() {
				left := *m
				left.Intervals, left.Left, left.Metadata = []Interval{{From: 1, To: 2}}, &Left{On: 1, Sequence: 1, Metadata: left.Metadata}, nil
				r = r.with([]Member{left})
			}
			return r
		}},
	} {
		rosters := make([]Roster, test.of)
		before := heap()
		counted := 0
		for i := range rosters {
			rosters[i] = NewRoster(rows(test.members, long))
			if test.changing != nil {
				rosters[i] = test.changing(rosters[i])
			}
			counted += rosters[i].bytes()
		}
		took := heap() - before
		runtime.KeepAlive(rosters)
		t.Logf("%s: %d bytes a member, counted %d", test.what, took/test.members/test.of, counted/test.members/test.of)
		if ratio := float64(took) / float64(counted); ratio > 1.5 || ratio < 0.7 {
			t.Errorf("%s take %d bytes, and the cache counts %d", test.what, took, counted)
		}
	}
}
