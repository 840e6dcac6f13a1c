package pebble

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

const customID = "app/42"

// putUserRows replaces rows of users as a server does.
func putUserRows(t *testing.T, s *Store, us ...core.User) {
	t.Helper()
	for _, u := range us {
		was, err := s.Users(t.Context(), []string{u.ID})
		if err != nil {
			t.Fatal(err)
		}
		read := core.User{ID: u.ID}
		if len(was) > 0 {
			read = was[0]
		}
		c := &core.Change{Key: u.ID, ReadUsers: []core.User{read}, PutUsers: []core.User{u}}
		os, err := s.Apply(t.Context(), core.Batch{At: 1, Changes: []*core.Change{c}})
		if err != nil || os[0].Status != core.Applied {
			t.Fatalf("put user %+v: %+v, %v", u, os, err)
		}
	}
}

// TestCheckFindsFaultsOfCustomIDs damages the index of custom ids and the users in several ways.
// Check must name each fault.
func TestCheckFindsFaultsOfCustomIDs(t *testing.T) {
	ann := core.User{ID: goldenUser, State: core.UserLive, Generation: 1, CustomID: customID}
	bob := core.User{ID: goldenOther, State: core.UserLive, Generation: 1}
	for name, test := range map[string]struct {
		damage func(w *writer)
		want   []string
	}{
		"no entry": {
			func(w *writer) { customIDs.remove(w, &ann) },
			[]string{"user " + ann.ID + " has a custom id that the index of custom ids does not have for it"},
		},
		"an entry of another user": {
			func(w *writer) { customIDs.put(w, &core.User{ID: bob.ID, CustomID: customID}) },
			[]string{
				"user " + ann.ID + " has a custom id that the index of custom ids does not have for it",
				"the index of custom ids has an entry for user " + bob.ID + ", who does not have that custom id",
			},
		},
		"an entry without a user": {
			func(w *writer) { customIDs.put(w, &core.User{ID: "nobody", CustomID: "other"}) },
			[]string{"the index of custom ids has an entry for user nobody, who does not have that custom id"},
		},
		"two users": {
			func(w *writer) { users.put(w, &core.User{ID: bob.ID, State: core.UserLive, CustomID: customID}) },
			[]string{"user " + bob.ID + " has a custom id that the index of custom ids does not have for it"},
		},
		"a deleted user": {
			func(w *writer) {
				users.put(w, &core.User{ID: ann.ID, State: core.UserDeleted, CustomID: customID})
			},
			[]string{`row "u` + ann.ID + `": the user is deleted, and has a custom id`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, "store", vfs.NewMem())
			defer mustClose(t, s)
			putUserRows(t, s, ann, bob)
			w := writer{batch: s.db.NewBatch()}
			test.damage(&w)
			if err := s.commit(w.batch); err != nil {
				t.Fatal(err)
			}
			var faults []string
			if _, err := check(context.Background(), s.db, func(fault string) error {
				faults = append(faults, fault)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(faults, test.want) {
				t.Errorf("faults\n%s\nwant\n%s", strings.Join(faults, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// TestSalvageOfCustomIDs salvages a store in which the row of a deleted user has come back with
// the custom id that a later user has. The later user must keep it, and the store must pass
// Check. The index of custom ids is derived from the users, so salvage needs no row of it.
func TestSalvageOfCustomIDs(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, vfs.Default)
	ann := core.User{ID: goldenUser, State: core.UserLive, Generation: 1, CustomID: customID}
	gone := core.User{ID: ann.ID, State: core.UserDeleting, Generation: 1, DeletedAt: 1}
	bob := core.User{ID: goldenOther, State: core.UserLive, Generation: 1, CustomID: customID}
	carol := core.User{ID: goldenOther + "0", State: core.UserLive, Generation: 1, CustomID: "other"}
	first, second := ann, bob
	if first.ID > second.ID {
		first.ID, second.ID = second.ID, first.ID
		gone.ID = first.ID
	}
	putUserRows(t, s, first, gone, second, carol)
	w := writer{batch: s.db.NewBatch()}
	users.put(&w, &first)
	deleting.remove(&w, &first)
	customIDs.remove(&w, &carol)
	if err := s.commit(w.batch); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)

	records, report := salvage(t, dir)
	first.CustomID = ""
	var got []core.Record
	for _, r := range records {
		if u, ok := r.(core.User); ok {
			got = append(got, u)
		}
	}
	if want := []core.Record{first, second, carol}; !slices.Equal(got, want) {
		t.Errorf("users %+v, want %+v", got, want)
	}
	if len(report.Repairs) != 1 || !slices.Equal(report.Repairs[0].IDs, []string{first.ID}) {
		t.Errorf("repairs %+v, want the custom id of %s", report.Repairs, first.ID)
	}
	to := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, to)
	if err := to.Import(t.Context(), storetest.Reading(records)); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
