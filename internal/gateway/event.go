package gateway

import (
	"slices"
	"sync"

	"github.com/confab-chat/confab/internal/core"
)

// Event is what a session writes to its client: a happening, which is an event of the log with
// its message or members, or a gap, which says that events are missing.
type Event struct {
	*core.Happening // nil for a gap
	// Gap says why events are missing between the event before this one and the event after
	// it. It is 0 if this event is not a gap.
	Gap GapReason
	// Actor is the user who caused the event, with its display name in the thread.
	Actor core.MessageParticipant
	// CreatedOn is the time at which the thread was created, in epoch milliseconds. It is set
	// only in an event about a thread or its participants.
	CreatedOn int64
	// Members are the members who joined or left with the event. If the thread was created,
	// they are its initial participants.
	Members []core.Member
	// Properties are the properties of a thread that was created or updated. A member who has
	// left the thread gets the properties that the thread had at that time.
	Properties core.Properties

	encoded [protocols]encoding
}

// Protocol is the number of a protocol, such as SSE, in which clients receive live events.
type Protocol uint8

// The protocols in which clients can receive live events.
const (
	SSE Protocol = iota
	Trouter
	protocols
)

type encoding struct {
	once sync.Once
	text []byte
}

// Encoded returns the event e as the function encode has encoded it for the protocol p. It calls
// encode only once for each protocol. Later calls return the same bytes, which must not be changed.
func (e *Event) Encoded(p Protocol, encode func(*Event) []byte) []byte {
	c := &e.encoded[p]
	c.once.Do(func() { c.text = encode(e) })
	return c.text
}

// size returns the approximate number of bytes that the event occupies in a session's queue.
func (e *Event) size() int {
	n := 512
	if e.Happening == nil { // a gap
		return n
	}
	if m := e.Happening.Message; m != nil {
		n += len(m.Content) + len(m.SenderDisplayName) + sizeOf(m.Metadata)
	}
	for i := range e.Members {
		n += 256 + sizeOf(e.Members[i].Metadata)
	}
	return n + len(e.Properties.Topic) + sizeOf(e.Properties.Metadata)
}

// sizeOf returns the number of bytes of all keys and values of a thread's metadata.
func sizeOf(metadata map[string]string) (n int) {
	for k, v := range metadata {
		n += len(k) + len(v)
	}
	return n
}

// newEvent returns the event that reports the happening h in the thread t to users who are in the
// thread now.
func newEvent(h *core.Happening, t *core.Thread) *Event {
	e := &Event{Happening: h, Actor: core.MessageParticipant{User: h.Actor}}
	if h.Kind.ChangesMembers() {
		e.Members = membersOf(h)
	}
	if t != nil {
		e.CreatedOn = t.CreatedOn
		if m := t.Member(h.Actor); m != nil {
			e.Actor.DisplayName = m.DisplayName
		}
	}
	if h.Properties != nil {
		e.Properties = *h.Properties
		if h.Message != nil && h.Message.Kind == core.TopicUpdated {
			e.Properties.Topic = h.Message.Content
		}
	}
	return e
}

// membersOf returns the members who joined or left with a happening, in the order in which
// they joined. h.Members may have another order if h was read from the store.
func membersOf(h *core.Happening) []core.Member {
	ms := slices.Clone(h.Members)
	core.SortMembers(ms)
	return ms
}

// forMember returns the event as the member m may see it. If m has left the thread, it returns a
// copy of e with the properties that the thread had when m left. Otherwise it returns e.
func (e *Event) forMember(m *core.Member) *Event {
	if m.Left == nil || e.Happening.Properties == nil {
		return e
	}
	own := &Event{Happening: e.Happening, Actor: e.Actor, CreatedOn: e.CreatedOn, Members: e.Members, Properties: e.Properties}
	own.Properties.Topic, own.Properties.Metadata, own.Properties.RetentionDays = m.Left.Topic, m.Left.Metadata, m.Left.RetentionDays
	if msg := e.Happening.Message; msg != nil && msg.Kind == core.TopicUpdated {
		own.Properties.Topic = msg.Content
	}
	return own
}
