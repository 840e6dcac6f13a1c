package core

import (
	"context"
	"errors"
	"hash/fnv"
)

// Store keeps the rows. Two engines implement it, and package storetest holds
// both to these promises:
//
//   - Apply is atomic: after a crash either all changes of a batch are there or
//     none; it returns only when they are durable.
//   - Reads show durable rows only, all rows of a read as of one moment. A batch
//     that is not durable yet is not seen and hides nothing.
//   - Sequences and event numbers of a thread have no gaps and no doubles.
//   - Positions strictly increase in the order of commits, and an event is
//     readable before any event with a greater position is.
//
// All methods may be called concurrently, Apply by one goroutine per lane.
type Store interface {
	// Lanes is how many Apply calls the engine wants in flight. Every change
	// of a batch belongs to the lane that LaneOf gives for its Key.
	Lanes() int

	// Apply checks each change in turn, as Assign does, and writes those that
	// hold. A stale change or a replay is a Result; an error means the whole
	// batch: ErrStorageFull or ErrUnavailable if certainly nothing was written,
	// else unknown.
	// It fills the empty fields of the changes and keeps nothing of them.
	Apply(ctx context.Context, b Batch) ([]Result, error)

	// Thread returns the head with all members, past ones too, or nil.
	Thread(ctx context.Context, thread string) (*Thread, error)

	// CreateAnswer returns the stored first answer of a create, or nil.
	CreateAnswer(ctx context.Context, thread string) (*CreateAnswer, error)

	// Message returns a message by id with the head's revision at that moment.
	// A zero Message.ID means that there is none; a zero revision, no thread.
	Message(ctx context.Context, thread string, id int64) (m Message, revision uint64, err error)

	// Messages returns a page, newest sequence first.
	Messages(ctx context.Context, q MessagesQuery) (MessagesPage, error)

	// Threads returns a page of a user's threads by last activity, newest first:
	// those it is in, deleted ones too, and those it has left.
	Threads(ctx context.Context, q ThreadsQuery) (ThreadsPage, error)

	// Receipts returns the receipts of a thread, by time of reading, with the
	// head's revision at that moment.
	Receipts(ctx context.Context, thread string) (rs []Receipt, revision uint64, err error)

	// Deleting returns the users whose deletion has begun and not ended.
	Deleting(ctx context.Context) ([]User, error)

	// Ending returns up to limit threads whose retention policy gives them an
	// end, those that end first in front. They may have changed since.
	Ending(ctx context.Context, limit int) ([]Ending, error)

	// User returns a user's row; State is UserUnknown if there is none.
	User(ctx context.Context, id string) (User, error)

	// Events returns up to limit events with a position above after, in the
	// order of positions, and the position up to which the answer is complete.
	Events(ctx context.Context, after uint64, limit int) (EventsPage, error)

	// Resource returns the resource's GUID, epoch and access keys.
	Resource(ctx context.Context) (Resource, error)

	// SetKey replaces one access key, durably.
	SetKey(ctx context.Context, index int, key AccessKeyRow) error

	// Close waits for what is under way. No call may follow.
	Close() error
}

// Bus carries committed events, as fast as it can and without promise: whoever
// must not miss one reads the store by position.
type Bus interface {
	// Publish is called by one goroutine per lane, in commit order for each
	// thread. It must not block; the slice is its to keep and share.
	Publish(events []Event)
}

// ErrStorageFull means that nothing of the batch was written because free
// space is below the floor.
var ErrStorageFull = errors.New("free space is below the floor")

// ErrUnavailable means that the database could not be reached, or not in time,
// and that certainly nothing was written.
var ErrUnavailable = errors.New("the database is not available")

// MessagesQuery asks for messages of a thread, newest first.
type MessagesQuery struct {
	Thread string
	Before uint64 // sequence, exclusive; 0: from the newest
	Since  int64  // only messages created then or later
	Limit  int
}

// MessagesPage is the answer, with the head's revision at the same moment; a
// zero revision means that there is no such thread.
type MessagesPage struct {
	Messages []Message
	Revision uint64
}

// ThreadsQuery asks for a user's threads, newest activity first.
type ThreadsQuery struct {
	User   string
	Before ThreadsCursor // exclusive; zero: from the newest
	Since  int64         // only those with activity then or later
	Limit  int           // 1 or more
}

// ThreadsCursor is a place in a user's list: by time, then by id.
type ThreadsCursor struct {
	On     int64
	Thread string
}

// ThreadEntry is a thread as it stands in a user's list.
type ThreadEntry struct {
	Thread        string
	Topic         string
	DeletedOn     int64
	LastMessageOn int64
}

// ThreadsPage is the answer. More is false at the end of the list.
type ThreadsPage struct {
	Threads []ThreadEntry
	More    bool
}

// Ending is a thread and the time from which it is over.
type Ending struct {
	Thread string
	On     int64
}

// EventsPage is a piece of the event log.
type EventsPage struct {
	Events []Event
	// Position up to which every event is in this page or an earlier one.
	Position uint64
}

// Batch is what a lane hands to the engine.
type Batch struct {
	At      int64 // the time of all its changes, epoch milliseconds
	Changes []*Change
}

// Change is what one operation wants written, and what it was decided on.
type Change struct {
	// Key is the thread's id, or the user's for a change of a user alone. It
	// chooses the lane.
	Key string

	// What it was decided on. Any difference makes it stale.

	Thread   string // "" for a change of users alone
	Revision uint64 // of the head; 0: there must be no such thread
	Users    []User // rows read, as they were; UserUnknown: there must be none

	// What makes it a replay.

	// SendToken with Caller makes a later send with the same pair the replay
	// of this one. Empty: no token.
	SendToken string
	Caller    string
	// Answer is stored with a new thread. A create of a thread that already
	// has one is its replay.
	Answer *CreateAnswer

	// What it writes. Assign fills ids, versions, sequences, numbers, times.

	Properties *Properties // nil: unchanged
	Members    []Member    // rows put
	Messages   []Message   // rows added, in this order
	Rewrites   []Rewrite   // of rows that are there
	Receipt    *Receipt    // moves the user's forward, or does nothing
	NoReceipts []string    // users whose receipts go
	Purge      bool        // deletes the thread: messages, receipts and send tokens go
	Events     []Event
	PutUsers   []User

	// Roster is the participants that the change leaves in place, for their
	// lists of threads by activity. It is shared and never changed; those who
	// join are in Members alone.
	Roster []Member
}

// Rewrite is a message as it is to be. It was decided on the version Read, at
// the sequence Was. An edit and a deletion give it a new version and the next
// sequence; Assign fills their times.
type Rewrite struct {
	Message
	Read    int64
	Was     uint64
	Deletes bool
	InPlace bool // neither: version and sequence stay, nobody is told
}

// Fill, as the end of an interval, becomes the number of the change's event.
const Fill = ^uint64(0)

// Status says what became of a change.
type Status uint8

// The outcomes of a change.
const (
	Applied  Status = iota + 1
	Stale           // decided on rows that have changed since: load and decide again
	Replayed        // a change with the same token was written before
)

// Result of one change.
type Result struct {
	Status    Status
	Head      Head          // after an applied change of a thread
	MessageID int64         // of the first send, when a send was replayed
	Answer    *CreateAnswer // of the first create, when a create was replayed
}

// LaneOf says which of n lanes a key belongs to. Engines and the committer
// must agree on it.
func LaneOf(key string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}
