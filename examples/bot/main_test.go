package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/chattest"
	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestMain starts a server and sets CONFAB_CA_FILE, as `confab run` does.
func TestMain(m *testing.M) { os.Exit(chattest.Main(m)) }

// TestBot starts the bot, joins its thread with the token of the guest, and chats with it.
func TestBot(t *testing.T) {
	s := chattest.Shared(t)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	in, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, s.ConnectionString(), 20*time.Millisecond, out)
		out.CloseWithError(err)
		ended <- err
	}()
	lines := bufio.NewScanner(in)
	told := func(prefix string) string {
		t.Helper()
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), prefix) {
			t.Fatalf("the bot said %q (%v)", lines.Text(), lines.Err())
		}
		return strings.TrimPrefix(lines.Text(), prefix)
	}
	id := told("thread ")
	cred, err := communication.NewTokenCredential(told("token of a guest "))
	if err != nil {
		t.Fatal(err)
	}
	client, err := chat.NewClient(s.Endpoint(), cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	thread := client.NewThreadClient(id)
	for _, text := range []string{"hello", "echo What a day"} {
		if _, err := thread.SendMessage(ctx, text, nil); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"Hello! I know: echo, time.", "What a day"}
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for answers := []string(nil); len(answers) < len(want); <-poll.C {
		answers = nil
		for m, err := range thread.ListMessages(ctx, nil) {
			if err != nil {
				t.Fatal(err)
			}
			if m.SenderDisplayName == "Bot" {
				answers = append([]string{m.Content.Message}, answers...)
			}
		}
		for i, a := range answers {
			if i >= len(want) || a != want[i] {
				t.Fatalf("the bot answers %q, want %q", answers, want)
			}
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
