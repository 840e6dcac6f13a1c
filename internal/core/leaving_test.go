package core_test

import (
	"errors"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestDeletedUserDeletesItsOwnThreads deletes a user and then, with the user's tokens, several
// threads. It checks that the user may delete a thread that it has created or in which it is alone,
// and may leave any other thread but not delete it.
func TestDeletedUserDeletesItsOwnThreads(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h := houses[0]
		ann, bob := h.user(t), h.user(t)
		own, others, alone := h.thread(t, bob, ann), h.thread(t, ann, bob), h.thread(t, ann, bob)
		left := h.thread(t, bob, ann)
		remove := func(caller, thread, user string) error {
			return h.RemoveParticipant(t.Context(), caller, thread, communication.ParseRawID(user))
		}
		if err := errors.Join(remove(ann, alone, ann), remove(bob, left, bob)); err != nil {
			t.Fatal(err)
		}
		h.send(t, ann, others, "stays")
		for _, h := range houses { // every server reads the user's row into its cache
			if u, err := h.User(t.Context(), bob); err != nil || u.State != core.UserLive {
				t.Fatalf("the user is %+v, %v", u, err)
			}
		}
		if err := h.DeleteUser(t.Context(), bob); err != nil {
			t.Fatal(err)
		}
		for i, h := range houses { // every server must refuse, although its cached row says that the user is live
			err := h.DeleteThread(t.Context(), bob, others)
			wantError(t, "a thread of another", err, core.Unauthorized, "the user was deleted")
			var e *core.Error
			if errors.As(err, &e) && e.Reason == "" {
				t.Errorf("server %d: the refusal has no reason for the log", i)
			}
		}
		wantError(t, "an own thread that it has left", h.DeleteThread(t.Context(), bob, left), core.Forbidden, noPermission)
		if got := h.allMessages(t, ann, others); len(got) == 0 || got[0].Content != "stays" {
			t.Errorf("the thread of another has %d messages after the refusal", len(got))
		}
		for what, thread := range map[string]string{"its own": own, "the one that it is alone in": alone} {
			if err := h.DeleteThread(t.Context(), bob, thread); err != nil {
				t.Errorf("delete %s: %v", what, err)
			}
		}
		if err := remove(bob, others, bob); err != nil {
			t.Errorf("leave the thread of another: %v", err)
		}
		wantError(t, "a thread that it has left", h.DeleteThread(t.Context(), bob, others), core.Forbidden, noPermission)
		if err := h.DeleteThread(t.Context(), ann, others); err != nil {
			t.Errorf("a live user: %v", err)
		}
	})
}

// TestNoGrace checks that, with a grace of zero, a deleted user's tokens end at once and the
// erasure of the user's data begins at once.
func TestNoGrace(t *testing.T) {
	h := newHouseWith(t, nil, nil, core.Options{Grace: new(time.Duration)})
	bob := h.user(t)
	thread := h.thread(t, bob)
	if err := h.DeleteUser(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	u, err := h.StoredUser(t.Context(), bob)
	if err != nil || u.State != core.UserDeleting || h.Leaving(u) {
		t.Errorf("the user is %+v, %v, leaving %v; want no grace", u, err, h.Leaving(u))
	}
	h.erase(t, bob)
	if th, err := h.Inspect(t.Context(), thread); err != nil || th.DeletedOn == 0 {
		t.Errorf("the thread is %+v, %v; want it deleted with its only participant", th, err)
	}
}
