package chat_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/internal/recorded"
)

func ExampleThreadClient_ID() {
	thread := newClient(recordedService("js_2021-09-07_scenario_one_thread")).NewThreadClient("19:1@thread.v2")

	fmt.Println(thread.ID())
	// Output:
	// 19:1@thread.v2
}

func ExampleThreadClient_GetProperties() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 3))

	p, err := thread.GetProperties(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.Topic, p.CreatedOn.Format(time.DateOnly), p.CreatedBy == alice)
	// Output:
	// new topic 2022-05-26 true
}

func ExampleThreadClient_UpdateTopic() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 2))

	err := thread.UpdateTopic(context.Background(), "new topic")
	fmt.Println(err)
	// Output:
	// <nil>
}

func ExampleThreadClient_Update() {
	ctx := context.Background()
	client := newClient(recordedService("js_2023-11-15-preview_updates_the_thread_metadata", 0, 1))
	thread := client.NewThreadClient("19:2DSJlUg7R4ofGKtwIaHygytaHGAciwrHGNzXsjUNZQI1@thread.v2")

	err := thread.Update(ctx, &chat.UpdateThreadOptions{
		Metadata: map[string]string{"threadType": "secondary"},
	})
	if err != nil {
		log.Fatal(err)
	}

	p, err := thread.GetProperties(ctx)
	fmt.Println(p.Metadata, err)
	// Output:
	// map[secondaryThread:test-id threadType:secondary] <nil>
}

// Remove a key from the metadata of a thread. The response is written by hand, because no recording
// removes metadata.
func ExampleThreadClient_Update_remove() {
	thread := newThread(writtenService(recorded.Exchange{
		Request: recorded.Request{
			Method: "PATCH", Path: "/chat/threads/" + threadID,
			Body: []byte(`{"metadata":{"threadType":null},"retentionPolicy":{"kind":"none"}}`),
		},
		Response: recorded.Response{Status: 204},
	}))

	err := thread.Update(context.Background(), &chat.UpdateThreadOptions{
		RemoveMetadata:  []string{"threadType"},
		RetentionPolicy: chat.RetentionPolicy{Kind: chat.RetentionKindNone},
	})
	fmt.Println(err)
	// Output:
	// <nil>
}

func ExampleThreadClient_SendMessage() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 4))

	id, err := thread.SendMessage(context.Background(), "content", &chat.SendMessageOptions{
		Metadata: map[string]string{"tags": "sometag"},
	})
	fmt.Println(id, err)
	// Output:
	// 1653551972669 <nil>
}

// Send a message and get an error that does not tell whether the message was stored. The response
// is written by hand. The service in this example has not announced idempotent sends, so the client
// does not retry.
func ExampleThreadClient_SendMessage_unknownFate() {
	thread := newThread(writtenService(recorded.Exchange{
		Request: recorded.Request{
			Method: "POST", Path: "/chat/threads/" + threadID + "/messages", Body: []byte(`{"content":"Pizza?"}`),
		},
		Response: recorded.Response{Status: 503},
	}))

	_, err := thread.SendMessage(context.Background(), "Pizza?", nil)
	if errors.Is(err, communication.ErrUnknownFate) {
		fmt.Println("perhaps sent: look at the newest messages before sending again")
	}
	// Output:
	// perhaps sent: look at the newest messages before sending again
}

func ExampleThreadClient_GetMessage() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 7))

	m, err := thread.GetMessage(context.Background(), messageID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Type, m.Content.Message, m.Metadata, m.Sender == alice, m.EditedOn.IsZero())
	// Output:
	// text content map[tags:sometag] true true
}

func ExampleThreadClient_ListMessages() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 9, 10))

	for m, err := range thread.ListMessages(context.Background(), &chat.ListMessagesOptions{MaxPageSize: 3}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.SequenceID, m.Type)
	}
	// Output:
	// 4 text
	// 3 topicUpdated
	// 2 topicUpdated
	// 1 participantAdded
}

func ExampleThreadClient_NewListMessagesPager() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 9, 10))

	pager := thread.NewListMessagesPager(&chat.ListMessagesOptions{MaxPageSize: 3})
	for pager.More() {
		page, err := pager.NextPage(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(page.Values), "messages")
	}
	// Output:
	// 3 messages
	// 1 messages
}

// Poll for new messages. The response is written by hand: somebody has edited the message 1000, which
// the program has handled before, and two messages are new.
func ExampleThreadClient_MessagesSince() {
	thread := newThread(writtenService(recorded.Exchange{
		Request: recorded.Request{
			Method: "GET", Path: "/chat/threads/" + threadID + "/messages", Query: map[string]string{"maxPageSize": "20"},
		},
		Response: recorded.Response{Status: 200, Body: []byte(`{"value":[
			{"id":"1000","type":"text","sequenceId":"6","version":"3500","content":{"message":"Pizza!"},"createdOn":"1970-01-01T00:00:01Z","editedOn":"1970-01-01T00:00:03Z"},
			{"id":"3000","type":"text","sequenceId":"5","version":"3000","content":{"message":"Soup."},"createdOn":"1970-01-01T00:00:03Z"},
			{"id":"2500","type":"text","sequenceId":"4","version":"2500","content":{"message":"No."},"createdOn":"1970-01-01T00:00:02Z"},
			{"id":"2000","type":"text","sequenceId":"3","version":"2000","content":{"message":"Again?"},"createdOn":"1970-01-01T00:00:02Z"}]}`)},
	}))

	cursor := "2000" // the ID of the last message that the program handled; "" returns all messages
	for m, err := range thread.MessagesSince(context.Background(), cursor) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Content.Message)
		cursor = m.ID // store the cursor to continue later
	}
	fmt.Println("next:", cursor)
	// Output:
	// No.
	// Soup.
	// next: 3000
}

// Edit a message. In the recorded traffic, ids are replaced with the word "sanitized".
func ExampleThreadClient_UpdateMessage() {
	thread := newClient(recordedService("py_2021-09-07_test_update_message", 6)).NewThreadClient("sanitized")

	err := thread.UpdateMessage(context.Background(), "sanitized", &chat.UpdateMessageOptions{
		Content: "updated message content",
	})
	fmt.Println(err)
	// Output:
	// <nil>
}

func ExampleThreadClient_DeleteMessage() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 11))

	err := thread.DeleteMessage(context.Background(), messageID)
	fmt.Println(err)
	// Output:
	// <nil>
}

func ExampleThreadClient_ListParticipants() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 13))

	for p, err := range thread.ListParticipants(context.Background(), nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(p.Identifier == alice, p.ShareHistoryTime)
	}
	// Output:
	// true 1970-01-01 00:00:00 +0000 UTC
	// false 1970-01-01 00:00:00 +0000 UTC
	// false 1970-01-01 00:00:00 +0000 UTC
}

func ExampleThreadClient_NewListParticipantsPager() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 13))

	pager := thread.NewListParticipantsPager(nil)
	for pager.More() {
		page, err := pager.NextPage(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(page.Values), "participants")
	}
	// Output:
	// 3 participants
}

func ExampleThreadClient_AddParticipants() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 12))

	failed, err := thread.AddParticipants(context.Background(), chat.Participant{Identifier: carol})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(failed), "refused")
	// Output:
	// 0 refused
}

func ExampleThreadClient_AddParticipant() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 12))

	err := thread.AddParticipant(context.Background(), chat.Participant{Identifier: carol})
	fmt.Println(err)
	// Output:
	// <nil>
}

// addBoth is a response that refuses one of two participants. It is written by hand, in the form
// that docs/contract/chat.md §3.1 describes.
var addBoth = recorded.Exchange{
	Request: recorded.Request{
		Method: "POST", Path: "/chat/threads/" + threadID + "/participants/:add",
		Body: addBody(bob, carol),
	},
	Response: recorded.Response{
		Status: 201,
		Body:   []byte(`{"invalidParticipants":[{"target":"` + carol.RawID() + `","code":"403","message":"Permissions check failed"}]}`),
	},
}

// Add refused participants again. The responses are written by hand, in the form that the service
// uses.
func ExampleFailedParticipants_Participants() {
	ctx := context.Background()
	again := recorded.Exchange{
		Request:  recorded.Request{Method: "POST", Path: addBoth.Request.Path, Body: addBody(carol)},
		Response: recorded.Response{Status: 201, Body: []byte(`{}`)},
	}
	thread := newThread(writtenService(addBoth, again))

	failed, err := thread.AddParticipants(ctx, chat.Participant{Identifier: bob}, chat.Participant{Identifier: carol})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range failed {
		fmt.Println(f.Identifier == carol, f.Code, f.Message)
	}

	// If Carol may be added now, add her again, with the same display name.
	if len(failed) > 0 {
		failed, err = thread.AddParticipants(ctx, failed.Participants()...)
	}
	fmt.Println(len(failed), err)
	// Output:
	// true 403 Permissions check failed
	// 0 <nil>
}

func ExampleThreadClient_RemoveParticipant() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 15))

	err := thread.RemoveParticipant(context.Background(), bob)
	fmt.Println(err)
	// Output:
	// <nil>
}

// Report that the user is typing. In the recorded traffic, the id of the thread is replaced with
// the word "sanitized".
func ExampleThreadClient_SendTypingNotification() {
	service := recordedService("py_2021-09-07_test_send_typing_notification_with_display_name", 5)
	thread := newClient(service).NewThreadClient("sanitized")

	err := thread.SendTypingNotification(context.Background(), &chat.SendTypingNotificationOptions{
		SenderDisplayName: "John",
	})
	fmt.Println(err)
	// Output:
	// <nil>
}

func ExampleThreadClient_SendReadReceipt() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 6))

	err := thread.SendReadReceipt(context.Background(), messageID)
	fmt.Println(err)
	// Output:
	// <nil>
}

func ExampleThreadClient_ListReadReceipts() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 14))

	for r, err := range thread.ListReadReceipts(context.Background(), nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Sender == alice, r.MessageID, r.ReadOn)
	}
	// Output:
	// true 1653551972669 2022-05-26 07:59:33 +0000 UTC
}

func ExampleThreadClient_NewListReadReceiptsPager() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 14))

	pager := thread.NewListReadReceiptsPager(nil)
	for pager.More() {
		page, err := pager.NextPage(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(page.Values), "receipts")
	}
	// Output:
	// 1 receipts
}
