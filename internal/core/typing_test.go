package core_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// threadReads is a store that counts how often a thread is read.
type threadReads struct {
	core.Store
	n *atomic.Int32
}

func (s threadReads) Thread(ctx context.Context, id string) (*core.Thread, error) {
	s.n.Add(1)
	return s.Store.Thread(ctx, id)
}

func (s threadReads) View(ctx context.Context, id, member string) (core.View, error) {
	s.n.Add(1)
	return s.Store.View(ctx, id, member)
}

// sharedThreads is like threadReads, but for a store to which other processes write too.
type sharedThreads struct{ threadReads }

func (sharedThreads) Shared() {}

// published returns the happenings that a subscription has received since the last call of
// published.
func published(sub core.Subscription) (all []*core.Happening) {
	for {
		select {
		case hs := <-sub.Happenings():
			all = append(all, hs...)
		default:
			return all
		}
	}
}

// TestTyping sends typing notifications. It checks that each is published as it was sent, that the
// log does not grow, and that users who are not in the thread are refused.
func TestTyping(t *testing.T) {
	bus := new(local.Bus)
	h := newHouse(t, bus, nil)
	ctx := t.Context()
	ann, bob, eve := h.user(t), h.user(t), h.user(t)
	thread := h.thread(t, ann, bob)
	if err := h.Typing(ctx, ann, thread, "Ann"); err != nil {
		t.Errorf("typing while nobody listens: %v", err)
	}
	sub := bus.Subscribe(10)
	defer sub.Close()
	before, err := h.store.Tip(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var want []*core.Happening
	for _, name := range []string{"Ann", ""} {
		h.pass(time.Second)
		if err := h.Typing(ctx, ann, thread, name); err != nil {
			t.Fatal(err)
		}
		now := h.now.Load()
		want = append(want, &core.Happening{
			Event:    core.Event{Thread: thread, Kind: core.TypingReceived, Actor: ann, Version: now, At: now},
			Revision: 1, DisplayName: name,
		})
	}
	if diff := cmp.Diff(want, published(sub)); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	if after, err := h.store.Tip(ctx); err != nil || after != before {
		t.Errorf("the log ends at %+v, %v; before the notifications at %+v", after, err, before)
	}
	if got := code(h.Typing(ctx, eve, thread, "Eve")); got != core.Forbidden {
		t.Errorf("typing by a stranger: %q, want %q", got, core.Forbidden)
	}
	if err := h.Typing(ctx, bob, thread, "Bob"); err != nil {
		t.Fatal(err)
	}
	if err := h.RemoveParticipant(ctx, ann, thread, communication.ParseRawID(bob)); err != nil {
		t.Fatal(err)
	}
	published(sub)
	if got := code(h.Typing(ctx, bob, thread, "Bob")); got != core.Forbidden {
		t.Errorf("typing by a removed user: %q, want %q", got, core.Forbidden)
	}
	if hs := published(sub); len(hs) > 0 {
		t.Errorf("a refused notification was published: %+v", hs[0])
	}
}

// TestTypingInALargeThread checks that, in a thread with more participants than
// Limits.Receipts, sending a typing notification succeeds but publishes nothing.
func TestTypingInALargeThread(t *testing.T) {
	bus := new(local.Bus)
	h := newHouseWith(t, bus, nil, core.Options{Limits: core.Limits{Receipts: 2}})
	ann := h.user(t)
	two, three := h.thread(t, ann, h.user(t)), h.thread(t, ann, h.user(t), h.user(t))
	sub := bus.Subscribe(10)
	defer sub.Close()
	for thread, want := range map[string]int{two: 1, three: 0} {
		if err := h.Typing(t.Context(), ann, thread, "Ann"); err != nil {
			t.Fatal(err)
		}
		if got := len(published(sub)); got != want {
			t.Errorf("%d notifications were published, want %d", got, want)
		}
	}
}

// TestTypingReadsRarely counts how often typing notifications read the thread from the store. If
// only one process writes to the store, only the first notification reads the thread. If other
// processes write too, a notification also reads it if the cached thread is older than two seconds
// or would refuse the user.
func TestTypingReadsRarely(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%t", shared), func(t *testing.T) {
			var reads atomic.Int32
			h := newHouse(t, nil, func(s core.Store) core.Store {
				if shared {
					return sharedThreads{threadReads{s, &reads}}
				}
				return threadReads{s, &reads}
			})
			ann, bob := h.user(t), h.user(t)
			thread := h.thread(t, ann)
			notify := func(what, user string, wantCode core.Code, wantReads int32) {
				t.Helper()
				reads.Store(0)
				if got := code(h.Typing(t.Context(), user, thread, "")); got != wantCode {
					t.Errorf("%s: %q, want %q", what, got, wantCode)
				}
				if got := reads.Load(); got != wantReads {
					t.Errorf("%s: %d reads, want %d", what, got, wantReads)
				}
			}
			old := int32(0)
			if shared {
				old = 1
			}
			notify("the first", ann, "", 1)
			notify("at once again", ann, "", 0)
			h.pass(2 * time.Second)
			notify("after two seconds", ann, "", 0)
			h.pass(time.Millisecond)
			notify("after more than two seconds", ann, "", old)
			h.pass(time.Hour)
			notify("after an hour", ann, "", old)
			notify("by a stranger", bob, core.Forbidden, 1)
			if !shared {
				return
			}
			// Another process adds bob and then removes ann.
			h.member(t, thread, core.Member{User: bob, Order: 2, Intervals: joined()})
			notify("by a user who was added elsewhere", bob, "", 1)
			h.member(t, thread, core.Member{User: ann, Order: 1, Intervals: left()})
			notify("by a user who was removed elsewhere just now", ann, "", 0)
			h.pass(2*time.Second + time.Millisecond)
			notify("by a user who was removed elsewhere", ann, core.Forbidden, 1)
		})
	}
}

// deafLog is a store whose log cannot be read.
type deafLog struct{ core.Store }

func (deafLog) Log(context.Context, core.Cursor, int) (core.LogPage, error) {
	return core.LogPage{}, errAway
}

// TestFeedHandsTypingOn publishes typing notifications between events. It checks that the feed
// passes on each notification at once and without moving its cursor, even while it cannot read the
// log.
func TestFeedHandsTypingOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := new(local.Bus)
		h := newHouse(t, bus, nil)
		ann := h.user(t)
		thread := h.thread(t, ann)
		begin, err := h.store.Tip(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got, deaf []core.EventKind
		record := func(kinds *[]core.EventKind) func([]*core.Happening) {
			return func(hs []*core.Happening) {
				for _, h := range hs {
					*kinds = append(*kinds, h.Kind)
				}
			}
		}
		feed, stop := follow(t, h, bus, begin, record(&got))
		defer stop()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		broken := core.NewFeed(deafLog{h.store}, bus, core.Cursor{Epoch: begin.Epoch, Check: 1}, core.FeedOptions{})
		go broken.Run(ctx, record(&deaf))
		synctest.Wait()

		began := time.Now()
		var want []core.EventKind
		for range 3 {
			position := feed.Position()
			if err := h.Typing(ctx, ann, thread, ""); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if feed.Position() != position {
				t.Errorf("a typing notification moved the feed from %+v to %+v", position, feed.Position())
			}
			h.send(t, ann, thread, "text")
			synctest.Wait()
			want = append(want, core.TypingReceived, core.MessageReceived)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("handed on (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]core.EventKind{want[0], want[2], want[4]}, deaf); diff != "" {
			t.Errorf("handed on without the log (-want +got):\n%s", diff)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the feed took %v, want no time", took)
		}
		cancel()
		synctest.Wait()
	})
}

// TestTypingIsNotStored checks that a store refuses a typing notification as an event.
func TestTypingIsNotStored(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	defer func() {
		if recover() == nil {
			t.Error("Assign accepted a typing notification")
		}
	}()
	topic := core.Properties{Topic: "new"}
	c := &core.Change{Key: thread, Thread: thread, Revision: 1, Properties: &topic, Events: []core.Event{{Kind: core.TypingReceived, Actor: ann}}}
	b := core.Batch{At: h.now.Load(), Changes: []*core.Change{c}}
	state := core.NewBatchState(b)
	state.Heads[thread] = &core.Head{ID: thread, Revision: 1}
	core.Assign(b, state)
}
