package pebble

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// TestListReadsFewKeys lists pages of 50 from a thread with very many messages:
// at the new end, in the middle and at the old end each reads the page's keys
// and a few more, by Pebble's own count.
func TestListReadsFewKeys(t *testing.T) {
	messages := 30_000
	if v := os.Getenv("TEST_LIST_MESSAGES"); v != "" {
		var err error
		if messages, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.TempDir(), Options{Initial: storetest.Initial})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const thread = "19:00000000000000000000000000000001@thread.v2"
	at := int64(1_700_000_000_000)
	apply := func(changes ...*core.Change) {
		t.Helper()
		if _, err := s.Apply(context.Background(), core.Batch{At: at, Changes: changes}); err != nil {
			t.Fatal(err)
		}
		at += 1000
	}
	apply(&core.Change{Key: thread, Thread: thread, Properties: &core.Properties{Topic: "t"}})
	for sent := 0; sent < messages; sent += 1000 {
		var batch []*core.Change
		for i := range 1000 {
			batch = append(batch, &core.Change{
				Key: thread, Thread: thread, Revision: 1,
				Messages: []core.Message{{Kind: core.Text, Sender: "8:acs:a", Content: fmt.Sprint("message ", sent+i)}},
				Events:   []core.Event{{Kind: core.MessageReceived, Actor: "8:acs:a"}},
			})
		}
		apply(batch...)
	}
	for _, q := range []core.MessagesQuery{
		{Limit: 50},
		{Limit: 50, Before: uint64(messages / 2)},
		{Limit: 50, Before: 51},
		{Limit: 50, Since: at - 500_000},
		{Limit: 50, Before: uint64(messages / 2), Since: at}, // nothing is new enough
	} {
		q.Thread = thread
		page, stats, err := s.messages(q)
		if err != nil {
			t.Fatal(err)
		}
		steps := 0
		for _, counts := range [][pebble.NumStatsKind]int{stats.ForwardSeekCount, stats.ReverseSeekCount, stats.ForwardStepCount, stats.ReverseStepCount} {
			steps += max(counts[pebble.InterfaceCall], counts[pebble.InternalIterCall])
		}
		keys := max(steps, int(stats.InternalStats.PointCount)) + 1 // and the head
		t.Logf("%d messages, %+v: %d messages listed, %d keys read", messages, q, len(page.Messages), keys)
		if keys > 70 {
			t.Errorf("a page of %d read %d keys, want at most 70", len(page.Messages), keys)
		}
	}
}
