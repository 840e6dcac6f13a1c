package core

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// All times in rows are epoch milliseconds, UTC. Zero means "not set". The exception is
// ShareHistory: there zero is the year 1970 and means "the whole history" (docs/contract/chat.md
// §0.7).

// Head is the main row of a thread. It has the thread's properties, and the counters that
// assign ids, sequences and event numbers.
type Head struct {
	ID string // of the thread
	// Revision is incremented by changes of members, topic, metadata and retention policy and by
	// deletion, but not by messages. It is at least 1 for a thread that exists.
	Revision uint64
	Properties
	Counters
}

// ExpiresOn returns the time at which a thread expires by its retention policy: RetentionDays
// after its creation (docs/contract/chat.md §3.6). It returns 0 if the thread has no policy or
// is deleted.
func (h *Head) ExpiresOn() int64 {
	if h.RetentionDays == 0 || h.DeletedOn != 0 {
		return 0
	}
	return h.CreatedOn + int64(h.RetentionDays)*MillisPerDay
}

// expired reports whether a thread that is not deleted has expired by its retention policy.
func (h *Head) expired(now int64) bool { return h.ExpiresOn() != 0 && h.ExpiresOn() <= now }

// Properties are the properties of a thread. A Change that sets Properties replaces all of them.
type Properties struct {
	Topic         string
	CreatedBy     string
	CreatedOn     int64
	DeletedOn     int64 // 0: live
	Metadata      map[string]string
	RetentionDays int32 // days from creation to expiry; 0: no expiry
}

// Counters are the counters of a thread. Message ids and versions are both taken from LastID.
type Counters struct {
	LastID        int64  // the last message id or version, in epoch milliseconds; strictly increasing in the thread
	LastSequence  uint64 // of messages, from 1, without gaps
	LastEvent     uint64 // of events, from 1, without gaps
	LastPosition  uint64 // store-wide position of the last event
	LastMessageOn int64  // creation time of the last message, which may be a system message
}

// Member is the row of a user who is or was in a thread.
type Member struct {
	User         string
	DisplayName  string
	ShareHistory int64 // earlier messages are hidden; see VisibleFrom
	JoinedOn     int64
	Order        uint32 // number of the member in the order of joining, from 1; sorts the list of participants
	// Intervals are the ranges of event numbers that the user may see, one for each time that the
	// user was in the thread. They ascend and do not overlap. Only the newest maxIntervals are kept
	// (see Member.enter).
	Intervals []Interval
	Metadata  map[string]string
	// RoleIDs are names that clients give to the roles of a participant. Confab attaches no
	// meaning to them.
	RoleIDs []string
	// Left is set while the user is not in the thread.
	Left *Left
}

// Left records the state of a thread at the time when a member left. The member's list of threads
// shows this state, and the member may read the messages up to it. Events from before the member
// left show these properties to the member. A member who left before Confab stored Metadata and
// RetentionDays has neither. A member has no Metadata if earlier former members already kept much
// metadata (see maxFormer).
type Left struct {
	On            int64  // LastMessageOn of the thread when the member left; sorts the member's list of threads
	Sequence      uint64 // sequence of the last message that the member may read; 0: none, because the member's data was erased
	Topic         string
	Metadata      map[string]string
	RetentionDays int32
}

// Interval is a range of event numbers, including both ends. To is 0 while the member is in the
// thread.
type Interval struct{ From, To uint64 }

// maxIntervals is the greatest number of intervals of a member. Each change of a member reads and
// writes the whole row, so without this limit the row would grow every time that somebody adds or
// removes the member.
const maxIntervals = 256

// enter sets the beginning of the member's last interval to event, the event by which the member
// joins. It merges two intervals if no event lies between them; the merged interval contains the
// same events. If more than maxIntervals intervals remain, enter drops the oldest.
//
// It does not merge intervals with events between them, because a merged interval would contain
// these events, which happened while the member was away. Member.Sees would hide the messages among
// them. Nothing would hide other events, such as new metadata of the thread, which the member may
// never read (docs/contract/chat.md §7.3).
//
// A client that resumes with a cursor from a dropped interval misses the events of that interval.
// Member.Forgot reports this, so that the client is told of a gap. All messages stay readable.
func (m *Member) enter(event uint64) {
	all := m.Intervals
	all[len(all)-1].From = event
	kept := all[:1]
	for _, i := range all[1:] {
		if last := &kept[len(kept)-1]; last.To+1 == i.From {
			last.To = i.To
		} else {
			kept = append(kept, i)
		}
	}
	m.Intervals = kept[max(0, len(kept)-maxIntervals):]
}

// Present reports whether the member is in the thread now.
func (m *Member) Present() bool {
	return len(m.Intervals) > 0 && m.Intervals[len(m.Intervals)-1].To == 0
}

// InThreadAt reports whether the member was in the thread at the event with this number. The
// events by which the member joined and left count. It returns false for an event of an
// interval that enter has dropped.
func (m *Member) InThreadAt(event uint64) bool {
	return slices.ContainsFunc(m.Intervals, func(i Interval) bool { return i.From <= event && (i.To == 0 || event <= i.To) })
}

// Forgot reports whether the member may have been in the thread at the event with this number, in
// an interval that enter has dropped since. A row with fewer than maxIntervals intervals has lost
// none, because the number of intervals in a row never decreases. Forgot returns false for a typing
// notification, whose event has no number.
func (m *Member) Forgot(event uint64) bool {
	return event != 0 && len(m.Intervals) >= maxIntervals && event < m.Intervals[0].From
}

// LastEvent returns the number of the event by which a member left, or 0 for a member who
// is in the thread.
func (m *Member) LastEvent() uint64 {
	if len(m.Intervals) == 0 {
		return 0
	}
	return m.Intervals[len(m.Intervals)-1].To
}

// VisibleFrom returns the creation time of the oldest messages that the member may read: the
// earlier of the member's share-history time and the time of joining.
func (m *Member) VisibleFrom() int64 { return min(m.ShareHistory, m.JoinedOn) }

// Sees reports whether the member may read the present version of a message. It returns false
// if the message was created before VisibleFrom, or was written, edited or deleted after the
// member left. In the latter case the member may be able to read an older version (see
// SeesVersion).
func (m *Member) Sees(msg *Message) bool {
	return msg.CreatedOn >= m.VisibleFrom() && (m.Left == nil || msg.Sequence <= m.Left.Sequence)
}

// size returns the approximate size of a member's row, in memory or in a response, in bytes.
func (m *Member) size() int {
	return memberBytes + len(m.User) + m.growth()
}

// memberBytes is the approximate size in memory of a member's row without its texts and with one
// interval.
const memberBytes = 144

// growth returns the size of the parts of a member's row that have no fixed size, in bytes: the
// display name, the metadata, the role ids, all intervals after the first, and the copy of the thread's topic
// and metadata that is kept when the member leaves.
func (m *Member) growth() int {
	n := len(m.DisplayName) + 16*max(0, len(m.Intervals)-1) + sizeOf(m.Metadata)
	for _, id := range m.RoleIDs {
		n += 16 + len(id)
	}
	if m.Left != nil {
		n += len(m.Left.Topic) + sizeOf(m.Left.Metadata)
	}
	return n
}

// sizeOf returns the total size of all keys and values of a map, in bytes.
func sizeOf(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

// kept returns the size of the metadata in the row of a member who has left, in bytes: the member's
// own and its copy of the thread's. It returns 0 for a member who has not left.
func (m *Member) kept() int {
	if m.Left == nil {
		return 0
	}
	return sizeOf(m.Metadata) + sizeOf(m.Left.Metadata)
}

// maps returns the approximate size in memory of the metadata maps in a member's row, without their
// keys and values.
func (m *Member) maps() int {
	if m.Left == nil {
		return mapBytes(m.Metadata)
	}
	return mapBytes(m.Metadata) + mapBytes(m.Left.Metadata)
}

// mapBytes returns the approximate size in memory of a map, without its keys and values. Go allocates
// a map in steps: it has room for 8 entries, and above that for 7/8 of a power of two.
func mapBytes(m map[string]string) int {
	if len(m) == 0 {
		return 0
	}
	return max(350, 64*len(m))
}

// LastSequence returns the sequence of the last message that a member who left may
// read, or 0 for a member who has not left or may read none.
func (m *Member) LastSequence() uint64 {
	if m.Left == nil {
		return 0
	}
	return m.Left.Sequence
}

// Thread is a thread's head with all its members, read at one moment. It is shared between
// goroutines and must not be changed.
type Thread struct {
	Head
	Roster
	bytes int       // approximate size in memory
	read  time.Time // when the Service began to read it from the store
}

// NewThread returns a thread with this head and these members, in any order. It copies the rows.
func NewThread(h Head, members []Member) *Thread { return newThread(h, NewRoster(members)) }

func newThread(h Head, r Roster) *Thread {
	return &Thread{Head: h, Roster: r, bytes: 512 + len(h.Topic) + sizeOf(h.Metadata) + mapBytes(h.Metadata) + r.bytes()}
}

// after returns the thread as it is after the change of the outcome was applied to t. t must have
// the revision before the change, and the change must not purge the thread. As in any cached
// thread, the head's times and counters of messages and events may be outdated.
func (t *Thread) after(o *Outcome) *Thread {
	h := t.Head
	h.Revision = o.Revision
	if p := o.Change.Properties; p != nil {
		h.Properties = *p
		h.Metadata = nilIfEmpty(h.Metadata)
	}
	return newThread(h, t.with(o.Change.Members))
}

// asStored returns the member's row as a store returns it after writing it: empty maps and slices
// are nil. Without it, comparing the two rows would find a difference between empty and nil.
func (m Member) asStored() Member {
	m.Metadata = nilIfEmpty(m.Metadata)
	if len(m.RoleIDs) == 0 {
		m.RoleIDs = nil
	}
	if m.Left != nil && m.Left.Metadata != nil && len(m.Left.Metadata) == 0 {
		left := *m.Left
		left.Metadata = nil
		m.Left = &left
	}
	return m
}

func nilIfEmpty(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// EventKind is the type of an event. The numbers are stored and never reused.
type EventKind uint8

// The event kinds.
const (
	ThreadCreated       EventKind = 1
	MessageReceived     EventKind = 2
	MessageEdited       EventKind = 3
	MessageDeleted      EventKind = 4
	ReceiptReceived     EventKind = 5
	ThreadUpdated       EventKind = 6
	ThreadDeleted       EventKind = 7
	ParticipantsAdded   EventKind = 8
	ParticipantsRemoved EventKind = 9
	// The following kinds are events of a user, not of a thread. TokensRevoked: all access tokens
	// of the event's Actor have ended, because they were revoked or because the user was deleted.
	TokensRevoked EventKind = 10
	UserRemoved   EventKind = 11
	// TypingReceived is a typing notification, which is only published on the Bus and never stored.
	// The kind has no row in eventKinds, so that Assign and the export refuse it.
	TypingReceived EventKind = 255
)

// eventMessage says which message of its change an event refers to.
type eventMessage uint8

const (
	noMessage        eventMessage = iota + 1 // the event has no message, or refers to the message that the change's receipt names
	addedMessage                             // the event refers to the next message that the change adds, if one is left
	rewrittenMessage                         // the event refers to the next message that the change rewrites
)

type eventRow struct {
	name    string
	message eventMessage
}

// eventKinds has a row for each event kind, indexed by the number of the kind. The row has the
// kind's name and says which message its events refer to.
var eventKinds = [...]eventRow{
	ThreadCreated:       {"threadCreated", noMessage},
	MessageReceived:     {"messageReceived", addedMessage},
	MessageEdited:       {"messageEdited", rewrittenMessage},
	MessageDeleted:      {"messageDeleted", rewrittenMessage},
	ReceiptReceived:     {"receiptReceived", noMessage},
	ThreadUpdated:       {"threadUpdated", addedMessage},
	ThreadDeleted:       {"threadDeleted", noMessage},
	ParticipantsAdded:   {"participantsAdded", addedMessage},
	ParticipantsRemoved: {"participantsRemoved", addedMessage},
	TokensRevoked:       {"tokensRevoked", noMessage},
	UserRemoved:         {"userDeleted", noMessage},
}

// row returns the entry of a kind in eventKinds. It panics for an unknown kind, because events of
// an unknown kind must not be stored.
func (k EventKind) row() eventRow {
	if int(k) >= len(eventKinds) || eventKinds[k].message == 0 {
		panic(fmt.Sprintf("core: event kind %d is not in the table", k))
	}
	return eventKinds[k]
}

// String returns the name of the kind that exports use, or "unknown".
func (k EventKind) String() string {
	if int(k) < len(eventKinds) && eventKinds[k].name != "" {
		return eventKinds[k].name
	}
	return "unknown"
}

// OfUser reports whether events of the kind belong to a user instead of a thread.
func (k EventKind) OfUser() bool { return k == TokensRevoked || k == UserRemoved }

// ChangesMembers reports whether events of the kind are about users who joined or left.
func (k EventKind) ChangesMembers() bool {
	return k == ThreadCreated || k == ParticipantsAdded || k == ParticipantsRemoved
}

// ParseEventKind returns the event kind with the name s. ok is false if no kind has
// this name.
func ParseEventKind(s string) (k EventKind, ok bool) {
	i := slices.IndexFunc(eventKinds[:], func(row eventRow) bool { return s != "" && row.name == s })
	return EventKind(max(i, 0)), i > 0
}

// Event is an entry of the event log, for a thread or for a user. It refers to rows and has no
// content, so that the log keeps no deleted text. An operation sets Kind and Actor, and Assign
// fills the other fields. An event about participants or the topic refers to the system message
// that was written with it. Version is the version of the event's message, the time of reading
// for a receipt, or a new version of the thread for an event without a message.
type Event struct {
	Thread    string // id of the thread; empty for an event of a user
	Day       uint32 // days since 1970, UTC
	Number    uint64 // number of the event in its thread, from 1, without gaps; an event of a user has a number that is unique in the store
	Position  uint64 // position in the log; while Batch is not 0, a provisional number that only orders the events of a thread
	Batch     uint64 // number of the event's batch until Store.Sequence gives the event its position; then 0
	Kind      EventKind
	MessageID int64
	Version   int64
	Actor     string
	At        int64  // time in epoch milliseconds; 0 if a version of Confab without this field stored the event
	Check     uint32 // random number of the event's batch; tells the event apart from another one at the same position
}

// UserState is the state of a user. The numbers are stored and never reused.
type UserState uint8

// The states of a user. UserUnknown is the state of a user that was never created.
const (
	UserUnknown  UserState = 0
	UserLive     UserState = 1
	UserDeleting UserState = 2
	UserDeleted  UserState = 3
)

var userStates = [...]string{UserLive: "live", UserDeleting: "deleting", UserDeleted: "deleted"}

// String returns the word for the state, or "unknown".
func (u UserState) String() string { return wordOf(userStates[:], u) }

// ParseUserState returns the user state with the name s. ok is false if no state has
// this name.
func ParseUserState(s string) (u UserState, ok bool) { return parseWord[UserState](userStates[:], s) }

// wordOf returns the word at index k of words, or "unknown" if words has none at k.
func wordOf[K ~uint8](words []string, k K) string {
	if int(k) < len(words) && words[k] != "" {
		return words[k]
	}
	return "unknown"
}

// parseWord returns the index of the word s in words. ok is false if words does not
// contain s.
func parseWord[K ~uint8](words []string, s string) (k K, ok bool) {
	i := slices.Index(words[1:], s) + 1
	return K(i), i > 0
}

// User is the row of a user. The row is never deleted and never returns to an earlier value. So if
// it equals a row read earlier, it has not changed in between.
type User struct {
	ID         string
	State      UserState
	DeletedAt  int64
	Generation uint64 // generation of access tokens; incrementing it revokes all earlier tokens
	// ErasedTo is the progress of the user's erasure, as a thread id: the user's data is erased
	// from all threads in the user's list whose ids are not greater.
	ErasedTo string
	// CustomID is the app's own id of the user, or "". No two users have the same one. A deleted
	// user has none, so that the app may give the id to a new user.
	CustomID string
	// TokenIssuedAt is when the last access token was issued to the user, or 0. It may lag behind,
	// because it is not stored with every token (see Service.TokenIssued).
	TokenIssuedAt int64
}

// Receipt records the last message that a user has read in a thread. Only a receipt for the same or
// a later message replaces it.
type Receipt struct {
	User      string
	MessageID int64
	ReadOn    int64
}

// CreateAnswer is the answer to a request that creates a thread with an idempotency token. The
// answer is stored with the thread and returned again when the request is repeated.
type CreateAnswer struct {
	Topic         string
	CreatedBy     string
	CreatedOn     int64
	Metadata      map[string]string
	RetentionDays int32
	Invalid       []InvalidParticipant
}

// InvalidParticipant is a user who could not be added to a thread, with the reason.
type InvalidParticipant struct {
	User    string
	Code    string // "403" or "404" (docs/contract/chat.md §3.1)
	Message string
}

// Resource has the identity of a store and its access keys.
type Resource struct {
	ID    string              // GUID, part of every user id
	Cloud communication.Cloud // the Azure cloud of the resource; every user id begins with the prefix of the cloud
	Epoch string              // random id of this store; a position in the log is valid only in the store with the same epoch
	Keys  [2]AccessKeyRow
}

// userPrefixes has the prefix of user ids for each cloud (docs/contract/identity.md §6.7).
var userPrefixes = [...]string{
	communication.CloudPublic: "8:acs:", communication.CloudDoD: "8:dod-acs:", communication.CloudGCCH: "8:gcch-acs:",
}

// UserPrefix returns the prefix of the ids of the resource's users, such as "8:acs:".
func (r Resource) UserPrefix() string { return userPrefixes[r.Cloud] }

// UserID returns the id of a user of the resource. user is the second half of the id, which is
// a GUID.
func (r Resource) UserID(user string) string { return r.UserPrefix() + r.ID + "_" + user }

// Owns reports whether id is a well-formed id of a user of this resource and its cloud.
func (r Resource) Owns(id string) bool {
	_, user, ok := communication.SplitUserID(id)
	return ok && id == r.UserID(user)
}

// AccessKeyRow is one of the two access keys. Serial is incremented when the key is
// regenerated.
type AccessKeyRow struct {
	Serial uint64
	Secret []byte
}

// Equal reports whether two rows have the same serial number and secret.
func (k AccessKeyRow) Equal(o AccessKeyRow) bool {
	return k.Serial == o.Serial && bytes.Equal(k.Secret, o.Secret)
}

// clone returns a copy of a map, or nil if it is empty.
func clone(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}
