package chattest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/confab-chat/confab/chattest"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestTheTokenExpires(t *testing.T) {
	t.Parallel()
	s := chattest.NewServer(t)
	client := s.Chat(s.NewUser())
	s.Clock.Advance(25 * time.Hour)
	if _, err := client.CreateThread(t.Context(), "lunch", nil); !errors.Is(err, communication.ErrUnauthorized) {
		t.Errorf("a day later: %v, want ErrUnauthorized", err)
	}
}

func TestTheSDKWaitsAndSendsAgain(t *testing.T) {
	t.Parallel()
	s := chattest.NewServer(t)
	client := s.Chat(s.NewUser())
	made, err := client.CreateThread(t.Context(), "lunch", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Faults.Add(chattest.Fault{Operation: "send message", Status: 429, Times: 2})
	if _, err := client.NewThreadClient(made.Thread.ID).SendMessage(t.Context(), "Where do we eat?", nil); err != nil {
		t.Error(err)
	}
	if n := s.Requests("send message"); n != 3 {
		t.Errorf("the message was sent %d times, want 3", n)
	}
}

func TestALostAnswerMakesNoSecondThread(t *testing.T) {
	t.Parallel()
	s := chattest.NewServer(t)
	client := s.Chat(s.NewUser())
	s.Faults.Add(chattest.Fault{Operation: "create thread", Drop: chattest.DropAfter})
	if _, err := client.CreateThread(t.Context(), "lunch", nil); err != nil {
		t.Fatal(err)
	}
	threads := 0
	for _, err := range client.ListThreads(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		threads++
	}
	if threads != 1 {
		t.Errorf("%d threads, want 1", threads)
	}
}

func TestADroppedConnectionLosesNoMessage(t *testing.T) {
	t.Parallel()
	s := chattest.NewServer(t)
	client := s.Chat(s.NewUser())
	made, err := client.CreateThread(t.Context(), "lunch", nil)
	if err != nil {
		t.Fatal(err)
	}
	send := func(text string) {
		if _, err := client.NewThreadClient(made.Thread.ID).SendMessage(t.Context(), text, nil); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for event, err := range client.Events(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		switch e := event.(type) {
		case chat.Started:
			send("Where do we eat?")
		case chat.MessageReceived:
			if got = append(got, e.Message.Content.Message); len(got) == 1 {
				if n := s.Faults.DropLive(); n != 1 {
					t.Errorf("%d connections were dropped, want 1", n)
				}
				send("At noon?") // while the reader is away
			}
		}
		if len(got) == 2 {
			break
		}
	}
	if got[1] != "At noon?" || s.Requests("open event stream") != 2 {
		t.Errorf("got %q over %d connections", got, s.Requests("open event stream"))
	}
}
