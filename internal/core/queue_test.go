package core_test

import (
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// TestQueueCountsWhatWaits sends messages while the store is blocked, and checks the size of
// the queue while they wait and after they are stored.
func TestQueueCountsWhatWaits(t *testing.T) {
	h, g := gated(t, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	g.shut.Store(true)
	first := h.start(ann, thread, text("is being committed"))
	one := <-g.calls
	if q := h.Queue(); q != (core.Queue{}) {
		t.Errorf("%+v wait while the only change is being committed", q)
	}
	const n = 5
	long := strings.Repeat("x", 1000)
	var rest []*sending
	for i := range n {
		rest = append(rest, h.start(ann, thread, text(long)))
		until(t, "a send into the queue", func() bool { return h.Queue().Changes == i+1 })
	}
	if q := h.Queue(); q.Bytes < n*len(long) || q.Bytes > 10*n*len(long) {
		t.Errorf("%d changes of %d bytes and more have %d bytes", n, len(long), q.Bytes)
	}
	g.open(one)
	for _, s := range append(rest, first) {
		if <-s.done; s.err != nil {
			t.Error(s.err)
		}
	}
	if q := h.Queue(); q != (core.Queue{}) {
		t.Errorf("%+v wait when all are stored", q)
	}
}
