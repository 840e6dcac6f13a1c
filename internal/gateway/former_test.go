package gateway_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
	"github.com/confab-chat/confab/sdk/communication"
)

// part removes the user u from a thread. by is the user who makes the request.
func (h *house) part(by core.User, thread string, u core.User) {
	h.t.Helper()
	if err := h.core.RemoveParticipant(h.t.Context(), by.ID, thread, communication.ParseRawID(u.ID)); err != nil {
		h.t.Fatal(err)
	}
}

// edit replaces the text of a message. by is the user who makes the request.
func (h *house) edit(by core.User, thread string, id int64, text string) {
	h.t.Helper()
	if err := h.core.UpdateMessage(h.t.Context(), by.ID, thread, id, core.UpdateMessage{Content: &text}); err != nil {
		h.t.Fatal(err)
	}
}

// TestReplayForWhoLeft opens a session of a user who was removed from a thread after it had missed
// messages, which were then edited and deleted. It checks that the user gets the same as from REST:
// an edited message with its earlier text, and no event of a deleted message (docs/contract/chat.md
// §7.3).
func TestReplayForWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann, bob, eve := h.user(), h.user(), h.user()
		thread := h.thread("plans", ann, bob, eve)
		from, err := h.hub.At(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		one, two := h.send(ann, thread, "one"), h.send(ann, thread, "two")
		h.edit(ann, thread, one, "one-edited")
		h.part(ann, thread, bob)
		h.edit(ann, thread, one, "one-again")
		if err := h.core.DeleteMessage(t.Context(), ann.ID, thread, two); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		_, b := h.open(bob, &from, gateway.SessionOptions{})
		b.want(t, "messageReceived:one-edited", "messageEdited:one-edited", "participantsRemoved")
		_, e := h.open(eve, &from, gateway.SessionOptions{})
		e.want(t, "messageReceived:one-again", "messageEdited:one-again", "participantsRemoved", "messageEdited:one-again", "messageDeleted:")

		// A user who has joined the thread again gets the present text of the message.
		if _, err := h.core.AddParticipants(t.Context(), ann.ID, thread, []core.NewParticipant{{User: communication.ParseRawID(bob.ID)}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.want(t, "participantsAdded")
		_, b = h.open(bob, &from, gateway.SessionOptions{})
		b.want(t, "messageReceived:one-again", "messageEdited:one-again", "participantsRemoved", "participantsAdded")
	})
}

// TestLateFeedForWhoLeft has a hub read a message from the log after a user was removed from
// the thread and the message was edited. It checks that the removed user gets the text before
// the edit, and a user who is still in the thread the text after it.
func TestLateFeedForWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		behind, stop := h.behind()
		defer stop()
		ann, bob, eve := h.user(), h.user(), h.user()
		thread := h.thread("plans", ann, bob, eve)
		time.Sleep(2 * time.Second)
		_, b := behind.open(bob, nil, gateway.SessionOptions{})
		_, e := behind.open(eve, nil, gateway.SessionOptions{})
		b.want(t)
		e.want(t)
		one := h.send(ann, thread, "one")
		h.part(ann, thread, bob)
		h.edit(ann, thread, one, "one-edited")
		time.Sleep(2 * time.Second) // wait until the hub has read the log
		b.want(t, "messageReceived:one", "participantsRemoved")
		e.want(t, "messageReceived:one-edited", "participantsRemoved", "messageEdited:one-edited")
	})
}

// TestReplayAfterTheSendersErasure opens sessions that have missed messages of a sender who was
// erased afterwards. It checks that a user who left the thread before the erasure gets none of
// these messages.
func TestReplayAfterTheSendersErasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, gateway.Bounds{})
		defer h.stop()
		ann, bob, eve := h.user(), h.user(), h.user()
		thread := h.thread("plans", ann, bob, eve)
		from, err := h.hub.At(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		one := h.send(eve, thread, "one")
		h.send(ann, thread, "two")
		h.part(ann, thread, bob)
		h.edit(eve, thread, one, "one-edited")
		if err := h.core.DeleteUser(t.Context(), eve.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(core.DefaultGrace + time.Second)
		for range 3 {
			if _, err := h.core.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		_, b := h.open(bob, &from, gateway.SessionOptions{})
		b.want(t, "messageReceived:two", "participantsRemoved")
	})
}
