package trouter

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// eventKinds maps each kind of event to the event id in its body and to the name at the end of
// its URL (docs/contract/realtime.md §13).
var eventKinds = map[core.EventKind]struct {
	id   int
	name string
}{
	core.MessageReceived:     {200, "chatMessageReceived"},
	core.TypingReceived:      {245, "typingIndicatorReceived"},
	core.ReceiptReceived:     {246, "readReceiptReceived"},
	core.MessageEdited:       {247, "chatMessageEdited"},
	core.MessageDeleted:      {248, "chatMessageDeleted"},
	core.ThreadCreated:       {257, "chatThreadCreated"},
	core.ThreadUpdated:       {258, "chatThreadPropertiesUpdated"},
	core.ThreadDeleted:       {259, "chatThreadDeleted"},
	core.ParticipantsAdded:   {260, "participantsAdded"},
	core.ParticipantsRemoved: {261, "participantsRemoved"},
}

// recipientField returns the part of a frame that names the user who gets an event: the first
// two fields of the body, escaped for a JSON text in a JSON string. The field recipientId
// lacks the prefix "8:" of the user's id, because old clients add it.
func recipientField(user string) string {
	return `{\"recipientId\":` + quoteTwice(strings.TrimPrefix(user, "8:")) + `,\"recipientMri\":` + quoteTwice(user) + `,`
}

// quoteTwice returns s as a JSON string, escaped once more so that it can stand inside another JSON
// string.
func quoteTwice(s string) string { return inner(marshal(s)) }

// appendHead appends the first part of the packet that brings an event to a client: the id of the
// request, its URL, which is path followed by the event's name, and the recipient, as
// recipientField returns it. The function encode returns the second part of the packet, which is
// the same for all recipients.
func appendHead(b []byte, id uint64, e *gateway.Event, path, recipient string) []byte {
	b = append(b, `3:::{"id":`...)
	b = strconv.AppendUint(b, id, 10)
	b = append(b, `,"method":"POST","url":"`...)
	b = append(append(b, path...), eventKinds[e.Kind].name...)
	b = append(b, `","headers":{"Content-Type":"application/json; charset=utf-8","MS-CV":"confab.`...)
	b = strconv.AppendUint(b, id, 10)
	b = append(b, `","trouter-request":"{\"id\":\"`...)
	b = strconv.AppendUint(b, id, 10)
	b = append(b, `\"}"},"body":"`...)
	return append(b, recipient...)
}

// encode returns the second part of the packet of an event: the part of the body after the field
// recipientMri, escaped for a JSON string.
func encode(e *gateway.Event) []byte {
	return append([]byte(inner(body(e)[1:])), `"}`...)
}

// inner returns text escaped as in a JSON string, without the quotes.
func inner(text []byte) string {
	quoted := marshal(string(text))
	return string(quoted[1 : len(quoted)-1])
}

// marshal returns the JSON text of v. Unlike json.Marshal it does not escape <, > and &.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		// Marshal cannot fail, because the types in this file can always be encoded
		panic("trouter: encode an event: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// common has the JSON fields of all events, except those that name the recipient.
type common struct {
	EventID       int    `json:"eventId"`
	OldEventID    int    `json:"_eventId"` // @azure/communication-chat 1.0.0 reads this field
	SenderID      string `json:"senderId"`
	TransactionID string `json:"transactionId"`
	GroupID       string `json:"groupId"`
	CollapseID    string `json:"collapseId"`
}

// messageBody is the JSON body of an event about a message, of a typing notification and of a
// read receipt. Nil fields are left out.
type messageBody struct {
	common
	MessageID         string  `json:"messageId"`
	MessageType       string  `json:"messageType"`
	MessageBody       *string `json:"messageBody,omitempty"`
	SenderDisplayName string  `json:"senderDisplayName"`
	ClientMessageID   *string `json:"clientMessageId,omitempty"`
	OriginalArrival   *string `json:"originalArrivalTime,omitempty"`
	Priority          *string `json:"priority,omitempty"`
	Version           *string `json:"version,omitempty"`
	ComposeTime       *string `json:"composetime,omitempty"`
	EditTime          *string `json:"edittime,omitempty"`
	DeleteTime        *string `json:"deletetime,omitempty"`
	Metadata          *string `json:"acsChatMessageMetadata,omitempty"`
	Attachments       *string `json:"attachments,omitempty"`
}

// threadBody is the JSON body of an event about a thread or its participants. Nil fields are
// left out.
type threadBody struct {
	common
	ThreadID            string  `json:"threadId"`
	CreateTime          string  `json:"createTime"`
	Version             string  `json:"version"`
	ThreadType          string  `json:"threadType"`
	CreatedBy           *string `json:"createdBy,omitempty"`
	Members             *string `json:"members,omitempty"`
	EditedBy            *string `json:"editedBy,omitempty"`
	EditTime            *string `json:"editTime,omitempty"`
	Properties          *string `json:"properties,omitempty"`
	DeletedBy           *string `json:"deletedBy,omitempty"`
	DeleteTime          *string `json:"deleteTime,omitempty"`
	Reason              *string `json:"reason,omitempty"`
	AddedBy             *string `json:"addedBy,omitempty"`
	RemovedBy           *string `json:"removedBy,omitempty"`
	Time                *string `json:"time,omitempty"`
	ParticipantsAdded   *string `json:"participantsAdded,omitempty"`
	ParticipantsRemoved *string `json:"participantsRemoved,omitempty"`
}

// body returns the JSON text of an event's body, without the two fields that name the
// recipient.
func body(e *gateway.Event) []byte {
	kind := eventKinds[e.Kind]
	c := common{EventID: kind.id, OldEventID: kind.id, SenderID: e.Actor.User, GroupID: e.Thread,
		TransactionID: strconv.FormatUint(e.Position, 10)}
	switch e.Kind {
	case core.MessageReceived, core.MessageEdited, core.MessageDeleted:
		c.SenderID = e.Message.Sender
		return marshal(messageOf(c, e))
	case core.TypingReceived:
		return marshal(messageBody{common: c, MessageID: digits(e.Version), MessageType: "Control/Typing",
			SenderDisplayName: e.DisplayName, OriginalArrival: new(instant(e.At)), Version: new(digits(e.Version))})
	case core.ReceiptReceived:
		return marshal(receiptOf(c, e))
	}
	c.GroupID = ""
	return marshal(threadOf(c, e))
}

// messageOf returns the body of an event about a message.
func messageOf(c common, e *gateway.Event) messageBody {
	m := e.Message
	c.CollapseID = digits(m.ID)
	b := messageBody{common: c, MessageID: digits(m.ID), MessageType: "Text", SenderDisplayName: m.SenderDisplayName,
		ClientMessageID: new(""), OriginalArrival: new(instant(m.CreatedOn)), Version: new(digits(m.Version))}
	if m.Kind == core.HTML {
		b.MessageType = "RichText/Html"
	}
	if e.Kind == core.MessageDeleted {
		b.ComposeTime, b.DeleteTime = new(instant(m.CreatedOn)), new(instant(m.DeletedOn))
		return b
	}
	b.MessageBody, b.Priority, b.Attachments = new(m.Content), new(""), new("[]")
	b.Metadata = new(metadata(m.Metadata))
	if e.Kind == core.MessageEdited {
		b.ComposeTime, b.EditTime = new(instant(m.CreatedOn)), new(instant(m.EditedOn))
	}
	return b
}

// receiptOf returns the body of a read receipt. Its field version is the time of reading.
func receiptOf(c common, e *gateway.Event) messageBody {
	id := digits(e.MessageID)
	c.CollapseID = id
	return messageBody{common: c, MessageID: id, MessageType: "ThreadActivity/MemberConsumptionHorizonUpdate",
		ClientMessageID: new("0"), MessageBody: new(string(marshal(struct {
			User    string `json:"user"`
			Horizon string `json:"consumptionhorizon"`
			Visible int64  `json:"messageVisibilityTime"`
			Version string `json:"version"`
		}{e.Actor.User, id + ";" + digits(e.Version) + ";0", e.MessageID, digits(e.Version)})))}
}

// threadOf returns the body of an event about a thread or its participants.
func threadOf(c common, e *gateway.Event) threadBody {
	at := e.At
	if at == 0 { // events that an old version of Confab has stored have no time
		at = e.Version
	}
	b := threadBody{common: c, ThreadID: e.Thread, CreateTime: instant(cmp.Or(e.CreatedOn, at)), Version: digits(e.Version), ThreadType: "chat"}
	by := new(nested(participant{ID: e.Actor.User, DisplayName: e.Actor.DisplayName}))
	when := new(instant(at))
	switch e.Kind {
	case core.ThreadCreated:
		b.CreateTime = *when
		b.CreatedBy, b.Members, b.Properties = by, members(e.Members), properties(e.Properties)
	case core.ThreadUpdated:
		b.EditedBy, b.EditTime, b.Properties = by, when, properties(e.Properties)
	case core.ThreadDeleted:
		b.DeletedBy, b.DeleteTime, b.Reason = by, when, new("deletedByUser")
		if e.Actor.User == "" {
			b.Reason = new("deletedByPolicy")
		}
	case core.ParticipantsAdded:
		b.AddedBy, b.Time, b.ParticipantsAdded = by, when, members(e.Members)
	case core.ParticipantsRemoved:
		b.RemovedBy, b.Time, b.ParticipantsRemoved = by, when, members(e.Members)
	}
	return b
}

// participant is the JSON form of a user in an event about a thread.
type participant struct {
	ID           string `json:"participantId"`
	DisplayName  string `json:"displayName"`
	ShareHistory *int64 `json:"shareHistoryTime,omitempty"`
	Metadata     string `json:"memberMetaData,omitempty"`
}

// members returns the JSON text of the members who joined or left. Each has a shareHistoryTime,
// because @azure/communication-chat 1.5.4 makes an invalid date if the field is missing.
func members(ms []core.Member) *string {
	all := make([]participant, len(ms))
	for i, m := range ms {
		all[i] = participant{ID: m.User, DisplayName: m.DisplayName, ShareHistory: &ms[i].ShareHistory}
		if len(m.Metadata) > 0 {
			all[i].Metadata = metadata(m.Metadata)
		}
	}
	return new(nested(all))
}

// properties returns the JSON text of the properties of a thread. It leaves out the retention
// policy if the thread has none, because @azure/communication-chat 1.6.0 fails at the value
// "null".
func properties(p core.Properties) *string {
	v := struct {
		Topic     string `json:"topic"`
		Metadata  string `json:"acsChatThreadMetadata"`
		Retention string `json:"retentionPolicy,omitempty"`
	}{Topic: p.Topic, Metadata: metadata(p.Metadata)}
	if p.RetentionDays != 0 {
		v.Retention = `{"retentionPolicyType":"DeleteAfterCreationTime","executeAfter":"` + strconv.Itoa(int(p.RetentionDays)) + `.00:00:00"}`
	}
	return new(nested(v))
}

// nested returns the JSON text of v for use as a string in an event about a thread. It escapes
// percent signs, because the browser build calls unescape on this string and other clients do not.
// Without percent signs all clients read the same text.
func nested(v any) string { return strings.ReplaceAll(string(marshal(v)), "%", `\u0025`) }

// metadata returns the JSON text of metadata. It returns "null" if metadata is empty, because the
// iOS client drops an event whose metadata is an empty text.
func metadata(data map[string]string) string {
	if len(data) == 0 {
		return "null"
	}
	return string(marshal(data))
}

// digits returns n as a decimal string.
func digits(n int64) string { return strconv.FormatInt(n, 10) }

// instant returns a time, given in epoch milliseconds, as text in UTC with milliseconds.
func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z") }
