package pebble

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
)

// TestDamagedMessageStopsNoSend damages a message and opens the store again, so that the recent
// messages are read anew. Sends with fingerprints must still succeed, and the messages that can be
// read must still be recognized. The log must name the thread.
func TestDamagedMessageStopsNoSend(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, "store", mem)
	const made = 1_700_000_000_000
	id := threadID(1)
	apply := func(c *core.Change) core.Outcome {
		t.Helper()
		os, err := s.Apply(context.Background(), core.Batch{At: made, Changes: []*core.Change{c}})
		if err != nil {
			t.Fatal(err)
		}
		return os[0]
	}
	send := func(call byte) *core.Change {
		return &core.Change{Key: id, Thread: id, Revision: 1, Events: []core.Event{{Kind: core.MessageReceived}},
			Messages: []core.Message{{Kind: core.Text, Content: fmt.Sprint("call ", call), Fingerprint: core.Fingerprint{0: call, 8: 1}}}}
	}
	apply(&core.Change{Key: id, Thread: id, Properties: &core.Properties{Topic: "topic"}, Messages: []core.Message{{Kind: core.TopicUpdated}},
		Events: []core.Event{{Kind: core.ThreadCreated}}})
	first := apply(send(1)).Change.Messages[0]
	damaged := apply(send(2)).Change.Messages[0]
	apply(send(3))
	if err := s.db.Set(messageKey(nil, id, damaged.Sequence), []byte{1, 0xff}, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	var log bytes.Buffer
	s, err := Open("store", Options{FS: mem, CacheSize: 1 << 20, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if o := apply(send(1)); o.Status != core.Replayed || o.MessageID != first.ID {
		t.Errorf("another try of a message that can be read: %+v", o)
	}
	if o := apply(send(2)); o.Status != core.Applied {
		t.Errorf("another try of the damaged message: %+v", o)
	}
	if o := apply(send(4)); o.Status != core.Applied {
		t.Errorf("a new message: %+v", o)
	}
	mustClose(t, s)
	if n := strings.Count(log.String(), "recent messages of a thread cannot be read"); n != 1 || !strings.Contains(log.String(), id) {
		t.Errorf("the log says it %d times, want once with the thread %s:\n%s", n, id, &log)
	}
}
