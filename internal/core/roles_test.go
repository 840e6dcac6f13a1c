package core_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestUpdateParticipant updates a participant on one server and reads the participant on all. It
// checks that nil fields stay, and that an empty list, as well as leaving the thread, removes the
// roles.
func TestUpdateParticipant(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h := houses[0]
		ann, bob := h.user(t), h.user(t)
		thread := h.thread(t, ann)
		h.add(t, ann, thread, core.NewParticipant{
			User: communication.ParseRawID(bob), DisplayName: "Bob", ShareHistory: 9000, Metadata: map[string]string{"k": "v"}, RoleIDs: []string{"host", "guide"},
		})
		want := func(when string, want core.Member) {
			t.Helper()
			for i, h := range houses {
				h.pass(time.Minute) // cached threads become too old, so that each server reads the thread from the store
				got := h.allParticipants(t, ann, thread)[1]
				if got.DisplayName != want.DisplayName || got.ShareHistory != want.ShareHistory || !slices.Equal(got.RoleIDs, want.RoleIDs) || got.Metadata["k"] != "v" || len(got.Metadata) != 1 {
					t.Errorf("%s, server %d: the participant is %+v, want %+v", when, i, got, want)
				}
			}
		}
		update := func(caller string, cmd core.UpdateParticipant) error {
			cmd.User = communication.ParseRawID(bob)
			return h.UpdateParticipant(t.Context(), caller, thread, cmd)
		}
		want("added", core.Member{DisplayName: "Bob", ShareHistory: 9000, RoleIDs: []string{"host", "guide"}})
		name, late := "Robert", int64(5000)
		for what, cmd := range map[string]core.UpdateParticipant{"name": {DisplayName: &name}, "nothing": {}, "time": {ShareHistory: &late}} {
			if err := update(ann, cmd); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		want("updated", core.Member{DisplayName: name, ShareHistory: late, RoleIDs: []string{"host", "guide"}})
		early := late - 1
		wantError(t, "its own history", update(bob, core.UpdateParticipant{ShareHistory: &early}), core.Forbidden, noPermission)
		later := late + 1
		wantError(t, "the history of another", update(ann, core.UpdateParticipant{ShareHistory: &later}), core.Forbidden, noPermission)
		want("refused", core.Member{DisplayName: name, ShareHistory: late, RoleIDs: []string{"host", "guide"}})
		if err := update(bob, core.UpdateParticipant{ShareHistory: &later}); err != nil {
			t.Fatal("its own history: ", err)
		}
		if err := update(ann, core.UpdateParticipant{ShareHistory: &late}); err != nil {
			t.Fatal("back: ", err)
		}
		wantError(t, "a role that is too long", update(ann, core.UpdateParticipant{RoleIDs: []string{strings.Repeat("x", 101)}}), core.BadRequest, "The roleIds[0] field has 101 characters")
		wantError(t, "a role with NUL", update(ann, core.UpdateParticipant{RoleIDs: []string{"a\x00b"}}), core.BadRequest, "The roleIds[0] field must not contain")
		if err := update(bob, core.UpdateParticipant{RoleIDs: []string{}}); err != nil {
			t.Fatal(err)
		}
		want("without roles", core.Member{DisplayName: name, ShareHistory: late})
		if err := update(ann, core.UpdateParticipant{RoleIDs: []string{"guest"}}); err != nil {
			t.Fatal(err)
		}
		h.remove(t, ann, thread, bob)
		wantError(t, "a former participant", update(ann, core.UpdateParticipant{DisplayName: &name}), core.NotFound, "The specified participant was not found.")
		if left := h.inspect(t, thread).Member(bob); len(left.RoleIDs) > 0 || left.Metadata["k"] != "v" {
			t.Errorf("the former participant is %+v", left)
		}
	})
}

// TestErasureForgetsRoles checks that the erasure of a user removes the user's roles from a thread.
func TestErasureForgetsRoles(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h := houses[0]
		ann, bob := h.user(t), h.user(t)
		thread := h.thread(t, ann)
		h.add(t, ann, thread, core.NewParticipant{User: communication.ParseRawID(bob), RoleIDs: []string{"host"}})
		if err := h.DeleteUser(t.Context(), bob); err != nil {
			t.Fatal(err)
		}
		h.pass(core.DefaultGrace + time.Hour)
		h.erase(t, bob)
		if got := h.inspect(t, thread).Member(bob); len(got.RoleIDs)+len(got.Metadata) > 0 {
			t.Errorf("the erased participant is %+v", got)
		}
	})
}
