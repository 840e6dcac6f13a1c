package core

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Times in rows are epoch milliseconds, UTC. Zero means "not set", except for
// ShareHistory, where zero is 1970 and so "the whole history" (docs/contract/chat.md §0.7).

// Head is a thread's first row: its properties, and the counters from which
// ids, sequences and event numbers are drawn.
type Head struct {
	ID string // of the thread
	// Revision is bumped by roster, topic, metadata, retention and deletion;
	// never by messages. A thread that exists has a revision of 1 or more.
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

// expired reports whether that time has come.
func (h *Head) expired(now int64) bool { return h.ExpiresOn() != 0 && h.ExpiresOn() <= now }

// Properties of a thread, replaced as a whole when one of them changes.
type Properties struct {
	Topic         string
	CreatedBy     string
	CreatedOn     int64
	DeletedOn     int64 // 0: live
	Metadata      map[string]string
	RetentionDays int32 // 0: kept for ever
}

// Counters of a thread. One counter, LastID, gives message ids and versions.
type Counters struct {
	LastID        int64  // epoch milliseconds, strictly increasing in the thread
	LastSequence  uint64 // of messages, from 1, without gaps
	LastEvent     uint64 // of events, from 1, without gaps
	LastPosition  uint64 // store-wide position of the last event
	LastMessageOn int64  // true time of the last message, system messages included
}

// Member is a user's row in a thread. It stays when the user leaves.
type Member struct {
	User         string
	DisplayName  string
	ShareHistory int64 // messages created before are hidden, see VisibleFrom
	JoinedOn     int64
	Order        uint32 // of joining, from 1: the order of the participants list
	// Intervals of event numbers in which the user sees the thread's events,
	// both ends included. An open end is 0: the user is a participant now.
	Intervals []Interval
	Metadata  map[string]string
	// Left is set while the user is out of the thread: what it keeps seeing.
	Left *Left
}

// Left is the thread as it was when a member left: the user's list shows it so,
// and its history ends there.
type Left struct {
	On       int64  // the time by which the thread stands in the user's list
	Sequence uint64 // the last one that the user may read
	Topic    string
}

// Interval of event numbers, both ends included; To is 0 while it is open.
type Interval struct{ From, To uint64 }

// Present says whether the member is a participant now.
func (m *Member) Present() bool {
	return len(m.Intervals) > 0 && m.Intervals[len(m.Intervals)-1].To == 0
}

// VisibleFrom is the creation time from which the member may read messages:
// the smaller of share-history time and join time.
func (m *Member) VisibleFrom() int64 { return min(m.ShareHistory, m.JoinedOn) }

// Sees says whether the member may read a message: none from before its history,
// and none written or edited after it left.
func (m *Member) Sees(msg *Message) bool {
	last := m.LastSequence()
	return msg.CreatedOn >= m.VisibleFrom() && (last == 0 || msg.Sequence <= last)
}

// size is the bytes of the member's texts, of which a row in memory or in an
// answer mostly consists, and a little for the rest.
func (m *Member) size() int {
	n := 128 + len(m.User) + len(m.DisplayName) + 16*len(m.Intervals) + sizeOf(m.Metadata)
	if m.Left != nil {
		n += len(m.Left.Topic)
	}
	return n
}

func sizeOf(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

// LastSequence is the last message that a member who left may read, or 0.
func (m *Member) LastSequence() uint64 {
	if m.Left == nil {
		return 0
	}
	return m.Left.Sequence
}

// Thread is a head with its members, as one consistent read gave it. It is
// shared between goroutines and never changed.
type Thread struct {
	Head
	Members []Member // by Order
	present []Member
	byUser  map[string]int
	bytes   int // that it takes in a cache, roughly
}

// Participants are the members who are in the thread now, in join order. The
// slice is shared and never changed.
func (t *Thread) Participants() []Member { return t.present }

// NewThread joins a head and its members, which it keeps and sorts.
func NewThread(h Head, members []Member) *Thread {
	slices.SortFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.User, b.User))
	})
	t := &Thread{Head: h, Members: members, present: present(members), byUser: make(map[string]int, len(members))}
	t.bytes = 512 + len(h.Topic) + sizeOf(h.Metadata)
	for i := range members {
		t.byUser[members[i].User] = i
		t.bytes += members[i].size()
	}
	return t
}

// Member returns the user's row, or nil if the user was never in the thread.
func (t *Thread) Member(user string) *Member {
	if i, ok := t.byUser[user]; ok {
		return &t.Members[i]
	}
	return nil
}

func present(ms []Member) []Member {
	if !slices.ContainsFunc(ms, func(m Member) bool { return !m.Present() }) {
		return ms
	}
	var in []Member
	for _, m := range ms {
		if m.Present() {
			in = append(in, m)
		}
	}
	return in
}

// MessageKind is a message's type. The numbers are stored and never reused.
type MessageKind uint8

// The message kinds of the contract.
const (
	Text               MessageKind = 1
	HTML               MessageKind = 2
	TopicUpdated       MessageKind = 3
	ParticipantAdded   MessageKind = 4
	ParticipantRemoved MessageKind = 5
)

var messageKinds = [...]string{
	Text: "text", HTML: "html", TopicUpdated: "topicUpdated",
	ParticipantAdded: "participantAdded", ParticipantRemoved: "participantRemoved",
}

// String returns the contract's word for the kind, or "unknown".
func (k MessageKind) String() string { return wordOf(messageKinds[:], k) }

// ParseMessageKind parses the contract's word; ok is false for any other.
func ParseMessageKind(s string) (k MessageKind, ok bool) {
	return parseWord[MessageKind](messageKinds[:], s)
}

// Message is a row of a thread. Its place is (thread, Sequence); its ID never
// changes and points there. Assign fills ID, Sequence, Version and CreatedOn.
type Message struct {
	ID        int64
	Sequence  uint64
	Version   int64 // equals ID until the message is edited or deleted
	Kind      MessageKind
	CreatedOn int64 // true time; the ID may run ahead of it
	EditedOn  int64
	DeletedOn int64

	Sender            string // empty for system messages
	SenderDisplayName string
	Content           string // of text and html; the topic of topicUpdated
	Metadata          map[string]string

	// Of system messages: who did it, and to whom.
	Initiator    string
	Participants []MessageParticipant
}

// MessageParticipant is a participant as a system message names it.
type MessageParticipant struct {
	User         string
	DisplayName  string
	ShareHistory int64
}

// EventKind says what happened. The numbers are stored and never reused.
type EventKind uint8

// The event kinds, in the order of eventKinds. Typing is not among them: nothing
// of it is stored.
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
)

// eventMessage says which message of its change an event points at.
type eventMessage uint8

const (
	noMessage        eventMessage = iota + 1 // none, or the one that the change's receipt names
	addedMessage                             // the next one that was added, if there is one
	rewrittenMessage                         // the next one that was rewritten
)

type eventRow struct {
	name    string
	message eventMessage
}

// eventKinds is the table of kinds. The index is the number that is stored.
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
}

// row panics for a kind that is not in the table: an event without a kind must
// never be numbered.
func (k EventKind) row() eventRow {
	if int(k) >= len(eventKinds) || eventKinds[k].message == 0 {
		panic(fmt.Sprintf("core: event kind %d is not in the table", k))
	}
	return eventKinds[k]
}

// String is the word for the kind in exports, or "unknown".
func (k EventKind) String() string {
	if int(k) < len(eventKinds) && eventKinds[k].name != "" {
		return eventKinds[k].name
	}
	return "unknown"
}

// ParseEventKind reads the word; ok is false for any other.
func ParseEventKind(s string) (k EventKind, ok bool) {
	i := slices.IndexFunc(eventKinds[:], func(row eventRow) bool { return s != "" && row.name == s })
	return EventKind(max(i, 0)), i > 0
}

// Event is a pointer into the rows and holds no content, so that nothing
// deleted lives on in the log. Assign fills what an operation leaves empty. The
// message of an event about participants or the topic is the system message
// that was written with it; the version of a receipt is the time of reading.
type Event struct {
	Thread    string
	Day       uint32 // days since 1970, UTC
	Number    uint64 // in the thread, from 1, without gaps
	Position  uint64 // in the store, strictly increasing
	Kind      EventKind
	MessageID int64
	Version   int64
	Actor     string
}

// UserState is where a user is in its life.
type UserState uint8

// A user that was never created has the zero state.
const (
	UserUnknown  UserState = 0
	UserLive     UserState = 1
	UserDeleting UserState = 2
	UserDeleted  UserState = 3
)

var userStates = [...]string{UserLive: "live", UserDeleting: "deleting", UserDeleted: "deleted"}

// String returns the word for the state, or "unknown".
func (u UserState) String() string { return wordOf(userStates[:], u) }

// ParseUserState parses the word of a known state; ok is false for any other.
func ParseUserState(s string) (u UserState, ok bool) { return parseWord[UserState](userStates[:], s) }

// wordOf returns the word at index k, or "unknown" if the table has none.
func wordOf[K ~uint8](words []string, k K) string {
	if int(k) < len(words) && words[k] != "" {
		return words[k]
	}
	return "unknown"
}

// parseWord is the inverse of wordOf; ok is false for a word outside the table.
func parseWord[K ~uint8](words []string, s string) (k K, ok bool) {
	i := slices.Index(words[1:], s) + 1
	return K(i), i > 0
}

// User is a user's row. It is never removed and only moves forward, so the
// row's value is its own version: equal rows mean that nothing happened between.
type User struct {
	ID         string
	State      UserState
	DeletedAt  int64
	Generation uint64 // of tokens; revoking bumps it
	// ErasedTo is how far a deletion has come: the user is erased from every
	// thread of its list whose id is not greater.
	ErasedTo string
}

// Receipt is how far a user has read. There is one per user and thread, and it
// never moves back.
type Receipt struct {
	User      string
	MessageID int64
	ReadOn    int64
}

// CreateAnswer is the first answer of a create with an idempotency token, kept
// for the thread's life and given again to every replay.
type CreateAnswer struct {
	Topic         string
	CreatedBy     string
	CreatedOn     int64
	Metadata      map[string]string
	RetentionDays int32
	Invalid       []InvalidParticipant
}

// InvalidParticipant is somebody who could not be added; the others were.
type InvalidParticipant struct {
	User    string
	Code    string // "403" or "404" (docs/contract/chat.md §3.1)
	Message string
}

// Resource is what the store says of itself.
type Resource struct {
	ID    string // GUID, part of every user id
	Epoch string // of the store; a cursor of another epoch is a gap
	Keys  [2]AccessKeyRow
}

// AccessKeyRow is one of the two access keys; its serial counts rotations.
type AccessKeyRow struct {
	Serial uint64
	Secret []byte
}

// clone copies a map so that rows never share one with their caller.
func clone(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}
