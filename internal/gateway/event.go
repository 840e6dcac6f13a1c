package gateway

import (
	"slices"
	"sync"

	"github.com/confab-chat/confab/internal/core"
)

// Event is one thing that a session tells its client: a happening, or a gap.
type Event struct {
	*core.Happening // nil for a gap
	// Gap says why events are missing before this place; 0 if this is not a gap.
	Gap GapReason
	// Actor is the user who did it, with the display name that it has in the thread.
	Actor core.MessageParticipant
	// CreatedOn is when the thread was created, in epoch milliseconds; only known in an event
	// about a thread or its participants.
	CreatedOn int64
	// Members are those who joined or left with the event. Of a new thread they are the
	// initial participants.
	Members []core.Member
	// Properties are those of a thread that was created or updated. A member who has left
	// gets those that the thread had when it left.
	Properties core.Properties

	encoded [protocols]encoding
}

// Protocol numbers the protocols that encode events.
type Protocol uint8

// The protocols.
const (
	SSE Protocol = iota
	Trouter
	protocols
)

type encoding struct {
	once sync.Once
	text []byte
}

// Encoded returns what encode returns for the event. It calls encode once for each
// protocol; all sessions share the result, which must not be changed.
func (e *Event) Encoded(p Protocol, encode func(*Event) []byte) []byte {
	c := &e.encoded[p]
	c.once.Do(func() { c.text = encode(e) })
	return c.text
}

// size returns the approximate number of bytes that the event takes in a queue.
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

// sizeOf returns the bytes of all keys and values of metadata.
func sizeOf(metadata map[string]string) (n int) {
	for k, v := range metadata {
		n += len(k) + len(v)
	}
	return n
}

// newEvent returns the event of a happening in a thread, as the users who are in the
// thread get it.
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

// membersOf returns the members of a happening, who joined or left with it, in the order of
// joining. A happening that was read from the store has them in another order.
func membersOf(h *core.Happening) []core.Member {
	ms := slices.Clone(h.Members)
	core.SortMembers(ms)
	return ms
}

// forMember returns the event as a member gets it: e itself, or a copy with what the
// member may know of the thread if it has left it.
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
