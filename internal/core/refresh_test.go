package core_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// sharedStore is a store that implements core.Shared. The test can make its reads fail.
type sharedStore struct {
	core.Store
	away    *atomic.Bool
	queries *atomic.Int32
}

var errAway = errors.New("the store is away")

func (sharedStore) Shared() {}

func (s sharedStore) Users(ctx context.Context, ids []string) ([]core.User, error) {
	if s.away.Load() {
		return nil, errAway
	}
	s.queries.Add(1)
	return s.Store.Users(ctx, ids)
}

// TestUsersOfASharedStore changes a user as another process would. It checks that the service sees
// the change after at most two seconds, reads all active users with one query, and uses cached rows
// for ten seconds while the store fails.
func TestUsersOfASharedStore(t *testing.T) {
	var away atomic.Bool
	var queries atomic.Int32
	h := newHouse(t, nil, func(s core.Store) core.Store { return sharedStore{s, &away, &queries} })
	ctx := context.Background()
	ann := h.user(t)
	look := func() core.User {
		t.Helper()
		u, err := h.User(ctx, ann)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	before := look()
	revoked := before
	revoked.Generation++
	h.behind(t, &core.Change{Key: ann, ReadUsers: []core.User{before}, PutUsers: []core.User{revoked}})
	h.pass(1999 * time.Millisecond)
	if got := look(); got != before {
		t.Errorf("the remembered row is %+v", got)
	}
	h.pass(time.Millisecond)
	if got := look(); got != revoked {
		t.Errorf("two seconds after another process's revoke: %+v", got)
	}

	// One refresh reads all active users, so the requests that follow do not read the store.
	for range 5 {
		h.pass(1500 * time.Millisecond)
		if err := h.RefreshUsers(ctx); err != nil {
			t.Fatal(err)
		}
		n := queries.Load()
		look()
		if queries.Load() != n {
			t.Error("a fresh row was read again for a request")
		}
	}

	away.Store(true)
	h.pass(9 * time.Second)
	if got := look(); got != revoked {
		t.Errorf("nine seconds without the store: %+v", got)
	}
	h.pass(time.Second)
	if _, err := h.User(ctx, ann); !errors.Is(err, errAway) {
		t.Errorf("ten seconds without the store: %v, want the store's error", err)
	}
	away.Store(false)
	look()
}

// TestIssuesLookAtTheStore changes users in the store as another server would, while the service
// has their old rows in its cache. It checks that the service issues no token and creates no thread
// based on an old row.
func TestIssuesLookAtTheStore(t *testing.T) {
	var away atomic.Bool
	var queries atomic.Int32
	h := newHouse(t, nil, func(s core.Store) core.Store { return sharedStore{s, &away, &queries} })
	ctx := context.Background()
	ann := h.user(t)
	row, err := h.User(ctx, ann) // cached from here on
	if err != nil {
		t.Fatal(err)
	}
	revoked := row
	revoked.Generation++
	h.behind(t, &core.Change{Key: ann, ReadUsers: []core.User{row}, PutUsers: []core.User{revoked}})
	if got, err := h.UserForToken(ctx, ann); got != revoked || err != nil {
		t.Errorf("a token after another server's revoke would be of %+v, %v; want %+v", got, err, revoked)
	}
	deleting := revoked
	deleting.State, deleting.DeletedAt = core.UserDeleting, h.now.Load()
	h.behind(t, &core.Change{Key: ann, ReadUsers: []core.User{revoked}, PutUsers: []core.User{deleting}})
	if _, err := h.UserForToken(ctx, ann); code(err) != core.IdentityNotOwned {
		t.Errorf("a token after another server's delete: %v, want %s", err, core.IdentityNotOwned)
	}
	if _, err := h.User(ctx, ann); err != nil {
		t.Fatal(err)
	}

	bob := h.user(t)
	if row, err = h.User(ctx, bob); err != nil { // cached from here on
		t.Fatal(err)
	}
	deleting = row
	deleting.State, deleting.DeletedAt = core.UserDeleting, h.now.Load()
	h.behind(t, &core.Change{Key: bob, ReadUsers: []core.User{row}, PutUsers: []core.User{deleting}})
	if _, _, err := h.CreateThread(ctx, bob, core.CreateThread{Topic: "behind the erasure"}); code(err) != core.Unauthorized {
		t.Errorf("a thread of a user whom another server has deleted: %v, want %s", err, core.Unauthorized)
	}
}
