package pebble

import (
	"math"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/confab-chat/confab/internal/core"
)

// maxHeads is the greatest size of a headCache in bytes. About 12,000 heads fit.
const maxHeads = 8 << 20

// headCache holds the heads of the threads that batches have changed last, so that the next batches
// need not read them. Each head in the cache has the state that the last batch in the log gave it.
// A headCache is not safe for concurrent use.
type headCache struct {
	lru   *simplelru.LRU[string, core.Head]
	bytes int // of all heads
}

func newHeadCache() *headCache {
	c := &headCache{}
	c.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ string, h core.Head) { c.bytes -= headSize(&h) }) // NewLRU fails only for a size of 0
	return c
}

// headSize returns the approximate size of a head in the cache, in bytes.
func headSize(h *core.Head) int {
	n := 512 + len(h.ID) + len(h.Topic) + len(h.CreatedBy)
	for k, v := range h.Metadata {
		n += len(k) + len(v) + 64
	}
	return n
}

// get copies the head of a thread to *h. It returns false if the cache does not have it. The copy shares
// its metadata with the cache, so the map must not be changed.
func (c *headCache) get(thread string, h *core.Head) (ok bool) {
	had, ok := c.lru.Get(thread)
	if ok {
		*h = had
	}
	return ok
}

// put puts copies of heads into the cache, then removes the least recently used ones until all fit.
func (c *headCache) put(heads map[string]*core.Head) {
	for id, h := range heads {
		if was, ok := c.lru.Peek(id); ok { // the LRU does not report a value that it replaces
			c.bytes -= headSize(&was)
		}
		c.lru.Add(id, *h)
		c.bytes += headSize(h)
	}
	for c.bytes > maxHeads {
		c.lru.RemoveOldest()
	}
}

// clear removes all heads.
func (c *headCache) clear() { c.lru.Purge() }
