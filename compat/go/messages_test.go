package compat

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestMessages(t *testing.T) {
	ann, bob := newPerson(t, "Ann"), newPerson(t, "Bob")
	thread := newThread(t, ann, bob)
	before := time.Now().Add(-time.Second).Truncate(time.Second)
	id, err := thread.SendMessage(t.Context(), "<b>Where</b> do we eat?", &chat.SendMessageOptions{
		Type: chat.MessageTypeHTML, SenderDisplayName: "Ann", Metadata: map[string]string{"a": "1", "b": "2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := bob.NewThreadClient(thread.ID()).GetMessage(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if m.ID != id || m.Version != id || m.SequenceID == "" || m.CreatedOn.Before(before) || !m.EditedOn.IsZero() || !m.DeletedOn.IsZero() {
		t.Errorf("message %+v", m)
	}
	mustEqual(t, "type", m.Type, chat.MessageTypeHTML)
	mustEqual(t, "content", m.Content.Message, "<b>Where</b> do we eat?")
	mustEqual(t, "sender", m.Sender, ann.id)
	mustEqual(t, "display name", m.SenderDisplayName, "Ann")
	mustEqual(t, "metadata", m.Metadata, map[string]string{"a": "1", "b": "2"})

	if err := thread.UpdateMessage(t.Context(), id, &chat.UpdateMessageOptions{
		Content: "At noon?", Metadata: map[string]string{"c": "3"}, RemoveMetadata: []string{"a"},
	}); err != nil {
		t.Fatal(err)
	}
	edited, err := thread.GetMessage(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if edited.ID != id || edited.Version == id || edited.EditedOn.IsZero() || edited.Content.Message != "At noon?" {
		t.Errorf("edited %+v", edited)
	}
	mustEqual(t, "metadata after the edit", edited.Metadata, map[string]string{"b": "2", "c": "3"})
	mustBe(t, "another's message", bob.NewThreadClient(thread.ID()).UpdateMessage(t.Context(), id, &chat.UpdateMessageOptions{Content: "mine"}), communication.ErrForbidden)
	mustBe(t, "another's message", bob.NewThreadClient(thread.ID()).DeleteMessage(t.Context(), id), communication.ErrForbidden)

	for range 2 {
		if err := thread.DeleteMessage(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	gone, err := thread.GetMessage(t.Context(), id)
	if err != nil || gone.DeletedOn.IsZero() || gone.Content.Message != "" {
		t.Errorf("deleted %+v, %v", gone, err)
	}
	_, err = thread.GetMessage(t.Context(), "1")
	mustBe(t, "an unknown message", err, communication.ErrNotFound)
}

func TestListMessages(t *testing.T) {
	ann := newPerson(t, "Ann")
	thread := newThread(t, ann)
	var want []string
	for n := range 25 {
		want = append(want, fmt.Sprint("message ", n))
		send(t, thread, want[n])
	}
	slices.Reverse(want)
	mustEqual(t, "messages", messages(t, thread), want)

	pager := thread.NewListMessagesPager(&chat.ListMessagesOptions{MaxPageSize: 10})
	var got []string
	pages, continuation := 0, ""
	for pager.More() {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if pages++; pages == 1 {
			continuation = page.Continuation
		}
		for _, m := range page.Values {
			if m.Type == chat.MessageTypeText {
				got = append(got, m.Content.Message)
			}
		}
	}
	mustEqual(t, "page by page", got, want)
	if pages < 3 {
		t.Errorf("%d pages of 10 hold 27 messages", pages)
	}
	var rest []string
	for m, err := range thread.ListMessages(t.Context(), &chat.ListMessagesOptions{Continuation: continuation}) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Type == chat.MessageTypeText {
			rest = append(rest, m.Content.Message)
		}
	}
	mustEqual(t, "from a stored continuation", rest, want[10:])
	properties, err := thread.GetProperties(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for m, err := range thread.ListMessages(t.Context(), &chat.ListMessagesOptions{StartTime: properties.CreatedOn.Add(time.Hour)}) {
		t.Fatalf("an hour after the thread was made: %+v, %v", m, err)
	}
	for _, err := range newPerson(t, "Eve").NewThreadClient(thread.ID()).ListMessages(t.Context(), nil) {
		mustBe(t, "a stranger", err, communication.ErrForbidden)
	}
}

// TestSendIsNeverDoubled makes the server lose the response to a request that sends a message. If
// the server has announced that it recognizes repeated sends, the client retries and the message is
// stored once. If the first request of a client loses its response, the client returns
// ErrUnknownFate, because it has not seen the announcement yet.
func TestSendIsNeverDoubled(t *testing.T) {
	ann := newPerson(t, "Ann")
	thread := newThread(t, ann) // the response to this request announces idempotent sends
	fault(t, `{"operation":"send message","drop":"after","times":1}`)
	send(t, thread, "once")
	mustEqual(t, "messages", messages(t, thread), []string{"once"})

	fresh := newPerson(t, "Bob")
	if err := thread.AddParticipant(t.Context(), fresh.participant()); err != nil {
		t.Fatal(err)
	}
	fault(t, `{"operation":"send message","drop":"after","times":1}`)
	_, err := fresh.NewThreadClient(thread.ID()).SendMessage(t.Context(), "first words", nil)
	mustBe(t, "a send whose answer was lost", err, communication.ErrUnknownFate)
	mustEqual(t, "messages", messages(t, thread), []string{"first words", "once"})

	token := &chat.SendMessageOptions{IdempotencyToken: fmt.Sprint("order ", time.Now().UnixNano())}
	first, err := thread.SendMessage(t.Context(), "by hand", token)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := thread.SendMessage(t.Context(), "by hand", token); err != nil || again != first {
		t.Errorf("with the same token: %s, %v; want %s", again, err, first)
	}
}

func TestReceiptsAndTyping(t *testing.T) {
	ann, bob := newPerson(t, "Ann"), newPerson(t, "Bob")
	thread := newThread(t, ann, bob)
	first, last := send(t, thread, "one"), send(t, thread, "two")
	for _, p := range []person{ann, bob} {
		for _, id := range []string{first, last} {
			if err := p.NewThreadClient(thread.ID()).SendReadReceipt(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := map[communication.Identifier]string{}
	for r, err := range thread.ListReadReceipts(t.Context(), nil) {
		if err != nil || r.ReadOn.IsZero() {
			t.Fatalf("receipt %+v, %v", r, err)
		}
		read[r.Sender] = r.MessageID
	}
	mustEqual(t, "receipts", read, map[communication.Identifier]string{ann.id: last, bob.id: last})
	pager := thread.NewListReadReceiptsPager(&chat.ListReadReceiptsOptions{MaxPageSize: 1, Skip: 1})
	if page, err := pager.NextPage(t.Context()); err != nil || len(page.Values) != 1 || pager.More() {
		t.Errorf("after skipping the first: %+v, more %v, %v", page, pager.More(), err)
	}
	mustBe(t, "an unknown message", thread.SendReadReceipt(t.Context(), "1"), communication.ErrNotFound)

	if err := thread.SendTypingNotification(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := thread.SendTypingNotification(t.Context(), &chat.SendTypingNotificationOptions{SenderDisplayName: "Ann"}); err != nil {
		t.Error(err)
	}
}

func TestParticipants(t *testing.T) {
	ann, bob, eve := newPerson(t, "Ann"), newPerson(t, "Bob"), newPerson(t, "Eve")
	thread := newThread(t, ann)
	send(t, thread, "before")
	nobody := communication.NewUser(communication.JoinUserID("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"))
	failed, err := thread.AddParticipants(t.Context(), bob.participant(), chat.Participant{Identifier: nobody})
	if err != nil || len(failed) != 1 || failed[0].Identifier != nobody {
		t.Errorf("failed %+v, %v", failed, err)
	}
	if err := thread.AddParticipant(t.Context(), eve.participant()); err != nil {
		t.Error(err)
	}
	if err := thread.AddParticipant(t.Context(), chat.Participant{Identifier: nobody}); err == nil {
		t.Error("nobody was added")
	}
	names := func(o *chat.ListParticipantsOptions) (all []string) {
		t.Helper()
		for p, err := range thread.ListParticipants(t.Context(), o) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p.DisplayName)
		}
		return all
	}
	mustEqual(t, "participants", names(nil), []string{"Ann", "Bob", "Eve"})
	mustEqual(t, "one by one, behind the first", names(&chat.ListParticipantsOptions{MaxPageSize: 1, Skip: 1}), []string{"Bob", "Eve"})
	pager := thread.NewListParticipantsPager(&chat.ListParticipantsOptions{MaxPageSize: 2})
	page, err := pager.NextPage(t.Context())
	if err != nil || len(page.Values) != 2 || !pager.More() {
		t.Errorf("first page %+v, %v", page, err)
	}
	mustEqual(t, "from a stored continuation", names(&chat.ListParticipantsOptions{Continuation: page.Continuation}), []string{"Eve"})

	if err := thread.RemoveParticipant(t.Context(), bob.id); err != nil {
		t.Fatal(err)
	}
	_, err = bob.NewThreadClient(thread.ID()).SendMessage(t.Context(), "still here?", nil)
	mustBe(t, "a send of one who is gone", err, communication.ErrForbidden)
	mustEqual(t, "participants", names(nil), []string{"Ann", "Eve"})
}

func TestMessagesSince(t *testing.T) {
	ann, bob := newPerson(t, "Ann"), newPerson(t, "Bob")
	thread := newThread(t, ann, bob)
	cursor := ""
	poll := func() (got []string) {
		t.Helper()
		for m, err := range bob.NewThreadClient(thread.ID()).MessagesSince(t.Context(), cursor) {
			if err != nil {
				t.Fatal(err)
			}
			got, cursor = append(got, m.Content.Message+m.Content.Topic), m.ID
		}
		return got
	}
	mustEqual(t, "the system messages", len(poll()), 2)
	var ids, want []string
	for i := range 25 { // more than a page
		id, err := thread.SendMessage(t.Context(), fmt.Sprint("message ", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		ids, want = append(ids, id), append(want, fmt.Sprint("message ", i))
	}
	edit := func(i int) {
		t.Helper()
		want[i] = "edited"
		if err := thread.UpdateMessage(t.Context(), ids[i], &chat.UpdateMessageOptions{Content: want[i]}); err != nil {
			t.Fatal(err)
		}
	}
	edit(3)
	mustEqual(t, "new messages, oldest first", poll(), want)
	edit(4)
	mustEqual(t, "after another edit", poll(), []string(nil))
}
