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

	// Apply has Assign check and number the changes, and writes the rows of those
	// that hold. It returns an outcome for each; the changes stay as they were. An
	// error means the whole batch: ErrStorageFull or ErrUnavailable if certainly
	// nothing was written, else unknown.
	Apply(ctx context.Context, b Batch) ([]Outcome, error)

	// Thread returns the head with all members, past ones too, or nil.
	Thread(ctx context.Context, thread string) (*Thread, error)

	// View returns a thread's head and the row of one of its members.
	View(ctx context.Context, thread, member string) (View, error)

	// Messages returns a page, newest sequence first, or messages by id.
	Messages(ctx context.Context, q MessagesQuery) (MessagesPage, error)

	// Receipts returns the receipts of a thread, by time of reading.
	Receipts(ctx context.Context, thread, reader string) (ReceiptsPage, error)

	// Threads returns a page of a user's threads by last activity, newest first:
	// those it is in, deleted ones too, and those it has left.
	Threads(ctx context.Context, q ThreadsQuery) (ThreadsPage, error)

	// ThreadsOf returns up to limit ids, in ascending order, of the threads in the
	// user's list whose ids are greater than after.
	ThreadsOf(ctx context.Context, user, after string, limit int) ([]string, error)

	// Deleting returns the users whose deletion has begun and not ended.
	Deleting(ctx context.Context) ([]User, error)

	// Expiring returns up to limit threads that have a retention policy, those that
	// expire first in front. They may have changed since.
	Expiring(ctx context.Context, limit int) ([]Expiry, error)

	// Users returns the rows of those of the users that exist, in any order.
	Users(ctx context.Context, ids []string) ([]User, error)

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

// View is a thread's head and a member's row, of the same moment as the rows
// that come with them. The decision to show these is taken on it.
type View struct {
	Head   Head    // its revision is 0 if there is no such thread
	Member *Member // nil if the user was never in the thread
}

// PageBytes bounds a page of messages or participants, in bytes of their texts.
// A page has one row at least.
const PageBytes = 4 << 20

// MessagesQuery asks for messages of a thread, newest first.
type MessagesQuery struct {
	Thread string
	// Reader, if set, bounds the page to the messages that this member sees, and
	// is the member of the page's view.
	Reader string
	IDs    []int64 // these alone, without bound; otherwise a page:
	Before uint64  // sequence, exclusive; 0: from the newest
	Since  int64   // only messages created then or later
	Limit  int     // rows; 1 or more
	Bytes  int     // of texts; 0: PageBytes
}

// MessagesPage is the answer.
type MessagesPage struct {
	View
	Messages []Message
	// Next is Before of the next page; 0 after the last one. A page that is full
	// has one, even if nothing follows.
	Next uint64
}

// ReceiptsPage is all receipts of a thread.
type ReceiptsPage struct {
	View
	Receipts []Receipt
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

// ThreadsPage is the answer. Next is Before of the next page, or zero.
type ThreadsPage struct {
	Threads []ThreadEntry
	Next    ThreadsCursor
}

// Expiry is the time at which a thread expires by its retention policy.
type Expiry struct {
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
// Nobody alters a change that a lane has.
type Change struct {
	// Key is the thread's id, or the user's for a change of a user alone. It
	// chooses the lane.
	Key string

	// Decide, if set, makes the change out of the rows that the engine holds
	// locked. The fields below then name the rows to lock, and a replay; none is
	// written. Such a change is never stale.
	Decide Decision

	// The rows that it was decided on. Any difference makes it stale.

	Thread    string // "" for a change of users alone
	Revision  uint64 // of the head; 0: there must be no such thread
	ReadUsers []User // as they were; UserUnknown: there must be none

	// What makes it a replay.

	// SendToken with Caller makes a later send with the same pair the replay
	// of this one. Empty: no token.
	SendToken string
	Caller    string
	// Answer is stored with a new thread. A create of a thread that already
	// has one is its replay.
	Answer *CreateAnswer

	// The rows to write. Assign fills ids, versions, sequences, numbers, times.

	Properties   *Properties // nil: unchanged
	Members      []Member    // rows put
	Messages     []Message   // rows added, in this order
	Rewrites     []Rewrite   // rows replaced
	Receipt      *Receipt    // moves the user's forward, or does nothing
	DropReceipts []string    // users whose receipts are deleted
	Purge        bool        // ends the thread: messages, receipts and send tokens are deleted
	Events       []Event
	PutUsers     []User

	// Roster is the participants who stay in the thread, for their lists of
	// threads by activity. It is shared and never changed. New participants are
	// in Members alone.
	Roster []Member

	// Invalid is the participants that were refused, for the answer. It is not
	// stored.
	Invalid []InvalidParticipant
}

func (c *Change) sendKey() SendKey { return SendKey{c.Thread, c.Caller, c.SendToken} }

// changesRevision says whether the change makes cached copies of its thread old.
func (c *Change) changesRevision() bool {
	return c.Properties != nil || len(c.Members) > 0 || c.Purge
}

// empty says whether the change writes nothing.
func (c *Change) empty() bool {
	return !c.changesRevision() && len(c.Messages)+len(c.Rewrites)+len(c.DropReceipts)+len(c.PutUsers) == 0 && c.Receipt == nil
}

// Rewrite is a message as it is to be, decided on its version ReadVersion at the
// sequence OldSequence.
type Rewrite struct {
	Message
	ReadVersion int64
	OldSequence uint64
	How         RewriteKind
}

// RewriteKind says what a rewrite is to its readers.
type RewriteKind uint8

// The kinds of rewrites. Edit and Delete give the message a new version, the
// next sequence and a time; InPlace gives it none, and nobody is told.
const (
	Edit RewriteKind = iota
	Delete
	InPlace
)

// CloseInterval, as the end of an interval, becomes the number of the change's
// last event.
const CloseInterval = ^uint64(0)

// Status says what became of a change.
type Status uint8

// The outcomes of a change.
const (
	Applied   Status = iota + 1
	Stale            // decided on rows that have changed since
	Replayed         // a change with the same token was written before
	Unchanged        // its decision found nothing to write
	Refused          // its decision refused
	Unread           // its decision asked for rows that were not locked
)

// Outcome is what became of one change.
type Outcome struct {
	Status Status
	// Change is, after Applied, a copy with all fields filled: the rows to
	// write. After Unchanged it is the decision's, and after Unread the same
	// change again, naming the rows that were missing.
	Change    *Change
	ListMoves []ListMove    // of an applied change
	Head      Head          // after an applied change of a thread
	MessageID int64         // of the first send, when a send was replayed
	Answer    *CreateAnswer // of the first create, when a create was replayed
	Err       error         // of the decision, when it refused
}

// LaneOf says which of n lanes a key belongs to. Engines and the committer
// must agree on it.
func LaneOf(key string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}
