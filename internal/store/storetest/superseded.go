package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/core"
)

// keeping sets Keep in all rewrites of c and returns c. The store then keeps the replaced rows
// for members who have left the thread.
func keeping(c *core.Change) *core.Change {
	for i := range c.Rewrites {
		c.Rewrites[i].Keep = true
	}
	return c
}

// superseded returns all superseded messages of a store, read in pages of limit messages.
func superseded(t rapid.TB, s core.Store, limit int) (all []core.ThreadSuperseded) {
	t.Helper()
	for _, thread := range supersededThreads(t, s, limit) {
		n := len(all)
		for after := (core.SupersededKey{Thread: thread}); ; {
			page, err := s.Superseded(context.Background(), after, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("%d superseded messages after %+v, at most %d: %v", len(page), after, limit, err)
			}
			if len(page) == 0 {
				break
			}
			all = append(all, page...)
			after = page[len(page)-1].Key()
		}
		if len(all) == n {
			t.Fatalf("thread %s is listed, and has no superseded messages", thread)
		}
		for _, v := range all[n:] {
			if v.Thread != thread {
				t.Fatalf("the superseded messages of thread %s have %+v", thread, v)
			}
		}
	}
	return all
}

// supersededThreads returns all threads with superseded versions, read in pages.
func supersededThreads(t rapid.TB, s core.Store, limit int) (all []string) {
	t.Helper()
	for after := ""; ; {
		page, err := s.SupersededThreads(context.Background(), after, limit)
		if err != nil || len(page) > limit {
			t.Fatalf("%d threads with superseded messages after %q, at most %d: %v", len(page), after, limit, err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		after = page[len(page)-1]
	}
}

// testSupersededThreads keeps superseded versions of messages in several threads. It checks the
// list of these threads, the number of versions in all threads, and the versions of each thread.
func testSupersededThreads(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	ann := user(1)
	var threads []string
	for i := range 5 {
		id := thread(i + 1)
		one, two := send(id, 1, ann, "", "one"), send(id, 1, ann, "", "two")
		apply(t, s, start, create(id, "", ann), one, two)
		if i == 2 {
			continue // this thread has no superseded versions
		}
		threads = append(threads, id)
		apply(t, s, start+10, keeping(edit(id, 1, one.Messages[0], "edited")), keeping(edit(id, 1, two.Messages[0], "edited")))
	}
	slices.Sort(threads)
	for limit := range 6 {
		mustEqual(t, fmt.Sprint("threads with superseded messages, by ", limit+1), supersededThreads(t, s, limit+1), threads)
		if n := len(superseded(t, s, limit+1)); n != 8 {
			t.Errorf("%d superseded messages by %d, want 8", n, limit+1)
		}
	}
	for _, id := range threads {
		page, err := s.Superseded(context.Background(), core.SupersededKey{Thread: id}, 100)
		if err != nil || len(page) != 2 || page[0].Thread != id || page[1].Thread != id {
			t.Errorf("superseded messages of thread %s: %+v, %v", id, page, err)
		}
	}
}

// seen returns the messages that a member may read, the newest first, each as a line of text.
// It reads them in pages of each size from 1 to most, and each message by its id. All results
// must agree.
func seen(t rapid.TB, s core.Store, thread, reader string, most int) (list []string) {
	t.Helper()
	for limit := 1; limit <= most; limit++ {
		var got []string
		for q := (core.MessagesQuery{Thread: thread, Reader: reader, Limit: limit}); ; {
			page := messages(t, s, q)
			for _, m := range page.Messages {
				got = append(got, fmt.Sprintf("%d %q", m.Sequence, m.Content))
				byID := messages(t, s, core.MessagesQuery{Thread: thread, Reader: reader, IDs: []int64{m.ID}}).Messages
				mustEqual(t, fmt.Sprint("message ", m.ID, " by its id, read by ", reader), byID, []core.Message{m})
			}
			if q.Before = page.Next; q.Before == 0 {
				break
			}
		}
		if list == nil {
			list = got
		}
		mustEqual(t, fmt.Sprint("messages of ", reader, " in pages of ", limit), got, list)
	}
	return list
}

// testSuperseded edits and deletes messages after two members have left. Each of these members must
// read the messages in the state and at the place that they had when it left, and deleted messages
// as tombstones.
func testSuperseded(t *testing.T, e Engine) {
	s := e.Open(t)
	a, ann, bob, eve := thread(1), user(1), user(2), user(3)
	one, two := send(a, 1, ann, "", "one"), send(a, 1, ann, "", "two")
	apply(t, s, start, create(a, "", ann, bob, eve), one, two, send(a, 1, ann, "", "three")) // writes the sequences 1 to 5
	first, second := one.Messages[0], two.Messages[0]
	apply(t, s, start+10, leaves(load(t, s, a), bob)) // sequence 6

	editFirst := keeping(edit(a, 2, first, "one, edited")) // sequence 7
	apply(t, s, start+20, editFirst)
	apply(t, s, start+30, leaves(load(t, s, a), eve)) // sequence 8
	// Eve has left after the first edit, so she must see the edited text. Neither Eve nor Bob
	// may see the edit that follows.
	again := keeping(edit(a, 3, editFirst.Rewrites[0].Message, "one, edited again")) // sequence 9
	deleted := keeping(remove(a, 3, second))                                         // sequence 10
	apply(t, s, start+40, again, deleted)
	unseen := edit(a, 3, again.Rewrites[0].Message, "one, a third time") // sequence 11
	apply(t, s, start+50, unseen)

	check := func(when string) {
		t.Helper()
		mustEqual(t, "what bob sees "+when, seen(t, s, a, bob, 7), []string{`6 ""`, `5 "three"`, `4 ""`, `3 "one"`, `2 "topic of ` + a + `"`, `1 ""`})
		mustEqual(t, "what eve sees "+when, seen(t, s, a, eve, 9), []string{`8 ""`, `7 "one, edited"`, `6 ""`, `5 "three"`, `4 ""`, `2 "topic of ` + a + `"`, `1 ""`})
		mustEqual(t, "what ann sees "+when, seen(t, s, a, ann, 9), []string{`11 "one, a third time"`, `10 ""`, `8 ""`, `6 ""`, `5 "three"`, `2 "topic of ` + a + `"`, `1 ""`})
	}
	check("at first")
	s = e.Reopen(t, s)
	check("after a restart")
	checkRows(t, s)

	// The tombstone must have the version of the deletion, and keep its old place.
	gone := messages(t, s, core.MessagesQuery{Thread: a, Reader: bob, IDs: []int64{second.ID}}).Messages
	want := second
	want.Content, want.DeletedOn, want.Version = "", start+40, deleted.Rewrites[0].Version
	mustEqual(t, "the tombstone", gone, []core.Message{want})
	// The superseded version must be as it was before the edit.
	old := messages(t, s, core.MessagesQuery{Thread: a, Reader: bob, IDs: []int64{first.ID}}).Messages
	mustEqual(t, "the message as it was", old, []core.Message{first})

	// Superseded messages must count for the limit of bytes of a page, and Since must compare
	// the times at which they were created.
	page := messages(t, s, core.MessagesQuery{Thread: a, Reader: bob, Before: 4, Limit: 10, Bytes: 1})
	if len(page.Messages) != 1 || page.Next != 3 {
		t.Errorf("a page of one byte has %d messages and goes on before %d; want 1 and 3", len(page.Messages), page.Next)
	}
	if late := messages(t, s, core.MessagesQuery{Thread: a, Reader: bob, Since: start + 1, Limit: 10}).Messages; len(late) != 1 || late[0].Sequence != 6 {
		t.Errorf("since a time after all: %+v; want only bob's removal", late)
	}

	// All versions of a message become tombstones when it is deleted.
	apply(t, s, start+60, remove(a, 3, unseen.Rewrites[0].Message)) // sequence 12
	mustEqual(t, "what bob sees of two deleted messages", seen(t, s, a, bob, 2)[2:4], []string{`4 ""`, `3 ""`})
	mustEqual(t, "what eve sees of them", seen(t, s, a, eve, 2)[1], `7 ""`)
	var keys []core.SupersededKey
	for _, limit := range []int{1, 2, 100} {
		keys = nil
		for _, v := range superseded(t, s, limit) {
			keys = append(keys, v.Key())
			if v.Content != "" || v.DeletedOn == 0 {
				t.Errorf("superseded version %+v is no tombstone", v)
			}
		}
		mustEqual(t, fmt.Sprint("superseded versions, by ", limit), keys, []core.SupersededKey{{Thread: a, ID: first.ID, Sequence: 3}, {Thread: a, ID: first.ID, Sequence: 7}, {Thread: a, ID: second.ID, Sequence: 4}})
	}

	// After a version is dropped, nobody may see it. The other versions must stay.
	apply(t, s, start+70, &core.Change{Key: a, Thread: a, Revision: 3, DropSuperseded: []core.SupersededKey{keys[0]}})
	mustEqual(t, "what bob sees when a version is dropped", seen(t, s, a, bob, 3), []string{`6 ""`, `5 "three"`, `4 ""`, `2 "topic of ` + a + `"`, `1 ""`})
	mustEqual(t, "and eve", seen(t, s, a, eve, 3)[1], `7 ""`)
	checkRows(t, s)

	apply(t, s, start+80, &core.Change{Key: a, Thread: a, Revision: 3, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted, Actor: ann}}})
	if left := superseded(t, s, 10); len(left) != 0 {
		t.Errorf("superseded messages of a deleted thread: %+v", left)
	}
	if left := seen(t, s, a, bob, 1); len(left) != 0 {
		t.Errorf("messages of a deleted thread: %v", left)
	}
	checkRows(t, s)
	closeStore(t, s)
}

// testSupersededInBatch changes one message several times in a batch. The later changes are
// decided on the rows that the earlier ones have written.
func testSupersededInBatch(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann, bob := thread(1), user(1), user(2)
	one, two := send(a, 1, ann, "", "one"), send(a, 1, ann, "", "two")
	apply(t, s, start, create(a, "", ann, bob), one, two)
	apply(t, s, start+10, leaves(load(t, s, a), bob))
	first, second := one.Messages[0].ID, two.Messages[0].ID

	// decided returns a change whose Decide function calls change with the locked row of a
	// message.
	decided := func(id int64, change func(core.Message) *core.Change) *core.Change {
		return &core.Change{Key: a, Thread: a, Revision: 2, Rewrites: []core.Rewrite{{Message: core.Message{ID: id}}}, Decide: func(rows core.Rows) (*core.Change, error) {
			ms, err := rows.Messages(a, id)
			if err != nil {
				return nil, err
			}
			return change(ms[id]), nil
		}}
	}
	rs := apply(t, s, start+20,
		decided(first, func(m core.Message) *core.Change { return keeping(edit(a, 2, m, "one, edited")) }),
		decided(first, func(m core.Message) *core.Change { return remove(a, 2, m) }),
		decided(second, func(m core.Message) *core.Change { return keeping(edit(a, 2, m, "two, edited")) }),
	)
	mustEqual(t, "an edit and a deletion of one message, and an edit of another", statuses(rs), []core.Status{core.Applied, core.Applied, core.Applied})
	mustEqual(t, "what who left sees", seen(t, s, a, bob, 6), []string{`5 ""`, `4 "two"`, `3 ""`, `2 "topic of ` + a + `"`, `1 ""`})

	// A version that was dropped must not come back when the same batch deletes the message.
	rs = apply(t, s, start+30,
		decided(second, func(m core.Message) *core.Change {
			return &core.Change{Key: a, Thread: a, Revision: 2, DropSuperseded: []core.SupersededKey{{Thread: a, ID: second, Sequence: 4}}}
		}),
		decided(second, func(m core.Message) *core.Change { return remove(a, 2, m) }),
	)
	mustEqual(t, "a dropped version and a deletion", statuses(rs), []core.Status{core.Applied, core.Applied})
	mustEqual(t, "what who left sees then", seen(t, s, a, bob, 2), []string{`5 ""`, `3 ""`, `2 "topic of ` + a + `"`, `1 ""`})

	// A purge must also delete the versions that were kept before.
	rs = apply(t, s, start+40,
		decided(first, func(core.Message) *core.Change {
			return &core.Change{Key: a, Thread: a, Revision: 2, Purge: true, Events: []core.Event{{Kind: core.ThreadDeleted, Actor: ann}}}
		}))
	mustEqual(t, "a purge", statuses(rs), []core.Status{core.Applied})
	if left := superseded(t, s, 10); len(left) != 0 {
		t.Errorf("superseded messages of a deleted thread: %+v", left)
	}
	checkRows(t, s)
}

// testSupersededBound edits a message more often than versions of a message may be kept. The
// oldest versions must be dropped.
func testSupersededBound(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, ann := thread(1), user(1)
	one := send(a, 1, ann, "", "one")
	apply(t, s, start, create(a, "", ann), one)
	m := one.Messages[0]
	for i := range 300 {
		c := keeping(edit(a, 1, m, fmt.Sprint("edit ", i)))
		apply(t, s, start+int64(i), c)
		m = c.Rewrites[0].Message
	}
	all := superseded(t, s, 1000)
	if len(all) != 256 || all[0].Sequence != 3+300-256 || all[255].Until != m.Sequence {
		t.Errorf("%d superseded versions from sequence %d on, want 256 from %d on", len(all), all[0].Sequence, 3+300-256)
	}
	checkRows(t, s)
}
