package core

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"time"
)

// Store keeps the rows of users, threads, events and endpoints. Two engines implement it, and
// package storetest tests that both keep these promises:
//
//   - Apply is atomic: after a crash the store has either all changes of a batch or none of
//     them. Apply returns only when the changes are durable.
//   - A read returns only durable rows, all as of one moment. While a batch is not durable yet,
//     a read does not wait for it, and returns the rows as they were before the batch.
//   - Sequences and event numbers of a thread have no gaps and no duplicates.
//   - Positions strictly increase in the order of commits. When an event can be read, all
//     events with smaller positions can be read too.
//
// All methods may be called concurrently, except that each lane (a queue of changes) calls Apply
// from one goroutine.
type Store interface {
	// Lanes returns the number of goroutines that should call Apply concurrently. All changes
	// of a batch belong to one lane: LaneOf returns the same number for their Keys.
	Lanes() int

	// Apply writes a batch. It calls Assign to check and number the changes, and writes the
	// rows of the changes with status Applied. It returns one outcome per change and does not
	// modify the changes, except as Batch.Owned allows. An error concerns the whole batch: after ErrUnknown the batch may or
	// may not have been written; after any other error nothing was written.
	Apply(ctx context.Context, b Batch) ([]Outcome, error)

	// Thread returns a thread's head and all members, former ones included, or nil
	// if the thread does not exist.
	Thread(ctx context.Context, thread string) (*Thread, error)

	// View returns a thread's head and the row of one of its members.
	View(ctx context.Context, thread, member string) (View, error)

	// Messages returns a page of a thread's messages, the greatest sequence first, or the
	// messages with the given ids.
	Messages(ctx context.Context, q MessagesQuery) (MessagesPage, error)

	// Superseded returns up to limit superseded versions of messages of the key's thread, in the
	// order of keys. It begins with the first version after the key, which need not exist. It
	// returns none for a thread whose rows are being purged.
	Superseded(ctx context.Context, after SupersededKey, limit int) ([]ThreadSuperseded, error)

	// SupersededThreads returns up to limit ids, in ascending order, of the threads that have
	// superseded versions and whose ids are greater than after. It reads only keys, so a damaged
	// version does not make it fail.
	SupersededThreads(ctx context.Context, after string, limit int) ([]string, error)

	// Receipts returns all read receipts of a thread, ordered by ReadOn, with the
	// thread's head and the row of the member reader.
	Receipts(ctx context.Context, thread, reader string) (ReceiptsPage, error)

	// Threads returns a page of the threads that the user is or was in, including deleted
	// threads, with the latest activity first. The entries have what q.Expand asks for, read at
	// the same moment.
	Threads(ctx context.Context, q ThreadsQuery) (ThreadsPage, error)

	// ThreadsOf returns up to limit ids, in ascending order, of the threads in the
	// user's list whose ids are greater than after.
	ThreadsOf(ctx context.Context, user, after string, limit int) ([]string, error)

	// Relist moves up to limit entries of one thread that has a Relisting, in its participants'
	// lists of threads, and returns when the moves are durable. It returns false if no thread has a
	// Relisting. Each call continues with another thread, so a thread that fails does not delay the
	// others.
	Relist(ctx context.Context, limit int) (more bool, err error)

	// Deleting returns the users whose deletion has begun but is not complete: those in
	// state UserDeleting.
	Deleting(ctx context.Context) ([]User, error)

	// Expiring returns up to limit live threads that have a retention policy, the
	// earliest expiry first. A thread may have changed by the time it is returned.
	Expiring(ctx context.Context, limit int) ([]Expiry, error)

	// Users returns the rows of the users with these ids, in any order. It leaves out
	// users that do not exist.
	Users(ctx context.Context, ids []string) ([]User, error)

	// UserByCustomID returns the user who has a custom id, or the zero User if nobody has it.
	UserByCustomID(ctx context.Context, customID string) (User, error)

	// ListUsers returns up to limit users, whatever their state, in ascending order of ids,
	// whose ids are greater than after.
	ListUsers(ctx context.Context, after string, limit int) ([]User, error)

	// ListHeads returns up to limit heads of threads, deleted ones included, in ascending order
	// of ids, whose ids are greater than after.
	ListHeads(ctx context.Context, after string, limit int) ([]Head, error)

	// Sequence gives positions in the log to committed events that have none, and returns their
	// batches in the order of positions. It does nothing in a store whose Apply assigns
	// positions.
	Sequence(ctx context.Context) ([]Placed, error)

	// Tip returns the cursor after the last event that has a position.
	Tip(ctx context.Context) (Cursor, error)

	// Log returns up to limit events after a cursor, in the order of positions. If the log does
	// not continue at the cursor, it returns a page with Gap set.
	Log(ctx context.Context, after Cursor, limit int) (LogPage, error)

	// LogBefore returns up to limit events whose positions are less than before, the greatest
	// first. If before is 0, it begins with the log's last event.
	LogBefore(ctx context.Context, before uint64, limit int) ([]Event, error)

	// News returns up to limit threads of a user's list that have events after a position of the
	// log, in any order. Each element has the thread's head and the user's row in the thread.
	News(ctx context.Context, user string, after uint64, limit int) ([]News, error)

	// ThreadEvents returns up to limit events of a thread in the order of their numbers,
	// beginning with the number from. Events without a position, and events deleted by Trim,
	// are left out.
	ThreadEvents(ctx context.Context, thread string, from uint64, limit int) ([]Event, error)

	// Tell returns the events together with the rows that they refer to, all read at one
	// moment.
	Tell(ctx context.Context, events []Event) ([]Happening, error)

	// Trim deletes the events of all days before the given one from the log. day is in days
	// since 1970. Before it deletes events, it durably marks the cursors before the last
	// deleted event as gaps, so that no reader continues there. If it fails or old events are
	// in use, a later call deletes the rest.
	Trim(ctx context.Context, day uint32) error

	// RenewEpoch replaces the store's epoch if its present value is was. If it has another value,
	// another server has already replaced it, and RenewEpoch does nothing. It returns when the new
	// epoch is durable.
	RenewEpoch(ctx context.Context, was, epoch string) error

	// PutEndpoints inserts endpoints. A stored endpoint with the same user and id is replaced. It
	// returns when the endpoints are durable. If two endpoints of the slice have the same key, the
	// later one is stored. A store of several servers does not replace endpoints that another
	// server owns. PutEndpoints returns the new rows that were not stored for this reason.
	PutEndpoints(ctx context.Context, es []Endpoint) (taken []Endpoint, err error)

	// Endpoints returns the endpoints of a user. The endpoint that was seen last comes first.
	Endpoints(ctx context.Context, user string) ([]Endpoint, error)

	// DropEndpoints deletes the endpoints with the users and ids of es, and returns when the
	// deletion is durable. It ignores the other fields of es, and endpoints that do not exist.
	DropEndpoints(ctx context.Context, es []Endpoint) error

	// ExpireEndpoints deletes the endpoints that were last seen before the given time, in epoch
	// milliseconds.
	ExpireEndpoints(ctx context.Context, before int64) error

	// AuditPage returns a page of the audit rows, the newest first. It reads at most AuditLooked
	// rows.
	AuditPage(ctx context.Context, q AuditQuery) (AuditPage, error)

	// TrimAudit deletes the audit rows from before the given time, in epoch milliseconds. Of the
	// rows with Refused, it also deletes the oldest ones until all of them together have at most
	// refused bytes.
	TrimAudit(ctx context.Context, before int64, refused int) error

	// Resource returns the resource's GUID, the store's epoch and the access keys.
	Resource(ctx context.Context) (Resource, error)

	// SetKey replaces the access key with index 0 or 1 by key if the serial of the stored key is
	// key.Serial - 1; otherwise the stored key stays. It returns the key that is stored afterwards,
	// when that key is durable. If SetKey has stored key, it also writes the audit rows in the same
	// batch. The audit rows must have keys; see Service.Stamp.
	SetKey(ctx context.Context, index int, key AccessKeyRow, audit ...Audit) (AccessKeyRow, error)

	// Close waits for running calls and closes the store. No method may be called after it.
	Close() error
}

// Bus delivers committed events to subscribers, before the callers of the operations get their
// answers. It may lose events: a reader that must not miss any also reads Store.Log, as Feed does.
// The bus also delivers typing notifications, which are stored nowhere.
type Bus interface {
	// Publish sends happenings to all subscribers. One goroutine per lane calls it with
	// committed events, in commit order for each thread; any goroutine may call it with a
	// typing notification. It must not block. It takes ownership of hs.
	Publish(hs []*Happening)
	// Subscribe returns a subscription whose channel holds the happenings of up to queue calls
	// of Publish. While the channel is full, happenings of further calls are dropped.
	Subscribe(queue int) Subscription
	// Listening reports whether the bus has a subscription.
	Listening() bool
}

// Purger is a Store whose Apply does not delete all rows of large deleted threads at once. No read
// returns the remaining rows. Sweep calls FinishPurges, which deletes remaining rows for about a
// second per call.
type Purger interface {
	FinishPurges(ctx context.Context) error
}

// Subscription receives the happenings that are published on a Bus, until the subscription is
// closed.
type Subscription interface {
	// Happenings returns the channel of the subscription, which Close closes. All subscribers
	// share the received slices and must not change them.
	Happenings() <-chan []*Happening
	// Missed reports whether a happening was dropped since the previous call of Missed.
	Missed() bool
	Close()
}

// ErrStorageFull means that free disk space is below the configured minimum, and
// that nothing of the batch was written.
var ErrStorageFull = errors.New("free space is below the floor")

// ErrUnavailable means that the database did not answer in time, and that nothing
// was written.
var ErrUnavailable = errors.New("the database is not available")

// ErrUnknown means that the connection to the database was lost during a commit, so it is
// unknown whether the batch was written. A caller must not report it as a failure after which
// clients repeat the request.
var ErrUnknown = errors.New("it is not known whether the database has committed")

// View is a thread's head and the row of one of its members. When it is part of a page, it was
// read at the same moment as the other rows of the page, and the Service uses it to decide
// whether the member may see the page.
type View struct {
	Head   Head    // the thread's head row; its Revision is 0 if the thread does not exist
	Member *Member // the member's row; nil if the user was never in the thread
}

// PageBytes is the greatest size of the texts on a page of messages or participants, in bytes.
// A page with a single row may exceed it.
const PageBytes = 4 << 20

// MessagesQuery selects messages of a thread, newest first.
type MessagesQuery struct {
	Thread string
	// Reader, if set, limits the result to messages that this member may read. View.Member is
	// then the reader's row. If the reader has left and a message was edited or deleted since,
	// the result has the superseded version from the time of leaving, with the sequence from
	// that time (see Superseded).
	Reader string
	IDs    []int64 // if not nil, the messages with these ids; Limit and Bytes are ignored
	Before uint64  // only messages with sequences less than this one; 0: begin with the newest message
	Since  int64   // only messages created at this time or later, epoch milliseconds
	Limit  int     // greatest number of rows of a page; 1 or more
	Bytes  int     // limit on the bytes of the texts on a page; 0: PageBytes
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
	Before ThreadsCursor // only entries after this cursor, whose activity is earlier; zero: begin with the latest activity
	Since  int64         // only threads with activity at this time or later, epoch milliseconds
	Limit  int           // most entries; 1 or more
	Expand Expand
}

// Expand says which extra fields the entries of a user's list of threads have.
type Expand struct{ LastMessage, Unread bool }

// MaxSortedMinute is the number of threads with their last activity in one minute up to which a
// user's list has these threads in the exact order of their times. The engines index the list by
// minutes, so they must read all threads of a minute to sort them. If a minute has more threads, it
// is crowded, and the list has its threads in the descending order of ids, so that a page reads
// only the threads that it shows. The threads of one page are always sorted by their times. The
// order of different minutes is always exact.
const MaxSortedMinute = 20

// ThreadsCursor identifies an entry of a user's list of threads. The list is ordered by the time of
// the last activity, then by thread id, except in crowded minutes (see MaxSortedMinute).
//
// If the minute of the cursor's time has become crowded since the cursor was made, the list
// continues with the first thread of that minute: it may repeat threads, but skips none.
type ThreadsCursor struct {
	On     int64 // time of the last activity; negative in a cursor that CursorByID has made
	Thread string
}

// CursorByID returns the cursor after a thread in a crowded minute, whose threads are in the order
// of ids.
func CursorByID(minute int64, thread string) ThreadsCursor {
	return ThreadsCursor{On: ^minute, Thread: thread}
}

// ByID returns the minute of a cursor that CursorByID has returned. The bool is false if c is
// another cursor.
func (c ThreadsCursor) ByID() (minute int64, ok bool) { return ^c.On, c.On < 0 }

// NewestFirst compares two entries by the time of the last activity, then by id, both descending.
func NewestFirst(a, b ThreadEntry) int {
	return cmp.Or(cmp.Compare(b.LastMessageOn, a.LastMessageOn), cmp.Compare(b.Thread, a.Thread))
}

// ThreadEntry is one thread in a user's list. If the user has left the thread, Topic and
// LastMessageOn have the values from the time when the user left.
type ThreadEntry struct {
	Thread        string
	Topic         string
	DeletedOn     int64
	LastMessageOn int64
	ExpiresOn     int64 // by the retention policy; 0: never

	// LastMessage is the preview of the newest message that the user may see (see Preview), or nil
	// if the user may see none or Expand does not ask for previews. For a user who is in the
	// thread, the newest message is the one with the greatest id, so an edit of an earlier message
	// does not replace it; only the newest RecentMessages messages are searched. For a user who has
	// left, it is the first of the messages that Store.Messages returns to that user.
	LastMessage *Message

	// Unread points to the number of messages that are unread for the user (see Message.UnreadBy)
	// and have greater ids than the message of the user's read receipt. Counting stops at
	// MaxUnread, and after the newest RecentMessages messages. The number is 0 for a user who has
	// left, because that user can no longer send a receipt. Unread is nil if Expand does not ask
	// for unread counts.
	Unread *int
}

// ThreadsPage is the result of Store.Threads. Next is the value of Before for the next page, or
// zero after the last page. A page that is not the last may have fewer than ThreadsQuery.Limit
// entries, or none, if it has skipped threads of a crowded minute with activity before
// ThreadsQuery.Since.
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
	At    int64  // the time of all changes of the batch, in epoch milliseconds
	Check uint32 // the Check of all events
	// Until is the wall-clock time at which Apply gives up and returns ErrUnavailable if it could
	// not write the batch. After Until, Apply only spends a few seconds to find out whether a
	// commit that had begun has succeeded. If Until is zero, the engine decides when to give up. An
	// engine that is always available ignores Until.
	Until   time.Time
	Changes []*Change
	// Owned means that only Apply uses Changes until it returns. Assign then fills in the rows of a
	// send in the change itself, which saves a copy.
	Owned bool
}

// Change lists the rows that one operation writes, and the rows that it was decided on. It must
// not be modified after it was passed to a lane.
type Change struct {
	// Key is the id of the changed thread, or of the user if no thread changes. LaneOf returns the
	// lane (queue of changes) for a Key.
	Key string

	// Decide, if set, is called by Assign with the locked rows, and its result is
	// applied instead of this change. The other fields then only name the rows to lock
	// and the idempotency token.
	Decide Decision

	// Thread, Revision and ReadUsers identify the rows that the operation has read. The outcome is
	// Stale if one of these rows differs from the stored row.

	Thread    string // "" if no thread changes
	Revision  uint64 // revision of the thread's head; 0: the thread must not exist
	ReadUsers []User // the users' rows as read; a row with state UserUnknown means that the user must not exist

	// Assign recognizes a repeated operation by SendToken and Caller, by Answer, or by the
	// Fingerprint of its first message. For a repeated operation it returns the first result and
	// writes nothing.

	// SendToken is the idempotency token of a send. It identifies the send together with Thread and
	// Caller. It is empty if the client has sent no token.
	SendToken string
	Caller    string
	// Answer is stored with a thread that is created with an idempotency token. If the thread
	// already has a stored answer, the request to create it is a repetition.
	Answer *CreateAnswer

	// The fields below are the rows to write. Assign fills ids, versions, sequences, numbers and
	// times.

	Properties   *Properties // new properties of the thread; nil: unchanged
	Members      []Member    // members to insert or replace
	Messages     []Message   // messages to insert, in this order
	Rewrites     []Rewrite   // messages to replace
	Receipt      *Receipt    // the user's new receipt; ignored if the stored receipt is for a later message
	DropReceipts []string    // users whose receipts are deleted
	Purge        bool        // true: delete the thread's messages, receipts and send tokens, and mark the thread as deleted
	Events       []Event
	PutUsers     []User // users to insert or replace
	// Audits are audit rows to insert or replace; see Service.Stamp. A change that also writes
	// other rows writes all of its rows or none.
	Audits []Audit

	// Superseded are old versions of rewritten messages to insert or replace. Assign sets this
	// field for rewrites with Keep and for deletions.
	Superseded     []Superseded
	DropSuperseded []SupersededKey // superseded versions of messages to delete, all of this thread

	// With ForgetMetadata, the Left of members who leave contains no metadata of the thread. With
	// ForgetMessages, it allows them to read no messages.
	ForgetMetadata, ForgetMessages bool
	// Releases is true if the change may take superseded versions of messages away from a member
	// who could read them before. If such a version has no other reader, Sweep deletes it.
	Releases bool

	// Roster lists the participants before the change. When the minute of the thread's last
	// activity changes, Assign moves the thread in their lists of threads, or begins a Relisting
	// if there are many. New participants are only in Members, and participants who leave may be
	// in both. The slice is shared and must not be changed.
	Roster []*Member

	// Invalid lists the participants that were refused. The operation returns the list. The store
	// keeps the list only in Answer.
	Invalid []InvalidParticipant
}

func (c *Change) sendKey() SendKey { return SendKey{c.Thread, c.Caller, c.SendToken} }

// changesRevision reports whether the change increments the thread's revision, which
// makes cached copies of the thread outdated.
func (c *Change) changesRevision() bool {
	return c.Properties != nil || len(c.Members) > 0 || c.Purge
}

// size returns the approximate size of the change in memory, in bytes. It does not count rows
// that the change shares with others, such as Roster.
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
	for i := range c.PutUsers {
		n += len(c.PutUsers[i].CustomID)
	}
	for i := range c.Audits {
		n += c.Audits[i].size()
	}
	return n + 128*(len(c.Events)+len(c.ReadUsers)+len(c.PutUsers)+len(c.DropReceipts)+len(c.DropSuperseded))
}

// empty reports whether the change writes no row.
func (c *Change) empty() bool {
	return !c.changesRevision() && len(c.Messages)+len(c.Rewrites)+len(c.DropReceipts)+len(c.DropSuperseded)+len(c.PutUsers)+len(c.Audits) == 0 && c.Receipt == nil
}

// Rewrite is the new content of a message's row.
type Rewrite struct {
	Message
	ReadVersion int64  // version of the message's row that the change was decided on
	OldSequence uint64 // sequence of the replaced row; the engine deletes the row with this sequence
	How         RewriteKind
	// Keep says that the replaced version must be kept as a superseded version, because a member
	// who has left may still read it. If the message is deleted, a tombstone is kept instead.
	Keep bool
}

// RewriteKind says how a Rewrite changes a message: Edit, Delete or InPlace.
type RewriteKind uint8

// The kinds of rewrites. Edit and Delete give the message a new version, the next sequence and
// a time of edit or deletion. InPlace changes none of these, keeps no superseded version and
// has no event; it is applied only if its change was decided on locked rows.
const (
	Edit RewriteKind = iota
	Delete
	InPlace
)

// CloseInterval is the value of Interval.To in a Change by which a member leaves the thread.
// Assign replaces it with the number of the change's last event.
const CloseInterval = ^uint64(0)

// Status is the result of one change of a batch.
type Status uint8

// The statuses of a change. Only a change with status Applied writes rows.
const (
	Applied   Status = iota + 1
	Stale            // the change was not applied, because a row that it was decided on has changed since
	Replayed         // the change was not applied again, because an earlier change had the same token or fingerprint
	Unchanged        // Decide returned a change without rows
	Refused          // the change was not applied, because Decide failed or another user has the custom id
	Unread           // the change was not applied, because Decide asked for rows that were not locked
)

// Outcome is the result of one change of a batch.
type Outcome struct {
	Status Status
	// Change depends on Status. Applied: a copy of the change with all fields filled, which the
	// engine writes. Unchanged: the result of Decide. Replayed: the change itself. Unread: a copy
	// that also names the missing rows to lock, which the Service commits again.
	Change    *Change
	ListMoves []ListMove    // moves of the thread in its users' lists of threads; set if Status is Applied
	Relisting *Relisting    // the Relisting that the change begins, or nil; set if Status is Applied
	Revision  uint64        // revision of the thread's head after the change; set if Status is Applied
	MessageID int64         // id of the message that the first send has added; set if Status is Replayed
	Answer    *CreateAnswer // answer to the first request that created the thread; set if Status is Replayed
	Err       error         // the error of Decide, or ErrCustomIDTaken; set if Status is Refused
}

// LaneOf returns the number, from 0 to n-1, of the lane that commits the changes with this key.
// A lane is a goroutine that commits batches one after another.
func LaneOf(key string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % uint32(n))
}
