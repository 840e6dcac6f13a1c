// Command bot is a chat participant that answers messages. It creates a user and a thread, prints
// the thread id and a token for a guest, and answers every message in the thread until it is
// interrupted:
//
//	confab run -- go run ./examples/bot
//
// It polls for new messages once a second.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Getenv("CONFAB_CONNECTION_STRING"), time.Second, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bot:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, connection string, every time.Duration, out io.Writer) error {
	ids, err := identity.NewClientFromConnectionString(connection, nil)
	if err != nil {
		return err
	}
	guest, err := ids.CreateUserAndToken(ctx, []identity.Scope{identity.ScopeChat}, nil)
	if err != nil {
		return err
	}
	self, err := ids.CreateUser(ctx, nil)
	if err != nil {
		return err
	}
	client, err := chat.NewClient(ids.Endpoint(), ids.NewTokenCredential(self, nil), nil) // use a credential that renews its token, because the bot runs longer than a token is valid
	if err != nil {
		return err
	}
	made, err := client.CreateThread(ctx, "Talk to the bot", &chat.CreateThreadOptions{Participants: []chat.Participant{
		{Identifier: self, DisplayName: "Bot"}, {Identifier: guest.User, DisplayName: "Guest"},
	}})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "thread %s\ntoken of a guest %s\n", made.Thread.ID, guest.Token.Token)
	b := bot{self: self, thread: client.NewThreadClient(made.Thread.ID), since: made.Thread.CreatedOn}
	return b.run(ctx, every)
}

// bot answers the messages that other participants send to its thread.
type bot struct {
	self   communication.Identifier
	thread *chat.ThreadClient
	since  time.Time // creation time of the newest message that the bot has processed
	seen   []string  // ids of the processed messages that were created at the time since
}

// run calls look at once and then after each interval of length every. It returns nil when ctx
// ends, and the error of look if that fails for another reason than throttling.
func (b *bot) run(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		switch err := b.look(ctx); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, communication.ErrThrottled): // the server still throttles the bot after all retries of the client: try again at the next tick
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look lists the messages of the thread and answers the new messages, oldest first.
func (b *bot) look(ctx context.Context) error {
	var fresh []chat.Message
	for m, err := range b.thread.ListMessages(ctx, &chat.ListMessagesOptions{StartTime: b.since}) {
		if err != nil {
			return err
		}
		// An edit moves an old message to the top of the list, so skip edited messages.
		if m.Type == chat.MessageTypeText && !slices.Contains(b.seen, m.ID) && m.Sender != b.self && m.DeletedOn.IsZero() && m.EditedOn.IsZero() {
			fresh = append(fresh, m)
		}
	}
	slices.Reverse(fresh)
	for _, m := range fresh {
		if answer := reply(m.Content.Message); answer != "" {
			// The server stores only one message with this token, so that the bot never answers a
			// message twice, even if the response is lost and the request is repeated.
			if _, err := b.thread.SendMessage(ctx, answer, &chat.SendMessageOptions{SenderDisplayName: "Bot", IdempotencyToken: "answer to " + m.ID}); err != nil {
				return err
			}
		}
		if err := b.thread.SendReadReceipt(ctx, m.ID); err != nil {
			return err
		}
		if m.CreatedOn.After(b.since) { // times have whole seconds, so later messages may have the same time as this one
			b.since, b.seen = m.CreatedOn, nil
		}
		b.seen = append(b.seen, m.ID)
	}
	return nil
}

// reply returns the answer to a text, or "" if the bot does not answer it.
func reply(text string) string {
	switch word, rest, _ := strings.Cut(strings.TrimSpace(text), " "); strings.ToLower(word) {
	case "":
		return ""
	case "echo":
		return rest
	case "time":
		return time.Now().UTC().Format(time.RFC1123)
	case "hello", "hi":
		return "Hello! I know: echo, time."
	}
	return "I know: hello, echo, time."
}
