package core

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
)

// Roster has the members of a thread, present and former, read at one moment. It is shared between
// goroutines and must not be changed; with returns a changed copy. The copy shares all rows that
// did not change, so in a large thread it costs a copy of pointers, and not of rows. The zero value is
// a roster without members.
type Roster struct {
	present []*Member // the members who are in the thread now, in the order of joining
	former  []*Member // the other members, in the order of compareFormer
	byUser  memberIndex

	// Figures over all members, so that no check has to walk them. All but order are sums, in bytes.

	order  uint32 // the greatest Order of any member
	users  int    // size of the user ids
	growth int    // sum of Member.growth
	kept   int    // sum of Member.kept
	maps   int    // sum of Member.maps
}

// NewRoster returns a roster of these members, in any order. It copies each row into memory of its
// own: if all rows were one array, a replaced row would stay in memory as long as any other row is used.
func NewRoster(members []Member) Roster {
	r := Roster{present: make([]*Member, 0, len(members)), byUser: newMemberIndex(len(members))}
	for _, m := range members {
		r.byUser.shard(m.User)[m.User] = &m
		list, _ := r.list(&m)
		*list = append(*list, &m)
		r.count(&m)
	}
	slices.SortFunc(r.present, compareMembers)
	slices.SortFunc(r.former, compareFormer)
	return r
}

// Participants returns the members who are in the thread now, in the order of joining. The
// slice is shared and must not be changed.
func (r *Roster) Participants() []*Member { return r.present }

// Former returns the members who are not in the thread now. Their LastSequence ascends. The slice is
// shared and must not be changed.
func (r *Roster) Former() []*Member { return r.former }

// Members returns all members, by Order. It makes a new slice with each call.
func (r *Roster) Members() []*Member {
	all := slices.Concat(r.present, r.former)
	slices.SortFunc(all, compareMembers)
	return all
}

// Size returns the number of members, former ones included.
func (r *Roster) Size() int { return len(r.present) + len(r.former) }

// Member returns the user's row, or nil if the user was never in the thread.
func (r *Roster) Member(user string) *Member {
	if len(r.byUser) == 0 {
		return nil
	}
	return r.byUser.shard(user)[user]
}

// with returns a copy of the roster in which the rows ms were inserted, or have replaced the rows of
// the same users.
func (r *Roster) with(ms []Member) Roster {
	if len(ms) == 0 {
		return *r
	}
	n := *r
	n.byUser = r.byUser.copyFor(ms, r.Size())
	n.present = append(make([]*Member, 0, len(r.present)+len(ms)), r.present...)
	n.former = append(make([]*Member, 0, len(r.former)+len(ms)), r.former...)
	for _, m := range ms {
		m = m.asStored()
		if old := n.Member(m.User); old != nil {
			n.remove(old)
		}
		n.insert(&m)
	}
	return n
}

func (r *Roster) insert(m *Member) {
	r.byUser.shard(m.User)[m.User] = m
	list, compare := r.list(m)
	at, _ := slices.BinarySearchFunc(*list, m, compare)
	*list = slices.Insert(*list, at, m)
	r.count(m)
}

// remove removes a member from the lists and the sums. The index keeps the row until insert
// replaces it.
func (r *Roster) remove(m *Member) {
	list, compare := r.list(m)
	at, _ := slices.BinarySearchFunc(*list, m, compare)
	*list = slices.Delete(*list, at, at+1)
	r.users -= len(m.User)
	r.growth -= m.growth()
	r.kept -= m.kept()
	r.maps -= m.maps()
}

// list returns the list to which m belongs, and the order of that list.
func (r *Roster) list(m *Member) (list *[]*Member, compare func(a, b *Member) int) {
	if m.Present() {
		return &r.present, compareMembers
	}
	return &r.former, compareFormer
}

// count adds a member to the sums.
func (r *Roster) count(m *Member) {
	r.order = max(r.order, m.Order)
	r.users += len(m.User)
	r.growth += m.growth()
	r.kept += m.kept()
	r.maps += m.maps()
}

// bytes returns the approximate size of the roster in memory: that of all rows with their maps, of the
// lists and of the index. Rows that are shared with other rosters are counted in each.
func (r *Roster) bytes() int { return (memberBytes+listedBytes)*r.Size() + r.users + r.growth + r.maps }

// listedBytes is the approximate size in memory of a member's places in a list and in the index.
const listedBytes = 80

// SortMembers sorts the members of a thread by the order of joining. Members who joined with
// the same request are in the order of the request.
func SortMembers(ms []Member) {
	slices.SortFunc(ms, func(a, b Member) int { return compareMembers(&a, &b) })
}

func compareMembers(a, b *Member) int {
	return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.User, b.User))
}

// compareFormer sorts by the last message that the members may read.
func compareFormer(a, b *Member) int {
	return cmp.Or(cmp.Compare(a.LastSequence(), b.LastSequence()), compareMembers(a, b))
}

// memberIndex finds the rows of members by user. It consists of small maps, because a change has to
// copy each map that it changes. An index without members has no maps.
type memberIndex []map[string]*Member

// indexedMembers is the average number of members in each map of a new memberIndex. Maps may grow
// until the average is four times as high; then the index is made anew.
const indexedMembers = 16

var indexSeed = maphash.MakeSeed()

// newMemberIndex returns an empty index with maps for this number of members.
func newMemberIndex(members int) memberIndex {
	x := make(memberIndex, (members+indexedMembers-1)/indexedMembers)
	for i := range x {
		x[i] = make(map[string]*Member, min(members, indexedMembers))
	}
	return x
}

// place returns which of the maps has the row of a user.
func (x memberIndex) place(user string) int {
	if len(x) == 1 {
		return 0
	}
	return int(maphash.String(indexSeed, user) % uint64(len(x)))
}

// shard returns the map that has the row of a user.
func (x memberIndex) shard(user string) map[string]*Member { return x[x.place(user)] }

// copyFor returns a copy of the index in which the rows of ms may be set without a change of x.
// size is the number of members in x.
func (x memberIndex) copyFor(ms []Member, size int) memberIndex {
	if size += len(ms); size > 4*indexedMembers*len(x) {
		n := newMemberIndex(size)
		for _, shard := range x {
			for user, m := range shard {
				n.shard(user)[user] = m
			}
		}
		return n
	}
	n, copied := slices.Clone(x), map[int]bool{}
	for i := range ms {
		if at := n.place(ms[i].User); !copied[at] {
			n[at], copied[at] = maps.Clone(n[at]), true
		}
	}
	return n
}
