package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
	"github.com/confab-chat/confab/sdk/communication"
)

// leave removes a user from a thread.
func (h *house) leave(t testing.TB, by, thread, user string) {
	t.Helper()
	if err := h.RemoveParticipant(context.Background(), by, thread, communication.ParseRawID(user)); err != nil {
		t.Fatalf("remove a participant: %v", err)
	}
}

// join adds a user to a thread, with the whole history.
func (h *house) join(t testing.TB, by, thread, user string) {
	t.Helper()
	invalid, err := h.AddParticipants(context.Background(), by, thread, []core.NewParticipant{{User: communication.ParseRawID(user)}})
	if err != nil || len(invalid) > 0 {
		t.Fatalf("add a participant: %v, %v", invalid, err)
	}
}

// edit edits a message.
func (h *house) edit(t testing.TB, by, thread string, id int64, content string) {
	t.Helper()
	if err := h.UpdateMessage(context.Background(), by, thread, id, core.UpdateMessage{Content: &content}); err != nil {
		t.Fatalf("edit: %v", err)
	}
}

// superseded returns all superseded versions of messages in the store.
func (h *house) superseded(t testing.TB) []core.ThreadSuperseded {
	t.Helper()
	threads, err := h.store.SupersededThreads(context.Background(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	var all []core.ThreadSuperseded
	for _, thread := range threads {
		vs, err := h.store.Superseded(context.Background(), core.SupersededKey{Thread: thread}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, vs...)
	}
	return all
}

// sweep calls Sweep until no more work is due now.
func (h *house) sweep(t testing.TB) {
	t.Helper()
	for range 1000 {
		next, err := h.Sweep(context.Background())
		if err != nil {
			t.Fatalf("sweep: %v", err)
		}
		if next.IsZero() || next.UnixMilli() > h.now.Load() {
			return
		}
	}
	t.Fatal("the sweep has no end")
}

// TestWhoLeftReadsOn removes Bob from a thread; then Ann edits one message and deletes another. It
// checks that Bob still reads the messages as they were when he left, except for the content of the
// deleted message (docs/contract/chat.md §7.3).
func TestWhoLeftReadsOn(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h, other := houses[0], houses[len(houses)-1]
		ann, bob, eve := h.user(t), h.user(t), h.user(t)
		thread := h.thread(t, ann, bob, eve)
		first, second, third := h.send(t, ann, thread, "one"), h.send(t, ann, thread, "two"), h.send(t, ann, thread, "three")
		h.leave(t, ann, thread, bob)
		was := h.allMessages(t, bob, thread)
		other.edit(t, ann, thread, first, "one, edited")
		if err := h.DeleteMessage(t.Context(), ann, thread, second); err != nil {
			t.Fatal(err)
		}
		got := h.allMessages(t, bob, thread)
		if len(got) != len(was) {
			t.Fatalf("bob lists %d messages, and listed %d when he was removed", len(got), len(was))
		}
		for i, m := range was {
			if m.ID == second {
				m.Content, m.DeletedOn, m.Version = "", h.now.Load(), got[i].Version
			}
			if fmt.Sprintf("%+v", got[i]) != fmt.Sprintf("%+v", m) {
				t.Errorf("message %d is %+v, want %+v", m.ID, got[i], m)
			}
			one, err := other.Message(t.Context(), bob, thread, m.ID)
			if err != nil || fmt.Sprintf("%+v", one) != fmt.Sprintf("%+v", m) {
				t.Errorf("message %d by its id is %+v, %v; want %+v", m.ID, one, err, m)
			}
		}
		// After the erasure of the sender's data, former members can no longer read the sender's
		// messages.
		if err := h.DeleteUser(t.Context(), ann); err != nil {
			t.Fatal(err)
		}
		h.pass(core.DefaultGrace)
		h.erase(t, ann)
		for _, m := range h.allMessages(t, bob, thread) {
			if m.Sender != "" {
				t.Errorf("after the erasure of its sender bob reads %+v", m)
			}
		}
		for _, id := range []int64{first, second, third} {
			var refusal *core.Error
			if m, err := h.Message(t.Context(), bob, thread, id); !errors.As(err, &refusal) || refusal.Code != core.NotFound {
				t.Errorf("message %d after the erasure of its sender: %+v, %v", id, m, err)
			}
		}
		if left := h.superseded(t); len(left) > 0 {
			t.Errorf("superseded rows after the erasure of the sender: %+v", left)
		}
	})
}

// TestSupersededRowsGo makes superseded versions of a message for two former members. Then the
// members join again, users are erased, or the thread ends. The test checks that the next sweep
// deletes exactly the versions that nobody may read any more.
func TestSupersededRowsGo(t *testing.T) {
	type people struct {
		*house
		ann, bob, eve, thread string
		first                 int64
	}
	for _, tc := range []struct {
		what string
		do   func(*testing.T, *people)
		want int // superseded rows that are left
	}{
		{"nothing", func(*testing.T, *people) {}, 2},
		{"the newest reader comes back", func(t *testing.T, p *people) { p.join(t, p.ann, p.thread, p.eve) }, 1},
		{"both come back", func(t *testing.T, p *people) { p.join(t, p.ann, p.thread, p.eve); p.join(t, p.ann, p.thread, p.bob) }, 0},
		{"one comes back and leaves again", func(t *testing.T, p *people) { p.join(t, p.ann, p.thread, p.eve); p.leave(t, p.ann, p.thread, p.eve) }, 1},
		{"the oldest reader is erased", func(t *testing.T, p *people) { p.gone(t, p.bob) }, 1},
		{"both readers are erased", func(t *testing.T, p *people) { p.gone(t, p.bob); p.gone(t, p.eve) }, 0},
		{"the sender is erased", func(t *testing.T, p *people) { p.gone(t, p.ann) }, 0},
		{"the thread is deleted", func(t *testing.T, p *people) {
			if err := p.DeleteThread(t.Context(), p.ann, p.thread); err != nil {
				t.Fatal(err)
			}
		}, 0},
		{"the thread expires", func(t *testing.T, p *people) {
			days := int32(30)
			if err := p.UpdateThread(t.Context(), p.ann, p.thread, core.UpdateThread{RetentionDays: &days}); err != nil {
				t.Fatal(err)
			}
			p.pass(31 * 24 * time.Hour)
		}, 0},
		{"an edit that nobody sees", func(t *testing.T, p *people) { p.edit(t, p.ann, p.thread, p.first, "for ann") }, 2},
	} {
		t.Run(tc.what, func(t *testing.T) {
			onEngines(t, func(t *testing.T, houses []*house) {
				p := &people{house: houses[0]}
				p.ann, p.bob, p.eve = p.user(t), p.user(t), p.user(t)
				p.thread = p.house.thread(t, p.ann, p.bob, p.eve)
				p.first = p.send(t, p.ann, p.thread, "one")
				p.leave(t, p.ann, p.thread, p.bob)
				p.edit(t, p.ann, p.thread, p.first, "for eve")
				p.leave(t, p.ann, p.thread, p.eve)
				p.edit(t, p.ann, p.thread, p.first, "for nobody")
				if n := len(p.superseded(t)); n != 2 {
					t.Fatalf("%d superseded rows, want 2", n)
				}
				tc.do(t, p)
				p.sweep(t)
				if left := p.superseded(t); len(left) != tc.want {
					t.Errorf("%d superseded rows are left, want %d: %+v", len(left), tc.want, left)
				}
				if c, ok := p.store.(core.Checker); ok {
					if _, err := c.Check(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestNobodyWhoLeftCostsNothing commits sends, edits and deletions in a thread that nobody has
// left, and in a thread whose only former member left before the messages were sent. It checks that
// the batches neither read nor write superseded versions. Only a deletion reads the versions of its
// message.
func TestNobodyWhoLeftCostsNothing(t *testing.T) {
	var batches []core.Batch
	h := newHouse(t, nil, func(s core.Store) core.Store { return &watched{s, func(b core.Batch) { batches = append(batches, b) }} })
	ann, bob := h.user(t), h.user(t)
	for _, leaves := range []bool{false, true} {
		thread := h.thread(t, ann, bob)
		if leaves {
			h.leave(t, ann, thread, bob)
			h.pass(time.Millisecond)
		}
		batches = nil
		id := h.send(t, ann, thread, "one")
		h.edit(t, ann, thread, id, "one, edited")
		if err := h.DeleteMessage(t.Context(), ann, thread, id); err != nil {
			t.Fatal(err)
		}
		if len(batches) != 3 {
			t.Fatalf("%d batches, want 3", len(batches))
		}
		for i, b := range batches {
			if reads := core.NewBatchState(b).Reads.Superseded; len(reads) != 0 && b.Changes[0].Rewrites[0].How != core.Delete {
				t.Errorf("somebody has left: %t; change %d reads superseded rows: %v", leaves, i+1, reads)
			}
		}
	}
	if left := h.superseded(t); len(left) != 0 {
		t.Errorf("superseded rows without a reader: %+v", left)
	}
}

// TestADeletionLeavesNoText deletes an edited message whose old text no former member may read any
// more. It checks that the store has no row with the old text, even before a sweep.
func TestADeletionLeavesNoText(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h, other := houses[0], houses[len(houses)-1]
		ann, bob := h.user(t), h.user(t)
		thread := h.thread(t, ann, bob)
		id := h.send(t, ann, thread, "a secret")
		h.leave(t, ann, thread, bob)
		h.edit(t, ann, thread, id, "nothing")
		h.join(t, ann, thread, bob)
		if n := len(h.superseded(t)); n != 1 {
			t.Fatalf("%d superseded rows, want 1", n)
		}
		if err := other.DeleteMessage(t.Context(), ann, thread, id); err != nil {
			t.Fatal(err)
		}
		for _, v := range h.superseded(t) {
			if v.Content != "" || v.DeletedOn == 0 {
				t.Errorf("after the deletion the store has %+v", v)
			}
		}
	})
}

// watched is a store that passes each batch to the function see before it applies the batch.
type watched struct {
	core.Store
	see func(core.Batch)
}

func (w *watched) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	w.see(b)
	return w.Store.Apply(ctx, b)
}

// gone deletes a user and waits until its data is erased.
func (h *house) gone(t *testing.T, user string) {
	t.Helper()
	if err := h.DeleteUser(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	h.pass(core.DefaultGrace)
	h.erase(t, user)
}

// TestSupersededRowsGoAfterACrash adds a former member to a thread again, so that a superseded
// version has no reader, and starts a second service before a sweep has deleted the version. It
// checks that a sweep of the second service finds and deletes the version.
func TestSupersededRowsGoAfterACrash(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann, bob)
	first := h.send(t, ann, thread, "one")
	h.leave(t, ann, thread, bob)
	h.edit(t, ann, thread, first, "one, edited")
	h.join(t, ann, thread, bob)
	if n := len(h.superseded(t)); n != 1 {
		t.Fatalf("%d superseded rows before the sweep, want 1", n)
	}
	next := &house{store: h.store}
	next.now.Store(h.now.Load())
	var err error
	if next.Service, err = core.New(t.Context(), h.store, nobody{}, core.Options{Now: func() time.Time { return time.UnixMilli(next.now.Load()) }}); err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	next.sweep(t)
	if left := next.superseded(t); len(left) != 0 {
		t.Errorf("superseded rows that nobody may read: %+v", left)
	}
}

// nobody is a bus without subscribers.
type nobody struct{ core.Bus }

func (nobody) Publish([]*core.Happening) {}
func (nobody) Listening() bool           { return false }

// TestManySupersededRowsGo makes more superseded versions than a sweep reads at a time. Then their
// only reader joins again, or their sender is erased. It checks that sweeps delete all of them.
func TestManySupersededRowsGo(t *testing.T) {
	for _, what := range []string{"the reader comes back", "the sender is erased"} {
		t.Run(what, func(t *testing.T) {
			h := newHouse(t, nil, nil)
			ann, bob, eve := h.user(t), h.user(t), h.user(t)
			thread := h.thread(t, ann, bob, eve)
			for i := range 250 {
				h.send(t, eve, thread, fmt.Sprint("message ", i))
			}
			h.leave(t, ann, thread, bob)
			for _, m := range h.allMessages(t, eve, thread) {
				if m.Sender == eve {
					h.edit(t, eve, thread, m.ID, "edited")
				}
			}
			if n := len(h.superseded(t)); n != 250 {
				t.Fatalf("%d superseded rows, want 250", n)
			}
			if what == "the sender is erased" {
				h.gone(t, eve)
			} else {
				h.join(t, ann, thread, bob)
			}
			h.sweep(t)
			if left := len(h.superseded(t)); left != 0 {
				t.Errorf("%d superseded rows are left", left)
			}
		})
	}
}

// slowPages is a store in which each page of superseded versions takes a second of the clock.
type slowPages struct {
	core.Store
	now   *atomic.Int64
	pages int
}

func (s *slowPages) Superseded(ctx context.Context, after core.SupersededKey, limit int) ([]core.ThreadSuperseded, error) {
	if s.now != nil {
		s.pages++
		s.now.Add(time.Second.Milliseconds())
	}
	return s.Store.Superseded(ctx, after, limit)
}

// TestManySupersededRowsTakeTurns adds a former member again to a thread with more superseded rows
// than a page has. Another former member still reads all of them, so none may be deleted. The test
// checks that a turn ends after a page and that the next turn continues with the next page.
func TestManySupersededRowsTakeTurns(t *testing.T) {
	slow := new(slowPages)
	h := newHouse(t, nil, func(s core.Store) core.Store { slow.Store = s; return slow })
	ann, bob, eve := h.user(t), h.user(t), h.user(t)
	thread := h.thread(t, ann, bob, eve)
	for i := range 250 {
		h.send(t, ann, thread, fmt.Sprint("message ", i))
	}
	h.leave(t, ann, thread, bob)
	h.leave(t, ann, thread, eve)
	for _, m := range h.allMessages(t, ann, thread) {
		if m.Sender == ann && m.Kind == core.Text {
			h.edit(t, ann, thread, m.ID, "edited")
		}
	}
	h.sweep(t) // the first walk
	h.join(t, ann, thread, bob)
	slow.now = &h.now
	for turn := 1; turn <= 4; turn++ {
		next, err := h.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := min(turn, 3); slow.pages != want {
			t.Fatalf("%d pages after turn %d, want %d", slow.pages, turn, want)
		}
		if more := !next.IsZero() && next.UnixMilli() <= h.now.Load(); more != (turn <= 3) {
			t.Fatalf("turn %d: more work is due: %t (%v)", turn, more, next)
		}
	}
	if n := len(h.superseded(t)); n != 250 {
		t.Errorf("%d superseded rows, want 250", n)
	}
}

// readers is a model of a thread, which predicts the messages that each member reads. It has all
// states of each message, and for each member the time of leaving.
type readers struct {
	messages []*readersMessage
	left     map[string]int  // by user: the value of step when the user left; 0: the user is in the thread
	erased   map[string]bool // users who were erased
	step     int             // number of changes
	places   int             // the number of the last used place in the list of messages
}

type readersMessage struct {
	id     int64
	sender string
	states []readersState
}

type readersState struct {
	step    int
	place   int // in the list of messages
	content string
	deleted bool
}

// become adds a new state to a message of the model, and puts the message at the end of the list of
// messages.
func (r *readers) become(m *readersMessage, content string, deleted bool) {
	r.places++
	m.states = append(m.states, readersState{r.step, r.places, content, deleted})
}

func (m *readersMessage) at(step int) (s readersState, ok bool) {
	for _, state := range m.states {
		if state.step <= step {
			s, ok = state, true
		}
	}
	return s, ok
}

// read returns the messages that a user may read according to the model, in the order of the list
// of messages.
func (r *readers) read(user string) []string {
	type place struct {
		place int
		text  string
	}
	var all []place
	for _, m := range r.messages {
		now, _ := m.at(r.step)
		s := now
		if left := r.left[user]; left != 0 {
			var ok bool
			if s, ok = m.at(left); !ok || now.step > left && r.erased[m.sender] {
				continue
			}
			s.deleted = now.deleted
		}
		text := fmt.Sprint(m.id, " ", s.content)
		if s.deleted {
			text = fmt.Sprint(m.id, " (deleted)")
		}
		all = append(all, place{s.place, text})
	}
	slices.SortFunc(all, func(a, b place) int { return a.place - b.place })
	var texts []string
	for _, p := range all {
		texts = append(texts, p.text)
	}
	return texts
}

// TestReadsOfMembersWhoLeft lets random users write, edit, delete, leave, join again and be erased,
// and checks that each user reads the messages that a simple model predicts. In some runs it also
// imports the rows into another store and compares the messages there.
func TestReadsOfMembersWhoLeft(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		rapid.Check(t, func(rt *rapid.T) {
			h := houses[0]
			pick := func() *house { return houses[rapid.IntRange(0, len(houses)-1).Draw(rt, "server")] }
			users := []string{h.user(t), h.user(t), h.user(t), h.user(t)}
			thread := h.thread(t, users[0], users[1:]...)
			m := &readers{left: map[string]int{}, erased: map[string]bool{}}
			for range rapid.IntRange(5, 40).Draw(rt, "changes") {
				var now int64
				for _, other := range houses {
					now = max(now, other.now.Load())
				}
				now += int64(rapid.IntRange(0, 1500).Draw(rt, "ms"))
				for _, other := range houses {
					other.now.Store(now)
				}
				m.act(rt, t, pick(), thread, users)
				if rapid.IntRange(0, 5).Draw(rt, "sweep") == 0 {
					pick().sweep(t)
				}
				if rapid.IntRange(0, 3).Draw(rt, "compare") == 0 {
					m.compare(rt, pick(), thread, users)
				}
			}
			m.compare(rt, pick(), thread, users)
			for _, other := range houses {
				other.sweep(t)
			}
			for _, v := range h.superseded(t) {
				if v.Thread == thread && !m.wanted(&v) {
					rt.Fatalf("superseded row %+v has no reader", v)
				}
			}
			m.compare(rt, pick(), thread, users)
			if rapid.IntRange(0, 9).Draw(rt, "import") == 0 {
				m.compare(rt, imported(t, h), thread, users)
			}
		})
	})
}

// wanted reports whether a former member who was not erased may still read the superseded version v
// according to the model.
func (r *readers) wanted(v *core.ThreadSuperseded) bool {
	i := slices.IndexFunc(r.messages, func(m *readersMessage) bool { return m.id == v.ID })
	now, _ := r.messages[i].at(r.step)
	for user, left := range r.left {
		if then, ok := r.messages[i].at(left); ok && left != 0 && !r.erased[user] && then.step < now.step {
			return true
		}
	}
	return false
}

// imported returns a service on a new store in memory that has imported the rows of another
// service's store.
func imported(t *testing.T, from *house) *house {
	t.Helper()
	h := newHouse(t, nil, nil)
	if err := h.store.(core.Importer).Import(t.Context(), storetest.Reading(storetest.Records(t, from.store))); err != nil {
		t.Fatal(err)
	}
	return h
}

// act carries out one random operation of a random user, both with the service and in the
// model.
func (r *readers) act(rt *rapid.T, t *testing.T, h *house, thread string, users []string) {
	ctx := context.Background()
	var present, away []string
	for _, u := range users {
		switch {
		case r.erased[u]:
		case r.left[u] == 0:
			present = append(present, u)
		default:
			away = append(away, u)
		}
	}
	who := rapid.SampledFrom(present).Draw(rt, "who")
	var own []*readersMessage
	for _, m := range r.messages {
		if now, _ := m.at(r.step); m.sender == who && !now.deleted {
			own = append(own, m)
		}
	}
	r.step++
	n := rapid.IntRange(0, 19).Draw(rt, "what")
	switch {
	case n < 6 || n < 14 && len(own) == 0:
		content := fmt.Sprint("text ", r.step)
		m := &readersMessage{id: h.send(t, who, thread, content), sender: who}
		r.become(m, content, false)
		r.messages = append(r.messages, m)
	case n < 11:
		m, content := rapid.SampledFrom(own).Draw(rt, "message"), fmt.Sprint("text ", r.step)
		h.edit(t, who, thread, m.id, content)
		r.become(m, content, false)
	case n < 14:
		m := rapid.SampledFrom(own).Draw(rt, "message")
		if err := h.DeleteMessage(ctx, who, thread, m.id); err != nil {
			rt.Fatalf("delete: %v", err)
		}
		r.become(m, "", true)
	case n < 17 && len(present) > 1:
		other := rapid.SampledFrom(present).Draw(rt, "who leaves")
		h.leave(t, who, thread, other)
		r.left[other] = r.step
	case n < 19 && len(away) > 0:
		other := rapid.SampledFrom(away).Draw(rt, "who comes back")
		h.join(t, who, thread, other)
		r.left[other] = 0
	case n == 19 && len(present)+len(away) > 2 && len(present) > 1:
		other := rapid.SampledFrom(slices.Concat(present, away)).Draw(rt, "who is erased")
		h.gone(t, other)
		r.erased[other] = true
		var live []*readersMessage
		for _, m := range r.messages {
			if now, _ := m.at(r.step); m.sender == other && !now.deleted {
				live = append(live, m)
			}
		}
		// The erasure changes messages from the end of the list of messages to the beginning; the
		// model must do the same.
		slices.SortFunc(live, func(a, b *readersMessage) int {
			return b.states[len(b.states)-1].place - a.states[len(a.states)-1].place
		})
		for _, m := range live {
			r.become(m, "", true)
		}
		if r.left[other] == 0 {
			r.left[other] = r.step
		}
	}
}

// compare reads the thread as each user who was not erased, and checks that the user gets the
// messages that the model predicts.
func (r *readers) compare(rt *rapid.T, h *house, thread string, users []string) {
	limit := rapid.IntRange(1, 5).Draw(rt, "page")
	for i, user := range users {
		if r.erased[user] {
			continue
		}
		var got []string
		for list := (core.ListMessages{Limit: limit}); ; {
			page, err := h.ListMessages(context.Background(), user, thread, list)
			if err != nil {
				rt.Fatalf("list as user %d: %v", i, err)
			}
			for _, m := range page.Messages {
				if m.Sender == "" {
					continue
				}
				one, err := h.Message(context.Background(), user, thread, m.ID)
				if err != nil || one.Version != m.Version || one.Content != m.Content || one.Sequence != m.Sequence {
					rt.Fatalf("user %d lists %+v, and gets %+v, %v", i, m, one, err)
				}
				text := fmt.Sprint(m.ID, " ", m.Content)
				if m.DeletedOn != 0 {
					text = fmt.Sprint(m.ID, " (deleted)")
				}
				got = append(got, text)
			}
			if list.Before = page.Next; list.Before == 0 {
				break
			}
		}
		slices.Reverse(got)
		if want := r.read(user); !slices.Equal(got, want) {
			rt.Fatalf("user %d, who left after change %d of %d, reads\n%q, want\n%q", i, r.left[user], r.step, got, want)
		}
	}
}
