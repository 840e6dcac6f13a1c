package pebble

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/confab-chat/confab/internal/core"
)

// format is the number that every value starts with.
const format = 1

var errFormat = errors.New("value has a format that this version does not know")
var errShort = errors.New("value is damaged: it ends too early or holds too much")

// A row's value is appended field by field; see the package documentation.

func u64(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }
func i64(b []byte, v int64) []byte  { return binary.AppendVarint(b, v) }

func str(b []byte, s string) []byte { return append(u64(b, uint64(len(s))), s...) }

func dict(b []byte, m map[string]string) []byte {
	b = u64(b, uint64(len(m)))
	if len(m) == 0 {
		return b
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		b = str(str(b, k), m[k])
	}
	return b
}

// reader takes a value apart. The first error sticks, and every later read
// returns zero.
type reader struct {
	b   []byte
	err error
}

func open(value []byte) *reader {
	if len(value) == 0 || value[0] != format {
		return &reader{err: errFormat}
	}
	return &reader{b: value[1:]}
}

func (r *reader) take(n int) {
	if r.err == nil && n <= 0 {
		r.err = errShort
	}
	if r.err != nil {
		r.b = nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) u64() uint64 {
	v, n := binary.Uvarint(r.b)
	r.take(n)
	return v
}

func (r *reader) i64() int64 {
	v, n := binary.Varint(r.b)
	r.take(n)
	return v
}

func (r *reader) str() string {
	n := r.u64()
	if n > uint64(len(r.b)) {
		r.err = errShort
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// count reads how many entries follow; each takes a byte at least.
func (r *reader) count() int {
	n := r.u64()
	if n > uint64(len(r.b)) {
		r.err = errShort
		return 0
	}
	return int(n)
}

func (r *reader) dict() map[string]string {
	n := r.count()
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	for range n {
		k := r.str()
		m[k] = r.str()
	}
	return m
}

// close returns what went wrong; a value must be read to its end.
func (r *reader) close() error {
	if r.err == nil && len(r.b) > 0 {
		return errShort
	}
	return r.err
}

func encodeHead(b []byte, h *core.Head) []byte {
	b = append(b, format)
	b = u64(b, h.Revision)
	b = str(b, h.Topic)
	b = str(b, h.CreatedBy)
	b = i64(b, h.CreatedOn)
	b = i64(b, h.DeletedOn)
	b = dict(b, h.Metadata)
	b = u64(b, uint64(h.RetentionDays))
	b = i64(b, h.LastID)
	b = u64(b, h.LastSequence)
	b = u64(b, h.LastEvent)
	b = u64(b, h.LastPosition)
	return i64(b, h.LastMessageOn)
}

func decodeHead(thread string, value []byte) (core.Head, error) {
	r := open(value)
	h := core.Head{ID: thread, Revision: r.u64()}
	h.Topic, h.CreatedBy, h.CreatedOn, h.DeletedOn = r.str(), r.str(), r.i64(), r.i64()
	h.Metadata, h.RetentionDays = r.dict(), int32(r.u64())
	h.LastID, h.LastSequence, h.LastEvent, h.LastPosition = r.i64(), r.u64(), r.u64(), r.u64()
	h.LastMessageOn = r.i64()
	return h, r.close()
}

func encodeMember(b []byte, m *core.Member) []byte {
	b = append(b, format)
	b = str(b, m.DisplayName)
	b = i64(b, m.ShareHistory)
	b = i64(b, m.JoinedOn)
	b = u64(b, uint64(m.Order))
	b = u64(b, uint64(len(m.Intervals)))
	for _, in := range m.Intervals {
		b = u64(u64(b, in.From), in.To)
	}
	b = dict(b, m.Metadata)
	if m.Left == nil {
		return u64(b, 0)
	}
	return str(u64(i64(u64(b, 1), m.Left.On), m.Left.Sequence), m.Left.Topic)
}

func decodeMember(user string, value []byte) (core.Member, error) {
	r := open(value)
	m := core.Member{User: user, DisplayName: r.str(), ShareHistory: r.i64(), JoinedOn: r.i64(), Order: uint32(r.u64())}
	m.Intervals = make([]core.Interval, r.count())
	for i := range m.Intervals {
		m.Intervals[i] = core.Interval{From: r.u64(), To: r.u64()}
	}
	m.Metadata = r.dict()
	if r.u64() != 0 {
		m.Left = &core.Left{On: r.i64(), Sequence: r.u64(), Topic: r.str()}
	}
	return m, r.close()
}

func encodeMessage(b []byte, m *core.Message) []byte {
	b = append(b, format)
	b = i64(b, m.ID)
	b = i64(b, m.Version)
	b = u64(b, uint64(m.Kind))
	b = i64(b, m.CreatedOn)
	b = i64(b, m.EditedOn)
	b = i64(b, m.DeletedOn)
	b = str(b, m.Sender)
	b = str(b, m.SenderDisplayName)
	b = str(b, m.Content)
	b = dict(b, m.Metadata)
	b = str(b, m.Initiator)
	b = u64(b, uint64(len(m.Participants)))
	for _, p := range m.Participants {
		b = i64(str(str(b, p.User), p.DisplayName), p.ShareHistory)
	}
	return b
}

func decodeMessage(sequence uint64, value []byte) (core.Message, error) {
	r := open(value)
	m := core.Message{Sequence: sequence, ID: r.i64(), Version: r.i64(), Kind: core.MessageKind(r.u64())}
	m.CreatedOn, m.EditedOn, m.DeletedOn = r.i64(), r.i64(), r.i64()
	m.Sender, m.SenderDisplayName, m.Content, m.Metadata = r.str(), r.str(), r.str(), r.dict()
	m.Initiator = r.str()
	if n := r.count(); n > 0 {
		m.Participants = make([]core.MessageParticipant, n)
	}
	for i := range m.Participants {
		m.Participants[i] = core.MessageParticipant{User: r.str(), DisplayName: r.str(), ShareHistory: r.i64()}
	}
	return m, r.close()
}

func encodeEvent(b []byte, e *core.Event) []byte {
	b = append(b, format)
	b = u64(b, uint64(e.Kind))
	b = i64(b, e.MessageID)
	b = i64(b, e.Version)
	b = str(b, e.Actor)
	return u64(b, e.Position)
}

func decodeEvent(day uint32, thread string, number uint64, value []byte) (core.Event, error) {
	r := open(value)
	e := core.Event{Day: day, Thread: thread, Number: number, Kind: core.EventKind(r.u64())}
	e.MessageID, e.Version, e.Actor, e.Position = r.i64(), r.i64(), r.str(), r.u64()
	return e, r.close()
}

// encodePosition is the value of a position key: where the event is.
func encodePosition(b []byte, e *core.Event) []byte {
	return u64(str(append(b, format), e.Thread), e.Number)
}

func decodePosition(value []byte) (thread string, number uint64, err error) {
	r := open(value)
	thread, number = r.str(), r.u64()
	return thread, number, r.close()
}

func encodeUser(b []byte, u core.User) []byte {
	b = append(b, format)
	b = u64(b, uint64(u.State))
	b = i64(b, u.DeletedAt)
	return u64(b, u.Generation)
}

func decodeUser(id string, value []byte) (core.User, error) {
	r := open(value)
	u := core.User{ID: id, State: core.UserState(r.u64()), DeletedAt: r.i64(), Generation: r.u64()}
	return u, r.close()
}

func encodeAnswer(b []byte, a *core.CreateAnswer) []byte {
	b = append(b, format)
	b = str(b, a.Topic)
	b = str(b, a.CreatedBy)
	b = i64(b, a.CreatedOn)
	b = dict(b, a.Metadata)
	b = u64(b, uint64(a.RetentionDays))
	b = u64(b, uint64(len(a.Invalid)))
	for _, p := range a.Invalid {
		b = str(str(str(b, p.User), p.Code), p.Message)
	}
	return b
}

func decodeAnswer(value []byte) (*core.CreateAnswer, error) {
	r := open(value)
	a := &core.CreateAnswer{Topic: r.str(), CreatedBy: r.str(), CreatedOn: r.i64(), Metadata: r.dict(), RetentionDays: int32(r.u64())}
	if n := r.count(); n > 0 {
		a.Invalid = make([]core.InvalidParticipant, n)
	}
	for i := range a.Invalid {
		a.Invalid[i] = core.InvalidParticipant{User: r.str(), Code: r.str(), Message: r.str()}
	}
	return a, r.close()
}

func encodeReceipt(b []byte, r *core.Receipt) []byte {
	return i64(i64(append(b, format), r.MessageID), r.ReadOn)
}

func decodeReceipt(user string, value []byte) (core.Receipt, error) {
	r := open(value)
	receipt := core.Receipt{User: user, MessageID: r.i64(), ReadOn: r.i64()}
	return receipt, r.close()
}

func encodeKey(b []byte, k core.AccessKeyRow) []byte {
	return str(u64(append(b, format), k.Serial), string(k.Secret))
}

func decodeKey(value []byte) (core.AccessKeyRow, error) {
	r := open(value)
	k := core.AccessKeyRow{Serial: r.u64(), Secret: []byte(r.str())}
	return k, r.close()
}

// An entry of a list has no fields, and a number has one: a sequence, a message id,
// a schema version, a position.

func encodeEntry(b []byte) []byte { return append(b, format) }

func encodeNumber(b []byte, v uint64) []byte { return u64(append(b, format), v) }

func decodeNumber(value []byte) (uint64, error) {
	r := open(value)
	v := r.u64()
	return v, r.close()
}

func encodeText(b []byte, s string) []byte { return str(append(b, format), s) }

func decodeText(value []byte) (string, error) {
	r := open(value)
	s := r.str()
	return s, r.close()
}
