package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// endpoint returns an endpoint of a user that was last seen at the time seen.
func endpoint(user, id string, seen int64) core.Endpoint {
	return core.Endpoint{User: user, ID: id, At: core.Cursor{Epoch: Initial.Epoch, Position: uint64(seen) % 1000, Check: 4_000_000_000}, Seen: seen}
}

// putEndpoints stores endpoints, and fails the test if one belongs to another owner.
func putEndpoints(t *testing.T, s core.Store, es ...core.Endpoint) {
	t.Helper()
	if taken, err := s.PutEndpoints(context.Background(), es); err != nil || len(taken) > 0 {
		t.Fatalf("put %d endpoints: %v, taken are %v", len(es), err, taken)
	}
}

// endpointIDs returns the ids of a user's endpoints in the order that Store.Endpoints returns.
func endpointIDs(t *testing.T, s core.Store, user string) (ids []string) {
	t.Helper()
	es, err := s.Endpoints(context.Background(), user)
	if err != nil {
		t.Fatalf("read the endpoints of %s: %v", user, err)
	}
	for _, e := range es {
		ids = append(ids, e.ID)
	}
	return ids
}

// testEndpoints stores endpoints of two users, where the id of one is a prefix of the other's.
// It replaces an endpoint, reopens the store, and deletes endpoints by their ids and by the
// time at which they were last seen.
func testEndpoints(t *testing.T, e Engine) {
	s, ctx := e.Open(t), context.Background()
	ann, other := user(1), user(1)+"0"
	if got := endpointIDs(t, s, ann); got != nil {
		t.Errorf("endpoints of an empty store: %q", got)
	}
	putEndpoints(t, s)
	first, second := endpoint(ann, "b", start), endpoint(ann, "a", start+10)
	putEndpoints(t, s, second, endpoint(other, "a", start+20), first, endpoint(ann, "c", start+5))
	moved := endpoint(ann, "b", start+30)
	moved.At = core.Cursor{Epoch: "another", Position: 1 << 50, Check: 7}
	moved.Answered = []uint64{1<<50 + 1, 1<<50 + 300}
	putEndpoints(t, s, endpoint(ann, "b", start+40), moved) // stores two endpoints with the same key; only the later one must be stored
	for range 2 {
		es, err := s.Endpoints(ctx, ann)
		if err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "endpoints", es, []core.Endpoint{moved, second, endpoint(ann, "c", start+5)})
		mustEqual(t, "ids of the other user", endpointIDs(t, s, other), []string{"a"})
		s = e.Reopen(t, s)
	}
	for _, es := range [][]core.Endpoint{nil, {{User: ann, ID: "missing"}}, {{User: ann, ID: "b"}, {User: ann, ID: "missing"}, {User: ann, ID: "b"}}} {
		if err := s.DropEndpoints(ctx, es); err != nil {
			t.Fatalf("drop %v: %v", es, err)
		}
	}
	mustEqual(t, "ids after one was dropped", endpointIDs(t, s, ann), []string{"a", "c"})
	if err := s.ExpireEndpoints(ctx, start+10); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		mustEqual(t, "ids after the old ones have expired", endpointIDs(t, s, ann), []string{"a"})
		mustEqual(t, "ids of the other user", endpointIDs(t, s, other), []string{"a"})
		s = e.Reopen(t, s)
	}
	closeStore(t, s)
}

// testEndpointWriters stores, deletes and expires the same endpoints from several goroutines at
// once, in different orders, while a thread gets messages. No call may fail. Endpoints that
// were seen recently must not expire.
func testEndpointWriters(t *testing.T, e Engine) {
	s, ctx := e.Open(t), context.Background()
	var all []core.Endpoint
	for n := range 40 {
		all = append(all, endpoint(user(n%5), fmt.Sprint("id", n), start))
	}
	var fresh []core.Endpoint // endpoints that must never expire
	for n := range 5 {
		fresh = append(fresh, endpoint(user(n), "fresh", start+day))
	}
	putEndpoints(t, s, fresh...)
	apply(t, s, start, create(thread(1), "", user(1)))
	var done sync.WaitGroup
	run := func(what string, do func() error) {
		done.Go(func() {
			for range 20 {
				if err := do(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	reversed := slices.Clone(all)
	slices.Reverse(reversed)
	run("put", func() error { _, err := s.PutEndpoints(ctx, append(slices.Clone(all), fresh...)); return err })
	run("put in another order", func() error { _, err := s.PutEndpoints(ctx, append(slices.Clone(reversed), fresh...)); return err })
	run("drop", func() error { return s.DropEndpoints(ctx, all[10:30]) })
	run("drop in another order", func() error { return s.DropEndpoints(ctx, reversed[10:30]) })
	run("expire", func() error { return s.ExpireEndpoints(ctx, start+1) })
	for range 20 {
		apply(t, s, start, send(thread(1), 1, user(1), "", "meanwhile"))
	}
	done.Wait()
	if err := s.ExpireEndpoints(ctx, start+1); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		mustEqual(t, "ids of "+user(n), endpointIDs(t, s, user(n)), []string{"fresh"})
	}
	closeStore(t, s)
}

// testSharedEndpoints checks core.SharedEndpoints. A server can ask only the owner of an
// endpoint to give it up, and the owner must see that call once. A server that takes the
// endpoint over must get what the owner stored last, and then the former owner must not be able
// to replace it. The test is skipped if only one server can use a store of the engine.
func testSharedEndpoints(t *testing.T, e Engine) {
	s, ctx := e.Open(t), context.Background()
	defer closeStore(t, s)
	shared, ok := s.(core.SharedEndpoints)
	if !ok {
		t.Skip("only one server uses a store of this engine")
	}
	ann := user(1)
	of := func(id, owner string, seen int64) core.Endpoint {
		e := endpoint(ann, id, seen)
		e.Owner, e.Open, e.Answered = owner, true, []uint64{5000}
		return e
	}
	stored := func() core.Endpoint {
		t.Helper()
		es, err := s.Endpoints(ctx, ann)
		if err != nil || len(es) != 2 {
			t.Fatalf("endpoints %v, %v", es, err)
		}
		return es[0]
	}
	called := func(owner string) (ids []string) {
		t.Helper()
		es, err := shared.CalledEndpoints(ctx, owner)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			ids = append(ids, e.ID)
		}
		return ids
	}
	state := func(open, isCalled bool) {
		t.Helper()
		if o, c, err := shared.EndpointCalled(ctx, ann, "a"); err != nil || o != open || c != isCalled {
			t.Errorf("open %v, called %v, %v; want %v, %v", o, c, err, open, isCalled)
		}
	}
	first := of("a", "one", start+1)
	putEndpoints(t, s, first, of("b", "one", start))
	state(true, false)
	for _, owner := range []string{"two", "one", "one"} { // a call that names another owner has no effect, and repeated calls count once
		if err := shared.CallEndpoint(ctx, ann, "a", owner); err != nil {
			t.Fatal(err)
		}
	}
	mustEqual(t, "called endpoints of another owner", called("two"), []string(nil))
	putEndpoints(t, s, of("a", "one", start+2)) // storing the endpoint must not undo the call
	state(true, true)
	mustEqual(t, "called endpoints", called("one"), []string{"a"})
	mustEqual(t, "called endpoints after they were returned", called("one"), []string(nil))
	state(true, false)
	last := of("a", "one", start+3)
	last.Open = false
	putEndpoints(t, s, last)
	state(false, false)

	if err := shared.CallEndpoint(ctx, ann, "a", "one"); err != nil {
		t.Fatal(err)
	}
	was, found, err := shared.TakeEndpoint(ctx, ann, "a", "two")
	if err != nil || !found {
		t.Fatalf("take: %v, %v", found, err)
	}
	mustEqual(t, "the row before", was, last)
	state(true, false)
	mustEqual(t, "called endpoints of the former owner", called("one"), []string(nil))
	last.Owner, last.Open = "two", true
	mustEqual(t, "the row that was taken", stored(), last)
	late := of("a", "one", start+9)
	taken, err := s.PutEndpoints(ctx, []core.Endpoint{late, of("b", "one", start)})
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "endpoints that were taken", taken, []core.Endpoint{late})
	mustEqual(t, "the row after the former owner stored it", stored(), last)
	if _, found, err := shared.TakeEndpoint(ctx, ann, "missing", "two"); err != nil || found {
		t.Errorf("take a missing endpoint: %v, %v", found, err)
	}
	if open, isCalled, err := shared.EndpointCalled(ctx, ann, "missing"); err != nil || open || isCalled {
		t.Errorf("a missing endpoint: %v, %v, %v", open, isCalled, err)
	}
}
