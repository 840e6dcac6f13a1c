package core_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// formerUser returns a user id of this resource. No user with this id needs to exist.
func formerUser(i int) string {
	return communication.JoinUserID(resourceID, fmt.Sprintf("00000000-0000-0000-0000-%012d", i))
}

// former stores n rows of members who have left the thread, as old versions of Confab did without
// any limit on their size. own is the size of each member's metadata, and left the size of its copy
// of the thread's metadata, in bytes.
func (h *house) former(t *testing.T, thread string, n, own, left int) {
	t.Helper()
	th, err := h.store.Thread(t.Context(), thread)
	if err != nil {
		t.Fatal(err)
	}
	c := &core.Change{Key: thread, Thread: thread, Revision: th.Revision, Roster: th.Participants()}
	for i := range n {
		c.Members = append(c.Members, core.Member{
			User: formerUser(i), Order: uint32(i + 2), Intervals: []core.Interval{{From: 1, To: 1}}, Metadata: metadataOf(own),
			Left: &core.Left{On: h.now.Load(), Sequence: 1, Topic: "topic", Metadata: metadataOf(left)},
		})
	}
	h.behind(t, c)
	h.ForgetThreads()
}

// metadataOf returns metadata of the given size in bytes.
func metadataOf(bytes int) map[string]string {
	if bytes == 0 {
		return nil
	}
	return map[string]string{"k": strings.Repeat("x", bytes-1)}
}

// addWith adds a user to a thread, with metadata of the given size in bytes.
func (h *house) addWith(t *testing.T, caller, thread, user string, metadata int) error {
	t.Helper()
	_, err := h.AddParticipants(t.Context(), caller, thread, []core.NewParticipant{{User: communication.ParseRawID(user), Metadata: metadataOf(metadata)}})
	return err
}

// TestFormerMembersCountInTheRoster uses a thread whose former members alone exceed the limit on
// the bytes of all member rows. It checks that the thread can be read, that its members may leave,
// that no new user may join, and that a former member may come back if its row becomes smaller.
func TestFormerMembersCountInTheRoster(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann, bob)
	if err := h.RemoveParticipant(t.Context(), ann, thread, communication.ParseRawID(bob)); err != nil {
		t.Fatal(err)
	}
	h.former(t, thread, 1500, 4096, 4096)
	wantError(t, "a newcomer", h.addWith(t, ann, thread, h.user(t), 0), core.BadRequest, "The names and metadata of the thread's participants have")
	wantError(t, "bob with metadata", h.addWith(t, ann, thread, bob, 4096), core.BadRequest, "The names and metadata of the thread's participants have")
	h.former(t, thread, 1500, 100, 100)
	if err := h.addWith(t, ann, thread, bob, 4096); err != nil {
		t.Errorf("bob comes back when the rows take less: %v", err)
	}
	h.former(t, thread, 1500, 4096, 4096)
	if err := h.RemoveParticipant(t.Context(), ann, thread, communication.ParseRawID(bob)); err != nil {
		t.Errorf("bob leaves a thread above the limit: %v", err)
	}
	page, err := h.ListParticipants(t.Context(), ann, thread, 0, 10)
	if err != nil || len(page.Participants) != 1 {
		t.Errorf("%d participants, %v; want ann", len(page.Participants), err)
	}
}

// TestFormerMembersMayShrink uses a thread whose member rows exceed the limit, and adds a former
// member again without the member's old metadata. It checks that this succeeds, because it makes
// the rows smaller.
func TestFormerMembersMayShrink(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann)
	if err := h.addWith(t, ann, thread, bob, 4096); err != nil {
		t.Fatal(err)
	}
	if err := h.RemoveParticipant(t.Context(), ann, thread, communication.ParseRawID(bob)); err != nil {
		t.Fatal(err)
	}
	h.former(t, thread, 1500, 4096, 4096)
	if err := h.addWith(t, ann, thread, bob, 100); err != nil {
		t.Errorf("bob comes back with less: %v", err)
	}
}

// TestFormerMembersAreCounted fills a thread with former members up to one below the limit on
// member rows. It checks that one more user may join and the next one is refused.
func TestFormerMembersAreCounted(t *testing.T) {
	h := newHouseWith(t, nil, nil, core.Options{Limits: core.Limits{Participants: 250}})
	ann := h.user(t)
	thread := h.thread(t, ann)
	h.former(t, thread, 19_998, 0, 0)
	if err := h.addWith(t, ann, thread, h.user(t), 0); err != nil {
		t.Fatalf("the last one: %v", err)
	}
	wantError(t, "one more", h.addWith(t, ann, thread, h.user(t), 0), core.BadRequest,
		"20001 users who are or were participants are too many for one thread: at most 20000 are allowed.")
}

// TestMetadataOfThoseWhoLeave uses a thread whose former members keep nearly as much metadata as is
// allowed. It checks how much metadata is kept for the next members who leave, and that other users
// can still join.
func TestMetadataOfThoseWhoLeave(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob, eve := h.user(t), h.user(t), h.user(t)
	thread := h.thread(t, ann)
	large := metadataOf(4096)["k"]
	if err := h.UpdateThread(t.Context(), ann, thread, core.UpdateThread{Metadata: map[string]*string{"k": &large}}); err != nil {
		t.Fatal(err)
	}
	h.former(t, thread, 511, 4096, 4096)
	leave := func(user string) *core.Member {
		t.Helper()
		if err := h.addWith(t, ann, thread, user, 4096); err != nil {
			t.Fatal(err)
		}
		if err := h.RemoveParticipant(t.Context(), ann, thread, communication.ParseRawID(user)); err != nil {
			t.Fatal(err)
		}
		v, err := h.store.View(t.Context(), thread, user)
		if err != nil || v.Member == nil || v.Member.Left == nil {
			t.Fatalf("read the member: %+v, %v", v.Member, err)
		}
		return v.Member
	}
	if m := leave(bob); len(m.Metadata) != 1 || len(m.Left.Metadata) != 1 {
		t.Errorf("bob, who fills the bound, keeps %d and %d keys of metadata; want one of each", len(m.Metadata), len(m.Left.Metadata))
	}
	for range 2 { // eve comes back once
		m := leave(eve)
		if len(m.Metadata)+len(m.Left.Metadata) != 0 || m.Left.Topic != "topic" || m.Left.Sequence == 0 {
			t.Errorf("eve keeps %d and %d keys of metadata, and the topic %q up to message %d; want only the topic",
				len(m.Metadata), len(m.Left.Metadata), m.Left.Topic, m.Left.Sequence)
		}
	}
}
