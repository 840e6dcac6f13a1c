package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/sdk/communication"
)

// badThread is a store that fails to write changes of one particular thread.
type badThread struct {
	*pebble.Store
	thread string
}

func (f *badThread) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	for _, c := range b.Changes {
		if f.thread != "" && c.Thread == f.thread {
			return nil, errors.New("a bad block")
		}
	}
	return f.Store.Apply(ctx, b)
}

// TestSweepDueEndsWithAFailure makes a sweep fail although more work is due. It checks that
// sweepDue returns at once instead of sweeping until a sweep succeeds.
func TestSweepDueEndsWithAFailure(t *testing.T) {
	engine, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), CacheSize: 1 << 20, Initial: core.Resource{
		ID: "11111111-2222-4333-8444-555555555555", Epoch: "epoch",
		Keys: [2]core.AccessKeyRow{{Serial: 1, Secret: make([]byte, 64)}, {Serial: 1, Secret: make([]byte, 64)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	store := &badThread{Store: engine}
	grace := time.Duration(0)
	s := &Server{log: slog.New(slog.DiscardHandler), now: time.Now}
	if s.core, err = core.New(t.Context(), store, new(local.Bus), core.Options{Grace: &grace}); err != nil {
		t.Fatal(err)
	}
	defer s.core.Close()
	ann, err := s.core.CreateUser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bob, err := s.core.CreateUser(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := ""    // id of the thread that is erased first, which is the least id
	for range 50 { // make more threads than one sweep erases for a user
		made, _, err := s.core.CreateThread(t.Context(), ann.ID, core.CreateThread{
			Topic: "topic", Participants: []core.NewParticipant{{User: communication.ParseRawID(bob.ID)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if first == "" || made.ID < first {
			first = made.ID
		}
	}
	if err := s.core.DeleteUser(t.Context(), bob.ID); err != nil {
		t.Fatal(err)
	}
	store.thread = first
	s.sweepDue(t.Context())
	if c := s.core.SweepCounts()[core.SweepErasure]; c.Turns != 1 || c.Failed != 1 {
		t.Errorf("counted %+v, want one turn, which failed", c)
	}
	s.sweepDue(t.Context())
	if c := s.core.SweepCounts()[core.SweepErasure]; c.Failed != 1 || c.Waiting != 1 {
		t.Errorf("after sweeps without a new failure: %+v; want the user to wait", c)
	}
}
