package storetest

import (
	"cmp"
	"context"
	"slices"

	"github.com/confab-chat/confab/internal/core"
)

// check replays the acknowledged changes of a thread in the order of their event numbers, and
// computes the thread's rows from them. It fails the test if the store assigned other numbers
// or has other rows. It returns the time at which the thread expires, or 0.
func (h *history) check(s core.Store, id string, th *threadHistory) (expires int64) {
	slices.SortFunc(th.applied, func(a, b *core.Change) int { return cmp.Compare(a.Events[0].Number, b.Events[0].Number) })
	var revision, sequence, number, position uint64
	rows, sent := map[int64]core.Message{}, map[string]bool{}
	var created int64
	var days int32
	take := func(m core.Message) {
		if sequence++; m.Sequence != sequence {
			h.t.Errorf("%s: sequence %d, want %d", id, m.Sequence, sequence)
		}
		rows[m.ID] = m
	}
	for _, c := range th.applied {
		if c.Revision != revision {
			h.t.Errorf("%s: a change decided on revision %d was applied at %d", id, c.Revision, revision)
		}
		if c.Properties != nil || len(c.Members) > 0 {
			revision++
		}
		if revision == 1 && c.Answer != nil {
			created = c.Answer.CreatedOn
		}
		if c.Properties != nil {
			days = c.Properties.RetentionDays
		}
		if place := c.Caller + " " + c.SendToken; c.SendToken != "" {
			if sent[place] {
				h.t.Errorf("%s: %s was sent twice", id, place)
			}
			sent[place] = true
		}
		for _, m := range c.Messages {
			if _, there := rows[m.ID]; there {
				h.t.Errorf("%s: two messages have id %d", id, m.ID)
			}
			take(m)
		}
		for _, r := range c.Rewrites {
			if rows[r.ID].Version != r.ReadVersion {
				h.t.Errorf("%s: message %d was rewritten at version %d, decided on %d", id, r.ID, rows[r.ID].Version, r.ReadVersion)
			}
			take(r.Message)
		}
		for _, ev := range c.Events {
			if number++; ev.Number != number || ev.Position <= position {
				h.t.Errorf("%s: event %d at position %d, want event %d at a position after %d", id, ev.Number, ev.Position, number, position)
			}
			position = ev.Position
		}
	}
	got := load(h.t, s, id)
	if got.Revision != revision || got.LastSequence != sequence || got.LastEvent != number || got.LastPosition != position {
		h.t.Errorf("%s ends as %+v, want revision %d, sequence %d, event %d at %d", id, got.Head, revision, sequence, number, position)
	}
	page := messages(h.t, s, core.MessagesQuery{Thread: id, Limit: len(rows) + 1})
	if len(page.Messages) != len(rows) {
		h.t.Errorf("%s holds %d messages, want %d", id, len(page.Messages), len(rows))
	}
	for _, m := range page.Messages {
		mustEqual(h.t, "message of "+id, m, rows[m.ID])
	}
	if days == 0 {
		return 0
	}
	return created + int64(days)*24*60*60*1000
}

// checkUsers fails the test unless each generation of each user was written exactly once. A
// generation is a number in the user's row.
func (h *history) checkUsers(s core.Store) {
	for id, gs := range h.generations {
		slices.Sort(gs)
		for i, g := range gs {
			if g != uint64(i+1) {
				h.t.Errorf("%s: generations %v were put", id, gs)
				break
			}
		}
		if u := userRow(h.t, s, id); u.Generation != uint64(len(gs)) {
			h.t.Errorf("%s ends as %+v; want generation %d", id, u, len(gs))
		}
	}
}

// follow reads the event log page by page while other goroutines write, until done is closed and no
// events are left. It fails the test if an acknowledged event is missing, repeated or out of order.
func (h *history) follow(s core.Store, done <-chan struct{}) {
	next := map[string]uint64{}
	end, err := s.Tip(context.Background())
	if err != nil {
		h.t.Errorf("read the end of the log: %v", err)
		return
	}
	for at, ended := (core.Cursor{Epoch: end.Epoch}), false; !h.t.Failed(); {
		if _, err := s.Sequence(context.Background()); err != nil {
			h.t.Errorf("give positions: %v", err)
			return
		}
		page, err := s.Log(context.Background(), at, 100)
		if err != nil || page.Gap != 0 {
			h.t.Errorf("read the log after %+v: gap %q, %v", at, page.Gap, err)
			return
		}
		for i, ev := range page.Events {
			if next[ev.Thread]++; ev.Number != next[ev.Thread] || ev.Position != at.Position+uint64(i)+1 {
				h.t.Errorf("the log gives event %d of %s at %d, want %d, after %d", ev.Number, ev.Thread, ev.Position, next[ev.Thread], at.Position)
			}
		}
		at = page.Next
		if len(page.Events) > 0 {
			continue
		}
		if ended {
			break
		}
		select {
		case <-done:
			ended = true
		default:
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, th := range h.threads {
		if next[id] != th.events {
			h.t.Errorf("the log ends with event %d of %s, want %d", next[id], id, th.events)
		}
	}
}
