package core

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// Times in rows are epoch milliseconds, UTC. Zero means "not set", except in
// ShareHistory, where zero is 1970 and so "the whole history" (docs/contract/chat.md §0.7).

// Head is the row of a thread itself: its properties, and the counters from which
// ids, sequences and event numbers are taken.
type Head struct {
	ID string // of the thread
	// Revision is incremented by changes of members, topic, metadata and retention
	// policy and by deletion, but not by messages. It is 1 or more for a thread
	// that exists.
	Revision uint64
	Properties
	Counters
}

// ExpiresOn returns the time at which a live thread expires by its retention policy,
// RetentionDays after its creation (docs/contract/chat.md §3.6), or 0 if it has none.
func (h *Head) ExpiresOn() int64 {
	if h.RetentionDays == 0 || h.DeletedOn != 0 {
		return 0
	}
	return h.CreatedOn + int64(h.RetentionDays)*MillisPerDay
}

// expired reports whether a live thread has expired by its retention policy.
func (h *Head) expired(now int64) bool { return h.ExpiresOn() != 0 && h.ExpiresOn() <= now }

// Properties of a thread. A Change that sets one replaces them all.
type Properties struct {
	Topic         string
	CreatedBy     string
	CreatedOn     int64
	DeletedOn     int64 // 0: live
	Metadata      map[string]string
	RetentionDays int32 // days from creation to expiry; 0: no expiry
}

// Counters of a thread. Message ids and versions both come from LastID.
type Counters struct {
	LastID        int64  // epoch milliseconds, strictly increasing in the thread
	LastSequence  uint64 // of messages, from 1, without gaps
	LastEvent     uint64 // of events, from 1, without gaps
	LastPosition  uint64 // store-wide position of the last event
	LastMessageOn int64  // creation time of the last message, system messages included
}

// Member is the row of a user who is or was in a thread.
type Member struct {
	User         string
	DisplayName  string
	ShareHistory int64 // earlier messages are hidden; see VisibleFrom
	JoinedOn     int64
	Order        uint32 // number by order of joining, from 1; sorts the list of participants
	// Intervals are the ranges of event numbers that the user may see, in ascending order
	// and without overlap: one for each time in the thread, the newest maxIntervals of
	// them. See enter.
	Intervals []Interval
	Metadata  map[string]string
	// Left is set while the user is not in the thread.
	Left *Left
}

// Left records the state of a thread when a member left it. The member's list of
// threads shows this state, the member may read the messages up to it, and earlier events
// that are told to the member later have these properties. A member who left before
// Confab stored Metadata and RetentionDays has none. One who left when those who had left
// before kept much metadata has no Metadata (see maxFormer).
type Left struct {
	On            int64  // LastMessageOn then; sorts the member's list of threads
	Sequence      uint64 // of the last message that the member may read; 0: it was erased and reads none
	Topic         string
	Metadata      map[string]string
	RetentionDays int32
}

// Interval is a range of event numbers, both ends included. To is 0 while the member
// is in the thread.
type Interval struct{ From, To uint64 }

// maxIntervals is the greatest number of intervals of a member. A member's row is read and
// written with each change of it, so it must not grow with the number of times that somebody
// adds and removes the member.
const maxIntervals = 256

// enter sets the beginning of the member's last interval: the event by which it joins. It
// merges intervals that no event separates; the merged interval holds the same events. If
// more than maxIntervals are left, enter drops the oldest.
//
// It does not merge the oldest, because a merged interval would also hold the events between
// the two, which happened while the member was away. Sees would hide some of their messages,
// but nothing hides other events, such as new metadata of the thread, which the member could
// never read (docs/contract/chat.md §7.3). A client that resumes with a cursor from a dropped
// interval misses the events of that interval; Forgot says so, and the client is told of a
// gap. Messages stay as readable as before.
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

// InThreadAt reports whether the member was in the thread when the event with this number
// happened. The events by which it joined and left count. It returns false for an event of
// an interval that enter has dropped.
func (m *Member) InThreadAt(event uint64) bool {
	return slices.ContainsFunc(m.Intervals, func(i Interval) bool { return i.From <= event && (i.To == 0 || event <= i.To) })
}

// Forgot reports whether the member may have been in the thread when the event with this
// number happened, in an interval that enter has left out since. A row with fewer than
// maxIntervals has them all: the number never falls again. The event of a typing notification
// has no number and is never forgotten.
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

// VisibleFrom returns the creation time of the oldest messages that the member may
// read: the earlier of its share-history time and its join time.
func (m *Member) VisibleFrom() int64 { return min(m.ShareHistory, m.JoinedOn) }

// Sees reports whether the member may read the present row of a message: not if it was created
// before VisibleFrom, and not if it was written, edited or deleted after the member left. Then
// SeesVersion finds what the member may read instead.
func (m *Member) Sees(msg *Message) bool {
	return msg.CreatedOn >= m.VisibleFrom() && (m.Left == nil || msg.Sequence <= m.Left.Sequence)
}

// size returns the approximate size of a member in memory or in an answer, in bytes.
func (m *Member) size() int {
	return 144 + len(m.User) + m.growth() // with one interval
}

// growth returns the bytes of a member's row that differ between members and grow with what
// clients do: names, metadata, further intervals, and what is kept of the thread when it leaves.
func (m *Member) growth() int {
	n := len(m.DisplayName) + 16*max(0, len(m.Intervals)-1) + sizeOf(m.Metadata)
	if m.Left != nil {
		n += len(m.Left.Topic) + sizeOf(m.Left.Metadata)
	}
	return n
}

// sizeOf returns the bytes of all keys and values of a map.
func sizeOf(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

// LastSequence returns the sequence of the last message that a member who left may
// read, or 0 for a member who has not left or may read none.
func (m *Member) LastSequence() uint64 {
	if m.Left == nil {
		return 0
	}
	return m.Left.Sequence
}

// Thread is a head with its members, read at one moment. It is shared between
// goroutines and read-only.
type Thread struct {
	Head
	Members []Member // by Order
	present []Member
	byUser  map[string]int
	bytes   int       // approximate size in memory
	read    time.Time // when the Service began to read it from the store
}

// Participants returns the members who are in the thread now, in the order of
// joining. The slice is shared and read-only.
func (t *Thread) Participants() []Member { return t.present }

// NewThread returns a thread of a head and its members. It sorts members and takes
// ownership of it.
func NewThread(h Head, members []Member) *Thread {
	SortMembers(members)
	t := &Thread{Head: h, Members: members, present: present(members), byUser: make(map[string]int, len(members))}
	t.bytes = 512 + len(h.Topic) + sizeOf(h.Metadata)
	for i := range members {
		t.byUser[members[i].User] = i
		t.bytes += members[i].size()
	}
	return t
}

// SortMembers sorts the members of a thread by the order of joining. Those who joined with
// one request keep the order of the request.
func SortMembers(ms []Member) {
	slices.SortFunc(ms, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.User, b.User))
	})
}

// Member returns the user's row, or nil if the user was never in the thread.
func (t *Thread) Member(user string) *Member {
	if i, ok := t.byUser[user]; ok {
		return &t.Members[i]
	}
	return nil
}

// present returns the members of ms who are in the thread now. It returns ms itself if
// all are.
func present(ms []Member) []Member {
	absent := func(m Member) bool { return !m.Present() }
	if !slices.ContainsFunc(ms, absent) {
		return ms
	}
	return slices.DeleteFunc(slices.Clone(ms), absent)
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
	// Events of a user, without a thread: all access tokens of the Actor have ended.
	TokensRevoked EventKind = 10
	UserRemoved   EventKind = 11
	// A typing notification is only published on the Bus and never stored. Its kind has
	// no row in eventKinds, so that Assign and the export refuse it.
	TypingReceived EventKind = 255
)

// eventMessage tells which message of its change an event refers to.
type eventMessage uint8

const (
	noMessage        eventMessage = iota + 1 // none, or that of the change's receipt
	addedMessage                             // the next one that was added, if there is one
	rewrittenMessage                         // the next one that was rewritten
)

type eventRow struct {
	name    string
	message eventMessage
}

// eventKinds has the name of each event kind and the message that its events refer to.
// The index is the number of the kind.
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

// row returns the entry of a kind in eventKinds. It panics for an unknown kind, which
// must not be stored.
func (k EventKind) row() eventRow {
	if int(k) >= len(eventKinds) || eventKinds[k].message == 0 {
		panic(fmt.Sprintf("core: event kind %d is not in the table", k))
	}
	return eventKinds[k]
}

// String returns the word for the kind in exports, or "unknown".
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

// Event is an entry of the event log, of a thread or of a user. It refers to rows and has no content, so that
// the log keeps no deleted text. An operation sets Kind and Actor, and Assign fills
// the other fields. An event about participants or the topic refers to the system
// message that was written with it. Version is that of the message, the time of
// reading for a receipt, and a version of its own for an event without a message.
type Event struct {
	Thread    string // empty for the event of a user
	Day       uint32 // days since 1970, UTC
	Number    uint64 // in the thread, from 1, without gaps; for the event of a user unique in the store
	Position  uint64 // in the log; while Batch is set, a place that only orders the events of a thread
	Batch     uint64 // the batch that Store.Sequence has yet to give positions to, or 0
	Kind      EventKind
	MessageID int64
	Version   int64
	Actor     string
	At        int64  // epoch milliseconds; 0 for an event of Confab before this field
	Check     uint32 // of the batch: a random number that tells this event from another at the same position
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

// wordOf returns the word at index k, or "unknown" if the table has none.
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

// User is the row of a user. It is never deleted and never returns to an earlier
// value, so a row that equals one read before has not changed since.
type User struct {
	ID         string
	State      UserState
	DeletedAt  int64
	Generation uint64 // of access tokens; incremented to revoke all earlier ones
	// ErasedTo is the progress of an erasure, as a thread id: the user is erased
	// from all threads of its list up to this id.
	ErasedTo string
}

// Receipt records the last message that a user has read in a thread. It is only
// replaced by a receipt for the same or a later message.
type Receipt struct {
	User      string
	MessageID int64
	ReadOn    int64
}

// CreateAnswer is the answer of a create with an idempotency token. It is stored
// with the thread and returned again when the create is repeated.
type CreateAnswer struct {
	Topic         string
	CreatedBy     string
	CreatedOn     int64
	Metadata      map[string]string
	RetentionDays int32
	Invalid       []InvalidParticipant
}

// InvalidParticipant is a user who could not be added to a thread, and the reason.
type InvalidParticipant struct {
	User    string
	Code    string // "403" or "404" (docs/contract/chat.md §3.1)
	Message string
}

// Resource is the identity of a store and its access keys.
type Resource struct {
	ID    string              // GUID, part of every user id
	Cloud communication.Cloud // the Azure cloud that it is from: every user id begins with the cloud's prefix
	Epoch string              // random id of this store; positions of another epoch are not valid in it
	Keys  [2]AccessKeyRow
}

// userPrefixes has what the user ids of each cloud begin with (docs/contract/identity.md §6.7).
var userPrefixes = [...]string{
	communication.CloudPublic: "8:acs:", communication.CloudDoD: "8:dod-acs:", communication.CloudGCCH: "8:gcch-acs:",
}

// UserPrefix returns what the ids of the resource's users begin with, such as "8:acs:".
func (r Resource) UserPrefix() string { return userPrefixes[r.Cloud] }

// UserID returns the id of a user of the resource. user is the second half of the id, a GUID.
func (r Resource) UserID(user string) string { return r.UserPrefix() + r.ID + "_" + user }

// Owns reports whether a user id is well-formed and belongs to this resource in its cloud.
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

// Equal reports whether two rows have the same serial and secret.
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
