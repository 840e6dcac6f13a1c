package core

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// DefaultThreadCache is the greatest size of all cached threads of a Service, in bytes,
// if Options.ThreadCache is zero.
const DefaultThreadCache = 64 << 20

// threadCache caches the most recently used threads, up to a total size in bytes. A
// single thread that exceeds the bound is not cached.
type threadCache struct {
	mu    sync.Mutex // guards lru and bytes
	lru   *simplelru.LRU[string, *Thread]
	bytes int // of all cached threads
	bound int // of bytes
}

func newThreadCache(bound int) *threadCache {
	c := &threadCache{bound: bound}
	c.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ string, t *Thread) { c.bytes -= t.bytes }) // fails only for a size of 0
	return c
}

// Get returns a thread, if it is cached.
func (c *threadCache) Get(id string) (*Thread, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Get(id)
}

// Add caches a thread, then removes the least recently used threads until all fit.
func (c *threadCache) Add(id string, t *Thread) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(id)
	if t.bytes > c.bound {
		return
	}
	c.lru.Add(id, t)
	for c.bytes += t.bytes; c.bytes > c.bound; {
		c.lru.RemoveOldest()
	}
}

// Remove removes a thread, if it is cached.
func (c *threadCache) Remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(id)
}
