package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// testDecisions applies changes with a Decide function, which computes the change from the
// locked rows. A Decide function must see the effects of earlier changes of the batch, and may
// ask for rows that its change does not name.
func testDecisions(t *testing.T, e Engine) {
	s := e.Open(t)
	defer closeStore(t, s)
	a, b, ann := thread(1), thread(2), user(1)
	live := core.User{ID: user(2), State: core.UserLive, Generation: 1}
	m := send(a, 1, ann, "", "0")
	apply(t, s, start, create(a, "key", ann), putUser(core.User{ID: live.ID}, live), m)
	id := m.Messages[0].ID

	// count adds a Decide function to the change c. The function appends to the content of a
	// message, which earlier changes of the batch may have written. A change of the topic between
	// two such changes makes only changes without Decide stale.
	count := func(c *core.Change) *core.Change {
		c.Decide = func(rows core.Rows) (*core.Change, error) {
			th, err := rows.Thread(a)
			if err != nil {
				return nil, err
			}
			ms, err := rows.Messages(a, id)
			if err != nil {
				return nil, err
			}
			return edit(a, th.Revision, ms[id], ms[id].Content+"+1"), nil
		}
		return c
	}
	rename := &core.Change{Key: a, Thread: a, Revision: 1, Properties: &core.Properties{Topic: "renamed", CreatedBy: ann, CreatedOn: start}}
	os := apply(t, s, start+10, count(edit(a, 0, m.Messages[0], "")), rename, count(edit(a, 0, m.Messages[0], "")), edit(a, 1, m.Messages[0], "stale"))
	mustEqual(t, "decisions around a rename", statuses(os), []core.Status{core.Applied, core.Applied, core.Applied, core.Stale})
	if got := message(t, s, a, id); got.Content != "0+1+1" || got.Sequence != os[2].Change.Rewrites[0].Sequence {
		t.Errorf("two decisions in a batch made %+v of the message", got)
	}

	// joins returns a change that adds a user. Its Decide function must see members that
	// earlier changes added, and asks for the row of the user, which the change does not name.
	joins := func(who string) *core.Change {
		return &core.Change{Key: a, Thread: a, Decide: func(rows core.Rows) (*core.Change, error) {
			th, err := rows.Thread(a)
			if err != nil {
				return nil, err
			}
			if th.Member(who) != nil {
				return &core.Change{Key: a, Thread: a}, nil
			}
			us, err := rows.Users(who)
			if err != nil {
				return nil, err
			}
			if us[who].State != core.UserLive {
				return nil, errors.New("refused")
			}
			return &core.Change{Key: a, Thread: a, Revision: th.Revision, ReadUsers: []core.User{us[who]}, Roster: th.Participants(),
				Members:  []core.Member{{User: who, Order: uint32(th.Size() + 1), Intervals: []core.Interval{{}}}},
				Messages: []core.Message{{Kind: core.ParticipantAdded}}, Events: []core.Event{{Kind: core.ParticipantsAdded}}}, nil
		}}
	}
	os = apply(t, s, start+20, joins(live.ID), joins(user(3)), joins(ann))
	mustEqual(t, "decisions that ask for a row", statuses(os), []core.Status{core.Unread, core.Unread, core.Unchanged})
	os = apply(t, s, start+30, os[0].Change, os[1].Change, os[0].Change)
	mustEqual(t, "the same again, with the rows named", statuses(os), []core.Status{core.Applied, core.Refused, core.Unchanged})
	if os[1].Err == nil || fmt.Sprint(os[1].Err) != "refused" {
		t.Errorf("the refusal is %v", os[1].Err)
	}
	if th := load(t, s, a); len(th.Participants()) != 2 || th.Revision != 3 {
		t.Errorf("the thread has %d participants at revision %d, want 2 at 3", len(th.Participants()), th.Revision)
	}

	// A repeated creation with the same token must get the first answer, without a call of
	// Decide.
	again := create(a, "key", ann)
	again.Decide = func(core.Rows) (*core.Change, error) { return nil, errors.New("decided") }
	born := create(b, "key", ann)
	born.Decide = func(rows core.Rows) (*core.Change, error) {
		if th, err := rows.Thread(b); th != nil || err != nil {
			return nil, fmt.Errorf("the thread is %v, %v", th, err)
		}
		return create(b, "key", ann), nil
	}
	// A decision in the same batch must see the members of the new thread.
	looks := &core.Change{Key: b, Thread: b, Decide: func(rows core.Rows) (*core.Change, error) {
		th, err := rows.Thread(b)
		if err == nil && (th == nil || th.Member(ann) == nil) {
			err = fmt.Errorf("the new thread is %+v", th)
		}
		return &core.Change{Key: b, Thread: b}, err
	}}
	os = apply(t, s, start+40, again, born, looks)
	mustEqual(t, "creates", statuses(os), []core.Status{core.Replayed, core.Applied, core.Unchanged})
	if load(t, s, b).LastSequence != 2 {
		t.Error("the thread that was made by a decision has no messages")
	}
}

// testDecisionsAreDurable makes a Decide function refuse a change because of a new row of a
// user, while the sync of that row hangs. The refusal must not be returned before the row is
// durable.
func testDecisionsAreDurable(t *testing.T, e Engine) {
	if e.Blockable == nil {
		t.Skip("this engine has no syncs of its own to block")
	}
	s, gate := e.Blockable(t)
	defer closeStore(t, s)
	a := thread(1)
	who := user(1)
	for n := 2; core.LaneOf(who, s.Lanes()) == core.LaneOf(a, s.Lanes()) && s.Lanes() > 1; n++ {
		who = user(n)
	}
	live := core.User{ID: who, State: core.UserLive, Generation: 1}
	deleting := live
	deleting.State = core.UserDeleting
	apply(t, s, start, create(a, "", user(1)), putUser(core.User{ID: who}, live))
	adds := &core.Change{Key: a, Thread: a, ReadUsers: []core.User{live}, Decide: func(rows core.Rows) (*core.Change, error) {
		us, err := rows.Users(who)
		if err == nil && us[who].State != core.UserLive {
			err = errors.New("the user is not live")
		}
		return &core.Change{Key: a, Thread: a}, err
	}}

	held := gate.Shut()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer gate.Open()
	applied := func(c *core.Change) <-chan core.Outcome {
		done := make(chan core.Outcome, 1)
		wg.Go(func() {
			os, err := s.Apply(context.Background(), core.Batch{At: start, Changes: []*core.Change{c}})
			if err != nil {
				t.Errorf("apply: %v", err)
				return
			}
			done <- os[0]
		})
		return done
	}
	deletion := applied(putUser(live, deleting))
	<-held
	refusal := applied(adds)
	for range 200 {
		select {
		case o := <-refusal:
			// In PostgreSQL the Decide function may still read the user's old row, if the
			// deletion has not locked the row yet. Then the change is not refused.
			if o.Status == core.Refused {
				t.Fatal("a decision was answered on a row that is not durable")
			}
			return
		default:
		}
		if got := userRow(t, s, who); got != live {
			t.Fatalf("the user is %+v before its change is durable", got)
		}
	}
	gate.Open()
	if o := <-deletion; o.Status != core.Applied {
		t.Errorf("the deletion has status %d", o.Status)
	}
	if o := <-refusal; o.Status != core.Refused {
		t.Errorf("the decision has status %d after the deletion, want %d", o.Status, core.Refused)
	}
}
