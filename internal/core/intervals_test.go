package core_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// comeAndGo adds a user to a thread and removes the user again.
func (h *house) comeAndGo(t *testing.T, caller, thread, user string) {
	t.Helper()
	who := communication.ParseRawID(user)
	if _, err := h.AddParticipants(context.Background(), caller, thread, []core.NewParticipant{{User: who, DisplayName: "back"}}); err != nil {
		t.Fatal(err)
	}
	if err := h.RemoveParticipant(context.Background(), caller, thread, who); err != nil {
		t.Fatal(err)
	}
}

// TestMemberWhoComesAndGoes adds and removes a user 1,000 times in a row, then 400 times with a
// message in between. It checks that the member's row stays small, and that its intervals contain
// the events of the user's latest times in the thread and none from when the user was away.
func TestMemberWhoComesAndGoes(t *testing.T) {
	h := newHouse(t, nil, nil)
	ctx := context.Background()
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann)
	member := func() *core.Member {
		v, err := h.store.View(ctx, thread, bob)
		if err != nil || v.Member == nil {
			t.Fatalf("read the member: %+v, %v", v.Member, err)
		}
		return v.Member
	}
	for range 1000 {
		h.comeAndGo(t, ann, thread, bob)
	}
	equal(t, "intervals that no event separates", member().Intervals, []core.Interval{{From: 2, To: 2001}})

	const rounds = 400
	for i := range rounds {
		h.send(t, ann, thread, fmt.Sprint("bob is away ", i))
		h.comeAndGo(t, ann, thread, bob)
	}
	m := member()
	if n := len(m.Intervals); n > 256 {
		t.Fatalf("the member has %d intervals, want at most 256", n)
	}
	// Each of the 400 rounds has three events: a message, which is sent while bob is away, his
	// joining and his leaving.
	away := func(event uint64) bool { return event < 2 || event > 2001 && (event-2002)%3 == 0 }
	heard := 0
	for event := uint64(1); event <= 2001+3*rounds; event++ {
		if m.InThreadAt(event) {
			heard++
			if away(event) {
				t.Fatalf("the user hears event %d, when it was away", event)
			}
		}
	}
	t.Logf("%d intervals; the user hears %d of %d events", len(m.Intervals), heard, 2001+3*rounds)
	for event := uint64(2001 + 3*(rounds-200)); event <= 2001+3*rounds; event++ { // the newest 200 times
		if m.InThreadAt(event) == away(event) {
			t.Fatalf("event %d: in the thread %v, want %v", event, m.InThreadAt(event), !away(event))
		}
	}
	// Bob joined with the whole history, so he can still read all messages.
	if page, err := h.ListMessages(ctx, bob, thread, core.ListMessages{Limit: 200}); err != nil || len(page.Messages) != 200 {
		t.Errorf("bob lists %d messages, %v", len(page.Messages), err)
	}
}

// TestEventsOfJoinedIntervalsNameTheirMembers adds, removes and again adds a user, with no event in
// between, so that the intervals of the member are merged. It checks that these events, when read
// from the log later, still name the user.
func TestEventsOfJoinedIntervalsNameTheirMembers(t *testing.T) {
	bus := new(local.Bus)
	live := bus.Subscribe(100)
	defer live.Close()
	h := newHouse(t, bus, nil)
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann)
	for range 2 {
		h.comeAndGo(t, ann, thread, bob)
	}
	events, err := h.store.ThreadEvents(t.Context(), thread, 1, 100)
	if err != nil {
		t.Fatal(err)
	}
	told, err := h.store.Tell(t.Context(), events)
	if err != nil || len(told) != 5 {
		t.Fatalf("%d happenings, %v; want 5", len(told), err)
	}
	users := func(h *core.Happening) (us []string) {
		for _, m := range h.Members {
			us = append(us, m.User)
		}
		slices.Sort(us)
		return us
	}
	var now []*core.Happening
	for len(now) < 5 {
		now = append(now, <-live.Happenings()...)
	}
	for i := range told {
		want := []string{bob}
		if i == 0 {
			want = []string{ann}
		}
		equal(t, fmt.Sprintf("members of event %d, read later", i+1), users(&told[i]), want)
		equal(t, fmt.Sprintf("members of event %d, when it happened", i+1), users(now[i]), want)
	}
}

// TestManyStoredIntervals stores a member with 500 intervals, as older versions of Confab did. It
// checks that the member can be read, and that only 256 intervals are kept when the member joins
// again.
func TestManyStoredIntervals(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann)
	var old []core.Interval
	for i := range uint64(1000) {
		h.send(t, ann, thread, "one more event")
		if i%2 == 0 {
			old = append(old, core.Interval{From: i + 1, To: i + 1})
		}
	}
	h.member(t, thread, core.Member{User: bob, Order: 2, Intervals: old, Left: &core.Left{On: h.now.Load(), Sequence: 1002, Topic: "topic"}})
	if page, err := h.ListMessages(t.Context(), bob, thread, core.ListMessages{Limit: 10}); err != nil || len(page.Messages) != 10 {
		t.Fatalf("bob lists %d messages, %v", len(page.Messages), err)
	}
	h.comeAndGo(t, ann, thread, bob)
	v, err := h.store.View(t.Context(), thread, bob)
	if err != nil {
		t.Fatal(err)
	}
	got := v.Member.Intervals
	want := append(slices.Clone(old[len(old)-255:]), core.Interval{From: got[len(got)-1].From, To: v.Head.LastEvent})
	equal(t, "intervals", got, want)
}
