package core_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
)

// TestTwoServersDeleteAThreadTwice deletes a thread a second time, on each server and after the
// thread's rows were purged. It checks that this succeeds and does nothing for a user who is or was
// in the thread, and fails with 404 for any other user (docs/contract/chat.md §3.5).
func TestTwoServersDeleteAThreadTwice(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h := houses[0]
		ann, bob, carol, dan, eve := h.user(t), h.user(t), h.user(t), h.user(t), h.user(t)
		thread := h.thread(t, ann, bob, carol, dan)
		h.send(t, ann, thread, "text")
		h.remove(t, ann, thread, carol)
		for _, h := range houses { // make each server put the live thread into its cache
			if err := h.Typing(t.Context(), bob, thread, "Bob"); err != nil {
				t.Fatal(err)
			}
			wantError(t, "who has left", h.DeleteThread(t.Context(), carol, thread), core.Forbidden, noPermission)
		}
		if err := h.DeleteThread(t.Context(), ann, thread); err != nil {
			t.Fatal(err)
		}
		again := func(when string, dan ...string) {
			t.Helper()
			for i, h := range houses {
				for _, who := range append([]string{ann, bob, carol}, dan...) {
					if err := h.DeleteThread(t.Context(), who, thread); err != nil {
						t.Errorf("server %d, %s: %v", i, when, err)
					}
				}
				wantError(t, when+", a stranger", h.DeleteThread(t.Context(), eve, thread), core.NotFound, "The specified thread id was not found.")
				_, err := h.Thread(t.Context(), ann, thread)
				wantError(t, when+", get thread", err, core.NotFound, "The specified thread id was not found.")
			}
		}
		again("at once", dan)
		// Microsoft's test suites of 2021 delete the user before the thread.
		if err := h.DeleteUser(t.Context(), dan); err != nil {
			t.Fatal(err)
		}
		again("while a member's user is being deleted", dan)
		h.pass(core.DefaultGrace)
		for _, h := range houses {
			h.now.Store(houses[0].now.Load())
			if _, err := h.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		again("when its rows are gone")
		h.checkEvents(t, thread, map[core.EventKind]int{core.ThreadCreated: 1, core.MessageReceived: 1, core.ParticipantsRemoved: 1, core.ThreadDeleted: 1})
	})
}

// TestTwoServersDeleteAThreadAtOnce deletes a thread from many goroutines on all servers at the
// same time. It checks that all calls succeed and that the log has exactly one event of the
// deletion.
func TestTwoServersDeleteAThreadAtOnce(t *testing.T) {
	onEngines(t, func(t *testing.T, houses []*house) {
		h := houses[0]
		ann, bob := h.user(t), h.user(t)
		for range 5 {
			thread := h.thread(t, ann, bob)
			var deleting sync.WaitGroup
			for i := range 8 {
				deleting.Go(func() {
					if err := houses[i%len(houses)].DeleteThread(context.Background(), []string{ann, bob}[i/2%2], thread); err != nil {
						t.Errorf("delete at once: %v", err)
					}
				})
			}
			deleting.Wait()
			h.checkEvents(t, thread, map[core.EventKind]int{core.ThreadCreated: 1, core.ThreadDeleted: 1})
		}
	})
}

// TestDeleteAfterARestart deletes a thread, restarts the store, and checks that a second deletion
// succeeds. A thread that has expired counts as deleted, even before a sweep has deleted it.
func TestDeleteAfterARestart(t *testing.T) {
	files := pebble.NewMem()
	open := func() (*house, func()) {
		store, err := pebble.Open("store", pebble.Options{FS: files, CacheSize: 1 << 20, Initial: core.Resource{
			ID: resourceID, Epoch: "epoch", Keys: [2]core.AccessKeyRow{{Serial: 1, Secret: make([]byte, 64)}, {Serial: 1, Secret: make([]byte, 64)}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		h := &house{store: store}
		h.now.Store(start.UnixMilli())
		if h.Service, err = core.New(t.Context(), store, new(local.Bus), core.Options{Now: func() time.Time { return time.UnixMilli(h.now.Load()) }}); err != nil {
			t.Fatal(err)
		}
		return h, func() {
			h.Close()
			if err := store.Close(); err != nil {
				t.Errorf("close the store: %v", err)
			}
		}
	}
	h, closeFirst := open()
	ann, eve := h.user(t), h.user(t)
	thread := h.thread(t, ann)
	expiring, _, err := h.CreateThread(t.Context(), ann, core.CreateThread{Topic: "topic", RetentionDays: 30})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.DeleteThread(t.Context(), ann, thread); err != nil {
		t.Fatal(err)
	}
	closeFirst()

	h, closeSecond := open()
	defer closeSecond()
	h.now.Add(30 * core.MillisPerDay)
	for what, id := range map[string]string{"deleted": thread, "expired": expiring.ID} {
		if err := h.DeleteThread(t.Context(), ann, id); err != nil {
			t.Errorf("the %s thread after a restart: %v", what, err)
		}
		wantError(t, "a stranger", h.DeleteThread(t.Context(), eve, id), core.NotFound, "The specified thread id was not found.")
	}
	if _, err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.DeleteThread(t.Context(), ann, expiring.ID); err != nil {
		t.Errorf("the expired thread after a sweep: %v", err)
	}
	wantError(t, "a thread that never was", h.DeleteThread(t.Context(), ann, "19:none@thread.v2"), core.NotFound, "The specified thread id was not found.")
}
