package core

import "slices"

// Cursor is a place in the event log: after the event at Position. It is only valid in
// the store of its Epoch. Check is that of the event, so that a store which was put back
// to an older state, and has since written another event at this position, can tell.
type Cursor struct {
	Epoch    string
	Position uint64 // 0: before the first event
	Check    uint32
}

// Placed is a committed batch that has got its positions in the log.
type Placed struct {
	Batch  uint64 // as BatchOf returns it
	Last   uint64 // the position of the batch's last event
	Events uint64 // number of events of the batch; their positions end at Last
	Check  uint32
}

// placeBits is the number of low bits of a place that number the events of a batch.
const placeBits = 20

// MaxBatchEvents is the greatest number of events of a batch.
const MaxBatchEvents = 1<<placeBits - 1

// PlaceOf returns the place before the first event of a batch.
func PlaceOf(batch uint64) uint64 { return batch << placeBits }

// BatchOf returns the batch of an event's place and the event's number in the batch,
// from 1.
func BatchOf(place uint64) (batch, index uint64) { return place >> placeBits, place & MaxBatchEvents }

// LogPage is the result of Store.Log: a range of the event log.
type LogPage struct {
	// Gap says why the log does not continue the cursor; 0 if it does. Then there are no
	// events, and Next is the end of the log.
	Gap    GapReason
	Events []Event
	Next   Cursor // after the last event of the page; the cursor itself if there is none
	Tip    uint64 // the position of the log's last event
}

// GapReason is the reason for which a log does not continue a cursor.
type GapReason uint8

// The reasons for a gap.
const (
	GapEpoch   GapReason = iota + 1 // the cursor is of another store, or of this one before it was put back
	GapTrimmed                      // the events after the cursor are no longer kept
	GapLost                         // the event at the cursor is not the one that the cursor names, or not there
)

var gapReasons = [...]string{GapEpoch: "epoch", GapTrimmed: "trimmed", GapLost: "lost"}

// String returns the word for the reason, or "unknown".
func (g GapReason) String() string { return wordOf(gapReasons[:], g) }

// News is a thread with events after a position.
type News struct {
	View
	First uint64 // the number of the first of these events
}

// Happening is an event with the rows that it refers to, as one moment had them. It is
// shared between goroutines and read-only. A typing notification is a Happening whose
// event has no number, no position and no message.
type Happening struct {
	Event
	Revision    uint64      // of the thread's head
	Message     *Message    // nil if the event has no message, or the message is gone; always nil for a receipt
	Members     []Member    // those who joined or left with this event
	Properties  *Properties // of the thread, if it was created or its properties changed
	DisplayName string      // of the sender, only of a typing notification; may be empty
}

// Tell fills the rows of a happening from the thread's head, its members if the event is
// about any, and the message of MessageRow, or nil. It takes those members as joined or left
// whom the message names. Without the message it takes those of whom an interval begins or
// ends with the event; it finds nobody whose intervals were merged or dropped since (see
// Member.enter).
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

// MessageRow returns the id of the message that Happening.Tell needs for an event, or 0. It is
// the event's message. A new thread's event has none, but the first message of the thread
// names its first participants, and its id is the event's version.
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

// Hears reports whether the event stream of a member has an event, both when it happens
// and when it is read from the log later. The event must have happened while the member
// was in the thread: its joining and its leaving are heard too. An event about a message
// that the member may not read now is not heard, and neither is the text of a message
// that was deleted since. See also ReadsOlder.
//
// m is the member's row at the time of the event or later. h has the rows of the same
// moment as m, or of an earlier one.
func (m *Member) Hears(h *Happening) bool {
	if h.Kind == TypingReceived { // it has no number
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
		// A receipt comes without its message, whose id is its time of creation or a
		// little later. The message was there when the member left, if the receipt was.
		return h.MessageID >= m.VisibleFrom()
	}
	return true
}

// Days for which the event log is kept.
const (
	DefaultEventsKept = 7
	MinEventsKept     = 2
	MaxEventsKept     = 36_500
)
