package compat

import (
	"fmt"
	"testing"
	"time"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestCreateThread(t *testing.T) {
	ann, bob := newPerson(t, "Ann"), newPerson(t, "Bob")
	nobody := communication.NewUser(communication.JoinUserID("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"))
	before := time.Now().Truncate(time.Second)
	result, err := ann.CreateThread(t.Context(), "lunch", &chat.CreateThreadOptions{
		Participants: []chat.Participant{
			{Identifier: bob.id, DisplayName: "Bob", ShareHistoryTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Metadata: map[string]string{"role": "cook"}},
			{Identifier: nobody, DisplayName: "Nobody"},
		},
		Metadata:        map[string]string{"place": "canteen"},
		RetentionPolicy: chat.RetentionPolicy{DeleteThreadAfterDays: 60},
	})
	if err != nil {
		t.Fatal(err)
	}
	made := result.Thread
	if made.ID == "" || made.CreatedOn.Before(before) || made.CreatedBy != ann.id {
		t.Errorf("the thread is %+v", made)
	}
	mustEqual(t, "topic", made.Topic, "lunch")
	mustEqual(t, "metadata", made.Metadata, map[string]string{"place": "canteen"})
	mustEqual(t, "retention", made.RetentionPolicy, chat.RetentionPolicy{Kind: chat.RetentionKindThreadCreationDate, DeleteThreadAfterDays: 60})

	// The result contains the participant that the server refused, in a form that can be passed to
	// AddParticipants.
	if len(result.Failed) != 1 || result.Failed[0].Identifier != nobody || result.Failed[0].Code == "" {
		t.Fatalf("failed: %+v", result.Failed)
	}
	mustEqual(t, "failed.Participants()", result.Failed.Participants(), []chat.Participant{{Identifier: nobody, DisplayName: "Nobody"}})
	failed, err := ann.NewThreadClient(made.ID).AddParticipants(t.Context(), result.Failed.Participants()...)
	if err != nil || len(failed) != 1 {
		t.Errorf("added again: %+v, %v", failed, err)
	}
	got, err := bob.NewThreadClient(made.ID).GetProperties(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "properties", got, made)
}

func TestCreateThreadOnce(t *testing.T) {
	ann := newPerson(t, "Ann")
	create := func(o *chat.CreateThreadOptions) string {
		t.Helper()
		result, err := ann.CreateThread(t.Context(), "once", o)
		if err != nil {
			t.Fatal(err)
		}
		return result.Thread.ID
	}
	o := &chat.CreateThreadOptions{IdempotencyToken: fmt.Sprint("order ", time.Now().UnixNano())}
	if first, again, other := create(o), create(o), create(nil); first != again || first == other {
		t.Errorf("threads %s and %s with one token, %s without", first, again, other)
	}
	// The server loses the response to the first attempt. The client retries and gets the thread
	// that the first attempt created.
	fault(t, `{"operation":"create thread","drop":"after","times":1}`)
	lost := create(nil)
	n := 0
	for item, err := range ann.ListThreads(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if item.ID == lost {
			n++
		}
	}
	if total := count(t, ann, nil); n != 1 || total != 3 {
		t.Errorf("the thread is listed %d times among %d, want 1 among 3", n, total)
	}
}

func count(t *testing.T, p person, o *chat.ListThreadsOptions) (n int) {
	t.Helper()
	for _, err := range p.ListThreads(t.Context(), o) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestListThreads(t *testing.T) {
	ann := newPerson(t, "Ann")
	var ids []string
	for range 5 {
		ids = append(ids, newThread(t, ann).ID())
	}
	mustEqual(t, "all", count(t, ann, nil), 5)
	mustEqual(t, "in pages of two", count(t, ann, &chat.ListThreadsOptions{MaxPageSize: 2}), 5)
	properties, err := ann.NewThreadClient(ids[0]).GetProperties(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "from a day later on", count(t, ann, &chat.ListThreadsOptions{StartTime: properties.CreatedOn.Add(24 * time.Hour)}), 0)

	pager := ann.NewListThreadsPager(&chat.ListThreadsOptions{MaxPageSize: 2})
	first, err := pager.NextPage(t.Context())
	if err != nil || len(first.Values) != 2 || !pager.More() {
		t.Fatalf("first page %+v, %v", first, err)
	}
	mustEqual(t, "the rest, from a stored continuation", count(t, ann, &chat.ListThreadsOptions{Continuation: first.Continuation}), 3)
	// After an error, NextPage requests the same page again.
	fault(t, `{"operation":"list threads","status":400,"times":1}`)
	if _, err := pager.NextPage(t.Context()); err == nil {
		t.Error("the fault did not apply")
	}
	second, err := pager.NextPage(t.Context())
	if err != nil || len(second.Values) != 2 {
		t.Fatalf("second page %+v, %v", second, err)
	}
	seen := map[string]bool{}
	for _, item := range append(first.Values, second.Values...) {
		seen[item.ID] = true
		if item.Topic != "lunch" || item.LastMessageReceivedOn.IsZero() {
			t.Errorf("entry %+v", item)
		}
	}
	if len(seen) != 4 {
		t.Errorf("two pages show %d threads of %v", len(seen), ids)
	}
}

func TestDeleteThread(t *testing.T) {
	ann, eve := newPerson(t, "Ann"), newPerson(t, "Eve")
	thread := newThread(t, ann)
	mustBe(t, "a stranger", eve.DeleteThread(t.Context(), thread.ID()), communication.ErrForbidden)
	if err := ann.DeleteThread(t.Context(), thread.ID()); err != nil {
		t.Fatal(err)
	}
	_, err := thread.GetProperties(t.Context())
	mustBe(t, "afterwards", err, communication.ErrNotFound)
	if err := ann.DeleteThread(t.Context(), thread.ID()); err != nil {
		t.Errorf("again: %v", err)
	}
	mustBe(t, "a stranger, again", eve.DeleteThread(t.Context(), thread.ID()), communication.ErrNotFound)
	for item, err := range ann.ListThreads(t.Context(), nil) {
		if err != nil || item.DeletedOn.IsZero() {
			t.Errorf("the list shows %+v, %v", item, err)
		}
	}
}

func TestUpdateThread(t *testing.T) {
	ann := newPerson(t, "Ann")
	thread := newThread(t, ann)
	if err := thread.UpdateTopic(t.Context(), "dinner"); err != nil {
		t.Fatal(err)
	}
	if err := thread.Update(t.Context(), &chat.UpdateThreadOptions{
		Metadata: map[string]string{"a": "1", "b": "2"}, RetentionPolicy: chat.RetentionPolicy{DeleteThreadAfterDays: 30},
	}); err != nil {
		t.Fatal(err)
	}
	if err := thread.Update(t.Context(), &chat.UpdateThreadOptions{Topic: "supper", Metadata: map[string]string{"c": "3"}, RemoveMetadata: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	p, err := thread.GetProperties(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "topic", p.Topic, "supper")
	mustEqual(t, "metadata", p.Metadata, map[string]string{"b": "2", "c": "3"})
	mustEqual(t, "retention", p.RetentionPolicy.DeleteThreadAfterDays, 30)
	if err := thread.Update(t.Context(), &chat.UpdateThreadOptions{RetentionPolicy: chat.RetentionPolicy{Kind: chat.RetentionKindNone}}); err != nil {
		t.Fatal(err)
	}
	if p, err = thread.GetProperties(t.Context()); err != nil || p.RetentionPolicy.DeleteThreadAfterDays != 0 {
		t.Errorf("the policy is %+v, %v", p.RetentionPolicy, err)
	}
	var topics []string
	for m, err := range thread.ListMessages(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Type == chat.MessageTypeTopicUpdated {
			topics = append(topics, m.Content.Topic)
			mustEqual(t, "initiator", m.Content.Initiator, ann.id)
		}
	}
	mustEqual(t, "system messages", topics, []string{"supper", "dinner", "lunch"})
}

// TestVersions sends and reads a message, sends a read receipt and lists participants with every
// API version that both the SDK and the server support.
func TestVersions(t *testing.T) {
	for _, version := range []string{"2021-03-07", "2021-09-07", "2023-11-07", "2024-03-07", "2025-03-15"} {
		t.Run(version, func(t *testing.T) {
			var o chat.ClientOptions
			o.APIVersion = version
			ann, bob := newPersonWith(t, "Ann", &o), newPerson(t, "Bob")
			thread := newThread(t, ann, bob)
			id := send(t, thread, "hello")
			m, err := thread.GetMessage(t.Context(), id)
			if err != nil || m.Content.Message != "hello" || m.Sender != ann.id {
				t.Errorf("message %+v, %v", m, err)
			}
			if err := thread.SendReadReceipt(t.Context(), id); err != nil {
				t.Error(err)
			}
			n := 0
			for p, err := range thread.ListParticipants(t.Context(), nil) {
				if err != nil || p.DisplayName == "" {
					t.Errorf("participant %+v, %v", p, err)
				}
				n++
			}
			mustEqual(t, "participants", n, 2)
		})
	}
}
