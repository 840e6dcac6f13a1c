package core

import (
	"context"
	"errors"
	"hash/fnv"
	"time"
)

// Store keeps the rows of users, threads, events and endpoints. Two engines implement it,
// and package storetest tests that both keep these promises:
//
//   - Apply is atomic: after a crash the store has either all changes of a batch
//     or none. Apply returns only when they are durable.
//   - A read returns durable rows only, all as of one moment. It does not wait
//     for a batch that is not durable yet, and sees the rows as they were before it.
//   - Sequences and event numbers of a thread have no gaps and no duplicates.
//   - Positions strictly increase in the order of commits, and an event is
//     readable before any event with a greater position is.
//
// All methods may be called concurrently, but Apply only by one goroutine per lane.
type Store interface {
	// Lanes returns the number of Apply calls that should run at the same time.
	// All changes of a batch have Keys for which LaneOf returns the same lane.
	Lanes() int

	// Apply writes a batch. It calls Assign to check and number the changes, and writes
	// the rows of those with status Applied. It returns one outcome per change and does
	// not modify the changes. An error concerns the whole batch. After ErrUnknown the
	// batch may have been written or not; after any other error nothing was written.
	Apply(ctx context.Context, b Batch) ([]Outcome, error)

	// Thread returns a thread's head and all members, former ones included, or nil
	// if the thread does not exist.
	Thread(ctx context.Context, thread string) (*Thread, error)

	// View returns a thread's head and the row of one member.
	View(ctx context.Context, thread, member string) (View, error)

	// Messages returns a page of a thread's messages, the greatest sequence first,
	// or the messages with given ids.
	Messages(ctx context.Context, q MessagesQuery) (MessagesPage, error)

	// Superseded returns up to limit superseded versions of messages, of all threads that
	// are not deleted, in the order of keys, from the first one after a key on. The key need
	// not exist.
	Superseded(ctx context.Context, after SupersededKey, limit int) ([]ThreadSuperseded, error)

	// Receipts returns all read receipts of a thread, ordered by ReadOn, with the
	// thread's head and the row of the member reader.
	Receipts(ctx context.Context, thread, reader string) (ReceiptsPage, error)

	// Threads returns a page of the threads that the user is or was in, deleted
	// ones included, the latest activity first.
	Threads(ctx context.Context, q ThreadsQuery) (ThreadsPage, error)

	// ThreadsOf returns up to limit ids, in ascending order, of the threads in the
	// user's list whose ids are greater than after.
	ThreadsOf(ctx context.Context, user, after string, limit int) ([]string, error)

	// Deleting returns the users whose deletion has begun but is not complete: those in
	// state UserDeleting.
	Deleting(ctx context.Context) ([]User, error)

	// Expiring returns up to limit live threads that have a retention policy, the
	// earliest expiry first. A thread may have changed by the time it is returned.
	Expiring(ctx context.Context, limit int) ([]Expiry, error)

	// Users returns the rows of the users with these ids, in any order. It leaves out
	// users that do not exist.
	Users(ctx context.Context, ids []string) ([]User, error)

	// ListUsers returns up to limit users, whatever their state, in ascending order of ids,
	// whose ids are greater than after.
	ListUsers(ctx context.Context, after string, limit int) ([]User, error)

	// Sequence gives positions to committed events that have none, and returns them in
	// the order of positions. It does nothing in a store whose Apply gives positions.
	Sequence(ctx context.Context) ([]Placed, error)

	// Tip returns the cursor after the last event that has a position.
	Tip(ctx context.Context) (Cursor, error)

	// Log returns up to limit events after a cursor, in the order of positions, or
	// a gap if the log does not continue the cursor.
	Log(ctx context.Context, after Cursor, limit int) (LogPage, error)

	// News returns up to limit threads of a user's list that have events after a
	// position, in any order, with the user's view of each.
	News(ctx context.Context, user string, after uint64, limit int) ([]News, error)

	// ThreadEvents returns up to limit events of a thread that have a position, from
	// this number on, in order. Trimmed events are missing.
	ThreadEvents(ctx context.Context, thread string, from uint64, limit int) ([]Event, error)

	// Tell returns the events with the rows that they refer to, all as of one moment.
	Tell(ctx context.Context, events []Event) ([]Happening, error)

	// Trim deletes the events of days before this one, in days since 1970, from the
	// log. Cursors before the last deleted event become gaps first, durably. If it fails or
	// old events are in use, a later call deletes the rest.
	Trim(ctx context.Context, day uint32) error

	// RenewEpoch replaces the store's epoch if it is still was; otherwise another
	// server has replaced it already. It returns when the new epoch is durable.
	RenewEpoch(ctx context.Context, was, epoch string) error

	// PutEndpoints inserts endpoints, or replaces those with the same user and id, and
	// returns when they are durable. Of two endpoints with the same key the later one in
	// the slice is stored. A store of several servers leaves the endpoints of other
	// owners alone, and returns those that it did not replace.
	PutEndpoints(ctx context.Context, es []Endpoint) (taken []Endpoint, err error)

	// Endpoints returns the endpoints of a user, the one that was seen last first.
	Endpoints(ctx context.Context, user string) ([]Endpoint, error)

	// DropEndpoints deletes the endpoints with these users and ids, and returns when that
	// is durable. It ignores those that do not exist, and the other fields.
	DropEndpoints(ctx context.Context, es []Endpoint) error

	// ExpireEndpoints deletes the endpoints that were last seen before this time, in epoch
	// milliseconds.
	ExpireEndpoints(ctx context.Context, before int64) error

	// Resource returns the resource's GUID, the store's epoch and the access keys.
	Resource(ctx context.Context) (Resource, error)

	// SetKey replaces the access key 0 or 1 if the serial of the stored one is
	// key.Serial - 1. It returns the stored key when it is durable: key, or one that was
	// set before, which is then unchanged.
	SetKey(ctx context.Context, index int, key AccessKeyRow) (AccessKeyRow, error)

	// Close waits for running calls and closes the store. No call may follow.
	Close() error
}

// Bus delivers what was committed to subscribers, before the callers get their answers.
// It may lose happenings: a reader that must not miss one reads Store.Log. Feed does.
// It also delivers typing notifications, which are stored nowhere.
type Bus interface {
	// Publish is called by one goroutine per lane, in commit order for each
	// thread, and by any goroutine with a typing notification. It must not block. It
	// takes ownership of hs.
	Publish(hs []*Happening)
	// Subscribe returns a subscription whose channel holds up to queue calls of
	// Publish. Later ones are dropped while it is full.
	Subscribe(queue int) Subscription
	// Listening reports whether there is a subscription.
	Listening() bool
}

// Purger is a Store whose Apply leaves rows of large deleted threads behind, which no read
// returns. Sweep calls FinishPurges, which deletes them for about a second at a time.
type Purger interface {
	FinishPurges(ctx context.Context) error
}

// Subscription receives what is published on a Bus until it is closed.
type Subscription interface {
	// Happenings returns the channel, which Close closes. Its subscribers share the
	// slices and must not change them.
	Happenings() <-chan []*Happening
	// Missed reports whether something was dropped since the previous call.
	Missed() bool
	Close()
}

// ErrStorageFull means that free disk space is below the configured minimum, and
// that nothing of the batch was written.
var ErrStorageFull = errors.New("free space is below the floor")

// ErrUnavailable means that the database did not answer in time, and that nothing
// was written.
var ErrUnavailable = errors.New("the database is not available")

// ErrUnknown means that the database was lost while it committed, and that nobody knows
// whether something was written. A caller must not report that as a failure that may be
// repeated.
var ErrUnknown = errors.New("it is not known whether the database has committed")

// View is a thread's head and one member's row, read at the same moment as the rows of
// the page that embeds it. The Service uses the View to decide if the member may see
// the page.
type View struct {
	Head   Head    // Revision is 0 if the thread does not exist
	Member *Member // nil if the user was never in the thread
}

// PageBytes is the greatest size of a page of messages or participants, in bytes
// of their texts. A page of a single larger row exceeds it.
const PageBytes = 4 << 20

// MessagesQuery selects messages of a thread, newest first.
type MessagesQuery struct {
	Thread string
	// Reader, if set, limits the result to messages that this member may read.
	// View.Member is then the reader's row. For a member who has left, a message that was
	// edited or deleted since is its version of then, at the sequence of then: see
	// Superseded.
	Reader string
	IDs    []int64 // if not nil, the messages with these ids; Limit and Bytes are ignored
	Before uint64  // only sequences less than this; 0: from the newest
	Since  int64   // only messages created at this time or later, epoch milliseconds
	Limit  int     // most rows of a page; 1 or more
	Bytes  int     // most bytes of texts of a page; 0: PageBytes
}

// MessagesPage is the result of Store.Messages.
type MessagesPage struct {
	View
	Messages []Message
	// Next is the value of Before for the next page, or 0 after the last page. It
	// is set for every full page, even if no row follows.
	Next uint64
}

// ReceiptsPage is the result of Store.Receipts: all receipts of a thread.
type ReceiptsPage struct {
	View
	Receipts []Receipt
}

// ThreadsQuery selects threads of a user, the latest activity first.
type ThreadsQuery struct {
	User   string
	Before ThreadsCursor // only entries before this one; zero: from the newest
	Since  int64         // only threads with activity at this time or later, epoch milliseconds
	Limit  int           // most entries; 1 or more
}

// ThreadsCursor identifies an entry of a user's list of threads, which is ordered
// by the time of the last activity, then by thread id.
type ThreadsCursor struct {
	On     int64
	Thread string
}

// ThreadEntry is one thread in a user's list. For a thread that the user has left,
// Topic and LastMessageOn are as of then.
type ThreadEntry struct {
	Thread        string
	Topic         string
	DeletedOn     int64
	LastMessageOn int64
}

// ThreadsPage is the result of Store.Threads. Next is the value of Before for the
// next page, or zero after the last page.
type ThreadsPage struct {
	Threads []ThreadEntry
	Next    ThreadsCursor
}

// Expiry is the time at which a thread expires by its retention policy.
type Expiry struct {
	Thread string
	On     int64
}

// Batch is a group of changes that Store.Apply writes atomically.
type Batch struct {
	At    int64  // the time of all changes, epoch milliseconds
	Check uint32 // the Check of all events
	// Until is the real time at which Apply returns ErrUnavailable if the batch could not
	// be written until then. After that time it only finds out, for a few seconds, what
	// became of a commit that had begun. Zero: the engine decides. An engine that
	// is never away ignores it.
	Until   time.Time
	Changes []*Change
}

// Change lists the rows that one operation writes, and the rows that it was
// decided on. It must not be modified once it was committed to a lane.
type Change struct {
	// Key is the id of the changed thread, or of the user if no thread changes.
	// LaneOf maps it to a lane.
	Key string

	// Decide, if set, is called by Assign with the locked rows, and its result is
	// applied instead of this change. The other fields then only name the rows to lock
	// and the idempotency token.
	Decide Decision

	// These fields tell which rows the operation read. The outcome is Stale if one of
	// these rows differs from the stored row.

	Thread    string // "" if no thread changes
	Revision  uint64 // of the thread's head; 0: the thread must not exist
	ReadUsers []User // with state UserUnknown: the user must not exist

	// The fields by which Assign recognizes a repeated operation. It then returns
	// the first result and writes nothing.

	// SendToken is the idempotency token of a send, unique per thread and Caller;
	// empty if it has none.
	SendToken string
	Caller    string
	// Answer is stored with a thread that is created with an idempotency token. A
	// create of a thread that has a stored answer is a repetition.
	Answer *CreateAnswer

	// The rows to write. Assign fills ids, versions, sequences, numbers and times.

	Properties   *Properties // new properties of the thread; nil: unchanged
	Members      []Member    // members to insert or replace
	Messages     []Message   // messages to insert, in this order
	Rewrites     []Rewrite   // messages to replace
	Receipt      *Receipt    // the user's new receipt; ignored if the stored one is for a later message
	DropReceipts []string    // users whose receipts are deleted
	Purge        bool        // marks the thread as deleted and deletes its messages, receipts and send tokens
	Events       []Event
	PutUsers     []User // users to insert or replace

	// Superseded are versions of rewritten messages to insert or replace. Assign sets them,
	// for rewrites with Keep or Former.
	Superseded     []Superseded
	DropSuperseded []SupersededKey // superseded versions to delete, of this thread

	// ForgetMetadata leaves the thread's metadata out of the Left of members who leave, and
	// ForgetMessages its messages: they may read none.
	ForgetMetadata, ForgetMessages bool
	// Releases tells that a member may no longer read superseded versions that it could read
	// before, so that some of them may have no reader left. Sweep deletes these.
	Releases bool

	// Roster lists the participants who stay in the thread. When the minute of the
	// thread's last activity changes, Assign moves the thread in their lists of
	// threads. The slice is shared and read-only. New participants are only in Members.
	Roster []Member

	// Invalid lists the refused participants, which the operation returns. The list is
	// not stored, except in Answer.
	Invalid []InvalidParticipant
}

func (c *Change) sendKey() SendKey { return SendKey{c.Thread, c.Caller, c.SendToken} }

// changesRevision reports whether the change increments the thread's revision, which
// makes cached copies of the thread outdated.
func (c *Change) changesRevision() bool {
	return c.Properties != nil || len(c.Members) > 0 || c.Purge
}

// size returns the approximate size of the change in memory, in bytes. It leaves out the
// rows that it shares with others.
func (c *Change) size() int {
	n := 512 + len(c.SendToken)
	if c.Properties != nil {
		n += len(c.Properties.Topic) + sizeOf(c.Properties.Metadata)
	}
	for i := range c.Members {
		n += c.Members[i].size()
	}
	for i := range c.Messages {
		n += c.Messages[i].size()
	}
	for i := range c.Rewrites {
		n += c.Rewrites[i].size()
	}
	for _, p := range c.Invalid {
		n += 64 + len(p.User)
	}
	return n + 128*(len(c.Events)+len(c.ReadUsers)+len(c.PutUsers)+len(c.DropReceipts)+len(c.DropSuperseded))
}

// empty reports whether the change writes no row.
func (c *Change) empty() bool {
	return !c.changesRevision() && len(c.Messages)+len(c.Rewrites)+len(c.DropReceipts)+len(c.DropSuperseded)+len(c.PutUsers) == 0 && c.Receipt == nil
}

// Rewrite is the new content of a message's row.
type Rewrite struct {
	Message
	ReadVersion int64  // of the row that the change was decided on
	OldSequence uint64 // of that row; the engine deletes it there
	How         RewriteKind
	// Keep keeps the row that is replaced as a superseded version, because a member who has
	// left may still read it. A Delete keeps a tombstone.
	Keep bool
	// Former tells that the message may have superseded versions. A Delete makes tombstones
	// of them.
	Former bool
}

// RewriteKind tells how a Rewrite changes a message: Edit, Delete or InPlace.
type RewriteKind uint8

// The kinds of rewrites. Edit and Delete give the message a new version, the next
// sequence and a time of edit or deletion. InPlace changes none of these, keeps nothing and has
// no event; it only applies if its change was decided on locked rows.
const (
	Edit RewriteKind = iota
	Delete
	InPlace
)

// CloseInterval is the value of Interval.To in a Change by which a member leaves.
// Assign replaces it with the number of the change's last event.
const CloseInterval = ^uint64(0)

// Status is the result of one change of a batch.
type Status uint8

// The statuses of a change. Only an applied one writes rows.
const (
	Applied   Status = iota + 1
	Stale            // a row that it was decided on has changed since
	Replayed         // an earlier change had the same token
	Unchanged        // Decide returned a change without rows
	Refused          // Decide returned an error
	Unread           // Decide needs rows that were not locked
)

// Outcome is the result of one change of a batch.
type Outcome struct {
	Status Status
	// Change depends on Status. Applied: a copy with all fields filled, which the
	// engine writes. Unchanged: the result of Decide. Replayed: the change itself.
	// Unread: a copy that also names the missing rows, to be committed again.
	Change    *Change
	ListMoves []ListMove    // Applied: moves in the users' lists of threads
	Revision  uint64        // Applied: of the thread's head, after the change
	MessageID int64         // Replayed: the id of the first send's message
	Answer    *CreateAnswer // Replayed: the answer of the first create
	Err       error         // Refused: the error of Decide
}

// LaneOf returns the number of the lane that commits the changes with this key, from 0
// to n-1. A lane is a goroutine that commits batches one after another.
func LaneOf(key string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}
