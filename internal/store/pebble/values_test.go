package pebble

import (
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// The functions in this file encode and decode single keys and values. Tests use them to damage
// a store or to compare its rows with golden files.

func userKey(id string) []byte               { return users.key(nil, &core.User{ID: id}) }
func headKey(b []byte, thread string) []byte { return heads.key(b, &core.Head{ID: thread}) }
func answerKey(b []byte, thread string) []byte {
	return answers.key(b, &core.ThreadAnswer{Thread: thread})
}
func deletingKey(user string) []byte          { return deleting.key(nil, &core.User{ID: user}) }
func sentKey(b []byte, k core.SendKey) []byte { return sent.key(b, &core.SentToken{SendKey: k}) }

func memberKey(b []byte, thread, user string) []byte {
	return members.key(b, &core.ThreadMember{Thread: thread, Member: core.Member{User: user}})
}

func receiptKey(b []byte, thread, user string) []byte {
	return receipts.key(b, &core.ThreadReceipt{Thread: thread, Receipt: core.Receipt{User: user}})
}

func messageKey(b []byte, thread string, sequence uint64) []byte {
	return messages.key(b, &core.ThreadMessage{Thread: thread, Message: core.Message{Sequence: sequence}})
}

func idKey(b []byte, thread string, id int64) []byte {
	return ids.key(b, &core.ThreadMessage{Thread: thread, Message: core.Message{ID: id}})
}

func expiryKey(on int64, thread string) []byte {
	return expiries.key(nil, &core.Expiry{On: on, Thread: thread})
}

func listKey(b []byte, user string, minute int64, thread string) []byte {
	return lists.key(b, &core.ListMove{User: user, To: minute, Thread: thread})
}

func eventKey(b []byte, day uint32, thread string, number uint64) []byte {
	return events.key(b, &core.Event{Day: day, Thread: thread, Number: number})
}

func positionKey(b []byte, day uint32, position uint64) []byte {
	return positions.key(b, &core.Event{Day: day, Position: position})
}

func encodeHead(b []byte, h *core.Head) []byte { return row.Head.Encode(b, h) }

func decodeHead(thread string, value []byte) (core.Head, error) {
	return row.Head.Decode(value, core.Head{ID: thread})
}

func encodeMember(b []byte, m *core.Member) []byte { return row.Member.Encode(b, m) }

func decodeMember(user string, value []byte) (core.Member, error) {
	return row.Member.Decode(value, core.Member{User: user})
}

func encodeMessage(b []byte, m *core.Message) []byte { return row.Message.Encode(b, m) }

func decodeMessage(sequence uint64, value []byte) (core.Message, error) {
	return row.Message.Decode(value, core.Message{Sequence: sequence})
}

func encodeEvent(b []byte, e *core.Event) []byte { return row.Event.Encode(b, e) }

func decodeEvent(day uint32, thread string, number uint64, value []byte) (core.Event, error) {
	return row.Event.Decode(value, core.Event{Day: day, Thread: thread, Number: number})
}

// encodePosition appends to b the value of the row that maps an event's position to the event:
// its thread and number.
func encodePosition(b []byte, e *core.Event) []byte { return row.Position.Encode(b, e) }

func decodePosition(value []byte) (thread string, number uint64, err error) {
	e, err := row.Position.Decode(value, core.Event{})
	return e.Thread, e.Number, err
}

func encodeUser(b []byte, u core.User) []byte { return row.User.Encode(b, &u) }

func decodeUser(id string, value []byte) (core.User, error) {
	return row.User.Decode(value, core.User{ID: id})
}

func encodeAnswer(b []byte, a *core.CreateAnswer) []byte { return row.Answer.Encode(b, a) }

func decodeAnswer(value []byte) (*core.CreateAnswer, error) {
	a, err := row.Answer.Decode(value, core.CreateAnswer{})
	return &a, err
}

func encodeReceipt(b []byte, r *core.Receipt) []byte { return row.Receipt.Encode(b, r) }

func decodeReceipt(user string, value []byte) (core.Receipt, error) {
	return row.Receipt.Decode(value, core.Receipt{User: user})
}

func encodeKey(b []byte, k core.AccessKeyRow) []byte { return row.AccessKey.Encode(b, &k) }

func decodeKey(value []byte) (core.AccessKeyRow, error) {
	return row.AccessKey.Decode(value, core.AccessKeyRow{})
}

func encodeEntry(b []byte) []byte { return row.Expiry.Encode(b, nil) }

func decodeEntry(value []byte) (struct{}, error) {
	_, err := row.Expiry.Decode(value, core.Expiry{})
	return struct{}{}, err
}

func encodeNumber(b []byte, v uint64) []byte { return row.Number.Encode(b, &v) }

func decodeNumber(value []byte) (uint64, error) { return row.Number.Decode(value, 0) }

func encodeText(b []byte, s string) []byte { return row.Text.Encode(b, &s) }

func decodeText(value []byte) (string, error) { return row.Text.Decode(value, "") }
