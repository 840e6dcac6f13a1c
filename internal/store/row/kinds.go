package row

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/confab-chat/confab/internal/core"
)

// User is the schema of the row of a user.
var User = newKind("user",
	keys(text("id", func(u *core.User) *string { return &u.ID })),
	unsigned("state", func(u *core.User) *core.UserState { return &u.State }),
	signed("deleted_at", func(u *core.User) *int64 { return &u.DeletedAt }),
	unsigned("generation", func(u *core.User) *uint64 { return &u.Generation }),
	text("erased_to", func(u *core.User) *string { return &u.ErasedTo }).from(2),
	text("custom_id", func(u *core.User) *string { return &u.CustomID }).from(3),
	signed("token_issued_at", func(u *core.User) *int64 { return &u.TokenIssuedAt }).from(3),
)

// Head is the schema of a thread's head: the row of its properties and counters.
var Head = newKind("head",
	keys(text("id", func(h *core.Head) *string { return &h.ID })),
	unsigned("revision", func(h *core.Head) *uint64 { return &h.Revision }),
	text("topic", func(h *core.Head) *string { return &h.Topic }),
	id("created_by", 2, func(h *core.Head) *string { return &h.CreatedBy }),
	signed("created_on", func(h *core.Head) *int64 { return &h.CreatedOn }),
	signed("deleted_on", func(h *core.Head) *int64 { return &h.DeletedOn }),
	dict("metadata", func(h *core.Head) *map[string]string { return &h.Metadata }),
	unsigned("retention_days", func(h *core.Head) *int32 { return &h.RetentionDays }),
	signed("last_id", func(h *core.Head) *int64 { return &h.LastID }),
	unsigned("last_sequence", func(h *core.Head) *uint64 { return &h.LastSequence }),
	unsigned("last_event", func(h *core.Head) *uint64 { return &h.LastEvent }),
	unsigned("last_position", func(h *core.Head) *uint64 { return &h.LastPosition }),
	signed("last_message_on", func(h *core.Head) *int64 { return &h.LastMessageOn }),
)

// DatedHead is the head of a thread and the day of the thread's last event, in days since 1970.
// PostgreSQL stores that day in a column; the embedded engine finds it in its log.
type DatedHead struct {
	core.Head
	LastDay uint32
}

// HeadWithDay is the schema of a thread's head in PostgreSQL.
var HeadWithDay = newKind("head", lift(Head.Key, headOf), append(lift(Head.Fields, headOf),
	unsigned("last_day", func(h *DatedHead) *uint32 { return &h.LastDay }))...)

func headOf(h *DatedHead) *core.Head { return &h.Head }

// Member is the schema of the row of a member of a thread.
var Member = newKind("member",
	keys(text("user_id", func(m *core.Member) *string { return &m.User })),
	text("display_name", func(m *core.Member) *string { return &m.DisplayName }),
	signed("share_history", func(m *core.Member) *int64 { return &m.ShareHistory }),
	signed("joined_on", func(m *core.Member) *int64 { return &m.JoinedOn }),
	unsigned("joining_order", func(m *core.Member) *uint32 { return &m.Order }),
	list("intervals", func(m *core.Member) *[]core.Interval { return &m.Intervals }, []core.Interval{},
		unsigned("from", func(i *core.Interval) *uint64 { return &i.From }),
		unsigned("to", func(i *core.Interval) *uint64 { return &i.To })),
	memberMetadata,
	left, leftMetadata.from(2), leftRetention.from(2),
)

// roleIDsKey is the key under which a member's stored metadata has the member's role ids, separated
// by NUL bytes. Role ids have no field of their own, because only one preview of the contract has
// them, and a new field would make all older binaries refuse the store. No client can set this key
// or a role id with a NUL byte: package core refuses both.
const roleIDsKey = "\x00roleIds"

// memberMetadata is the field that stores Metadata and RoleIDs of a member.
var memberMetadata = packed("metadata",
	dict("metadata", func(m *core.Member) *map[string]string {
		if len(m.RoleIDs) == 0 {
			return &m.Metadata
		}
		all := make(map[string]string, len(m.Metadata)+1)
		maps.Copy(all, m.Metadata)
		all[roleIDsKey] = strings.Join(m.RoleIDs, "\x00")
		return &all
	}).put,
	func(r *reader, m *core.Member) {
		dict("metadata", func(m *core.Member) *map[string]string { return &m.Metadata }).get(r, m)
		ids, ok := m.Metadata[roleIDsKey]
		if !ok {
			return
		}
		m.RoleIDs = strings.Split(ids, "\x00")
		if delete(m.Metadata, roleIDsKey); len(m.Metadata) == 0 {
			m.Metadata = nil
		}
	},
	func(m *core.Member) bool { return len(m.Metadata) == 0 && len(m.RoleIDs) == 0 })

// left is the field that stores the struct Left of a member, which says when and where the member
// left the thread. The fields of Left that were added in format 2 are stored separately. A value
// has the flag 0 if Left is nil, or else the flag 1 and three fields. In PostgreSQL, if Left is
// nil, the column left_on is NULL and the other two columns have zero values.
var left = Field[core.Member]{
	put: func(b []byte, m *core.Member) []byte {
		if m.Left == nil {
			return binary.AppendUvarint(b, 0)
		}
		b = binary.AppendVarint(binary.AppendUvarint(b, 1), m.Left.On)
		return putText(binary.AppendUvarint(b, m.Left.Sequence), m.Left.Topic)
	},
	get: func(r *reader, m *core.Member) {
		if r.unsigned() != 0 {
			m.Left = &core.Left{On: r.signed(), Sequence: r.unsigned(), Topic: r.text()}
		}
	},
	Columns: []Column[core.Member]{
		column("left_on", "bigint", func(m *core.Member) *int64 {
			if m.Left == nil {
				return nil
			}
			return &m.Left.On
		}, leftTarget(nil, func(l *core.Left, on int64) { l.On = on })),
		column("left_sequence", "bigint", func(m *core.Member) int64 {
			return int64(cmp.Or(m.Left, &core.Left{}).Sequence)
		}, leftTarget(int64(0), func(l *core.Left, sequence int64) { l.Sequence = uint64(sequence) })),
		column("left_topic", "text", func(m *core.Member) string {
			return cmp.Or(m.Left, &core.Left{}).Topic
		}, leftTarget("", func(l *core.Left, topic string) { l.Topic = topic })),
	},
}

// leftMetadata is the field Left.Metadata of a member, which is empty if Left is nil. If a column
// that is not empty is read while Left is nil, Left is allocated.
var leftMetadata = func() Field[core.Member] {
	const name = "left_metadata"
	f := dict(name, func(m *core.Member) *map[string]string { return &cmp.Or(m.Left, &core.Left{}).Metadata })
	read := dict(name, func(m *core.Member) *map[string]string { return &leftOf(m).Metadata })
	f.get, f.Columns[0].Target = read.get, read.Columns[0].Target
	return f
}()

// leftRetention is the field Left.RetentionDays of a member. It is 0 if Left is nil.
var leftRetention = Field[core.Member]{
	put: func(b []byte, m *core.Member) []byte {
		return binary.AppendUvarint(b, uint64(cmp.Or(m.Left, &core.Left{}).RetentionDays))
	},
	get: func(r *reader, m *core.Member) {
		if days := int32(r.unsigned()); days != 0 {
			leftOf(m).RetentionDays = days
		}
	},
	Columns: []Column[core.Member]{
		column("left_retention_days", "bigint", func(m *core.Member) int64 {
			return int64(cmp.Or(m.Left, &core.Left{}).RetentionDays)
		}, leftTarget(int64(0), func(l *core.Left, days int64) { l.RetentionDays = int32(days) })),
	},
}

// leftOf returns the field Left of a member. If Left is nil, leftOf allocates it.
func leftOf(m *core.Member) *core.Left {
	if m.Left == nil {
		m.Left = &core.Left{}
	}
	return m.Left
}

// leftTarget returns a function that returns the scan target for one column of a member's Left.
// none is the column's value if Left is nil. The columns may be read in any order, so the first
// column whose value is not none allocates Left.
func leftTarget[V int64 | string](none any, set func(*core.Left, V)) func(*core.Member) any {
	return func(m *core.Member) any {
		return anyTarget(func(value any) error {
			if value == none {
				return nil
			}
			v, ok := value.(V)
			if !ok {
				return fmt.Errorf("a column of left holds a %T", value)
			}
			set(leftOf(m), v)
			return nil
		})
	}
}

// highPriority is added to the number of a message's kind if the message has priority High. All
// numbers of kinds are less than highPriority.
const highPriority = 64

// kindAndPriority is a field that stores the kind and the priority of a message in one number. A
// separate field for the priority would add a byte to every row, and hardly any message has
// priority High.
var kindAndPriority = func() Field[core.Message] {
	number := func(m *core.Message) uint8 {
		if m.High {
			return uint8(m.Kind) + highPriority
		}
		return uint8(m.Kind)
	}
	set := func(m *core.Message, n uint8) {
		m.High = n >= highPriority
		if m.High {
			n -= highPriority
		}
		m.Kind = core.MessageKind(n)
	}
	value := func(m *core.Message) int64 { return int64(number(m)) }
	return Field[core.Message]{
		put: func(b []byte, m *core.Message) []byte { return binary.AppendUvarint(b, uint64(number(m))) },
		get: func(r *reader, m *core.Message) { set(m, uint8(r.unsigned())) },
		Columns: []Column[core.Message]{column("kind", "bigint", value, func(m *core.Message) any {
			return anyTarget(func(value any) error {
				n, ok := value.(int64)
				if !ok {
					return fmt.Errorf("the kind of a message is a %T", value)
				}
				set(m, uint8(n))
				return nil
			})
		})},
	}
}()

// messageFields returns the fields of a message: first has those before the fingerprint, rest has
// those after it. A superseded version of a message has no fingerprint. short is the first format
// in which some of these fields have shorter forms; 0 means that no format has them.
func messageFields(short byte) (first, rest []Field[core.Message]) {
	ownID := func(m *core.Message) *int64 { return &m.ID }
	return []Field[core.Message]{
			signed("id", ownID),
			near("version", short, func(m *core.Message) *int64 { return &m.Version }, ownID),
			kindAndPriority,
			near("created_on", short, func(m *core.Message) *int64 { return &m.CreatedOn }, ownID),
		}, []Field[core.Message]{
			signed("edited_on", func(m *core.Message) *int64 { return &m.EditedOn }),
			signed("deleted_on", func(m *core.Message) *int64 { return &m.DeletedOn }),
			id("sender", short, func(m *core.Message) *string { return &m.Sender }),
			text("sender_name", func(m *core.Message) *string { return &m.SenderDisplayName }),
			text("content", func(m *core.Message) *string { return &m.Content }),
			dict("metadata", func(m *core.Message) *map[string]string { return &m.Metadata }),
			text("initiator", func(m *core.Message) *string { return &m.Initiator }),
			list("participants", func(m *core.Message) *[]core.MessageParticipant { return &m.Participants }, nil,
				text("user", func(p *core.MessageParticipant) *string { return &p.User }),
				text("display_name", func(p *core.MessageParticipant) *string { return &p.DisplayName }),
				signed("share_history", func(p *core.MessageParticipant) *int64 { return &p.ShareHistory })),
		}
}

var (
	messageFirst, messageRest       = messageFields(3)
	supersededFirst, supersededRest = messageFields(0)
)

// MessageHeader is a number of fields for Kind.FillFirst. It selects the first fields of a message,
// which say when the message was sent and by which request. They come before the message's texts.
var MessageHeader = len(messageFirst) + 1

// MessageSender is a number of fields for Kind.FillFirst. It selects the fields of a message up to
// its sender. They also say when the message was edited or deleted.
var MessageSender = MessageHeader + 3

// Message is the schema of the row of a message.
var Message = newKind("message",
	keys(unsigned("sequence", func(m *core.Message) *uint64 { return &m.Sequence })),
	slices.Concat(messageFirst, keys(fingerprint.from(2)), messageRest)...)

// fingerprint is the field Fingerprint of a message. A value has its length, 0 or 16, and its
// bytes. In PostgreSQL the column is NULL if the message has no fingerprint.
var fingerprint = Field[core.Message]{
	put: func(b []byte, m *core.Message) []byte {
		if m.Fingerprint.IsZero() {
			return append(b, 0)
		}
		return putText(b, m.Fingerprint[:])
	},
	get: func(r *reader, m *core.Message) {
		if n := r.count(); n == len(m.Fingerprint) {
			m.Fingerprint = core.Fingerprint(r.b[:n])
			r.b = r.b[n:]
		} else if n != 0 {
			r.b, r.bad = nil, true
		}
	},
	Columns: []Column[core.Message]{column("fingerprint", "bytea",
		func(m *core.Message) []byte {
			if m.Fingerprint.IsZero() {
				return nil
			}
			return m.Fingerprint[:]
		},
		func(m *core.Message) any {
			return bytesTarget(func(value []byte) error {
				switch len(value) {
				case 0:
					m.Fingerprint = core.Fingerprint{}
				case len(m.Fingerprint):
					m.Fingerprint = core.Fingerprint(value)
				default:
					return fmt.Errorf("fingerprint: %w", ErrDamaged)
				}
				return nil
			})
		})},
}

// Answer is the schema of the stored answer to the creation of a thread with an idempotency
// token.
var Answer = newKind("answer", nil,
	text("topic", func(a *core.CreateAnswer) *string { return &a.Topic }),
	text("created_by", func(a *core.CreateAnswer) *string { return &a.CreatedBy }),
	signed("created_on", func(a *core.CreateAnswer) *int64 { return &a.CreatedOn }),
	dict("metadata", func(a *core.CreateAnswer) *map[string]string { return &a.Metadata }),
	unsigned("retention_days", func(a *core.CreateAnswer) *int32 { return &a.RetentionDays }),
	list("invalid", func(a *core.CreateAnswer) *[]core.InvalidParticipant { return &a.Invalid }, nil,
		text("user", func(p *core.InvalidParticipant) *string { return &p.User }),
		text("code", func(p *core.InvalidParticipant) *string { return &p.Code }),
		text("message", func(p *core.InvalidParticipant) *string { return &p.Message })),
)

// SentToken is the schema of the idempotency token of a sent message, with the message's id.
var SentToken = newKind("send token",
	keys(
		text("thread", func(s *core.SentToken) *string { return &s.Thread }),
		text("caller", func(s *core.SentToken) *string { return &s.Caller }),
		text("token", func(s *core.SentToken) *string { return &s.Token })),
	unsigned("message_id", func(s *core.SentToken) *int64 { return &s.MessageID }),
)

// Receipt is the schema of the row of a read receipt.
var Receipt = newKind("receipt",
	keys(text("user_id", func(r *core.Receipt) *string { return &r.User })),
	signed("message_id", func(r *core.Receipt) *int64 { return &r.MessageID }),
	signed("read_on", func(r *core.Receipt) *int64 { return &r.ReadOn }),
)

func eventMessage(e *core.Event) *int64 { return &e.MessageID }

// Event is the schema of the row of an event in the event log.
var Event = newKind("event",
	keys(
		unsigned("day", func(e *core.Event) *uint32 { return &e.Day }),
		text("thread", func(e *core.Event) *string { return &e.Thread }),
		unsigned("number", func(e *core.Event) *uint64 { return &e.Number })),
	unsigned("kind", func(e *core.Event) *core.EventKind { return &e.Kind }),
	signed("message_id", eventMessage),
	near("version", 3, func(e *core.Event) *int64 { return &e.Version }, eventMessage),
	id("actor", 3, func(e *core.Event) *string { return &e.Actor }),
	unsigned("position", func(e *core.Event) *uint64 { return &e.Position }),
	near("at", 3, func(e *core.Event) *int64 { return &e.At }, eventMessage).from(2),
	unsigned("batch_check", func(e *core.Event) *uint32 { return &e.Check }).from(2),
)

// Endpoint is the schema of an endpoint: a client of the official protocol, such as a browser
// tab or a device.
var Endpoint = newKind("endpoint",
	keys(
		text("user_id", func(e *core.Endpoint) *string { return &e.User }),
		text("id", func(e *core.Endpoint) *string { return &e.ID })),
	text("epoch", func(e *core.Endpoint) *string { return &e.At.Epoch }),
	unsigned("position", func(e *core.Endpoint) *uint64 { return &e.At.Position }),
	unsigned("batch_check", func(e *core.Endpoint) *uint32 { return &e.At.Check }),
	signed("seen", func(e *core.Endpoint) *int64 { return &e.Seen }),
	list("answered", func(e *core.Endpoint) *[]uint64 { return &e.Answered }, nil,
		unsigned("position", func(p *uint64) *uint64 { return p })).from(2),
	text("owner", func(e *core.Endpoint) *string { return &e.Owner }).from(2),
	boolean("open", func(e *core.Endpoint) *bool { return &e.Open }).from(2),
)

// ListEntry is the schema of an entry of a user's list of threads. It stores three fields of a
// core.ListMove: the user, the minute (the field To) and the thread.
var ListEntry = newKind("list entry", keys(
	text("user_id", func(l *core.ListMove) *string { return &l.User }),
	signed("minute", func(l *core.ListMove) *int64 { return &l.To }),
	text("thread", func(l *core.ListMove) *string { return &l.Thread })))

// Relisting is the schema of a thread whose entries in users' lists are being moved to another
// minute.
var Relisting = newKind("relisting",
	keys(text("thread", func(r *core.Relisting) *string { return &r.Thread })),
	signed("from_minute", func(r *core.Relisting) *int64 { return &r.From }),
	signed("to_minute", func(r *core.Relisting) *int64 { return &r.To }),
	text("through", func(r *core.Relisting) *string { return &r.Through }),
)

// AccessKey is the schema of the row of one of the two access keys.
var AccessKey = newKind("access key", nil,
	unsigned("serial", func(k *core.AccessKeyRow) *uint64 { return &k.Serial }),
	octets("secret", "bytea", func(k *core.AccessKeyRow) *[]byte { return &k.Secret }),
)

// These variables are the schemas of rows that belong to a thread. The thread's id is the first
// field of their keys. The key of a superseded message has the message's id before its sequence.
var (
	ThreadMember = within(Member, func(r *core.ThreadMember) *core.Member { return &r.Member },
		text("thread", func(r *core.ThreadMember) *string { return &r.Thread }))
	ThreadMessage = within(Message, func(r *core.ThreadMessage) *core.Message { return &r.Message },
		text("thread", func(r *core.ThreadMessage) *string { return &r.Thread }))
	ThreadSuperseded = newKind("superseded message", keys(
		text("thread", func(r *core.ThreadSuperseded) *string { return &r.Thread }),
		signed("id", func(r *core.ThreadSuperseded) *int64 { return &r.ID }),
		unsigned("sequence", func(r *core.ThreadSuperseded) *uint64 { return &r.Sequence })),
		append([]Field[core.ThreadSuperseded]{
			unsigned("until", func(r *core.ThreadSuperseded) *uint64 { return &r.Until }),
		}, lift(slices.Concat(supersededFirst[1:], supersededRest), func(r *core.ThreadSuperseded) *core.Message { return &r.Message })...)...) // supersededFirst[0] is the message's id, which is in the key
	ThreadAnswer = within(Answer, func(r *core.ThreadAnswer) *core.CreateAnswer { return &r.CreateAnswer },
		text("thread", func(r *core.ThreadAnswer) *string { return &r.Thread }))
	ThreadReceipt = within(Receipt, func(r *core.ThreadReceipt) *core.Receipt { return &r.Receipt },
		text("thread", func(r *core.ThreadReceipt) *string { return &r.Thread }))
)

// Audit is the schema of a row that says what an operator did. The key begins with the flag
// refused, so that the oldest rows of refused attempts can be found and deleted.
var Audit = newKind("audit row",
	keys(
		boolean("refused", func(a *core.Audit) *bool { return &a.Refused }),
		signed("at", func(a *core.Audit) *int64 { return &a.At }),
		unsigned("number", func(a *core.Audit) *uint64 { return &a.Number })),
	text("who", func(a *core.Audit) *string { return &a.Who }),
	text("kind", func(a *core.Audit) *string { return &a.Kind }),
	text("role", func(a *core.Audit) *string { return &a.Role }),
	text("client", func(a *core.Audit) *string { return &a.From }),
	text("operation", func(a *core.Audit) *string { return &a.Operation }),
	text("target", func(a *core.Audit) *string { return &a.Target }),
	text("outcome", func(a *core.Audit) *string { return &a.Outcome }),
	unsigned("status", func(a *core.Audit) *int32 { return &a.Status }),
	text("request", func(a *core.Audit) *string { return &a.RequestID }),
	unsigned("attempts", func(a *core.Audit) *uint64 { return &a.Attempts }),
)

// Only the embedded engine stores the kinds of rows below.
var (
	// Position maps the position of an event to its thread and number.
	Position = newKind("position",
		keys(
			unsigned("day", func(e *core.Event) *uint32 { return &e.Day }),
			unsigned("position", func(e *core.Event) *uint64 { return &e.Position })),
		id("thread", 2, func(e *core.Event) *string { return &e.Thread }),
		unsigned("number", func(e *core.Event) *uint64 { return &e.Number }))
	// MessageID maps the id of a message to the message's sequence.
	MessageID = newKind("message id",
		keys(
			text("thread", func(m *core.ThreadMessage) *string { return &m.Thread }),
			signed("id", func(m *core.ThreadMessage) *int64 { return &m.ID })),
		unsigned("sequence", func(m *core.ThreadMessage) *uint64 { return &m.Sequence }))
	// SupersededAt maps the sequence of a superseded message to the message's id.
	SupersededAt = newKind("superseded sequence",
		keys(
			text("thread", func(r *core.ThreadSuperseded) *string { return &r.Thread }),
			unsigned("sequence", func(r *core.ThreadSuperseded) *uint64 { return &r.Sequence })),
		unsigned("until", func(r *core.ThreadSuperseded) *uint64 { return &r.Until }),
		signed("id", func(r *core.ThreadSuperseded) *int64 { return &r.ID }))
	// Deleting is an index of the users whose deletion has begun but is not complete.
	Deleting = newKind("user in deletion", User.Key)
	// CustomID maps a custom id to the user who has it.
	CustomID = newKind("custom id",
		keys(text("custom_id", func(u *core.User) *string { return &u.CustomID })),
		text("user_id", func(u *core.User) *string { return &u.ID }))
	// Expiry is an index of threads by the time at which their retention policies
	// delete them.
	Expiry = newKind("expiry", keys(
		signed("on", func(e *core.Expiry) *int64 { return &e.On }),
		text("thread", func(e *core.Expiry) *string { return &e.Thread })))
	// Floor is the schema of the row with the position and the check number of the last event that
	// was deleted from the log.
	Floor = newKind("floor", nil,
		unsigned("position", func(c *core.Cursor) *uint64 { return &c.Position }),
		unsigned("check", func(c *core.Cursor) *uint32 { return &c.Check }))
	// Number is the schema of a row with one number, such as the schema version of a store.
	Number = newKind("number", nil, unsigned("value", func(v *uint64) *uint64 { return v }))
	// Text is the schema of a row with one string: the resource's id or the epoch.
	Text = newKind("text", nil, text("value", func(v *string) *string { return v }))
)

// Formats returns the number of formats of all kinds of rows, not counting the first format of each
// kind. The number grows with every new format. A store records it, so that an older binary sees a
// number greater than its own and refuses the store.
func Formats() (n uint64) {
	for _, newest := range []byte{
		User.format, Head.format, Member.format, Message.format, Answer.format, SentToken.format, Receipt.format, Event.format, Endpoint.format,
		ListEntry.format, AccessKey.format, Position.format, MessageID.format, Deleting.format, Expiry.format, Number.format, Text.format,
		ThreadSuperseded.format, SupersededAt.format, CustomID.format, Audit.format, Relisting.format,
	} {
		n += uint64(newest - 1)
	}
	return n
}
