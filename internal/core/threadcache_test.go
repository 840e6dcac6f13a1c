package core

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cachedThread returns a thread that takes a little more space in the cache than its metadata,
// whose size is given in bytes.
func cachedThread(n, metadata int) *Thread {
	h := Head{ID: fmt.Sprint(n), Properties: Properties{Metadata: map[string]string{"k": strings.Repeat("x", metadata)}}}
	return NewThread(h, []Member{{User: ann, Order: 1, Intervals: []Interval{{From: 1}}}})
}

func TestThreadCacheIsBoundedInBytes(t *testing.T) {
	const most = 100_000
	c := newThreadCache(most)
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		th := cachedThread(random.IntN(300), random.IntN(10_000))
		switch random.IntN(4) {
		case 0:
			c.Remove(th.ID)
		case 1:
			c.Get(th.ID)
		default:
			c.Add(th.ID, th, c.Removals(th.ID))
		}
		sum := 0
		for _, kept := range c.lru.Values() {
			sum += kept.bytes
		}
		if c.bytes != sum || sum > most {
			t.Fatalf("the cache counts %d bytes and holds %d, want the same, at most %d", c.bytes, sum, most)
		}
	}
	if c.lru.Len() < 5 {
		t.Errorf("%d threads are cached, want about 15", c.lru.Len())
	}
}

func TestThreadCacheDropsTheLeastRecentlyUsed(t *testing.T) {
	one := cachedThread(1, 1000)
	c := newThreadCache(3 * one.bytes)
	for n := 1; n <= 3; n++ {
		c.Add(fmt.Sprint(n), cachedThread(n, 1000), 0)
	}
	c.Get("1")
	c.Add("4", cachedThread(4, 1000), 0)
	for id, want := range map[string]bool{"1": true, "2": false, "3": true, "4": true} {
		if _, got := c.Get(id); got != want {
			t.Errorf("thread %s is cached: %v, want %v", id, got, want)
		}
	}
	c.Add("5", cachedThread(5, 10_000), 0) // larger than the cache
	if c.lru.Len() != 3 {
		t.Errorf("after a thread that does not fit: %d threads, want the 3 from before", c.lru.Len())
	}
}

// TestThreadCacheRefusesAThreadReadBeforeAChange reads a thread, removes it from the cache as a
// change of the thread does, and then adds it. It checks that the outdated thread is not cached.
func TestThreadCacheRefusesAThreadReadBeforeAChange(t *testing.T) {
	c := newThreadCache(1 << 20)
	before := c.Removals("1")
	c.Remove("1")
	c.Add("1", cachedThread(1, 10), before)
	if _, ok := c.Get("1"); ok {
		t.Error("a thread that was read before a change is cached after it")
	}
	c.Add("1", cachedThread(1, 10), c.Removals("1"))
	if _, ok := c.Get("1"); !ok {
		t.Error("a thread that was read after the change is not cached")
	}
}

// TestThreadCacheAdvances applies changes with different revisions to a cached thread of revision
// 5, and checks which revision the cache has afterwards.
func TestThreadCacheAdvances(t *testing.T) {
	const removed = 0
	added := []Member{{User: bob, Order: 2, Intervals: []Interval{{From: 2}}}}
	for _, test := range []struct {
		name     string
		change   Change
		revision uint64
		cleared  bool
		want     uint64 // the revision of the cached thread afterwards
		members  int
	}{
		{"the next change", Change{Members: added}, 6, false, 6, 2},
		{"after a change that is not known", Change{Members: added}, 7, false, removed, 0},
		{"a change that the thread has", Change{Members: added}, 5, false, 5, 1},
		{"an earlier change", Change{Members: added}, 4, false, 5, 1},
		{"the cache was cleared meanwhile", Change{Members: added}, 6, true, removed, 0},
		{"a purge", Change{Purge: true}, 6, false, removed, 0},
	} {
		c := newThreadCache(100_000)
		th := cachedThread(1, 0)
		th.Revision = 5
		clears := c.Clears()
		if test.cleared {
			c.Clear()
		}
		c.Add("1", th, c.Removals("1"))
		loading := c.Removals("1")
		test.change.Thread = "1"
		c.Advance(&Outcome{Status: Applied, Change: &test.change, Revision: test.revision}, th.read, clears)
		got, _ := c.Get("1")
		if got == nil {
			got = NewThread(Head{}, nil)
		}
		if got.Revision != test.want || len(got.Participants()) != test.members {
			t.Errorf("%s: revision %d with %d members, want %d with %d", test.name, got.Revision, len(got.Participants()), test.want, test.members)
		}
		// This call must not add the thread, because the thread may have been read before the
		// change.
		c.Add("1", th, loading)
		if again, _ := c.Get("1"); again != nil && again.Revision < test.want || test.want == removed && again != nil {
			t.Errorf("%s: a thread that was being read before the change was added", test.name)
		}
	}
}

// TestThreadCacheHasRowsAsStored applies a change with empty fields to a cached thread. It checks
// that the cached fields are nil, as a store returns them; a response shows the difference between
// empty and nil.
func TestThreadCacheHasRowsAsStored(t *testing.T) {
	c := newThreadCache(100_000)
	th := cachedThread(1, 0)
	c.Add("1", th, c.Removals("1"))
	empty := map[string]string{}
	o := &Outcome{Status: Applied, Revision: th.Revision + 1, Change: &Change{
		Thread: "1", Properties: &Properties{Metadata: empty},
		Members: []Member{{User: bob, Order: 2, Metadata: empty, RoleIDs: []string{}, Left: &Left{Metadata: empty}}},
	}}
	c.Advance(o, th.read, c.Clears())
	got, _ := c.Get("1")
	if got == nil || got.Revision != o.Revision {
		t.Fatalf("the cache has %+v, want the thread after the change", got)
	}
	want := Member{User: bob, Order: 2, Left: &Left{}}
	if diff := cmp.Diff(&want, got.Member(bob)); diff != "" || got.Metadata != nil {
		t.Errorf("the metadata of the thread is %#v, want nil; the member (-want +got):\n%s", got.Metadata, diff)
	}
	if o.Change.Members[0].Left.Metadata == nil {
		t.Error("the row of the change was changed")
	}
}
