package core_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// callID returns the x-ms-client-request-id of a call of an SDK.
func callID(n int) string { return fmt.Sprintf("5d0b4c3e-8f5f-4f0a-9d3a-%012x", n) }

// calling returns a send with a request id.
func calling(n int, content string) core.SendMessage {
	cmd := text(content)
	cmd.RequestID = callID(n)
	return cmd
}

// mustSend sends a message. It fails the test if the send fails, or if its result does not say
// repeated as expected.
func (h *house) mustSend(t *testing.T, what, caller, thread string, cmd core.SendMessage, repeated bool) int64 {
	t.Helper()
	sent, err := h.Send(context.Background(), caller, thread, cmd)
	if err != nil || sent.Repeated != repeated || sent.ID == 0 {
		t.Errorf("%s: %+v, %v; want repeated %v", what, sent, err, repeated)
	}
	return sent.ID
}

// TestRepeatedSend sends requests again whose first try may have lost its answer. It checks that
// another try of a call returns the id of the first message and adds nothing, and that a request
// with another caller, thread, id or command adds a message.
func TestRepeatedSend(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann, bob := h.user(t), h.user(t)
	thread, other := h.thread(t, ann, bob), h.thread(t, ann)
	first := h.mustSend(t, "the first try", ann, thread, calling(1, "hello"), false)
	for _, id := range []string{callID(1), strings.ToUpper(callID(1))} {
		cmd := calling(1, "hello")
		cmd.RequestID = id
		if again := h.mustSend(t, "another try", ann, thread, cmd, true); again != first {
			t.Errorf("another try got message %d, want %d", again, first)
		}
	}
	h.mustSend(t, "the same text in another call", ann, thread, calling(2, "hello"), false)
	h.mustSend(t, "the id of another caller", bob, thread, calling(1, "hello"), false)
	h.mustSend(t, "in another thread", ann, other, calling(1, "hello"), false)
	for _, id := range []string{"", "correlation", callID(1)[1:], callID(1) + "0"} {
		for range 2 {
			cmd := calling(1, "no UUID")
			cmd.RequestID = id
			h.mustSend(t, fmt.Sprintf("the id %q", id), ann, thread, cmd, false)
		}
	}
	html := core.SendMessage{Kind: core.HTML, Content: "<b>x</b><script>y</script>", RequestID: callID(3)}
	h.mustSend(t, "HTML", ann, thread, html, false)
	h.mustSend(t, "HTML again", ann, thread, html, true)
	html.Content = "<b>x</b>"
	h.mustSend(t, "HTML that is cleaned to the same", ann, thread, html, false)

	// A request with an idempotency token ignores the request id.
	tokened := calling(4, "tokened")
	h.mustSend(t, "without a token", ann, thread, tokened, false)
	tokened.Token = "token"
	h.mustSend(t, "with one", ann, thread, tokened, false)
	tokened.RequestID = callID(5)
	h.mustSend(t, "with the same token", ann, thread, tokened, true)
	tokened.Token = "token 2"
	h.mustSend(t, "with another one", ann, thread, tokened, false)
	tokened.Token = ""
	h.mustSend(t, "an id that was used with a token only", ann, thread, tokened, false)

	// A client may use the same request id for all its messages; each must be added.
	var ids []int64
	for _, content := range []string{"one", "two", "three", "two", "two"} {
		ids = append(ids, h.mustSend(t, "with a correlation id: "+content, bob, thread, calling(9, content), false))
	}
	if got := h.contents(t, bob, thread)[:5]; strings.Join(got, " ") != "two two three two one" {
		t.Errorf("messages with a correlation id: %v", got)
	}
	if len(ids) != 5 {
		t.Errorf("ids %v", ids)
	}
}

// TestRepeatedSendLater repeats a send after the message was edited, after it was deleted, after the
// caller has left and come back, and after five minutes. It checks which of the repeated sends add
// no message.
func TestRepeatedSendLater(t *testing.T) {
	h := newHouse(t, nil, nil)
	ctx := t.Context()
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann, bob)
	first := h.mustSend(t, "the first try", bob, thread, calling(1, "hello"), false)
	again := func(what string) {
		t.Helper()
		if id := h.mustSend(t, what, bob, thread, calling(1, "hello"), true); id != first {
			t.Errorf("%s: message %d, want %d", what, id, first)
		}
	}
	edited := "edited"
	if err := h.UpdateMessage(ctx, bob, thread, first, core.UpdateMessage{Content: &edited}); err != nil {
		t.Fatal(err)
	}
	again("after an edit")
	if err := h.DeleteMessage(ctx, bob, thread, first); err != nil {
		t.Fatal(err)
	}
	again("after a deletion")
	h.remove(t, ann, thread, bob)
	if _, err := h.Send(ctx, bob, thread, calling(1, "hello")); code(err) != core.Forbidden {
		t.Errorf("by a caller who has left: %v", err)
	}
	h.add(t, ann, thread, core.NewParticipant{User: communication.ParseRawID(bob)})
	again("by a caller who came back")
	h.pass(5 * time.Minute)
	again("after five minutes")
	h.pass(time.Millisecond)
	h.mustSend(t, "after more than that", bob, thread, calling(1, "hello"), false)
	if err := h.DeleteThread(ctx, ann, thread); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Send(ctx, bob, thread, calling(1, "hello")); code(err) != core.NotFound {
		t.Errorf("in a deleted thread: %v", err)
	}
}

// TestRepeatedSendByToken checks that, with Options.RepeatsByToken, a repeated request id adds
// another message and only a repeated token does not.
func TestRepeatedSendByToken(t *testing.T) {
	h := newHouseWith(t, nil, nil, core.Options{RepeatsByToken: true})
	ann := h.user(t)
	thread := h.thread(t, ann)
	for range 2 {
		id := h.mustSend(t, "with an id", ann, thread, calling(1, "hello"), false)
		if m, err := h.Message(t.Context(), ann, thread, id); err != nil || !m.Fingerprint.IsZero() {
			t.Errorf("the message has fingerprint %x, %v", m.Fingerprint, err)
		}
	}
	cmd := calling(1, "hello")
	cmd.Token = "token"
	h.mustSend(t, "with a token", ann, thread, cmd, false)
	h.mustSend(t, "with it again", ann, thread, cmd, true)
}

// TestRepeatedSendAtOnce sends many tries of one call at the same time and checks that one message
// is added.
func TestRepeatedSendAtOnce(t *testing.T) {
	h := newHouse(t, nil, nil)
	ann := h.user(t)
	thread := h.thread(t, ann)
	const n = 50
	var sent [n]core.Sent
	together(n, func(i int) {
		var err error
		if sent[i], err = h.Send(context.Background(), ann, thread, calling(1, "once")); err != nil {
			t.Error(err)
		}
	})
	added := 0
	for i, s := range sent {
		if s.ID != sent[0].ID {
			t.Errorf("try %d got message %d, try 0 got %d", i, s.ID, sent[0].ID)
		}
		if !s.Repeated {
			added++
		}
	}
	if got := h.contents(t, ann, thread); added != 1 || len(got) != 3 {
		t.Errorf("%d tries added a message; the thread has %v", added, got)
	}
}

// TestErasureTakesFingerprints deletes a user. It checks that no message of the user keeps a
// fingerprint, not even one that the user had deleted before.
func TestErasureTakesFingerprints(t *testing.T) {
	h := newHouse(t, nil, nil)
	ctx := t.Context()
	ann, bob := h.user(t), h.user(t)
	thread := h.thread(t, ann, bob)
	h.mustSend(t, "a message", bob, thread, calling(1, "hello"), false)
	gone := h.mustSend(t, "another", bob, thread, calling(2, "deleted"), false)
	own := h.mustSend(t, "one of somebody else", ann, thread, calling(1, "hello"), false)
	if err := h.DeleteMessage(ctx, bob, thread, gone); err != nil {
		t.Fatal(err)
	}
	if err := h.DeleteUser(ctx, bob); err != nil {
		t.Fatal(err)
	}
	h.pass(time.Hour)
	if _, err := h.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	for _, m := range h.allMessages(t, ann, thread) {
		if has := !m.Fingerprint.IsZero(); has != (m.ID == own) {
			t.Errorf("message %+v has a fingerprint: %v", m, has)
		}
	}
}
