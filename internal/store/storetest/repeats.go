package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// minute is the number of milliseconds of a minute; times of batches are in milliseconds.
const minute = int64(60_000)

// requested sets the fingerprint of the message in c, a change that sends a message, and returns c.
// Tries of the same call have the same numbers call and command.
func requested(c *core.Change, call, command byte) *core.Change {
	c.Messages[0].Fingerprint = core.Fingerprint{0: call + 1, 7: call, 8: command + 1, 15: command}
	return c
}

// mustRepeat fails the test unless o is the outcome of a repeated send: the store has written
// nothing, and the outcome has first, the id of the message that the first try added.
func mustRepeat(t *testing.T, what string, o core.Outcome, first int64) {
	t.Helper()
	if o.Status != core.Replayed || o.MessageID != first {
		t.Errorf("%s: status %d with message %d, want %d with message %d", what, o.Status, o.MessageID, core.Replayed, first)
	}
}

// mustAdd fails the test unless o is the outcome of a send that added a new message.
func mustAdd(t *testing.T, what string, o core.Outcome) {
	t.Helper()
	if o.Status != core.Applied {
		t.Errorf("%s: status %d with message %d, want a new message", what, o.Status, o.MessageID)
	}
}

// testRepeats repeats sends: within five minutes and later, in one batch, after a restart, and
// with the same request id but another command.
func testRepeats(t *testing.T, e Engine) {
	s := e.Open(t)
	defer func() { closeStore(t, s) }()
	a, b, ann := thread(1), thread(2), user(1)
	one := func(id string, call, command byte) *core.Change {
		return requested(send(id, 1, ann, "", fmt.Sprint("call ", call, " command ", command)), call, command)
	}
	apply(t, s, start, create(a, "", ann), create(b, "", ann))

	c := one(a, 1, 1)
	os := apply(t, s, start, c, one(a, 1, 1), one(b, 1, 1), one(a, 2, 1))
	first := c.Messages[0].ID
	mustAdd(t, "the first try", os[0])
	mustRepeat(t, "the second in the same batch", os[1], first)
	mustAdd(t, "the same in another thread", os[2])
	mustAdd(t, "the same command in another call", os[3])
	mustRepeat(t, "in the next batch", apply(t, s, start+10, one(a, 1, 1))[0], first)
	s = e.Reopen(t, s)
	mustRepeat(t, "after a restart", apply(t, s, start+20, one(a, 1, 1))[0], first)
	mustRepeat(t, "five minutes later", apply(t, s, start+5*minute, one(a, 1, 1))[0], first)
	c = one(a, 1, 1)
	mustAdd(t, "after the five minutes", apply(t, s, start+5*minute+1, c)[0])
	mustRepeat(t, "a try of that one", apply(t, s, start+5*minute+2, one(a, 1, 1))[0], c.Messages[0].ID)
	if n := len(messages(t, s, core.MessagesQuery{Thread: a, Limit: 10}).Messages); n != 5 {
		t.Errorf("the thread has %d messages, want 3 and 2 of its creation", n)
	}

	// If a request id came with two different commands in the last five minutes, the store cannot
	// recognize repeats by it. It can again when at most one of these commands is that recent.
	at := start + 20*minute
	c, other := one(a, 3, 1), one(a, 3, 2)
	mustAdd(t, "the first command", apply(t, s, at, c)[0])
	mustAdd(t, "another command", apply(t, s, at+minute, other)[0])
	s = e.Reopen(t, s)
	mustAdd(t, "the first command again", apply(t, s, at+2*minute, one(a, 3, 1))[0])
	mustAdd(t, "the other command again", apply(t, s, at+2*minute, one(a, 3, 2))[0])
	at += 2 * minute
	c = one(a, 3, 2)
	mustAdd(t, "while the first is not too long ago", apply(t, s, at+5*minute, c)[0])
	mustRepeat(t, "when it is", apply(t, s, at+5*minute+1, one(a, 3, 2))[0], c.Messages[0].ID)

	// The store decides a change on outdated rows again before it looks for a repeat, because
	// the caller may have left the thread.
	stale := one(a, 3, 2)
	stale.Revision = 0
	refused := one(a, 3, 2)
	left := errors.New("the caller has left")
	refused.Decide = func(core.Rows) (*core.Change, error) { return nil, left }
	decided := one(a, 3, 2)
	decided.Decide = func(core.Rows) (*core.Change, error) { return one(a, 3, 2), nil }
	os = apply(t, s, at+5*minute+2, stale, refused, decided)
	if os[0].Status != core.Stale || os[1].Status != core.Refused || os[1].Err != left {
		t.Errorf("an outdated repeat: %+v; a refused one: %+v", os[0], os[1])
	}
	mustRepeat(t, "a repeat that is decided on locked rows", os[2], c.Messages[0].ID)
}

// testRepeatsOfEdited repeats a send after the message was edited, and after it was deleted. Each
// time the store must recognize the repeat and write nothing.
func testRepeatsOfEdited(t *testing.T, e Engine) {
	s := e.Open(t)
	defer func() { closeStore(t, s) }()
	a, ann, bob := thread(1), user(1), user(2)
	one := func() *core.Change { return requested(send(a, 1, ann, "", "one"), 1, 1) }
	c := one()
	apply(t, s, start, create(a, "", ann, bob), c)
	m := c.Messages[0]
	edited := keeping(edit(a, 1, m, "edited"))
	deleted := func() *core.Change { return keeping(remove(a, 1, edited.Rewrites[0].Message)) }
	for i, change := range []func() *core.Change{func() *core.Change { return edited }, deleted} {
		at := start + int64(i+1)*minute
		if os := apply(t, s, at, change()); os[0].Status != core.Applied {
			t.Fatalf("change %d: %+v", i, os[0])
		}
		mustRepeat(t, fmt.Sprint("after change ", i), apply(t, s, at+1, one())[0], m.ID)
		s = e.Reopen(t, s)
		mustRepeat(t, fmt.Sprint("after change ", i, " and a restart"), apply(t, s, at+2, one())[0], m.ID)
	}
	if got := message(t, s, a, m.ID); got.Fingerprint != m.Fingerprint || got.DeletedOn == 0 {
		t.Errorf("the deleted message is %+v", got)
	}
	for _, v := range superseded(t, s, 10) {
		if !v.Fingerprint.IsZero() {
			t.Errorf("a superseded version has a fingerprint: %+v", v)
		}
	}

	// A rewrite in place, as in an erasure, may remove the fingerprint.
	apply(t, s, start+3*minute, &core.Change{Key: a, Thread: a, Revision: 1, Rewrites: []core.Rewrite{{Message: core.Message{ID: m.ID}}}, Decide: func(rows core.Rows) (*core.Change, error) {
		ms, err := rows.Messages(a, m.ID)
		if err != nil {
			return nil, err
		}
		now := ms[m.ID]
		r := core.Rewrite{Message: now, ReadVersion: now.Version, OldSequence: now.Sequence, How: core.InPlace}
		r.Fingerprint = core.Fingerprint{}
		return &core.Change{Key: a, Thread: a, Revision: 1, Rewrites: []core.Rewrite{r}}, nil
	}})
	if got := message(t, s, a, m.ID); !got.Fingerprint.IsZero() {
		t.Errorf("the erased message is %+v", got)
	}
	checkRows(t, s)
}

// testRepeatsInBusyThread adds many messages between the first try and the second. Up to 512
// messages, the first one included, the second try must be recognized. After more messages with
// fingerprints, it must be a new message, also after a restart.
func testRepeatsInBusyThread(t *testing.T, e Engine) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			s := e.Open(t)
			defer func() { closeStore(t, s) }()
			a, ann := thread(1), user(1)
			one := func() *core.Change { return requested(send(a, 1, ann, "", "one"), 1, 1) }
			c := one()
			apply(t, s, start, create(a, "", ann), c)
			sent := 0
			others := func(n int) {
				var batch []*core.Change
				for range n {
					sent++
					other := send(a, 1, ann, "", fmt.Sprint("other ", sent))
					other.Messages[0].Fingerprint = core.Fingerprint{0: 200, 1: byte(sent >> 8), 2: byte(sent), 8: 1}
					batch = append(batch, other)
				}
				apply(t, s, start+1, batch...)
				if restart {
					s = e.Reopen(t, s)
				}
			}
			others(core.MaxRecentSends - 1)
			mustRepeat(t, "after 511 others", apply(t, s, start+2, one())[0], c.Messages[0].ID)
			others(1)
			mustAdd(t, "after 512 others", apply(t, s, start+3, one())[0])
		})
	}
}

// testRepeatsOnTwo sends each message on one server and repeats it on another server, afterwards
// and at the same time. Each message must be stored once.
func testRepeatsOnTwo(t *testing.T, e Engine) {
	if e.Second == nil {
		t.Skip("this engine locks its folder: there is never a second writer")
	}
	first := e.Open(t)
	defer closeStore(t, first)
	second := e.Second(t, first)
	defer closeStore(t, second)
	stores := []core.Store{first, second}
	a, ann := thread(1), user(1)
	apply(t, first, start, create(a, "", ann))
	request := func(call int) *core.Change {
		c := send(a, 1, ann, "", fmt.Sprint("call ", call))
		c.Messages[0].Fingerprint = core.Fingerprint{0: byte(call), 1: byte(call >> 8), 8: 1}
		return c
	}
	for call := 1; call <= 40; call++ {
		c := request(call)
		mustAdd(t, fmt.Sprint("call ", call), apply(t, stores[call%2], start, c)[0])
		if call%3 == 0 { // add a message without a fingerprint in between
			apply(t, stores[call/3%2], start, send(a, 1, ann, "", "another"))
		}
		for n := range 2 {
			mustRepeat(t, fmt.Sprint("call ", call, ", try ", n+2), apply(t, stores[(call+n+1)%2], start, request(call))[0], c.Messages[0].ID)
		}
	}
	for call := 100; call < 150; call++ {
		var os [2]core.Outcome
		var changes [2]*core.Change
		var wg sync.WaitGroup
		for n, s := range stores {
			wg.Go(func() {
				changes[n] = request(call)
				rs, err := s.Apply(context.Background(), core.Batch{At: start, Changes: changes[n : n+1]})
				if err != nil {
					t.Errorf("call %d: %v", call, err)
					return
				}
				os[n] = rs[0]
			})
		}
		wg.Wait()
		if os[0].Status == core.Replayed {
			os[0], os[1] = os[1], os[0]
		}
		if t.Failed() || os[0].Status != core.Applied {
			t.Fatalf("call %d on both servers at once: %+v", call, os)
		}
		mustRepeat(t, fmt.Sprint("call ", call, " on both servers at once"), os[1], os[0].Change.Messages[0].ID)
	}
}
