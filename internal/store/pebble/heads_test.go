package pebble

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
)

// TestHeadCacheIsBounded puts more heads into a cache than fit, some of them twice with different
// sizes. The cache must stay within its bound and keep the newest heads unchanged.
func TestHeadCacheIsBounded(t *testing.T) {
	c := newHeadCache()
	var last *core.Head
	for i := range 200 {
		for size := range 2 {
			last = &core.Head{ID: fmt.Sprint(i), Properties: core.Properties{Topic: strings.Repeat("t", (1+size)<<16)}}
			c.put(map[string]*core.Head{last.ID: last})
		}
	}
	sum := 0
	for _, h := range c.lru.Values() {
		sum += headSize(&h)
	}
	if sum != c.bytes || sum > maxHeads || c.lru.Len() == 0 || c.lru.Len() == 200 {
		t.Errorf("%d heads of %d bytes, counted %d, at most %d", c.lru.Len(), sum, c.bytes, maxHeads)
	}
	got := new(core.Head)
	c.get(last.ID, got)
	if diff := cmp.Diff(last, got); diff != "" {
		t.Error(diff)
	}
	if c.clear(); c.bytes != 0 || c.get(last.ID, got) {
		t.Errorf("%d bytes after clear", c.bytes)
	}
}

// TestHeadCacheAfterAFailedBatch makes a large batch fail for lack of space, after its messages
// have got their sequences. The cache must not keep the heads of the failed batch: the next batch
// gets the sequence that the failed one would have had.
func TestHeadCacheAfterAFailedBatch(t *testing.T) {
	const free = 10 << 30
	s := mustOpen(t, "store", newSized(free))
	defer mustClose(t, s)
	send := func(size int) (uint64, error) {
		c := &core.Change{Key: "19:a@thread.v2", Thread: "19:a@thread.v2", Revision: 1, Messages: []core.Message{{Kind: core.Text, Content: strings.Repeat("x", size)}}}
		o, err := s.Apply(t.Context(), core.Batch{At: 1, Changes: []*core.Change{c}})
		if err != nil {
			return 0, err
		}
		return o[0].Change.Messages[0].Sequence, nil
	}
	create := &core.Change{Key: "19:a@thread.v2", Thread: "19:a@thread.v2", Properties: &core.Properties{Topic: "t"}}
	if _, err := s.Apply(t.Context(), core.Batch{At: 1, Changes: []*core.Change{create}}); err != nil {
		t.Fatal(err)
	}
	if n, err := send(1); n != 1 || err != nil {
		t.Fatalf("the first message has sequence %d, %v", n, err)
	}
	floor := s.disk.floor
	s.disk.floor = free - bigBatch/2 // enough space for a small batch, too little for a large one
	if _, err := send(2 * bigBatch); !errors.Is(err, core.ErrStorageFull) {
		t.Errorf("a batch without space: %v", err)
	}
	s.disk.floor = floor
	if n, err := send(1); n != 2 || err != nil {
		t.Errorf("after a refused batch a message has sequence %d, %v; want 2", n, err)
	}
}
