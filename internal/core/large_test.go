package core_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// threadOf returns a thread of a user with members participants in all, and former ones besides.
// Except for the user, no user with their ids exists.
func (h *house) threadOf(t testing.TB, user string, members, former int) string {
	t.Helper()
	id := h.thread(t, user)
	for from := 1; from < members+former; from += 1000 {
		th, err := h.store.Thread(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		c := &core.Change{Key: id, Thread: id, Revision: th.Revision}
		for i := from; i < min(from+1000, members+former); i++ {
			m := core.Member{User: formerUser(i), DisplayName: "Ada Lovelace", Order: uint32(i + 1), Intervals: []core.Interval{{}}}
			if i >= members {
				m.Intervals, m.Left = []core.Interval{{From: 1, To: 1}}, &core.Left{On: h.now.Load(), Sequence: 1, Topic: "topic"}
			}
			c.Members = append(c.Members, m)
		}
		h.behind(t, c)
	}
	h.ForgetThreads()
	h.send(t, user, id, "the thread is read before anything is measured")
	return id
}

// measure runs one operation b.N times and reports the processor time of the process.
func measure(b *testing.B, do func(i int) error) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	before := processTime()
	for i := range b.N {
		if err := do(i); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64((processTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// BenchmarkLargeThread measures operations in threads of different sizes. None of them should
// depend much on the size.
func BenchmarkLargeThread(b *testing.B) {
	ctx := context.Background()
	for _, size := range []struct{ members, former int }{{2, 0}, {100, 0}, {10_000, 0}, {5_000, 5_000}} {
		bus := new(local.Bus)
		sub := bus.Subscribe(1) // happenings are made, as for a server with event streams
		defer sub.Close()
		h := newHouseWith(b, bus, nil, core.Options{Limits: core.Limits{Participants: 20_000}})
		ann, bob := h.user(b), h.user(b)
		thread := h.threadOf(b, ann, size.members, size.former)
		name := fmt.Sprintf("members=%d/former=%d/", size.members, size.former)
		guest := []core.NewParticipant{{User: communication.ParseRawID(bob), DisplayName: "Bob"}}
		b.Run(name+"add and remove the same", func(b *testing.B) {
			measure(b, func(int) error {
				if _, err := h.AddParticipants(ctx, ann, thread, guest); err != nil {
					return err
				}
				return h.RemoveParticipant(ctx, ann, thread, guest[0].User)
			})
		})
		id := h.send(b, ann, thread, "text")
		b.Run(name+"send", func(b *testing.B) {
			measure(b, func(int) error { _, err := h.SendMessage(ctx, ann, thread, text("text")); return err })
		})
		b.Run(name+"edit", func(b *testing.B) {
			measure(b, func(i int) error {
				content := fmt.Sprint("text ", i)
				return h.UpdateMessage(ctx, ann, thread, id, core.UpdateMessage{Content: &content})
			})
		})
		b.Run(name+"receipt", func(b *testing.B) {
			measure(b, func(int) error { return h.SendReceipt(ctx, ann, thread, id) })
		})
		b.Run(name+"typing", func(b *testing.B) {
			measure(b, func(int) error { return h.Typing(ctx, ann, thread, "Ann") })
		})
		named := 0
		b.Run(name+"rename", func(b *testing.B) {
			measure(b, func(int) error {
				named++
				name := fmt.Sprint("name ", named)
				return h.UpdateParticipant(ctx, ann, thread, core.UpdateParticipant{User: communication.ParseRawID(ann), DisplayName: &name})
			})
		})
		users := h.people(b, 100)
		b.Run(name+"add others", func(b *testing.B) {
			if b.N > len(users) {
				b.StopTimer()
				users = h.people(b, b.N)
				b.StartTimer()
			}
			measure(b, func(i int) error {
				_, err := h.AddParticipants(ctx, ann, thread, []core.NewParticipant{{User: communication.ParseRawID(users[i])}})
				return err
			})
		})
	}
}
