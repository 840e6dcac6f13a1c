// Package chat is a client for the Azure Communication Services Chat protocol. It works with Confab
// and with the real service alike.
//
// # From a token to a thread
//
// A chat user authenticates with a user access token. Your own server creates users and tokens with
// package identity. For a first try, a Confab development server prints a token:
//
//	confab token --new-user
//
// A credential holds the token, and a client acts for the user of that token:
//
//	cred, err := communication.NewTokenCredential(token)
//	if err != nil {
//		return err
//	}
//	client, err := chat.NewClient("https://localhost:8443", cred, nil)
//	if err != nil {
//		return err
//	}
//
// A token expires within hours. communication.NewRefreshingTokenCredential calls your function to
// get the next one. A development server signs its own certificate: ClientOptions.CAFile or the
// environment variable CONFAB_CA_FILE names the certificate authority to trust. "confab run --
// program" sets that variable and CONFAB_ENDPOINT for a program.
//
// A connection string contains the endpoint: see communication.ParseConnectionString. The token
// contains its user's id: cred.User(ctx) returns it.
//
// A thread is a conversation. Its creator is a participant and can add others:
//
//	result, err := client.CreateThread(ctx, "Lunch", &chat.CreateThreadOptions{
//		Participants: []chat.Participant{
//			{Identifier: communication.NewUser(bobID), DisplayName: "Bob"},
//		},
//	})
//	if err != nil {
//		return err
//	}
//	thread := client.NewThreadClient(result.Thread.ID)
//
// Keep the id: client.NewThreadClient(id) returns a client for the same thread later, and
// client.ListThreads lists all threads of the user.
//
// # Messages
//
// SendMessage sends a message, and ListMessages returns all of them, newest first:
//
//	id, err := thread.SendMessage(ctx, "Pizza or noodles?", nil)
//	if err != nil {
//		return err
//	}
//	for m, err := range thread.ListMessages(ctx, nil) {
//		if err != nil {
//			return err
//		}
//		if m.Type == chat.MessageTypeText {
//			fmt.Printf("%s: %s\n", m.SenderDisplayName, m.Content.Message)
//		}
//	}
//
// The list also contains system messages, which report a new topic and participants that were added
// or removed. The sender can edit a message (UpdateMessage) and delete it (DeleteMessage); it keeps
// its id.
//
// Every list is available as an iterator, and as a [Pager] for programs that work page by page or
// that store the Continuation of a [Page] and resume the list later.
//
// # Participants
//
//	failed, err := thread.AddParticipants(ctx,
//		chat.Participant{Identifier: communication.NewUser(carolID), DisplayName: "Carol"},
//		chat.Participant{Identifier: communication.NewUser(daveID)},
//	)
//
// The service may add some participants and refuse others. A refusal is not an error: failed lists
// the refused participants with the reasons, and failed.Participants() returns them as they were
// passed in, ready to be added again. ListParticipants lists the participants of the thread, and
// RemoveParticipant removes one.
//
// # Receipts and typing
//
// SendReadReceipt reports how far the user has read, and ListReadReceipts returns the last receipt
// of each participant. SendTypingNotification reports that the user is typing.
//
// # Errors
//
// Every method that fails returns a *communication.Error, which prints as one line:
//
//	send message: 403 Forbidden: The initiator doesn't have the permission to perform the requested operation.
//
// Test for the common cases with errors.Is:
//
//	switch {
//	case errors.Is(err, communication.ErrNotFound): // no such thread or message
//	case errors.Is(err, communication.ErrForbidden): // the user is not in the thread
//	case errors.Is(err, communication.ErrUnauthorized): // the token has expired or was revoked
//	case errors.Is(err, communication.ErrThrottled): // too many requests, after all retries
//	case errors.Is(err, communication.ErrUnknownFate): // may have been carried out: see below
//	}
//
// errors.As finds the *communication.Error, with status, code and request id, and the
// *azcore.ResponseError inside it. Arguments that can never be right (an empty id, a participant
// without an identifier) fail with a *communication.Error too, before any request is sent. The
// client does not check the limits of the service, such as the size of a message.
//
// Constructors return other errors, because they send no request.
//
// # Retries
//
// Temporary failures are retried, by default up to three times. The pauses start at about a second
// and double, or have the length that the service asks for. A single attempt has no time limit, so
// give ctx a deadline: it bounds the whole call. If ctx ends during a pause, the error also
// contains the failure that caused the pause. To change these numbers, use the packages azcore and
// azcore/policy:
//
//	&chat.ClientOptions{ClientOptions: azcore.ClientOptions{
//		Retry: policy.RetryOptions{MaxRetries: 5, TryTimeout: 10 * time.Second},
//	}}
//
// The comment of each method says how it is retried. In short:
//
//   - Reading, editing, deleting, adding, removing, receipts and typing notifications have the same
//     effect when they are repeated. All are retried.
//   - CreateThread sends the same idempotency token with all attempts of one call, and never
//     creates two threads.
//   - SendMessage sends an idempotency token and is retried if the service has announced that it
//     honours one, as Confab does in every response. With other services, and in the first request
//     of a client, a message is not sent again once it may have been stored.
//   - If CreateThread or SendMessage fails and may have been carried out, errors.Is(err,
//     communication.ErrUnknownFate) is true. To be able to repeat the call safely, set
//     IdempotencyToken before the first call.
//
// # Live events
//
// Client.Events returns the events in the threads of the user as they happen: messages, edits,
// typing, receipts, and changes of threads and participants:
//
//	for event, err := range client.Events(ctx, nil) {
//		if err != nil {
//			return err
//		}
//		if e, ok := event.(chat.MessageReceived); ok {
//			fmt.Printf("%s: %s\n", e.Message.SenderDisplayName, e.Message.Content.Message)
//		}
//	}
//
// After a failure, Events connects again and continues after the last event. Each event has a
// cursor, with which another process can continue later. If the server no longer has the missed
// events, the program receives a Gap.
//
// Only Confab has this event stream. With the real service, Events returns ErrNoEventStream.
// ThreadClient.MessagesSince is for polling, with every service: it returns each new message of a
// thread once, oldest first.
//
// # Versions
//
// The client uses the newest api-version that it knows; ClientOptions.APIVersion selects an older
// one, from 2021-03-07 on. All times are in UTC and whole seconds. Comments cite the sections of
// the contract that the code implements.
package chat
