package core

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// DefaultThreadCache is the greatest size of all cached threads of a Service, in bytes,
// if Options.ThreadCache is zero.
const DefaultThreadCache = 64 << 20

// threadCache holds the most recently used threads, up to a total size in bytes. A single
// thread that exceeds the bound is not cached.
type threadCache struct {
	bound int // of bytes

	mu       sync.Mutex // guards the fields below
	lru      *simplelru.LRU[string, *Thread]
	bytes    int         // of all cached threads
	removals [256]uint64 // number of calls of Remove, by group of threads: LaneOf the id
}

func newThreadCache(bound int) *threadCache {
	c := &threadCache{bound: bound}
	c.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ string, t *Thread) { c.bytes -= t.bytes }) // fails only for a size of 0
	return c
}

// Get returns a thread from the cache. The second result is false if the thread is not cached.
func (c *threadCache) Get(id string) (*Thread, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Get(id)
}

// Removals returns how often threads were removed with Remove, in the group of threads to which
// id belongs. Call it before reading the thread from the store, and pass the result to Add.
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
	c.lru.Purge()
}

// Remove removes a thread from the cache. Call it after a change of the thread was committed.
func (c *threadCache) Remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removals[LaneOf(id, len(c.removals))]++
	c.lru.Remove(id)
}
