package core_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
	"github.com/confab-chat/confab/sdk/communication"
)

// badBus is a bus that drops, repeats and reorders published happenings at random.
type badBus struct {
	local.Bus
	mu   sync.Mutex // guards the fields below
	rand *rand.Rand
	held []*core.Happening
}

// Publish publishes the happenings one by one, and drops, repeats or delays some of them.
func (b *badBus) Publish(hs []*core.Happening) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range hs {
		switch b.rand.IntN(6) {
		case 0: // dropped
		case 1: // twice
			b.Bus.Publish([]*core.Happening{h})
			b.Bus.Publish([]*core.Happening{h})
		case 2: // later
			b.held = append(b.held, h)
		default:
			b.Bus.Publish([]*core.Happening{h})
		}
	}
	if len(b.held) > 3 {
		b.Bus.Publish(b.held)
		b.held = nil
	}
}

// reader records the events that a feed passes to it, and checks their order.
type reader struct {
	t   *testing.T
	mu  sync.Mutex // guards got
	got []core.Happening
}

func (r *reader) take(hs []*core.Happening) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range hs {
		if n := len(r.got); n > 0 && h.Position != r.got[n-1].Position+1 {
			r.t.Errorf("position %d follows %d", h.Position, r.got[n-1].Position)
		}
		r.got = append(r.got, *h)
	}
}

func (r *reader) all() []core.Happening {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// follow runs a feed in another goroutine and returns the feed. stop ends the feed and waits until
// the goroutine has returned.
func follow(t *testing.T, h *house, bus core.Bus, from core.Cursor, to func([]*core.Happening)) (feed *core.Feed, stop func()) {
	t.Helper()
	feed = core.NewFeed(h.store, bus, from, core.FeedOptions{Failed: func(err error) { t.Error(err) }})
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := feed.Run(ctx, to); !errors.Is(err, context.Canceled) {
			t.Errorf("the feed ended: %v", err)
		}
	})
	stop = func() {
		cancel()
		done.Wait()
	}
	return feed, stop
}

// TestFeed writes random operations while feeds run: one on a bus that loses, repeats and reorders
// events, one without a bus, and one that begins in the middle of the log. It checks that each feed
// passes on every event of the log once, in order, with the message that the event names.
func TestFeed(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFeed(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func testFeed(t *testing.T, r *rand.Rand) {
	bus := &badBus{rand: rand.New(rand.NewPCG(r.Uint64(), 2))}
	h := newHouse(t, bus, nil)
	ctx := context.Background()
	begin, err := h.store.Tip(ctx)
	if err != nil {
		t.Fatal(err)
	}
	heard, looked, late := &reader{t: t}, &reader{t: t}, &reader{t: t}
	feed, stop := follow(t, h, bus, begin, heard.take)
	defer stop()
	_, stopLooking := follow(t, h, nil, begin, looked.take)
	defer stopLooking()

	ann, bob := h.user(t), h.user(t)
	var threads []string
	var messages [][2]any
	write := func(n int) {
		for range n {
			var err error
			switch k := r.IntN(10); {
			case k == 0 || len(threads) == 0:
				threads = append(threads, h.thread(t, ann))
			case k == 1:
				_, err = h.AddParticipants(ctx, ann, threads[r.IntN(len(threads))], []core.NewParticipant{{User: communication.ParseRawID(bob)}})
			case k == 2:
				err = h.RemoveParticipant(ctx, ann, threads[r.IntN(len(threads))], communication.ParseRawID(bob))
			case k == 3 && len(messages) > 0:
				m := messages[r.IntN(len(messages))]
				edited := "edited"
				err = h.UpdateMessage(ctx, ann, m[0].(string), m[1].(int64), core.UpdateMessage{Content: &edited})
			case k == 4 && len(messages) > 0:
				m := messages[r.IntN(len(messages))]
				if err = h.DeleteMessage(ctx, ann, m[0].(string), m[1].(int64)); err == nil {
					messages = slices.DeleteFunc(messages, func(o [2]any) bool { return o == m })
				}
			case k == 5:
				err = h.RevokeTokens(ctx, bob)
			default:
				thread := threads[r.IntN(len(threads))]
				var id int64
				id, err = h.SendMessage(ctx, ann, thread, text("content"))
				messages = append(messages, [2]any{thread, id})
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.IntN(8) == 0 {
				time.Sleep(time.Duration(r.IntN(700)) * time.Millisecond) // of the bubble's clock
			}
		}
	}
	write(30)
	middle, err := h.store.Tip(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, stopLate := follow(t, h, bus, middle, late.take)
	defer stopLate()
	write(30)
	time.Sleep(3 * time.Second)
	synctest.Wait()

	log, err := storetest.Events(ctx, h.store)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*reader{"on a bad bus": heard, "without a bus": looked, "from the middle": late} {
		want := log
		if r == late {
			want = log[middle.Position:]
		}
		got := r.all()
		if len(got) != len(want) {
			t.Errorf("the feed %s handed on %d events, want %d", name, len(got), len(want))
			continue
		}
		for i, g := range got {
			if g.Event != want[i] {
				t.Errorf("the feed %s handed on %+v, want %+v", name, g.Event, want[i])
			}
			if created := g.Kind == core.ThreadCreated; created != (g.Properties != nil) || g.Kind.ChangesMembers() != (len(g.Members) > 0) {
				t.Errorf("the feed %s handed on %s with members %+v and properties %+v", name, g.Kind, g.Members, g.Properties)
			}
			if g.MessageID != 0 && (g.Message == nil || g.Message.ID != g.MessageID || g.Message.Version < g.Version) {
				t.Errorf("the feed %s handed on %s with message %+v", name, g.Kind, g.Message)
			}
		}
	}
	end, err := h.store.Tip(ctx)
	if err != nil || feed.Position() != end || feed.Behind() != 0 {
		t.Errorf("the feed stands at %+v, behind by %v; the log ends at %+v, %v", feed.Position(), feed.Behind(), end, err)
	}
}

// placingStore is a store whose Sequence gives batches their positions, as in PostgreSQL. It
// implements only Sequence and Log, and reads of its log return no events.
type placingStore struct {
	core.Store
	sequence func(call int) []core.Placed
	calls    int // of Sequence
	reads    int // of the log
}

func (s *placingStore) Sequence(context.Context) ([]core.Placed, error) {
	s.calls++
	return s.sequence(s.calls), nil
}

func (s *placingStore) Log(_ context.Context, after core.Cursor, _ int) (core.LogPage, error) {
	s.reads++
	return core.LogPage{Next: after, Tip: after.Position}, nil
}

// TestFeedHearsDuringSequence commits batches while Store.Sequence runs. Some get their positions
// by that call, others by the next one. The test checks that the feed passes on all of them at
// once, without reading the log.
func TestFeedHearsDuringSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus local.Bus
		publish := func(batch uint64) {
			bus.Publish([]*core.Happening{{Event: core.Event{Thread: "t", Number: batch, Kind: core.MessageReceived, Position: core.PlaceOf(batch) + 1, Batch: batch}}})
		}
		placed := func(batch uint64) core.Placed { return core.Placed{Batch: batch, Last: batch, Events: 1} }
		s := &placingStore{sequence: func(call int) []core.Placed {
			switch call {
			case 2: // for batch 1
				publish(2)
				publish(3)
				return []core.Placed{placed(1), placed(2)}
			case 3:
				publish(4)
				return []core.Placed{placed(3), placed(4)}
			}
			return nil
		}}
		feed := core.NewFeed(s, &bus, core.Cursor{}, core.FeedOptions{Failed: func(err error) { t.Error(err) }})
		ctx, cancel := context.WithCancel(t.Context())
		got := &reader{t: t}
		var done sync.WaitGroup
		done.Go(func() { _ = feed.Run(ctx, got.take) }) // the error of ctx
		synctest.Wait()
		publish(1)
		synctest.Wait()
		if n := len(got.all()); n != 4 || s.calls != 3 || s.reads != 1 {
			t.Errorf("%d events after %d calls of Sequence and %d reads of the log, want 4, 3 and 1, which is the first look", n, s.calls, s.reads)
		}
		cancel()
		done.Wait()
	})
}

// TestFeedEndsAtAGap runs feeds from cursors at which the log does not continue. It checks that Run
// returns a *GapError for each.
func TestFeedEndsAtAGap(t *testing.T) {
	h := newHouse(t, nil, nil)
	h.thread(t, h.user(t))
	end, err := h.store.Tip(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lost, other := end, end
	lost.Check++
	other.Epoch = "another"
	for cursor, want := range map[core.Cursor]core.GapReason{lost: core.GapLost, other: core.GapEpoch} {
		err := core.NewFeed(h.store, nil, cursor, core.FeedOptions{}).Run(t.Context(), func([]*core.Happening) {
			t.Errorf("after %+v something was handed on", cursor)
		})
		var gap *core.GapError
		if !errors.As(err, &gap) || gap.Reason != want {
			t.Errorf("the feed from %+v ended with %v, want gap %q", cursor, err, want)
		}
	}
}

// TestSweepTrimsTheLog checks that a sweep deletes the days of the event log that are older
// than Options.EventsKept, and keeps all other days.
func TestSweepTrimsTheLog(t *testing.T) {
	h := newHouseWith(t, nil, nil, core.Options{EventsKept: 2})
	ann := h.user(t)
	thread := h.thread(t, ann)
	begin, err := h.store.Tip(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for day := range 5 {
		if _, err := h.SendMessage(t.Context(), ann, thread, text("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		page, err := h.store.Log(t.Context(), begin, 100)
		if gone := day > 2; err != nil || (page.Gap == core.GapTrimmed) != gone {
			t.Errorf("on day %d the log after the first event is %+v, %v; trimmed: want %t", day, page, err, gone)
		}
		kept, err := h.store.ThreadEvents(t.Context(), thread, 1, 100)
		if want := []int{2, 3, 4, 3, 3}[day]; err != nil || len(kept) != want {
			t.Errorf("on day %d the thread has %d events, %v; want %d", day, len(kept), err, want)
		}
		h.now.Add(24 * time.Hour.Milliseconds())
	}
}

// untrimmable is a store whose Trim fails. It counts the calls.
type untrimmable struct {
	core.Store
	calls int
}

func (u *untrimmable) Trim(context.Context, uint32) error {
	u.calls++
	return errors.New("in use")
}

// TestTrimIsNotRepeatedAtOnce sweeps a store whose Trim fails, and checks that Trim is called
// only every ten minutes, not with every sweep.
func TestTrimIsNotRepeatedAtOnce(t *testing.T) {
	var store *untrimmable
	h := newHouse(t, nil, func(s core.Store) core.Store {
		store = &untrimmable{Store: s}
		return store
	})
	for minute := range 21 {
		_, err := h.Sweep(t.Context())
		if want := minute%10 == 0; (err != nil) != want {
			t.Errorf("the sweep after %d minutes: %v, want an error: %t", minute, err, want)
		}
		h.pass(time.Minute)
	}
	if store.calls != 3 {
		t.Errorf("Trim was called %d times, want 3", store.calls)
	}
}
