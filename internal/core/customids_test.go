package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// sameLookup is a store in which the first lookups of a custom id wait for each other, so that
// all of them find that nobody has it.
type sameLookup struct {
	core.Store
	waiting sync.WaitGroup
	first   atomic.Int64 // the number of lookups that must still wait for each other
}

func (s *sameLookup) UserByCustomID(ctx context.Context, customID string) (core.User, error) {
	u, err := s.Store.UserByCustomID(ctx, customID)
	if s.first.Add(-1) >= 0 {
		s.waiting.Done()
		s.waiting.Wait()
	}
	return u, err
}

// TestCustomIDIsCreatedOnce lets many callers ask for the user of one custom id at the same time.
// It checks that all get the same user.
func TestCustomIDIsCreatedOnce(t *testing.T) {
	const callers = 16
	store := &sameLookup{}
	store.waiting.Add(callers)
	store.first.Store(callers)
	h := newHouse(t, nil, func(s core.Store) core.Store {
		store.Store = s
		return store
	})
	ids := make(chan string, callers)
	var calling sync.WaitGroup
	for range callers {
		calling.Go(func() {
			u, err := h.UserByCustomID(context.Background(), "staff/7")
			if err != nil || u.CustomID != "staff/7" || u.State != core.UserLive {
				t.Errorf("the user is %+v, %v", u, err)
			}
			ids <- u.ID
		})
	}
	calling.Wait()
	first := <-ids
	for range callers - 1 {
		if id := <-ids; id != first {
			t.Errorf("two callers got %s and %s", first, id)
		}
	}
	users, err := h.ListUsers(t.Context(), "", 10)
	if err != nil || len(users) != 1 {
		t.Errorf("users %+v, %v, want one", users, err)
	}
	other, err := h.UserByCustomID(t.Context(), "Staff/7")
	if err != nil || other.ID == first {
		t.Errorf("another custom id has %+v, %v", other, err)
	}
}

// TestCustomIDEndsWithItsUser deletes a user with a custom id. It checks that another user can get
// the id at once, and that no row has it when the erasure is complete.
func TestCustomIDEndsWithItsUser(t *testing.T) {
	h := newHouse(t, nil, nil)
	const customID = "a name that nobody may read later"
	u, err := h.UserByCustomID(t.Context(), customID)
	if err != nil {
		t.Fatal(err)
	}
	h.TokenIssued(t.Context(), u.ID)
	if _, err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.RevokeTokens(t.Context(), u.ID); err != nil { // a revocation must keep the custom id and the time of the last token
		t.Fatal(err)
	}
	if row, err := h.StoredUser(t.Context(), u.ID); err != nil || row.CustomID != customID || row.TokenIssuedAt != start.UnixMilli() {
		t.Fatalf("the row is %+v, %v", row, err)
	}
	h.TokenIssued(t.Context(), u.ID) // the service remembers the time, but has not stored it when the user is deleted
	if err := h.DeleteUser(t.Context(), u.ID); err != nil {
		t.Fatal(err)
	}
	left := fmt.Sprintf("%+v", storetest.Records(t, h.store))
	if strings.Contains(left, customID) {
		t.Errorf("after the deletion the rows are %s", left)
	}
	h.pass(core.DefaultGrace + time.Hour)
	h.erase(t, u.ID)
	if row, err := h.StoredUser(t.Context(), u.ID); err != nil || row.State != core.UserDeleted || row.CustomID != "" || row.TokenIssuedAt != 0 {
		t.Errorf("the erased user is %+v, %v", row, err)
	}
	next, err := h.UserByCustomID(t.Context(), customID)
	if err != nil || next.ID == u.ID || next.State != core.UserLive {
		t.Errorf("the next user of the custom id is %+v, %v", next, err)
	}
}

// heldByDeleted is a store in which a deleted user has every custom id. Servers of a version
// without custom ids leave such rows behind.
type heldByDeleted struct{ core.Store }

func (heldByDeleted) UserByCustomID(_ context.Context, customID string) (core.User, error) {
	return core.User{ID: "8:acs:gone", State: core.UserDeleting, CustomID: customID}, nil
}

// TestCustomIDOfDeletedUser asks for a custom id that a deleted user still has. It checks that the
// error names the user, so that an operator can mend the row.
func TestCustomIDOfDeletedUser(t *testing.T) {
	h := newHouse(t, nil, func(s core.Store) core.Store { return heldByDeleted{s} })
	if u, err := h.UserByCustomID(t.Context(), "staff/7"); err == nil || !strings.Contains(err.Error(), "8:acs:gone") {
		t.Errorf("user %+v, %v; want an error that names the deleted user", u, err)
	}
}

// TestCustomIDIsChecked checks that bad custom ids are refused and the longest good one is
// accepted.
func TestCustomIDIsChecked(t *testing.T) {
	h := newHouse(t, nil, nil)
	for _, bad := range []string{"", strings.Repeat("ä", 257), "a\x00b", "\xff"} {
		_, err := h.UserByCustomID(t.Context(), bad)
		var refusal *core.Error
		if !errors.As(err, &refusal) || refusal.Code != core.Validation || refusal.Target != "customId" {
			t.Errorf("custom id %.10q: %v, want a ValidationError of customId", bad, err)
		}
	}
	if _, err := h.UserByCustomID(t.Context(), strings.Repeat("😀", 256)); err != nil {
		t.Error(err)
	}
}

// counting is a store that counts the batches that it applies, and can refuse them.
type counting struct {
	core.Store
	batches atomic.Int64
	full    atomic.Bool
}

func (s *counting) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	s.batches.Add(1)
	if s.full.Load() {
		return nil, core.ErrStorageFull
	}
	return s.Store.Apply(ctx, b)
}

// TestTokenIssuedIsStoredBySweeps calls TokenIssued for many users. It checks that TokenIssued
// writes nothing, that a sweep writes the times of all users in a few batches, and that a full disk
// loses none.
func TestTokenIssuedIsStoredBySweeps(t *testing.T) {
	store := &counting{}
	h := newHouse(t, nil, func(s core.Store) core.Store {
		store.Store = s
		return store
	})
	var ids []string
	for range 250 {
		ids = append(ids, h.user(t))
	}
	never := h.user(t)
	before := store.batches.Load()
	for range 3 {
		h.pass(time.Second)
		for _, id := range ids {
			h.TokenIssued(t.Context(), id)
		}
	}
	h.TokenIssued(t.Context(), "8:acs:nobody")
	if n := store.batches.Load() - before; n != 0 {
		t.Errorf("%d batches were written for tokens", n)
	}
	want := start.Add(3 * time.Second)
	check := func(when string, stored bool) {
		t.Helper()
		for _, id := range append(ids, never) {
			row, err := h.StoredUser(t.Context(), id)
			at := h.LastTokenIssuedAt(row)
			if err != nil || at.IsZero() != (id == never) || id != never && !at.Equal(want) {
				t.Fatalf("%s: the last token of %s is of %v, %v, want %v", when, id, at, err, want)
			}
			if is := row.TokenIssuedAt == want.UnixMilli(); is != (stored && id != never) {
				t.Fatalf("%s: the row is %+v", when, row)
			}
		}
	}
	check("before a sweep", false)
	store.full.Store(true)
	if _, err := h.Sweep(t.Context()); err == nil {
		t.Error("a sweep on a full disk has no error")
	}
	check("after a sweep on a full disk", false)
	store.full.Store(false)
	before = store.batches.Load()
	if _, err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := store.batches.Load() - before; n == 0 || n > 5 {
		t.Errorf("a sweep wrote the times of %d users in %d batches", len(ids), n)
	}
	check("after a sweep", true)
	before = store.batches.Load()
	if _, err := h.Sweep(t.Context()); err != nil || store.batches.Load() != before {
		t.Errorf("a sweep without news wrote %d batches, %v", store.batches.Load()-before, err)
	}
}

// TestTokenIssuedIsStoredByClose checks that Close stores the times of tokens that no sweep has
// stored.
func TestTokenIssuedIsStoredByClose(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	h.TokenIssued(t.Context(), ann)
	h.Close()
	us, err := h.store.Users(t.Context(), []string{ann})
	if err != nil || len(us) != 1 || us[0].TokenIssuedAt != start.UnixMilli() {
		t.Errorf("the row is %+v, %v", us, err)
	}
}

// TestTokenIssuedIsBounded calls TokenIssued for more users than a service remembers. It checks
// that the service stores the remembered times before it accepts more.
func TestTokenIssuedIsBounded(t *testing.T) {
	store := &counting{}
	h := newHouse(t, nil, func(s core.Store) core.Store {
		store.Store = s
		return store
	})
	ann := h.user(t)
	before := store.batches.Load()
	h.TokenIssued(t.Context(), ann)
	for i := range core.MaxIssued {
		h.TokenIssued(t.Context(), fmt.Sprint("8:acs:nobody-", i)) // no row is written for these
	}
	if store.batches.Load() == before {
		t.Error("nothing was stored")
	}
	if n := h.Noted(); n > core.MaxIssued {
		t.Errorf("%d users are noted, want at most %d", n, core.MaxIssued)
	}
	us, err := h.store.Users(t.Context(), []string{ann})
	if err != nil || us[0].TokenIssuedAt == 0 {
		t.Errorf("the row is %+v, %v", us, err)
	}
}
