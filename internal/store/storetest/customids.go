package storetest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// named returns a live user with a custom id.
func named(id, customID string) core.User {
	return core.User{ID: id, State: core.UserLive, Generation: 1, CustomID: customID}
}

// without returns the row of a user after its deletion, which has no custom id.
func without(u core.User) core.User {
	u.State, u.DeletedAt, u.CustomID, u.TokenIssuedAt = core.UserDeleting, start, "", 0
	return u
}

// holds checks which user has a custom id. want is empty if nobody has it.
func holds(t *testing.T, s core.Store, customID, want string) {
	t.Helper()
	u, err := s.UserByCustomID(context.Background(), customID)
	if err != nil {
		t.Fatal(err)
	}
	if u.ID != want || want != "" && u != userRow(t, s, want) {
		t.Errorf("the user with custom id %.20q is %+v, want %q", customID, u, want)
	}
}

// testCustomIDs sets and removes custom ids of users, in separate batches and in one batch.
// The store must refuse a custom id that another user has.
func testCustomIDs(t *testing.T, e Engine) {
	s := e.Open(t)
	defer func() { closeStore(t, s) }()
	const app = "app/42"
	ann, bob, carol := named(user(1), app), named(user(2), app), named(user(3), app)
	holds(t, s, app, "")
	holds(t, s, "", "")
	apply(t, s, start, putUser(core.User{ID: user(9)}, named(user(9), ""))) // a user without a custom id
	holds(t, s, "", "")

	os := apply(t, s, start, putUser(core.User{ID: ann.ID}, ann))
	mustEqual(t, "a new custom id", statuses(os), []core.Status{core.Applied})
	holds(t, s, app, ann.ID)
	os = apply(t, s, start, putUser(core.User{ID: bob.ID}, bob))
	if os[0].Status != core.Refused || os[0].Err != core.ErrCustomIDTaken {
		t.Errorf("a custom id that is taken: %+v, want it refused", os[0])
	}
	if u := userRow(t, s, bob.ID); u.State != core.UserUnknown {
		t.Errorf("a refused change has made %+v", u)
	}
	revoked := ann
	revoked.Generation, revoked.TokenIssuedAt = 2, start
	os = apply(t, s, start, putUser(ann, revoked))
	mustEqual(t, "another change of its user", statuses(os), []core.Status{core.Applied})
	holds(t, s, app, ann.ID)

	// In one batch, delete the user with the custom id, give the id to Bob, and try to give it to
	// Carol too. The last change must be refused.
	change := func(from, to core.User) *core.Change {
		c := putUser(from, to)
		c.Key = "one lane"
		return c
	}
	gone := without(revoked)
	os = apply(t, s, start, change(revoked, gone), change(core.User{ID: bob.ID}, bob), change(core.User{ID: carol.ID}, carol))
	mustEqual(t, "deleted, created and refused", statuses(os), []core.Status{core.Applied, core.Applied, core.Refused})
	holds(t, s, app, bob.ID)
	// In one batch, give Bob another custom id, give Carol the id that he had, remove Bob's new id,
	// and give that one to a fourth user.
	moved := bob
	moved.CustomID = "other"
	other := named(user(4), "other")
	os = apply(t, s, start, change(bob, moved), change(core.User{ID: carol.ID}, carol), change(moved, without(moved)), change(core.User{ID: other.ID}, other))
	mustEqual(t, "moved", statuses(os), []core.Status{core.Applied, core.Applied, core.Applied, core.Applied})
	for range 2 {
		holds(t, s, app, carol.ID)
		holds(t, s, "other", other.ID)
		holds(t, s, "App/42", "")
		holds(t, s, "app/4", "")
		s = e.Reopen(t, s)
	}

	// Set custom ids of all forms. The longest one has 256 characters of four bytes each.
	for i, id := range []string{"a", " a ", "\u00e4\u4e2d", "8:acs:x", "'; DROP TABLE users", "a\nb", strings.Repeat("\U0001F600", 256)} {
		u := named(user(20+i), id)
		apply(t, s, start, putUser(core.User{ID: u.ID}, u))
		holds(t, s, id, u.ID)
	}
	checkRows(t, s)
}

// testCustomIDTransfer exports a store with custom ids and imports it. An import in which two
// users have the same custom id must fail and leave the store empty.
func testCustomIDTransfer(t *testing.T, e Engine) {
	from, to := e.Open(t), e.Open(t)
	defer closeStore(t, from)
	defer closeStore(t, to)
	if _, ok := from.(core.Importer); !ok {
		t.Skip("this engine does not import yet")
	}
	ann, bob := named(user(1), "ann"), named(user(2), "bob")
	ann.TokenIssuedAt = start
	gone := without(named(user(3), "gone"))
	apply(t, from, start, putUser(core.User{ID: ann.ID}, ann), putUser(core.User{ID: bob.ID}, bob), putUser(core.User{ID: gone.ID}, gone))
	records := Records(t, from)
	var twice []core.Record
	for _, r := range records {
		if u, ok := r.(core.User); ok && u.ID == bob.ID {
			u.CustomID = ann.CustomID
			r = u
		}
		twice = append(twice, r)
	}
	if err := to.(core.Importer).Import(context.Background(), Reading(twice)); err == nil {
		t.Error("an import of two users with one custom id was accepted")
	}
	holds(t, to, "ann", "")
	if err := to.(core.Importer).Import(context.Background(), Reading(records)); err != nil {
		t.Fatal(err)
	}
	mustEqualRecords(t, Records(t, to), records)
	holds(t, to, "ann", ann.ID)
	holds(t, to, "bob", bob.ID)
	checkRows(t, to)
	carol := named(user(4), "bob")
	os := apply(t, to, start, putUser(core.User{ID: carol.ID}, carol))
	mustEqual(t, "a custom id that came with the import", statuses(os), []core.Status{core.Refused})
}

// testCustomIDWriters lets several writers create users with the same custom ids at the same
// time, on one store or on two. Each custom id must have one user, and each writer must find it.
func testCustomIDWriters(t *testing.T, e Engine) {
	first := e.Open(t)
	defer closeStore(t, first)
	stores := []core.Store{first}
	if e.Second != nil {
		second := e.Second(t, first)
		defer closeStore(t, second)
		stores = append(stores, second)
	}
	type writer struct {
		core.Store
		lane int // each lane of a store may have one writer
	}
	var writers []writer
	for _, s := range stores {
		for lane := range min(s.Lanes(), 2) {
			writers = append(writers, writer{s, lane})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const ids = 20
	var mu sync.Mutex // guards made
	made := map[string][]string{}
	var running sync.WaitGroup
	for w, s := range writers {
		running.Go(func() {
			key := "key"
			for n := 0; core.LaneOf(key, s.Lanes()) != s.lane; n++ {
				key = fmt.Sprint("key", n)
			}
			for i := range ids {
				u := named(user(1000*(w+1)+i), fmt.Sprint("custom ", i))
				c := putUser(core.User{ID: u.ID}, u)
				c.Key = key
				os, err := s.Apply(context.Background(), core.Batch{At: start, Changes: []*core.Change{c}})
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				switch os[0].Status {
				case core.Applied:
					mu.Lock()
					made[u.CustomID] = append(made[u.CustomID], u.ID)
					mu.Unlock()
				case core.Refused:
				default:
					t.Errorf("writer %d: status %d", w, os[0].Status)
				}
				// If a row was the reason to refuse a change, the row is durable. Reads may see it
				// only a moment later, when the call that wrote it returns.
				for {
					found, err := s.UserByCustomID(ctx, u.CustomID)
					if err != nil {
						t.Errorf("writer %d does not find %q: %v", w, u.CustomID, err)
						return
					}
					if found.CustomID == u.CustomID {
						break
					}
					if ctx.Err() != nil || os[0].Status == core.Applied {
						t.Errorf("writer %d does not find %q", w, u.CustomID)
						return
					}
					runtime.Gosched()
				}
			}
		})
	}
	running.Wait()
	for i := range ids {
		id := fmt.Sprint("custom ", i)
		if len(made[id]) != 1 {
			t.Errorf("%q was given to %q, want one user", id, made[id])
			continue
		}
		holds(t, stores[len(stores)-1], id, made[id][0])
	}
	checkRows(t, first)
}
