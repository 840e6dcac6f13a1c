package core

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// DefaultThreadCache bounds the cached threads of a Service, in bytes.
const DefaultThreadCache = 64 << 20

// threadCache keeps the threads that were used last, as many as fit into a
// number of bytes. A thread that alone is larger is not kept.
type threadCache struct {
	mu    sync.Mutex // guards what follows
	lru   *simplelru.LRU[string, *Thread]
	bytes int
	most  int
}

func newThreadCache(most int) *threadCache {
	c := &threadCache{most: most}
	c.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ string, t *Thread) { c.bytes -= t.bytes }) // fails for a size of 0 alone
	return c
}

// Get returns a thread, if it is cached.
func (c *threadCache) Get(id string) (*Thread, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Get(id)
}

// Add caches a thread, and drops the least recently used ones beyond the bound.
func (c *threadCache) Add(id string, t *Thread) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(id)
	if t.bytes > c.most {
		return
	}
	c.lru.Add(id, t)
	for c.bytes += t.bytes; c.bytes > c.most; {
		c.lru.RemoveOldest()
	}
}

// Remove drops a thread.
func (c *threadCache) Remove(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(id)
}
