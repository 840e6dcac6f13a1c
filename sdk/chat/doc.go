// Package chat is a client for the Azure Communication Services Chat protocol:
// for Confab and, in the same way, for the real service.
//
// # From a token to a thread
//
// Somebody who chats is a user, and speaks with a user access token. Your own server
// makes users and their tokens, with package identity; for a first try, a development
// server of Confab prints one:
//
//	confab token --new-user
//
// A credential holds the token, and a client acts for its user:
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
// A token lives for hours. communication.NewRefreshingTokenCredential asks a function
// of yours for the next one. The certificate of a development server is its own, too:
// ClientOptions.CAFile or CONFAB_CA_FILE names the authority to trust, and "confab run
// -- program" sets it for a program, with CONFAB_ENDPOINT.
//
// A connection string has the endpoint in it: see communication.ParseConnectionString.
// The token knows its user: cred.User(ctx).
//
// A thread is a conversation. Its creator is in it, and others can be put there:
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
// Keep the id: client.NewThreadClient(id) is all that it takes to come back, and
// client.ListThreads finds every thread that the user is in.
//
// # Messages
//
// A message is sent, and read again with all the others, the newest first:
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
// Lists hold system messages too, which tell who came and went. A message can be
// edited (UpdateMessage) and deleted (DeleteMessage) by its sender, and keeps its id.
//
// Every list is an iterator. Beside it there is a [Pager] for those who work page by
// page, or who want to go on later, from the stored Continuation of a [Page].
//
// # Participants
//
//	failed, err := thread.AddParticipants(ctx,
//		chat.Participant{Identifier: communication.NewUser(carolID), DisplayName: "Carol"},
//		chat.Participant{Identifier: communication.NewUser(daveID)},
//	)
//
// The service may add some participants and refuse others. That is data and not an
// error: failed says who is not in the thread and why, and failed.Participants() are
// the same ones as they were given, to be added again. ListParticipants lists who
// is there, and RemoveParticipant takes somebody out.
//
// # Receipts and typing
//
// SendReadReceipt tells the others how far the user has read, ListReadReceipts says
// how far everybody has. SendTypingNotification tells that the user is typing.
//
// # Errors
//
// Every method that fails returns a *communication.Error, which prints as one line:
//
//	send message: 403 Forbidden: The initiator doesn't have the permission to perform the requested operation.
//
// Ask what it is with errors.Is:
//
//	switch {
//	case errors.Is(err, communication.ErrNotFound): // no such thread or message
//	case errors.Is(err, communication.ErrForbidden): // the user is not in the thread
//	case errors.Is(err, communication.ErrUnauthorized): // the token has expired or was revoked
//	case errors.Is(err, communication.ErrThrottled): // too many requests, after all retries
//	case errors.Is(err, communication.ErrUnknownFate): // carried out, perhaps: see below
//	}
//
// errors.As finds the *communication.Error, with status, code and request id, and
// the *azcore.ResponseError inside it. Arguments that can never be right (an empty
// id, a participant without an identifier) are the same kind of error, and send
// nothing. All limits are the service's own.
//
// Constructors return plain errors, since there is no request yet.
//
// # Retries
//
// What may pass is tried again: three times by default, with pauses that begin at
// about a second and double, or after the pause that the service asks for. A try has no
// time limit of its own, so give ctx a deadline: it bounds the whole call, and when it
// ends in a pause the error names the reason for the pause too. Other numbers:
//
//	&chat.ClientOptions{ClientOptions: azcore.ClientOptions{
//		Retry: policy.RetryOptions{MaxRetries: 5, TryTimeout: 10 * time.Second},
//	}}
//
// with the packages azcore and azcore/policy. The comment of each method says what a
// retry of it means. In short:
//
//   - Reading is harmless, and so is doing twice what adds up to the same: editing,
//     adding, removing, receipts, typing, deleting. All are retried.
//   - CreateThread carries an idempotency token, the same for all attempts of one
//     call, and never makes two threads.
//   - SendMessage carries such a token where the service announces that it honours
//     it, as Confab does with every answer. Elsewhere, and for the first request of a
//     client, a message is not sent again once it may have been written.
//   - When either fails in the end and may have been carried out all the same, the
//     error is communication.ErrUnknownFate. To call again safely, set IdempotencyToken
//     yourself before the first call.
//
// # Live events
//
// This version has none: read new messages with ListMessages and StartTime. Nothing
// here receives typing notifications.
//
// # Versions
//
// The client speaks api-version 2025-03-15, and older ones from 2021-03-07 on when
// told so (ClientOptions.APIVersion). All times are in UTC and whole seconds. Comments
// name sections of the contract where the code follows one.
package chat
