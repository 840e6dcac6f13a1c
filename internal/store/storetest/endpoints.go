package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/core"
)

// endpoint returns an endpoint of a user that was seen at this time.
func endpoint(user, id string, seen int64) core.Endpoint {
	return core.Endpoint{User: user, ID: id, At: core.Cursor{Epoch: Initial.Epoch, Position: uint64(seen) % 1000, Check: 4_000_000_000}, Seen: seen}
}

// putEndpoints stores endpoints.
func putEndpoints(t *testing.T, s core.Store, es ...core.Endpoint) {
	t.Helper()
	if err := s.PutEndpoints(context.Background(), es); err != nil {
		t.Fatalf("put %d endpoints: %v", len(es), err)
	}
}

// endpointIDs returns the ids of a user's endpoints in the order of Store.Endpoints.
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

// testEndpoints stores endpoints of two users, one of whose ids is a prefix of the
// other's, replaces one, reopens the store, and deletes endpoints by their ids and by
// the time at which they were last seen.
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
	putEndpoints(t, s, endpoint(ann, "b", start+40), moved) // the later of two with one key counts
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

// testEndpointWriters stores, deletes and expires the same endpoints from several
// goroutines at once, in different orders, while a thread gets messages. No call may
// fail, and endpoints that are always new must never expire.
func testEndpointWriters(t *testing.T, e Engine) {
	s, ctx := e.Open(t), context.Background()
	var all []core.Endpoint
	for n := range 40 {
		all = append(all, endpoint(user(n%5), fmt.Sprint("id", n), start))
	}
	var fresh []core.Endpoint // are never dropped
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
	run("put", func() error { return s.PutEndpoints(ctx, append(slices.Clone(all), fresh...)) })
	run("put in another order", func() error { return s.PutEndpoints(ctx, append(slices.Clone(reversed), fresh...)) })
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
