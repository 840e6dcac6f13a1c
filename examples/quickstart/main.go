// Command quickstart performs, step by step, all operations of the README of Python's
// azure-communication-chat 1.2.0 and of Microsoft's quickstart of March 2021, and prints the
// results. Run it against a server in memory:
//
//	confab run -- go run ./examples/quickstart
//
// or against another server by setting CONFAB_CONNECTION_STRING. If the system does not trust the
// server's certificate, set CONFAB_CA_FILE too.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/confab-chat/confab/sdk/chat"
	"github.com/confab-chat/confab/sdk/communication"
	"github.com/confab-chat/confab/sdk/identity"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Getenv("CONFAB_CONNECTION_STRING"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, connection string, out io.Writer) error {
	q := quickstart{ctx: ctx, out: out}
	for _, step := range []struct {
		title string
		do    func() error
	}{
		{"Users and tokens", func() error { return q.users(connection) }},
		{"A thread", q.thread},
		{"Messages", q.messages},
		{"Participants", q.participants},
		{"Read receipts and typing", q.receipts},
		{"Threads of a user", q.threads},
		{"Errors", q.errors},
		{"The end", q.end},
	} {
		fmt.Fprintf(out, "\n%s\n", step.title)
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	return nil
}

// quickstart holds values that one step of the program creates and later steps use.
type quickstart struct {
	ctx context.Context
	out io.Writer

	identities *identity.Client
	ann, bob   communication.Identifier
	client     *chat.Client       // Ann's client
	room       *chat.ThreadClient // Ann's client of the thread
	message    string             // the id of the first message that Ann sent
}

func (q *quickstart) say(format string, args ...any) {
	fmt.Fprintf(q.out, "  "+format+"\n", args...)
}

// users creates two users. In your application, only your server should do this: a program with the
// access key can act for every user.
func (q *quickstart) users(connection string) (err error) {
	if q.identities, err = identity.NewClientFromConnectionString(connection, nil); err != nil {
		return err
	}
	if q.ann, err = q.identities.CreateUser(q.ctx, nil); err != nil {
		return err
	}
	q.say("created user %s", q.ann)
	token, err := q.identities.GetToken(q.ctx, q.ann, []identity.Scope{identity.ScopeChat}, nil)
	if err != nil {
		return err
	}
	q.say("issued a token that is good for %v", time.Until(token.ExpiresOn).Round(time.Hour))
	bob, err := q.identities.CreateUserAndToken(q.ctx, []identity.Scope{identity.ScopeChat}, nil)
	if err != nil {
		return err
	}
	q.bob = bob.User
	q.say("created user %s with a token, in one step", q.bob)

	// This credential renews its token. A fixed token is sufficient for a program that ends before
	// the token expires.
	q.client, err = chat.NewClient(q.identities.Endpoint(), q.identities.NewTokenCredential(q.ann, nil), nil)
	return err
}

func (q *quickstart) thread() error {
	result, err := q.client.CreateThread(q.ctx, "Lunch", &chat.CreateThreadOptions{
		Participants: []chat.Participant{
			{Identifier: q.ann, DisplayName: "Ann"},
			{Identifier: q.bob, DisplayName: "Bob", ShareHistoryTime: time.Now()},
		},
		// IdempotencyToken is optional: without it, each call uses a new random token. If you
		// choose a token, the server creates no second thread even if the program restarts and
		// calls again.
		IdempotencyToken: fmt.Sprint("lunch of ", q.ann),
	})
	if err != nil {
		return err
	}
	q.say("created thread %s with the topic %q", result.Thread.ID, result.Thread.Topic)
	// The result lists the participants that the service did not add. The program can add them
	// again later.
	for _, failed := range result.Failed {
		q.say("%s could not be added: %s", failed.Identifier, failed.Message)
	}
	q.room = q.client.NewThreadClient(result.Thread.ID)
	if err := q.room.UpdateTopic(q.ctx, "Dinner"); err != nil {
		return err
	}
	if err := q.room.Update(q.ctx, &chat.UpdateThreadOptions{
		Metadata:        map[string]string{"place": "canteen"},
		RetentionPolicy: chat.RetentionPolicy{DeleteThreadAfterDays: 60},
	}); err != nil {
		return err
	}
	properties, err := q.room.GetProperties(q.ctx)
	if err != nil {
		return err
	}
	q.say("the topic is %q now, the metadata %v, and the thread is deleted after %d days",
		properties.Topic, properties.Metadata, properties.RetentionPolicy.DeleteThreadAfterDays)
	return nil
}

func (q *quickstart) messages() (err error) {
	if q.message, err = q.room.SendMessage(q.ctx, "Where do we eat?", nil); err != nil {
		return err
	}
	q.say("sent message %s", q.message)
	html, err := q.room.SendMessage(q.ctx, "<b>At noon?</b>", &chat.SendMessageOptions{
		Type: chat.MessageTypeHTML, SenderDisplayName: "Ann", Metadata: map[string]string{"mood": "hungry"},
	})
	if err != nil {
		return err
	}
	if err := q.room.UpdateMessage(q.ctx, q.message, &chat.UpdateMessageOptions{Content: "Where do we eat today?"}); err != nil {
		return err
	}
	edited, err := q.room.GetMessage(q.ctx, q.message)
	if err != nil {
		return err
	}
	q.say("edited it: %q", edited.Content.Message)
	if err := q.room.DeleteMessage(q.ctx, html); err != nil {
		return err
	}
	q.say("deleted message %s; the thread reads, newest first:", html)
	for m, err := range q.room.ListMessages(q.ctx, nil) {
		if err != nil {
			return err
		}
		switch {
		case !m.DeletedOn.IsZero():
			q.say("  %-16s (deleted)", m.Type)
		case m.Type == chat.MessageTypeTopicUpdated:
			q.say("  %-16s %s", m.Type, m.Content.Topic)
		case m.Type == chat.MessageTypeParticipantAdded:
			q.say("  %-16s %d participants", m.Type, len(m.Content.Participants))
		default:
			q.say("  %-16s %s", m.Type, m.Content.Message)
		}
	}
	return nil
}

func (q *quickstart) participants() error {
	eve, err := q.identities.CreateUser(q.ctx, nil)
	if err != nil {
		return err
	}
	fred, err := q.identities.CreateUser(q.ctx, nil)
	if err != nil {
		return err
	}
	failed, err := q.room.AddParticipants(q.ctx,
		chat.Participant{Identifier: eve, DisplayName: "Eve"},
		chat.Participant{Identifier: communication.NewPhoneNumber("+14255550123"), DisplayName: "a telephone"})
	if err != nil {
		return err
	}
	for _, f := range failed {
		q.say("%s cannot be in a thread: %s (%s)", f.Participant.DisplayName, f.Message, f.Code)
	}
	q.say("failed.Participants() can be added again: %d of them", len(failed.Participants()))
	if err := q.room.AddParticipant(q.ctx, chat.Participant{Identifier: fred, DisplayName: "Fred"}); err != nil {
		return err
	}
	if err := q.room.RemoveParticipant(q.ctx, eve); err != nil {
		return err
	}
	for p, err := range q.room.ListParticipants(q.ctx, nil) {
		if err != nil {
			return err
		}
		q.say("in the thread: %s", p.DisplayName)
	}
	return nil
}

func (q *quickstart) receipts() error {
	if err := q.room.SendTypingNotification(q.ctx, &chat.SendTypingNotificationOptions{SenderDisplayName: "Ann"}); err != nil {
		return err
	}
	if err := q.room.SendReadReceipt(q.ctx, q.message); err != nil {
		return err
	}
	for r, err := range q.room.ListReadReceipts(q.ctx, nil) {
		if err != nil {
			return err
		}
		q.say("%s has read up to %s", r.Sender, r.MessageID)
	}
	return nil
}

func (q *quickstart) threads() error {
	for _, topic := range []string{"One", "Two"} {
		if _, err := q.client.CreateThread(q.ctx, topic, nil); err != nil {
			return err
		}
	}
	// Use a pager in a program that shows one page at a time. Otherwise range over ListThreads.
	pager := q.client.NewListThreadsPager(&chat.ListThreadsOptions{MaxPageSize: 2})
	for n := 1; pager.More(); n++ {
		page, err := pager.NextPage(q.ctx)
		if err != nil {
			return err
		}
		for _, item := range page.Values {
			q.say("page %d: %s", n, item.Topic)
		}
	}
	return nil
}

func (q *quickstart) errors() error {
	eve, err := q.identities.CreateUserAndToken(q.ctx, []identity.Scope{identity.ScopeChat}, nil)
	if err != nil {
		return err
	}
	cred, err := communication.NewTokenCredential(eve.Token.Token)
	if err != nil {
		return err
	}
	stranger, err := chat.NewClient(q.identities.Endpoint(), cred, nil)
	if err != nil {
		return err
	}
	_, err = stranger.NewThreadClient(q.room.ID()).SendMessage(q.ctx, "Let me in", nil)
	if !errors.Is(err, communication.ErrForbidden) {
		return fmt.Errorf("a stranger could send: %v", err)
	}
	q.say("%v", err)
	if err := q.identities.RevokeTokens(q.ctx, eve.User); err != nil {
		return err
	}
	_, err = stranger.CreateThread(q.ctx, "Mine", nil)
	if !errors.Is(err, communication.ErrUnauthorized) {
		return fmt.Errorf("a revoked token was accepted: %v", err)
	}
	q.say("%v", err)
	return q.identities.DeleteUser(q.ctx, eve.User)
}

func (q *quickstart) end() error {
	for item, err := range q.client.ListThreads(q.ctx, nil) {
		if err != nil {
			return err
		}
		if err := q.client.DeleteThread(q.ctx, item.ID); err != nil {
			return err
		}
		q.say("deleted thread %q", item.Topic)
	}
	for _, user := range []communication.Identifier{q.ann, q.bob} {
		if err := q.identities.DeleteUser(q.ctx, user); err != nil {
			return err
		}
	}
	q.say("deleted the users")
	return nil
}
