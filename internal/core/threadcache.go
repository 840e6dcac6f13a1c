package core

import (
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// DefaultThreadCache is the greatest size of all cached threads of a Service, in bytes,
// if Options.ThreadCache is zero.
const DefaultThreadCache = 64 << 20

// threadCache holds the most recently used threads, up to a total size in bytes. A single
// thread that exceeds the bound is not cached.
type threadCache struct {
	bound int // of bytes

	mu    sync.Mutex // guards the fields below
	lru   *simplelru.LRU[string, *Thread]
	bytes int // of all cached threads
	// removals counts the calls of Remove, Advance and Clear for each group of threads. LaneOf
	// returns the group of a thread's id.
	removals [256]uint64
	clears   uint64 // number of calls of Clear
}

func newThreadCache(bound int) *threadCache {
	c := &threadCache{bound: bound}
	// NewLRU fails only for a size of 0.
	c.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ string, t *Thread) { c.bytes -= t.bytes })
	return c
}

// Get returns a thread from the cache. The second result is false if the thread is not cached.
func (c *threadCache) Get(id string) (*Thread, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Get(id)
}

// Clears returns how often Clear was called. Call Clears before committing a change, and pass the
// result to Advance.
func (c *threadCache) Clears() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clears
}

// Removals returns how often threads were changed with Remove, Advance or Clear, in the group of
// threads to which id belongs. Call Removals before reading the thread from the store, and pass the
// result to Add.
func (c *threadCache) Removals(id string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.removals[LaneOf(id, len(c.removals))]
}

// Add puts a thread into the cache, then removes the least recently used threads until all fit.
// removals is the result of an earlier call of Removals. If Removals returns another number
// now, Add does nothing: this process may have changed the thread after t was read.
func (c *threadCache) Add(id string, t *Thread, removals uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if removals != c.removals[LaneOf(id, len(c.removals))] {
		return
	}
	c.put(id, t)
}

// put replaces the thread with this id. The caller holds mu.
func (c *threadCache) put(id string, t *Thread) {
	c.lru.Remove(id)
	if t.bytes > c.bound {
		return
	}
	c.lru.Add(id, t)
	for c.bytes += t.bytes; c.bytes > c.bound; {
		c.lru.RemoveOldest()
	}
}

// Clear removes all threads.
func (c *threadCache) Clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clears++
	for i := range c.removals { // make Add refuse threads that are being read now
		c.removals[i]++
	}
	c.lru.Purge()
}

// Advance applies a committed change to the cached thread, so that a thread with many members is
// not read again. o is the outcome of the change, which has status Applied and changes the thread's
// revision. began is a time before the commit, and clears is the result of Clears at that time.
//
// Each such change increments the revision by 1, and assigns all member rows that it writes. If the
// cached thread has the revision before the revision of o, Advance makes it equal to the thread in
// the store at the revision of o. If the cached thread has this revision or a later one, it was
// read after the commit and stays. If it has an earlier revision, another change is missing,
// perhaps one of another server, and Advance removes the thread. Advance also removes the thread if
// Clear was called meanwhile, because the store may then have counted the same revisions again.
func (c *threadCache) Advance(o *Outcome, began time.Time, clears uint64) {
	id := o.Change.Thread
	c.mu.Lock()
	t, ok := c.lru.Peek(id)
	c.removals[LaneOf(id, len(c.removals))]++
	known := clears == c.clears && !o.Change.Purge
	if !ok || known && t.Revision >= o.Revision {
		c.mu.Unlock()
		return
	}
	c.lru.Remove(id)
	removals := c.removals[LaneOf(id, len(c.removals))]
	c.mu.Unlock()
	if !known || t.Revision+1 != o.Revision {
		return
	}
	next := t.after(o) // called without the lock mu, because it copies the lists of all members
	next.read = began
	c.Add(id, next, removals)
}

// Remove removes a thread from the cache. Call it after a change of the thread may have been
// committed, if Advance is not called.
func (c *threadCache) Remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removals[LaneOf(id, len(c.removals))]++
	c.lru.Remove(id)
}
