package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/sdk/communication"
)

// unsure is a store for two services. It counts the reads of threads, and makes batches fail before
// or after they are written.
type unsure struct {
	core.Store
	mu    *sync.Mutex // makes Apply calls run one at a time, because the lanes of two services are different goroutines
	reads atomic.Int64
	fail  atomic.Int64 // how the next batch fails
}

const (
	failBefore = iota + 1
	failAfter
)

func (s *unsure) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.fail.Swap(0) {
	case failBefore:
		return nil, core.ErrUnavailable
	case failAfter:
		_, err := s.Store.Apply(ctx, b)
		return nil, errors.Join(core.ErrUnknown, err)
	}
	return s.Store.Apply(ctx, b)
}

func (s *unsure) Thread(ctx context.Context, id string) (*core.Thread, error) {
	s.reads.Add(1)
	return s.Store.Thread(ctx, id)
}

// unsureHouses starts n services on one embedded store.
func unsureHouses(t *testing.T, n int) (houses []*house, stores []*unsure) {
	t.Helper()
	engine, err := pebble.Open("store", pebble.Options{FS: pebble.NewMem(), CacheSize: 1 << 20, Initial: core.Resource{
		ID: resourceID, Epoch: "epoch", Keys: [2]core.AccessKeyRow{{Secret: []byte{1}}, {Secret: []byte{2}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	mu := new(sync.Mutex)
	for range n {
		s := &unsure{Store: engine, mu: mu}
		service, err := core.New(t.Context(), s, new(local.Bus), core.Options{Grace: new(time.Duration)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(service.Close)
		houses, stores = append(houses, &house{Service: service, store: engine}), append(stores, s)
	}
	return houses, stores
}

// TestCachedThreadsAreRight changes a thread by two services at the same time. Some batches fail,
// before or after they were written. A cached thread must always equal the thread that the store
// had at the cached revision, and must not change while later ones are made of it.
func TestCachedThreadsAreRight(t *testing.T) {
	houses, stores := unsureHouses(t, 2)
	ctx := context.Background()
	rapid.Check(t, func(rt *rapid.T) {
		for _, s := range stores {
			s.fail.Store(0)
		}
		users := houses[0].people(t, 8)
		thread := houses[0].thread(t, users[0], users[1], users[2])
		history := map[uint64]*core.Thread{}
		seen := map[*core.Thread]string{} // what each cached thread had when it was first seen
		steps := rapid.IntRange(1, 15).Draw(rt, "steps")
		for range steps {
			for _, s := range stores {
				s.fail.Store(int64(max(0, rapid.IntRange(-3, failAfter).Draw(rt, "failure"))))
			}
			var all sync.WaitGroup
			for range rapid.IntRange(1, 4).Draw(rt, "calls at once") {
				h := houses[rapid.IntRange(0, 1).Draw(rt, "service")]
				who := communication.ParseRawID(users[rapid.IntRange(1, len(users)-1).Draw(rt, "user")])
				what := rapid.IntRange(0, 6).Draw(rt, "operation")
				topic := rapid.StringN(1, 9, -1).Draw(rt, "topic")
				all.Go(func() { // the errors are ignored: any of the concurrent calls may fail
					switch what {
					case 0, 1:
						_, _ = h.AddParticipants(ctx, users[0], thread, []core.NewParticipant{{User: who, DisplayName: topic}})
					case 2:
						_ = h.RemoveParticipant(ctx, users[0], thread, who)
					case 3:
						_ = h.UpdateThread(ctx, users[0], thread, core.UpdateThread{Topic: &topic})
					case 4:
						_, _ = h.SendMessage(ctx, users[0], thread, text("text"))
					case 5:
						_ = h.UpdateParticipant(ctx, users[0], thread, core.UpdateParticipant{User: who, DisplayName: &topic})
					case 6:
						_ = h.DeleteUser(ctx, who.RawID())
					}
				})
			}
			all.Wait()
			if rapid.IntRange(0, 3).Draw(rt, "sweep") == 0 { // erases the deleted users, unless a batch fails
				_, _ = houses[rapid.IntRange(0, 1).Draw(rt, "sweeping service")].Sweep(ctx)
			}
			stored, err := houses[0].store.Thread(ctx, thread)
			if err != nil {
				rt.Fatal(err)
			}
			history[stored.Revision] = stored
			for i, h := range houses {
				cached, consistent := h.CachedThread(thread)
				if !consistent {
					rt.Fatalf("service %d: the fields of the cached thread do not fit its members: %+v", i, cached)
				}
				if cached != nil && seen[cached] == "" {
					seen[cached] = membersText(rt, cached)
				}
				if cached == nil || history[cached.Revision] == nil { // read or changed in the middle of an earlier step
					continue
				}
				want := history[cached.Revision]
				if diff := cmp.Diff(want.Members(), cached.Members(), cmpopts.EquateEmpty()); diff != "" {
					rt.Fatalf("service %d: members at revision %d (-stored +cached):\n%s", i, cached.Revision, diff)
				}
				if diff := cmp.Diff(want.Properties, cached.Properties, cmpopts.EquateEmpty()); diff != "" {
					rt.Fatalf("service %d: properties at revision %d (-stored +cached):\n%s", i, cached.Revision, diff)
				}
			}
		}
		for th, before := range seen {
			if got := membersText(rt, th); got != before {
				rt.Fatalf("the thread that was cached at revision %d has changed (-before +after):\n%s", th.Revision, cmp.Diff(before, got))
			}
		}
	})
}

// membersText returns all that a thread has of its members, as text.
func membersText(t rapid.TB, th *core.Thread) string {
	text, err := json.Marshal([][]*core.Member{th.Participants(), th.Former(), th.Members()})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestChangesOfMembersReadNoThread adds and removes people, and changes the topic, one after
// another. The thread must be read once.
func TestChangesOfMembersReadNoThread(t *testing.T) {
	houses, stores := unsureHouses(t, 1)
	h, ctx := houses[0], context.Background()
	users := h.people(t, 50)
	thread := h.thread(t, users[0])
	h.send(t, users[0], thread, "the first message reads the thread")
	before := stores[0].reads.Load()
	for i, user := range users[1:] {
		who := communication.ParseRawID(user)
		topic := fmt.Sprint("topic ", i)
		if _, err := h.AddParticipants(ctx, users[0], thread, []core.NewParticipant{{User: who}}); err != nil {
			t.Fatal(err)
		}
		if err := h.UpdateThread(ctx, user, thread, core.UpdateThread{Topic: &topic}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := h.RemoveParticipant(ctx, users[0], thread, who); err != nil {
				t.Fatal(err)
			}
		}
		h.send(t, users[0], thread, "text")
	}
	if reads := stores[0].reads.Load() - before; reads != 0 {
		t.Errorf("the thread was read %d times, want 0: the cached thread changes with each change", reads)
	}
}
