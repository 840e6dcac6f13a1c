package pebble

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
)

// TestExpandReadsFewKeys lists 20 threads of 300 messages each with last messages and unread
// counts, and counts the keys that this reads in addition to the plain list. For each thread it may
// read the head, the member and the receipt, and for each counted message the id and the row. One
// more id ends the count, unless the count ends at core.MaxUnread. No more than core.RecentMessages
// messages are read.
func TestExpandReadsFewKeys(t *testing.T) {
	s := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, s)
	const threads, messages, me, other = 20, 300, "8:acs:me", "8:acs:other"
	for n := range threads {
		c := &core.Change{
			Key: threadID(n), Thread: threadID(n), Properties: &core.Properties{Topic: "topic", CreatedBy: me},
			Members: []core.Member{{User: me, Order: 1, Intervals: []core.Interval{{}}}},
			Events:  []core.Event{{Kind: core.ThreadCreated, Actor: me}},
		}
		for range messages {
			c.Messages = append(c.Messages, core.Message{Kind: core.Text, Sender: other, Content: "content"})
		}
		mustApply(t, s, c)
	}
	both := core.Expand{LastMessage: true, Unread: true}
	check := func(e core.Expand, unread, want int) {
		t.Helper()
		_, plain, err := s.threads(core.ThreadsQuery{User: me, Limit: threads})
		if err != nil {
			t.Fatal(err)
		}
		page, keys, err := s.threads(core.ThreadsQuery{User: me, Limit: threads, Expand: e})
		if err != nil || len(page.Threads) != threads {
			t.Fatalf("%d threads, %v", len(page.Threads), err)
		}
		if e.Unread && *page.Threads[0].Unread != unread {
			t.Errorf("%+v: %d unread, want %d", e, *page.Threads[0].Unread, unread)
		}
		if got := keys - plain; got != threads*want {
			t.Errorf("%+v with %d unread read %d keys more than a plain list, want %d", e, unread, got, threads*want)
		}
	}
	check(core.Expand{LastMessage: true}, 0, 2+2+1)
	check(both, core.MaxUnread, 3+2*core.MaxUnread+1)
	for n := range threads {
		page, err := s.Messages(t.Context(), core.MessagesQuery{Thread: threadID(n), Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, &core.Change{Key: threadID(n), Thread: threadID(n), Revision: 1,
			Receipt: &core.Receipt{User: me, MessageID: page.Messages[9].ID}, Events: []core.Event{{Kind: core.ReceiptReceived, Actor: me}}})
	}
	check(both, 9, 3+2*9+1)
	check(core.Expand{Unread: true}, 9, 3+2*9+1)

	// The newest messages are the user's own.
	for n := range threads {
		c := &core.Change{Key: threadID(n), Thread: threadID(n), Revision: 1}
		for range core.RecentMessages + 50 {
			c.Messages = append(c.Messages, core.Message{Kind: core.Text, Sender: me, Content: "content"})
			c.Events = append(c.Events, core.Event{Kind: core.MessageReceived, Actor: me})
		}
		mustApply(t, s, c)
	}
	check(both, 0, 3+2*core.RecentMessages)
}
