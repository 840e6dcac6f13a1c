package chat

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// Event reports something that happened in a thread of the user. [Client.Events] returns events. A
// type switch tells the kinds apart:
//
//   - [Started]: the first event of each loop
//   - messages: [MessageReceived], [MessageEdited], [MessageDeleted]
//   - activity of participants: [TypingIndicatorReceived], [ReadReceiptReceived]
//   - threads: [ThreadCreated], [ThreadPropertiesUpdated], [ThreadDeleted]
//   - participants: [ParticipantsAdded], [ParticipantsRemoved]
//   - [Gap]: events are missing
//   - [UnknownEvent]: a kind that this version of the package does not know
//
// The kinds are structs, not pointers. A user also receives the events that it causes itself, such
// as the messages that it sends. A switch needs no default, because a program can ignore the kinds
// that it does not use. Only a Gap requires an action: to list the threads and messages again.
//
// The list of kinds is not final: later versions of the package may add kinds.
type Event interface {
	// Info returns the cursor, the thread and the number of the event.
	Info() EventInfo

	isEvent()
}

// EventInfo holds the fields of all kinds of events.
type EventInfo struct {
	// Cursor marks the position after this event among all events of the user. To receive the later
	// events in another loop, also in another process, set [EventsOptions].Cursor to this Cursor.
	// Its content has no meaning to programs. It is not secret, because it works only for this user
	// and only with the same EventsOptions.Threads.
	Cursor string

	// ThreadID identifies the thread of the event. It is empty in Started and Gap.
	ThreadID string

	// Number is the number of the event in its thread. The events of a thread are numbered from 1
	// and arrive in this order; the user does not receive events that it may not see. Number is 0
	// in Started, TypingIndicatorReceived and Gap.
	Number int64
}

// Info returns i. Every kind of event embeds an EventInfo, and so has this method.
func (i EventInfo) Info() EventInfo { return i }

// Started is the first event of each loop over Client.Events. It reports that the server has
// accepted the connection. The program receives all events that happen after Started. A program
// that lists the threads and messages after Started misses nothing, but may receive an event about
// a message that it has already listed. The loop does not yield Started again when it replaces a
// connection.
type Started struct {
	EventInfo

	// User is the user whose events are received.
	User communication.Identifier
}

// MessageReceived reports a message of type text or HTML that a participant, or the user, has sent.
type MessageReceived struct {
	EventInfo

	// Message is the message. It has no SequenceID and no attachments. If the event is read later,
	// from a stored cursor, and the message was edited meanwhile, Message has the new content.
	Message Message
}

// MessageEdited reports that a sender has edited a message.
type MessageEdited struct {
	EventInfo

	// Message is the edited message: its Content is new, and EditedOn is set. It has no SequenceID
	// and no attachments.
	Message Message
}

// MessageDeleted reports that a message was deleted.
type MessageDeleted struct {
	EventInfo

	// Message is the deleted message: DeletedOn is set, and Content is empty.
	Message Message
}

// TypingIndicatorReceived reports that a participant is typing. The indicator is valid for some
// seconds. The server does not store it: if the stream continues from a cursor, the indicator is
// not repeated. Its Cursor equals the Cursor of the event before it.
type TypingIndicatorReceived struct {
	EventInfo

	// Sender is the user that is typing.
	Sender communication.Identifier

	// SenderDisplayName is the display name that the sender set for the indicator, if any.
	SenderDisplayName string

	// Version is a decimal number as text that orders the indicators of a thread.
	Version string

	// ReceivedOn is the time at which the server received the indicator.
	ReceivedOn time.Time
}

// ReadReceiptReceived reports how far a participant has read.
type ReadReceiptReceived struct {
	EventInfo

	// Receipt names the participant and the last message that the participant has read.
	Receipt ReadReceipt
}

// ThreadCreated reports a new thread of which the user is a participant. A user that is added later
// receives ParticipantsAdded instead.
type ThreadCreated struct {
	EventInfo

	// Version is a decimal number as text, which grows with each change of the thread.
	Version string

	// CreatedOn is the time of the creation, and CreatedBy the participant that created the thread.
	CreatedOn time.Time
	CreatedBy Participant

	// Participants are the first participants, including CreatedBy.
	Participants []Participant

	// Topic, Metadata and RetentionPolicy are the properties of the thread.
	Topic           string
	Metadata        map[string]string
	RetentionPolicy RetentionPolicy
}

// ThreadPropertiesUpdated reports a change of a thread's topic, metadata or retention policy.
type ThreadPropertiesUpdated struct {
	EventInfo

	// Version is a decimal number as text, which grows with each change of the thread.
	Version string

	// UpdatedOn is the time of the change, and UpdatedBy the participant that made it.
	UpdatedOn time.Time
	UpdatedBy Participant

	// Topic, Metadata and RetentionPolicy are the properties of the thread after the change. All
	// three are set, also the properties that did not change.
	Topic           string
	Metadata        map[string]string
	RetentionPolicy RetentionPolicy
}

// ThreadDeleted reports that a thread was deleted, with all its messages.
type ThreadDeleted struct {
	EventInfo

	// Version is a decimal number as text, which grows with each change of the thread.
	Version string

	// DeletedOn is the time of the deletion, and DeletedBy the participant that deleted the thread.
	// DeletedBy is zero if the retention policy deleted the thread.
	DeletedOn time.Time
	DeletedBy Participant

	// Reason tells whether a participant or the retention policy deleted the thread.
	Reason ThreadDeletedReason
}

// ThreadDeletedReason is the reason of a [ThreadDeleted]. Newer servers may add reasons.
type ThreadDeletedReason string

// The reasons why a thread is deleted (docs/contract/realtime.md §13).
const (
	ThreadDeletedByUser   ThreadDeletedReason = "deletedByUser"
	ThreadDeletedByPolicy ThreadDeletedReason = "deletedByPolicy"
)

// ParticipantsAdded reports new participants of a thread, one of which may be the user.
type ParticipantsAdded struct {
	EventInfo

	// Version is a decimal number as text, which grows with each change of the thread.
	Version string

	// AddedOn is the time at which the participants were added, and AddedBy is the participant that
	// added them.
	AddedOn time.Time
	AddedBy Participant

	// Participants are the new participants.
	Participants []Participant
}

// ParticipantsRemoved reports participants that were removed from a thread or left it. If the user
// is one of them, the user receives no later event of the thread.
type ParticipantsRemoved struct {
	EventInfo

	// Version is a decimal number as text, which grows with each change of the thread.
	Version string

	// RemovedOn is the time at which the participants were removed, and RemovedBy is the
	// participant that removed them.
	RemovedOn time.Time
	RemovedBy Participant

	// Participants are the former participants.
	Participants []Participant
}

// Gap reports that the program does not receive the events between the last event and the time at
// which the server sent the Gap. After the Gap, no events are missing. To learn about the missed
// changes, list the threads and their messages.
type Gap struct {
	EventInfo

	// Reason tells why events are missing.
	Reason GapReason
}

// GapReason is the reason of a [Gap]. Newer servers may add reasons.
type GapReason string

// The reasons why events are missing (docs/events.md).
const (
	GapTrimmed GapReason = "trimmed" // events are missing because the server no longer keeps the events after the cursor
	GapEpoch   GapReason = "epoch"   // events are missing because the server's store was replaced, or restored to an older state
	GapLost    GapReason = "lost"    // events are missing because the server's store was restored to a state before the cursor
	GapTooMuch GapReason = "tooMuch" // events are missing because too many threads have new events, or the user left and rejoined a thread too often
)

// UnknownEvent is an event of a kind that a newer server sends and this version of the package does
// not know. A program can ignore it.
type UnknownEvent struct {
	EventInfo

	// Name is the name that the protocol gives to this kind of event.
	Name string

	// Data holds the fields of the event.
	Data json.RawMessage
}

func (Started) isEvent()                 {}
func (MessageReceived) isEvent()         {}
func (MessageEdited) isEvent()           {}
func (MessageDeleted) isEvent()          {}
func (TypingIndicatorReceived) isEvent() {}
func (ReadReceiptReceived) isEvent()     {}
func (ThreadCreated) isEvent()           {}
func (ThreadPropertiesUpdated) isEvent() {}
func (ThreadDeleted) isEvent()           {}
func (ParticipantsAdded) isEvent()       {}
func (ParticipantsRemoved) isEvent()     {}
func (Gap) isEvent()                     {}
func (UnknownEvent) isEvent()            {}

// Errors with which a loop over [Client.Events] ends. The loop can also end with other errors, for
// example if the server refuses the token or the cursor.
var (
	// ErrNoEventStream means that the service has no event stream, because it is the real service
	// or an old Confab server. Events does not poll such a service. For such a service, a program
	// can poll each thread with [ThreadClient.MessagesSince].
	ErrNoEventStream = errors.New("this service has no event stream")
	// ErrUserDeleted means that the server ended the stream because the user was deleted.
	ErrUserDeleted = errors.New("the user was deleted")
	// ErrStreamReplaced means that the server ended the stream because a newer connection replaced
	// it. Events does not connect again, because another connection would end the newer one.
	ErrStreamReplaced = errors.New("a newer connection took this one's place")
)

// EventsOptions are the optional arguments of [Client.Events].
type EventsOptions struct {
	// Threads are the ids of the threads whose events are received, at most 100. If Threads is
	// empty, the events of all threads are received, including threads that the user joins later.
	Threads []string

	// Cursor is the [EventInfo].Cursor after which to continue. If Cursor is empty, the events
	// begin now. The server keeps events for some time, seven days by default; if the cursor is
	// older, the first event after Started is a Gap.
	Cursor string
}

const eventsOperation = "receive events"

// Events returns the events of the user as they happen (docs/events.md). The loop waits for each
// event. It ends when the program leaves it, when ctx ends, or when a failure cannot be repaired by
// connecting again. An error is yielded once, as the last element:
//
//	for event, err := range client.Events(ctx, nil) {
//		if err != nil {
//			return err
//		}
//		switch e := event.(type) {
//		case chat.Started:
//			// connected: all later events are received
//		case chat.MessageReceived:
//			fmt.Println(e.ThreadID, e.Message.Content.Message)
//		case chat.Gap:
//			// events are missing: list the threads and their messages again
//		}
//		cursor = event.Info().Cursor // store it to continue later
//	}
//
// Each event is yielded once, and the events of a thread are yielded in their order. Each loop over
// the result opens its own connection and begins at EventsOptions.Cursor, or without one at the
// time of [Started].
//
// If a connection fails, Events connects again and continues after the last event. The program
// notices only a delay, or receives a [Gap] if the server no longer has the events. Events connects
// again if the connection ends, if nothing arrives for 45 seconds, if a message is damaged or
// larger than 8 MB, and if the status is 408, 429 or 5xx except 501. The pauses have a random
// length; they start at half a second and grow to half a minute while nothing is received.
// RetryDelay and MaxRetryDelay of ClientOptions.Retry change these times. A pause that the server
// asks for is observed, up to one hour. The number of attempts is not limited, so give ctx a
// deadline to limit the time, or set a Logger to see the attempts.
//
// Before the token expires, Events gets a new token from the credential and opens a second
// connection with it. When the second connection is ready, it closes the first. If the server
// revokes the token, Events connects again with a new token.
//
// The loop ends with a *communication.Error:
//
//   - communication.ErrUnauthorized: the token was refused, and the credential has no other token
//   - communication.ErrForbidden: the token has no chat scope
//   - status 400: the cursor is damaged, or was made for another user or other Threads
//   - [ErrNoEventStream], [ErrUserDeleted], [ErrStreamReplaced]
//   - any other status that does not mean a temporary failure, or a certificate that is not trusted
//   - the error of the credential, or the description of a damaged stream, after eight failures in
//     a row, which take a minute or two
//   - the error of ctx, together with the last failure if there is no connection
//
// The server closes a connection from which the program reads nothing for 30 seconds. A loop body
// that takes longer therefore delays the events, but none is lost except typing indicators. When
// the loop ends, its connections are closed and its goroutines have ended.
func (c *Client) Events(ctx context.Context, options *EventsOptions) iter.Seq2[Event, error] {
	var o EventsOptions
	if options != nil {
		o = *options
	}
	threads := strings.Join(o.Threads, ",")
	return func(yield func(Event, error) bool) {
		if err := checkThreads(o.Threads); err != nil {
			yield(nil, err)
			return
		}
		r := receiver{client: c, threads: threads, cursor: o.Cursor}
		if err := r.run(ctx, yield); err != nil {
			yield(nil, err)
		}
	}
}

// checkThreads returns an error if an id is empty or contains a comma, which separates the ids in
// the request.
func checkThreads(ids []string) error {
	for i, id := range ids {
		if id == "" || strings.Contains(id, ",") {
			return invalid(eventsOperation, "Threads[%d] %q is no id of a thread", i, id)
		}
	}
	return nil
}
