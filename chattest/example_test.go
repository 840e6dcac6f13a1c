package chattest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/confab-chat/confab/chattest"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// example is a testing.TB for an example function, which has no *testing.T.
type example struct {
	testing.TB
	ends []func()
}

func (e *example) Helper()                   {}
func (e *example) Cleanup(f func())          { e.ends = append(e.ends, f) }
func (e *example) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (e *example) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (e *example) Errorf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// end runs the functions that were registered with Cleanup, as the end of a test does.
func (e *example) end() {
	for _, f := range e.ends {
		f()
	}
}

// Start a server with two users that chat with each other.
func Example() {
	t := &example{} // in a test, use the *testing.T of the test and do not call end
	defer t.end()

	ctx := context.Background()
	s := chattest.NewServer(t)
	ann, bob := s.NewUser(), s.NewUser()
	made, err := s.Chat(ann).CreateThread(ctx, "lunch", &chat.CreateThreadOptions{
		Participants: []chat.Participant{{Identifier: bob.ID, DisplayName: "Bob"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Chat(ann).NewThreadClient(made.Thread.ID).SendMessage(ctx, "Where do we eat?", nil); err != nil {
		t.Fatal(err)
	}
	for m, err := range s.Chat(bob).NewThreadClient(made.Thread.ID).ListMessages(ctx, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Type == chat.MessageTypeText {
			fmt.Println(m.Content.Message)
		}
	}
	// Output: Where do we eat?
}

// Move the clock by more than a day. A token with a lifetime of a day has then expired.
func ExampleClock_Advance() {
	t := &example{} // in a test, use the *testing.T of the test and do not call end
	defer t.end()

	ctx := context.Background()
	s := chattest.NewServer(t)
	ann := s.NewUser()
	s.Clock.Advance(25 * time.Hour)
	_, err := s.Chat(ann).CreateThread(ctx, "lunch", nil)
	fmt.Println(errors.Is(err, communication.ErrUnauthorized))
	// Output: true
}

// Use a credential that requests a new token when the old one is about to expire. Its client still
// works after the server's clock has moved by more than a day.
func ExampleServer_Token() {
	t := &example{} // in a test, use the *testing.T of the test and do not call end
	defer t.end()

	ctx := context.Background()
	s := chattest.NewServer(t)
	ann := s.NewUser()
	cred, err := communication.NewRefreshingTokenCredential(func(context.Context) (string, error) {
		fmt.Println("a new token")
		return s.Token(ann.ID, nil), nil
	}, &communication.RefreshingOptions{Token: ann.Token()})
	if err != nil {
		t.Fatal(err)
	}
	defer cred.Close()
	options := &chat.ClientOptions{}
	options.Transport = s.Client()
	client, err := chat.NewClient(s.Endpoint(), cred, options)
	if err != nil {
		t.Fatal(err)
	}

	s.Clock.Advance(25 * time.Hour)
	made, err := client.CreateThread(ctx, "lunch", nil)
	fmt.Println(made.Thread.Topic, err)
	// Output:
	// a new token
	// lunch <nil>
}

// Lose the response to a request that creates a thread. The client retries, and the server does not
// create a second thread.
func ExampleFaults_Add() {
	t := &example{} // in a test, use the *testing.T of the test and do not call end
	defer t.end()

	ctx := context.Background()
	s := chattest.NewServer(t)
	client := s.Chat(s.NewUser())
	s.Faults.Add(chattest.Fault{Operation: "create thread", Drop: chattest.DropAfter})
	if _, err := client.CreateThread(ctx, "lunch", nil); err != nil {
		t.Fatal(err)
	}
	for thread, err := range client.ListThreads(ctx, nil) {
		fmt.Println(thread.Topic, err)
	}
	fmt.Println("asked", s.Requests("create thread"), "times, left", s.Faults.Left())
	// Output:
	// lunch <nil>
	// asked 2 times, left []
}

// Make the server answer 429 until the client stops retrying.
func ExampleFault() {
	t := &example{} // in a test, use the *testing.T of the test and do not call end
	defer t.end()

	ctx := context.Background()
	s := chattest.NewServer(t)
	client := s.Chat(s.NewUser())
	s.Faults.Add(chattest.Fault{Operation: "create thread", Status: 429, Times: chattest.Always})
	_, err := client.CreateThread(ctx, "lunch", nil)
	fmt.Println(errors.Is(err, communication.ErrThrottled), s.Requests("create thread"))
	// Output: true 4
}

// Create users and tokens with an identity client, as a token server does. A chat client whose
// credential gets its tokens from the identity client still works after the clock has moved by
// more than a day.
func ExampleServer_Identity() {
	t := &example{} // in a test, use the *testing.T of the test and do not call end
	defer t.end()

	ctx := context.Background()
	s := chattest.NewServer(t)
	ids := s.Identity()
	user, err := ids.CreateUser(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	cred := ids.NewTokenCredential(user, nil)
	defer cred.Close()
	options := &chat.ClientOptions{}
	options.Transport = s.Client()
	client, err := chat.NewClient(s.Endpoint(), cred, options)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"lunch", "lunch tomorrow"} {
		made, err := client.CreateThread(ctx, topic, nil)
		fmt.Println(made.Thread.Topic, err)
		s.Clock.Advance(25 * time.Hour)
	}
	fmt.Println("tokens:", s.Requests("issue token"))
	// Output:
	// lunch <nil>
	// lunch tomorrow <nil>
	// tokens: 2
}

// Main has started a server for the package. The code under test reads the address of that server
// from the environment.
func ExampleMain() {
	// func TestMain(m *testing.M) { chattest.Main(m) }
	var t *testing.T // stands for the *testing.T of a test in the same package

	s := chattest.Shared(t)
	fmt.Println(os.Getenv("CONFAB_ENDPOINT") == s.Endpoint())
}

// Break the connection of a reader of live events. The reader connects again and misses nothing.
func ExampleFaults_DropLive() {
	t := &example{} // in a test, use the *testing.T of the test and do not call end
	defer t.end()

	ctx := context.Background()
	s := chattest.NewServer(t)
	client := s.Chat(s.NewUser())
	for event, err := range client.Events(ctx, nil) {
		if err != nil {
			t.Fatal(err)
		}
		switch e := event.(type) {
		case chat.Started:
			fmt.Println("dropped", s.Faults.DropLive())
			if _, err := client.CreateThread(ctx, "lunch", nil); err != nil {
				t.Fatal(err)
			}
		case chat.ThreadCreated:
			fmt.Println("received", e.Topic)
			return
		}
	}
	// Output:
	// dropped 1
	// received lunch
}
