package core_test

import (
	"slices"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
)

// endpoint stores an endpoint of a user that was last seen now.
func (h *house) endpoint(t *testing.T, user, id string) {
	t.Helper()
	if _, err := h.store.PutEndpoints(t.Context(), []core.Endpoint{{User: user, ID: id, Seen: h.now.Load()}}); err != nil {
		t.Fatal(err)
	}
}

// endpoints checks that the store has exactly the endpoints want for a user.
func (h *house) endpoints(t *testing.T, when, user string, want ...string) {
	t.Helper()
	es, err := h.store.Endpoints(t.Context(), user)
	var got []string
	for _, e := range es {
		got = append(got, e.ID)
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: the store has the endpoints %q, %v; want %q", when, got, err, want)
	}
}

// TestOldEndpoints checks that a sweep deletes endpoints that were not seen for 24 hours, and
// that only one sweep an hour does this.
func TestOldEndpoints(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	sweep := func() {
		t.Helper()
		if _, err := h.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	h.endpoint(t, ann, "old")
	h.pass(time.Minute)
	h.endpoint(t, ann, "newer")
	h.pass(core.EndpointsKept - time.Minute)
	sweep()
	h.endpoints(t, "after 24 hours", ann, "newer", "old")
	h.pass(2 * time.Minute)
	sweep()
	h.endpoints(t, "two minutes after a sweep", ann, "newer", "old")
	h.endpoint(t, ann, "newer")
	h.pass(time.Hour)
	sweep()
	h.endpoints(t, "an hour later", ann, "newer")
}

// TestEndpointsOfErasedUser checks that the erasure of a user deletes that user's endpoints and
// leaves the endpoints of other users.
func TestEndpointsOfErasedUser(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	for _, u := range []string{ann, bob} {
		h.endpoint(t, u, "tab")
	}
	if err := h.DeleteUser(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	h.pass(core.DefaultGrace)
	if _, err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.endpoints(t, "after the erasure", bob)
	h.endpoints(t, "after the erasure", ann, "tab")
}
