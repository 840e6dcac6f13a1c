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

// Create a thread and read its messages. The transport replays recorded responses of the real
// service, as in all examples that do not say otherwise. In a program, chat.NewClient returns the
// client.
func Example() {
	ctx := context.Background()
	client := newClient(recordedService("js_2021-09-07_scenario_one_thread", 0, 4, 8, 12, 6))

	created, err := client.CreateThread(ctx, "test topic", &chat.CreateThreadOptions{
		Participants: []chat.Participant{{Identifier: alice}, {Identifier: bob}},
	})
	if err != nil {
		log.Fatal(err)
	}
	thread := client.NewThreadClient(created.Thread.ID)

	sent, err := thread.SendMessage(ctx, "content", &chat.SendMessageOptions{
		Metadata: map[string]string{"tags": "sometag"},
	})
	if err != nil {
		log.Fatal(err)
	}
	for m, err := range thread.ListMessages(ctx, nil) {
		if err != nil {
			log.Fatal(err)
		}
		switch m.Type {
		case chat.MessageTypeText, chat.MessageTypeHTML:
			fmt.Println("text:", m.Content.Message)
		case chat.MessageTypeTopicUpdated:
			fmt.Println("topic:", m.Content.Topic)
		case chat.MessageTypeParticipantAdded:
			fmt.Println("added:", len(m.Content.Participants))
		}
	}

	failed, err := thread.AddParticipants(ctx, chat.Participant{Identifier: carol})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("refused:", len(failed))

	if err := thread.SendReadReceipt(ctx, sent); err != nil {
		log.Fatal(err)
	}
	// Output:
	// text: content
	// topic: new topic
	// topic: test topic
	// added: 2
	// refused: 0
}

// Test for common errors. The response is written by hand; the service sends such a response to a
// user who is not in the thread.
func Example_errors() {
	thread := newThread(writtenService(recorded.Exchange{
		Request: recorded.Request{Method: "GET", Path: "/chat/threads/" + threadID},
		Response: recorded.Response{
			Status: 403,
			Body:   []byte(`{"CommunicationError":{"Code":"Forbidden","Message":"The initiator doesn't have the permission to perform the requested operation.","Details":[]}}`),
		},
	}))

	_, err := thread.GetProperties(context.Background())

	var e *communication.Error
	switch {
	case errors.Is(err, communication.ErrForbidden):
		fmt.Println("not in this thread")
	case errors.Is(err, communication.ErrNotFound):
		fmt.Println("no such thread")
	}
	if errors.As(err, &e) {
		fmt.Println(e.StatusCode, e.Code)
	}
	// Output:
	// not in this thread
	// 403 Forbidden
}

func ExampleNewClient() {
	// In a program, the credential contains a token from your own server or from package identity.
	cred := exampleToken{}

	_, err := chat.NewClient("https://localhost:8443", cred, nil)
	fmt.Println(err)

	_, err = chat.NewClient("localhost:8443", cred, nil)
	fmt.Println(err)
	// Output:
	// <nil>
	// chat client: endpoint is not a URL of the form https://host or http://host
}

func ExampleClient_CreateThread() {
	client := newClient(recordedService("js_2021-09-07_scenario_one_thread", 0))

	result, err := client.CreateThread(context.Background(), "test topic", &chat.CreateThreadOptions{
		Participants: []chat.Participant{{Identifier: alice}, {Identifier: bob}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range result.Failed {
		fmt.Printf("%s is not in the thread: %s %s\n", f.Identifier, f.Code, f.Message)
	}
	fmt.Println(result.Thread.Topic, result.Thread.CreatedOn, result.Thread.CreatedBy == alice)
	// Output:
	// test topic 2022-05-26 07:59:30 +0000 UTC true
}

// threadsPage is the response to a list of threads. It is written by hand, in the form that
// docs/contract/chat.md §3.2 describes.
var threadsPage = []recorded.Exchange{{
	Request: recorded.Request{Method: "GET", Path: "/chat/threads", Query: map[string]string{"maxPageSize": "2"}},
	Response: recorded.Response{Status: 200, Body: []byte(`{
		"value": [
			{"id": "19:1@thread.v2", "topic": "Lunch", "lastMessageReceivedOn": "2021-09-07T19:57:04Z"},
			{"id": "19:2@thread.v2", "topic": "Dinner", "deletedOn": "2021-09-07T19:57:03Z", "lastMessageReceivedOn": "2021-09-07T19:57:03Z"}
		],
		"nextLink": "https://endpoint/chat/threads?syncState=W10%3D&maxPageSize=2&api-version=2025-03-15"
	}`)},
}, {
	Request:  recorded.Request{Method: "GET", Path: "/chat/threads", Query: map[string]string{"maxPageSize": "2", "syncState": "W10="}},
	Response: recorded.Response{Status: 200, Body: []byte(`{"value": [{"id": "19:3@thread.v2", "topic": "Breakfast", "lastMessageReceivedOn": "2021-09-07T07:00:00Z"}]}`)},
}}

// Iterate over the threads of a user. The responses are written by hand, in the form that the
// service uses.
func ExampleClient_ListThreads() {
	client := newClient(writtenService(threadsPage...))

	for item, err := range client.ListThreads(context.Background(), &chat.ListThreadsOptions{MaxPageSize: 2}) {
		if err != nil {
			log.Fatal(err)
		}
		if item.DeletedOn.IsZero() {
			fmt.Println(item.Topic, item.LastMessageReceivedOn.Format(time.Kitchen))
		}
	}
	// Output:
	// Lunch 7:57PM
	// Breakfast 7:00AM
}

// Read the threads of a user page by page. The responses are written by hand, in the form that the
// service uses.
func ExampleClient_NewListThreadsPager() {
	client := newClient(writtenService(threadsPage...))

	pager := client.NewListThreadsPager(&chat.ListThreadsOptions{MaxPageSize: 2})
	for pager.More() {
		page, err := pager.NextPage(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(page.Values))
	}
	// Output:
	// 2
	// 1
}

func ExampleClient_DeleteThread() {
	client := newClient(recordedService("js_2021-09-07_deletes_a_thread", 0))

	err := client.DeleteThread(context.Background(), "19:ZFZyPgSr4MhkDfCnXSa6rKVR00T-pr_H_KFLgkMMCmE1@thread.v2")
	fmt.Println(err)
	// Output:
	// <nil>
}

// Receive events until a message asks to stop. The responses are written by hand, in the form of
// docs/events.md: the first connection breaks in the middle of a message, and the client opens a
// second one.
func ExampleClient_Events() {
	client := newEventClient(
		`event: hello
id: MS4w
data: {"user":"8:acs:a_b","cursor":"MS4w"}

event: chatMessageReceived
id: MS4x
data: {"threadId":"19:1@thread.v2","number":7,"id":"1768446245678","type":"text","message":"Pizza or noodles?","sender":"8:acs:a_c","senderDisplayName":"Bob"}

event: typingIndicatorReceived
data: {"threadId":"19:1@thread.v2","sender":"8:acs:a_c","senderDisplayName":"Bob","version":"1768446245700"}

event: chatMessageRe`,
		`event: hello
id: MS4x
data: {"user":"8:acs:a_b","cursor":"MS4x"}

event: chatMessageReceived
id: MS4y
data: {"threadId":"19:1@thread.v2","number":8,"id":"1768446250000","type":"text","message":"stop","sender":"8:acs:a_c","senderDisplayName":"Bob"}

`)

	var cursor string // a program stores the cursor to continue after a restart
	for event, err := range client.Events(context.Background(), &chat.EventsOptions{Cursor: cursor}) {
		if err != nil {
			log.Fatal(err)
		}
		stop := false
		switch e := event.(type) {
		case chat.Started:
			fmt.Println("connected")
		case chat.MessageReceived:
			fmt.Printf("%s: %s\n", e.Message.SenderDisplayName, e.Message.Content.Message)
			stop = e.Message.Content.Message == "stop"
		case chat.TypingIndicatorReceived:
			fmt.Println(e.SenderDisplayName, "is typing")
		case chat.Gap:
			fmt.Println("events are missing: list the threads and their messages again")
		}
		cursor = event.Info().Cursor
		if stop {
			break
		}
	}
	fmt.Println("continue after", cursor)
	// Output:
	// connected
	// Bob: Pizza or noodles?
	// Bob is typing
	// Bob: stop
	// continue after MS4y
}

func ExampleClient_NewThreadClient() {
	client := newClient(recordedService("js_2021-09-07_scenario_one_thread", 1))

	thread := client.NewThreadClient(threadID) // sends no request

	p, err := thread.GetProperties(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.Topic)
	// Output:
	// test topic
}

// Store the Continuation of a page. With the Continuation, another process can resume the list
// later, after that page.
func ExamplePage() {
	ctx := context.Background()
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 9, 10))

	page, err := thread.NewListMessagesPager(&chat.ListMessagesOptions{MaxPageSize: 3}).NextPage(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(page.Values))

	stored := page.Continuation // a program can store this string
	for m, err := range thread.ListMessages(ctx, &chat.ListMessagesOptions{Continuation: stored}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Type)
	}
	// Output:
	// 3
	// participantAdded
}

// NextPage can be called again after an error: the pager then requests the same page. In this
// example the first response is a hand-written error.
func ExamplePager_NextPage() {
	ctx := context.Background()
	service := recordedService("js_2021-09-07_scenario_one_thread", 8)
	refused := service.Exchanges[0]
	refused.Response = recorded.Response{Status: 401}
	service.Exchanges = append([]recorded.Exchange{refused}, service.Exchanges...)

	pager := newThread(service).NewListMessagesPager(nil)
	_, err := pager.NextPage(ctx)
	fmt.Println(errors.Is(err, communication.ErrUnauthorized), pager.More())

	page, err := pager.NextPage(ctx)
	fmt.Println(len(page.Values), err, pager.More())
	// Output:
	// true true
	// 4 <nil> false
}

func ExamplePager_More() {
	thread := newThread(recordedService("js_2021-09-07_scenario_one_thread", 9, 10))

	pager := thread.NewListMessagesPager(&chat.ListMessagesOptions{MaxPageSize: 3})
	for pager.More() {
		page, err := pager.NextPage(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(page.Values))
	}
	// Output:
	// 3
	// 1
}
