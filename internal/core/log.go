package core

import "slices"

// Cursor is a point in the event log, directly after the event at Position. It is valid only in the
// store with its Epoch. Check is the check value of that event: if the store was restored to an
// older state and has then written another event at this position, the check values differ.
type Cursor struct {
	Epoch    string
	Position uint64 // 0: before the first event
	Check    uint32
}

// Placed is a committed batch whose events have got their positions in the log.
type Placed struct {
	Batch  uint64 // as BatchOf returns it
	Last   uint64 // the position of the batch's last event
	Events uint64 // number of events of the batch; the last one has the position Last
	Check  uint32
}

// placeBits is the number of low bits of a place that contain the number of an event within its
// batch. A place is a number that identifies an event before it has a position; its other bits
// contain the number of the batch.
const placeBits = 20

// MaxBatchEvents is the greatest number of events of a batch.
const MaxBatchEvents = 1<<placeBits - 1

// PlaceOf returns the place before the first event of a batch. A place is the number of a batch
// followed by the number of an event within it.
func PlaceOf(batch uint64) uint64 { return batch << placeBits }

// BatchOf splits an event's place into the number of its batch and the number of the event
// within the batch, which starts at 1.
func BatchOf(place uint64) (batch, index uint64) { return place >> placeBits, place & MaxBatchEvents }

// LogPage is the result of Store.Log: some consecutive events of the log.
type LogPage struct {
	// Gap says why the log does not continue at the cursor, or is 0 if it does. If Gap is set,
	// there are no events, and Next is the end of the log.
	Gap    GapReason
	Events []Event
	Next   Cursor // the cursor after the last event of the page, or the cursor of the request if there is no event
	Tip    uint64 // the position of the last event in the log
}

// GapReason is the reason why a log does not continue at a cursor.
type GapReason uint8

// The reasons for a gap.
const (
	GapEpoch   GapReason = iota + 1 // the cursor belongs to another store, or to this store before a backup was restored
	GapTrimmed                      // the events after the cursor were deleted because of their age
	// The event at the cursor's position is missing or is another one than the cursor was made for.
	GapLost
)

var gapReasons = [...]string{GapEpoch: "epoch", GapTrimmed: "trimmed", GapLost: "lost"}

// String returns the word for the reason, or "unknown".
func (g GapReason) String() string { return wordOf(gapReasons[:], g) }

// News is a thread that has events after a given position in the log.
type News struct {
	View
	First uint64 // the number of the thread's first event after the position
}

// Happening is an event with the rows that it refers to, as they were at one moment. It is
// shared between goroutines and must not be changed. A typing notification is a Happening whose
// event has no number, no position and no message.
type Happening struct {
	Event
	Revision    uint64      // of the thread's head
	Message     *Message    // the event's message; nil if it has none, if the message was deleted, and for a receipt
	Members     []Member    // the members who joined or left with this event
	Properties  *Properties // properties of the thread, if the event created the thread or changed its properties
	DisplayName string      // display name of the sender of a typing notification; may be empty
}

// Tell fills the rows of a happening. head is the thread's head, members are the thread's members
// if the event is about users who joined or left, and m is the message with the id that MessageRow
// returns, or nil.
//
// Tell sets h.Members to the members that the message names, together with the members that have an
// interval which begins or ends with the event. If m is nil, Tell may miss a member, because
// Member.enter may have merged or dropped the interval.
func (h *Happening) Tell(head Head, members []Member, m *Message) {
	h.Revision = head.Revision
	if h.Kind == ThreadCreated || h.Kind == ThreadUpdated {
		h.Properties = &head.Properties
	}
	if h.Kind != ReceiptReceived && h.MessageID != 0 {
		h.Message = m
	}
	if !h.Kind.ChangesMembers() {
		return
	}
	named := m.named()
	for i := range members {
		if members[i].concerns(h.Number) || named[members[i].User] {
			h.Members = append(h.Members, members[i])
		}
	}
}

// MessageRow returns the id of the message that Happening.Tell needs for an event, or 0 if it
// needs none. Usually this is the event's message. The event of a new thread has no message;
// for it, MessageRow returns the event's version, which is the id of the thread's first
// message. That message names the first participants.
func (e *Event) MessageRow() int64 {
	if e.Kind == ThreadCreated {
		return e.Version
	}
	return e.MessageID
}

// concerns reports whether the member joined or left the thread with this event.
func (m *Member) concerns(event uint64) bool {
	return slices.ContainsFunc(m.Intervals, func(i Interval) bool { return i.From == event || i.To == event })
}

// named returns the users whom a system message names as added or removed. m may be nil.
func (m *Message) named() map[string]bool {
	if m == nil {
		return nil
	}
	users := make(map[string]bool, len(m.Participants))
	for _, p := range m.Participants {
		users[p.User] = true
	}
	return users
}

// Hears reports whether a member gets an event in its event stream, both when the event happens
// and when it is later read from the log. The event must have happened while the member was in
// the thread; the events of joining and leaving count. A member does not get an event about a
// message that it may not read now, nor the text of a message that was deleted later. See also
// ReadsOlder.
//
// m is the member's row at the time of the event or later. h has the rows of the same moment as
// m, or of an earlier moment.
func (m *Member) Hears(h *Happening) bool {
	if h.Kind == TypingReceived { // a typing notification has no event number
		return m.Present()
	}
	if !m.InThreadAt(h.Number) {
		return false
	}
	switch h.Kind {
	case MessageReceived, MessageEdited:
		return h.Message != nil && h.Message.DeletedOn == 0 && m.Sees(h.Message)
	case MessageDeleted:
		return h.Message != nil && m.Sees(h.Message)
	case ReceiptReceived:
		// The event of a receipt comes without its message. The message's id is its time of
		// creation or a little later, so the id shows whether the member may read the message.
		// The message was sent before the member left, because the receipt was.
		return h.MessageID >= m.VisibleFrom()
	}
	return true
}

// Default, least and greatest value of Options.EventsKept, in days.
const (
	DefaultEventsKept = 7
	MinEventsKept     = 2
	MaxEventsKept     = 36_500
)
