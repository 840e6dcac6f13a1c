package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/core"
)

// expanded returns the list of threads of a user with last messages and unread counts. The test
// fails if Messages and Receipts return other messages and counts to that user. It also fails
// if the list depends on the page size, or on which other details the read asks for.
func expanded(t rapid.TB, s core.Store, who string) []core.ThreadEntry {
	t.Helper()
	lists := map[core.Expand][]core.ThreadEntry{}
	for _, limit := range []int{100, 1} {
		for _, e := range []core.Expand{{}, {LastMessage: true}, {Unread: true}, {LastMessage: true, Unread: true}} {
			var list []core.ThreadEntry
			for q := (core.ThreadsQuery{User: who, Limit: limit, Expand: e}); ; {
				page, err := s.Threads(context.Background(), q)
				if err != nil || len(page.Threads) > limit {
					t.Fatalf("a page of %d threads with %+v, at most %d: %v", len(page.Threads), e, limit, err)
				}
				list = append(list, page.Threads...)
				if q.Before = page.Next; q.Before == (core.ThreadsCursor{}) {
					break
				}
			}
			if limit == 100 {
				lists[e] = list
			}
			mustEqual(t, fmt.Sprintf("the threads of %s with %+v in pages of %d", who, e, limit), list, lists[e])
		}
	}
	all := lists[core.Expand{LastMessage: true, Unread: true}]
	for i := range all {
		want := lists[core.Expand{}][i]
		mustEqual(t, "a thread without its last message", *withUnread(want, all[i].Unread), lists[core.Expand{Unread: true}][i])
		want.LastMessage = all[i].LastMessage
		mustEqual(t, "a thread without its unread count", want, lists[core.Expand{LastMessage: true}][i])
		mustEqual(t, "an expanded thread", all[i], *expand(t, s, who, want))
	}
	return all
}

func withUnread(e core.ThreadEntry, n *int) *core.ThreadEntry {
	e.Unread = n
	return &e
}

// expand returns the entry with the last message and the unread count that it should have. It
// computes both from all messages that the user may read.
func expand(t rapid.TB, s core.Store, who string, e core.ThreadEntry) *core.ThreadEntry {
	t.Helper()
	e.LastMessage, e.Unread = nil, new(int)
	if e.DeletedOn != 0 {
		return &e
	}
	read := int64(0)
	for _, r := range receipts(t, s, e.Thread) {
		if r.User == who {
			read = r.MessageID
		}
	}
	for q := (core.MessagesQuery{Thread: e.Thread, Reader: who, Limit: 200}); ; {
		page := messages(t, s, q)
		for i := range page.Messages {
			m := &page.Messages[i]
			if e.LastMessage == nil || page.Member.Left == nil && m.ID > e.LastMessage.ID {
				e.LastMessage = m.Preview()
			}
			if m.ID > read && m.UnreadBy(page.Member) && page.Member.Left == nil && *e.Unread < core.MaxUnread {
				*e.Unread++
			}
		}
		if q.Before = page.Next; q.Before == 0 {
			return &e
		}
	}
}

// testExpand lists the threads of three users after each kind of change that may replace a last
// message or change an unread count. The last messages and the counts must be right.
func testExpand(t *testing.T, e Engine) {
	s := e.Open(t)
	ann, bob, eve := user(1), user(2), user(3)
	a, at := thread(1), start+2000
	check := func(what string, want map[string]string) {
		t.Helper()
		for _, who := range []string{ann, bob, eve} {
			got := ""
			for _, e := range expanded(t, s, who) {
				if e.LastMessage == nil {
					got += fmt.Sprintf("none %d ", *e.Unread)
				} else {
					got += fmt.Sprintf("%q %d ", e.LastMessage.Content, *e.Unread)
				}
			}
			if got = strings.TrimSpace(got); got != want[who] {
				t.Errorf("%s: %s has %s, want %s", what, who, got, want[who])
			}
		}
	}
	do := func(changes ...*core.Change) {
		t.Helper()
		at += 10
		for i, o := range apply(t, s, at, changes...) {
			if o.Status != core.Applied {
				t.Fatalf("change %d: status %d", i, o.Status)
			}
		}
	}
	do(create(a, "", ann, bob))
	check("system messages do not count", map[string]string{ann: `"topic of ` + a + `" 0`, bob: `"topic of ` + a + `" 0`})

	one, two := send(a, 1, ann, "", "one"), send(a, 1, ann, "", "two")
	do(one)
	do(two)
	check("messages of somebody else count", map[string]string{ann: `"two" 0`, bob: `"two" 2`})
	do(receipt(a, 1, bob, one.Messages[0].ID))
	check("a receipt", map[string]string{ann: `"two" 0`, bob: `"two" 1`})
	edited := edit(a, 1, one.Messages[0], "one, edited")
	do(edited)
	check("an edit of a message that was read", map[string]string{ann: `"two" 0`, bob: `"two" 1`})
	last := edit(a, 1, two.Messages[0], "two, edited")
	do(last)
	check("an edit of the last message", map[string]string{ann: `"two, edited" 0`, bob: `"two, edited" 1`})
	three := send(a, 1, bob, "", "three")
	do(three)
	check("one's own message is no receipt", map[string]string{ann: `"three" 1`, bob: `"three" 1`})
	do(remove(a, 1, last.Rewrites[0].Message))
	check("a deleted message does not count", map[string]string{ann: `"three" 1`, bob: `"three" 0`})

	// Eve may read the messages since the third one.
	do(&core.Change{Key: a, Thread: a, Revision: 1,
		Members:  []core.Member{{User: eve, Order: 3, ShareHistory: three.Messages[0].CreatedOn, Intervals: []core.Interval{{}}}},
		Messages: []core.Message{{Kind: core.ParticipantAdded, Initiator: ann, Participants: []core.MessageParticipant{{User: eve, DisplayName: "Eve"}}}},
		Events:   []core.Event{{Kind: core.ParticipantsAdded, Actor: ann}}})
	check("a part of the history", map[string]string{ann: `"" 1`, bob: `"" 0`, eve: `"" 1`})
	four := send(a, 2, ann, "", "four")
	do(four, receipt(a, 2, eve, three.Messages[0].ID))
	check("who has come later", map[string]string{ann: `"four" 1`, bob: `"four" 1`, eve: `"four" 1`})

	// Changes after bob has left must not change bob's entry, and bob has no unread messages.
	do(leaves(load(t, s, a), bob))
	check("who has left", map[string]string{ann: `"" 1`, bob: `"" 0`, eve: `"" 1`})
	do(keeping(edit(a, 3, four.Messages[0], "four, edited")), send(a, 3, ann, "", "five"))
	check("after somebody has left", map[string]string{ann: `"five" 1`, bob: `"" 0`, eve: `"five" 2`})
	if entry := expanded(t, s, bob)[0]; entry.LastMessage.Kind != core.ParticipantRemoved {
		t.Errorf("the last message of who has left is %+v, want the removal", entry.LastMessage)
	}
	s = e.Reopen(t, s)
	defer closeStore(t, s)
	check("after a restart", map[string]string{ann: `"five" 1`, bob: `"" 0`, eve: `"five" 2`})

	// If the message about bob's removal moves, which no operation does, bob's last message is the
	// superseded version of the fourth message.
	removal := expanded(t, s, bob)[0].LastMessage
	do(edit(a, 3, message(t, s, a, removal.ID), "moved"))
	check("a superseded version", map[string]string{ann: `"five" 1`, bob: `"four" 0`, eve: `"five" 2`})

	do(&core.Change{Key: a, Thread: a, Revision: 3, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted, Actor: ann}}})
	check("a deleted thread", map[string]string{ann: "none 0", bob: "none 0", eve: "none 0"})
}

// testExpandBounds lists threads that have more messages than unread counts can show, and
// messages that are longer than a preview.
func testExpandBounds(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	ann, bob := user(1), user(2)
	at := start + 2000
	many := func(n int, id, sender string) *core.Change {
		c := send(id, 1, sender, "", "0")
		for i := 1; i < n; i++ {
			next := send(id, 1, sender, "", fmt.Sprint(i))
			c.Messages, c.Events = append(c.Messages, next.Messages...), append(c.Events, next.Events...)
		}
		return c
	}
	check := func(what string, unread int, last string) {
		t.Helper()
		entry := expanded(t, s, bob)[0]
		if *entry.Unread != unread || entry.LastMessage.Content != last {
			t.Errorf("%s: %d unread and %.40q, want %d and %.40q", what, *entry.Unread, entry.LastMessage.Content, unread, last)
		}
	}
	a := thread(1)
	some := many(core.MaxUnread-1, a, ann)
	apply(t, s, at, create(a, "", ann, bob), some)
	check("99 messages", 99, "98")
	more := many(200, a, ann)
	apply(t, s, at+10, more)
	check("299 messages", core.MaxUnread, "199")
	apply(t, s, at+20, receipt(a, 1, bob, more.Messages[100].ID))
	check("299 messages, 200 of them read", 99, "199")
	apply(t, s, at+30, many(core.RecentMessages-1, a, bob))
	// Do not compare these threads with the result of Messages: they have more messages than the
	// store looks at, or longer ones than a preview shows.
	first := func() core.ThreadEntry {
		t.Helper()
		page, err := s.Threads(context.Background(), core.ThreadsQuery{User: bob, Limit: 1, Expand: core.Expand{LastMessage: true, Unread: true}})
		if err != nil || len(page.Threads) != 1 || page.Threads[0].LastMessage == nil {
			t.Fatalf("the first thread: %+v, %v", page.Threads, err)
		}
		return page.Threads[0]
	}
	bounded := func(what string, unread int, last string) {
		t.Helper()
		if e := first(); *e.Unread != unread || e.LastMessage.Content != last {
			t.Errorf("%s: %d unread and %.40q, want %d and %.40q", what, *e.Unread, e.LastMessage.Content, unread, last)
		}
	}
	bounded("many own messages, and one before them", 1, fmt.Sprint(core.RecentMessages-2))
	apply(t, s, at+40, send(a, 1, bob, "", "one more"))
	bounded("own messages as many as are looked at", 0, "one more")

	b := thread(2)
	long := send(b, 1, ann, "", strings.Repeat("a한😀", 400))
	apply(t, s, at+50, create(b, "", ann, bob))
	apply(t, s, at+60, long)
	bounded("a long message", 1, strings.Repeat("a한😀", core.MaxPreview/8))
	names := send(b, 1, "", "", "")
	names.Messages[0] = core.Message{Kind: core.ParticipantAdded, Initiator: ann}
	for n := range 50 {
		names.Messages[0].Participants = append(names.Messages[0].Participants, core.MessageParticipant{User: user(n), DisplayName: strings.Repeat("한", 60)})
	}
	apply(t, s, at+70, names)
	mustEqual(t, "the preview of a message with many names", first().LastMessage, names.Messages[0].Preview())
	if got := len(names.Messages[0].Preview().Participants); got < 1 || got > 10 {
		t.Errorf("the preview names %d participants, want as many as fit into %d bytes", got, core.MaxPreview)
	}
}
