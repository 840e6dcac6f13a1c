package sse

import (
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/gateway"
)

// names maps each kind of event to its name in the stream of server-sent events.
var names = map[core.EventKind]string{
	core.MessageReceived:     "chatMessageReceived",
	core.MessageEdited:       "chatMessageEdited",
	core.MessageDeleted:      "chatMessageDeleted",
	core.TypingReceived:      "typingIndicatorReceived",
	core.ReceiptReceived:     "readReceiptReceived",
	core.ThreadCreated:       "chatThreadCreated",
	core.ThreadUpdated:       "chatThreadPropertiesUpdated",
	core.ThreadDeleted:       "chatThreadDeleted",
	core.ParticipantsAdded:   "participantsAdded",
	core.ParticipantsRemoved: "participantsRemoved",
}

// appendEvent appends the fields event and data of an event, and the empty line that ends the
// message. recipient is the id of the user who gets the event, as a JSON string.
func appendEvent(b []byte, e *gateway.Event, recipient []byte) []byte {
	text := e.Encoded(gateway.SSE, encode)
	start := len("event: \ndata: {\"recipient\":") + len(names[e.Kind])
	return append(append(append(b, text[:start]...), recipient...), text[start:]...)
}

// encode returns the fields event and data of an event, and the empty line that ends the
// message. It leaves out the value of recipient, which appendEvent inserts, so that all
// recipients can share the text.
func encode(e *gateway.Event) []byte {
	b := append(make([]byte, 0, 512), "event: "+names[e.Kind]+"\ndata: {\"recipient\":"...)
	b = text(b, "threadId", e.Thread)
	if e.Kind != core.TypingReceived {
		b = strconv.AppendUint(name(b, "number"), e.Number, 10)
	}
	switch e.Kind {
	case core.MessageReceived, core.MessageEdited, core.MessageDeleted:
		b = appendMessage(b, e)
	case core.TypingReceived:
		b = digits(b, "version", e.Version)
		b = text(b, "sender", e.Actor.User)
		b = optional(b, "senderDisplayName", e.DisplayName)
		b = instant(b, "receivedOn", e.At)
	case core.ReceiptReceived:
		b = digits(b, "chatMessageId", e.MessageID)
		b = text(b, "sender", e.Actor.User)
		b = instant(b, "readOn", e.Version)
	default:
		b = appendThreadEvent(b, e)
	}
	return append(b, "}\n\n"...)
}

// appendMessage appends the JSON fields of an event about a message.
func appendMessage(b []byte, e *gateway.Event) []byte {
	m := e.Message
	b = digits(b, "id", m.ID)
	b = digits(b, "version", m.Version)
	b = text(b, "type", m.Kind.String())
	if e.Kind != core.MessageDeleted {
		b = text(b, "message", m.Content)
	}
	b = text(b, "sender", m.Sender)
	b = optional(b, "senderDisplayName", m.SenderDisplayName)
	b = instant(b, "createdOn", m.CreatedOn)
	switch e.Kind {
	case core.MessageEdited:
		b = instant(b, "editedOn", m.EditedOn)
	case core.MessageDeleted:
		return instant(b, "deletedOn", m.DeletedOn)
	}
	return metadata(b, m.Metadata)
}

// threadEvents has, for each kind of event about a thread, the names of the JSON fields with
// the time, the actor and the members.
var threadEvents = map[core.EventKind]struct{ on, by, members string }{
	core.ThreadCreated:       {"createdOn", "createdBy", "participants"},
	core.ThreadUpdated:       {"updatedOn", "updatedBy", ""},
	core.ThreadDeleted:       {"deletedOn", "deletedBy", ""},
	core.ParticipantsAdded:   {"addedOn", "addedBy", "participantsAdded"},
	core.ParticipantsRemoved: {"removedOn", "removedBy", "participantsRemoved"},
}

// appendThreadEvent appends the JSON fields of an event about a thread or its participants.
func appendThreadEvent(b []byte, e *gateway.Event) []byte {
	fields := threadEvents[e.Kind]
	at := e.At
	if at == 0 { // events that an old version of Confab has stored have no time
		at = e.Version
	}
	b = digits(b, "version", e.Version)
	b = instant(b, fields.on, at)
	b = name(b, fields.by)
	if e.Actor.User == "" { // the retention policy
		b = append(b, "null"...)
	} else {
		b = participant(b, e.Actor.User, e.Actor.DisplayName, e.Actor.ShareHistory, nil)
	}
	if fields.members != "" {
		b = append(name(b, fields.members), '[')
		for i, m := range e.Members {
			if i > 0 {
				b = append(b, ',')
			}
			b = participant(b, m.User, m.DisplayName, m.ShareHistory, m.Metadata)
		}
		b = append(b, ']')
	}
	switch e.Kind {
	case core.ThreadCreated, core.ThreadUpdated:
		b = appendString(append(name(b, "properties"), `{"topic":`...), e.Properties.Topic)
		b = append(metadata(b, e.Properties.Metadata), '}')
		b = name(b, "retentionPolicy")
		if days := e.Properties.RetentionDays; days != 0 {
			b = append(b, `{"kind":"threadCreationDate","deleteThreadAfterDays":`...)
			b = append(strconv.AppendInt(b, int64(days), 10), '}')
		} else {
			b = append(b, `{"kind":"none"}`...)
		}
	case core.ThreadDeleted:
		reason := "deletedByUser"
		if e.Actor.User == "" {
			reason = "deletedByPolicy"
		}
		b = text(b, "reason", reason)
	}
	return b
}

// participant appends a JSON object that describes a user in a thread.
func participant(b []byte, user, displayName string, shareHistory int64, data map[string]string) []byte {
	b = appendString(append(b, `{"id":`...), user)
	b = optional(b, "displayName", displayName)
	if shareHistory != 0 {
		b = instant(b, "shareHistoryTime", shareHistory)
	}
	return append(metadata(b, data), '}')
}

// name appends a comma, the quoted name of a JSON field and a colon.
func name(b []byte, name string) []byte {
	return append(append(append(b, `,"`...), name...), `":`...)
}

// text appends a JSON field whose value is a string.
func text(b []byte, field, value string) []byte { return appendString(name(b, field), value) }

// optional appends a JSON field whose value is a string. It appends nothing if the string is empty.
func optional(b []byte, field, value string) []byte {
	if value == "" {
		return b
	}
	return text(b, field, value)
}

// digits appends a JSON field with a number, written as a string of digits.
func digits(b []byte, field string, n int64) []byte {
	return append(strconv.AppendInt(append(name(b, field), '"'), n, 10), '"')
}

// instant appends a JSON field with a time, which is given in epoch milliseconds.
func instant(b []byte, field string, ms int64) []byte {
	return appendTime(name(b, field), time.UnixMilli(ms))
}

// appendTime appends a JSON string with a time in UTC with milliseconds.
func appendTime(b []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(b, `"2006-01-02T15:04:05.000Z"`)
}

// metadata appends the JSON field "metadata", an object whose fields are sorted by name. It appends
// nothing if data is empty.
func metadata(b []byte, data map[string]string) []byte {
	if len(data) == 0 {
		return b
	}
	b = append(name(b, "metadata"), '{')
	for i, k := range slices.Sorted(maps.Keys(data)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(appendString(b, k), ':'), data[k])
	}
	return append(b, '}')
}

// appendString appends s as a JSON string without line breaks of any kind. Bytes that are
// not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		plain := r >= ' ' && r != '"' && r != '\\' && r != '\u2028' && r != '\u2029' && (r != utf8.RuneError || n > 1)
		if plain {
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		switch r {
		case '"', '\\':
			b = append(b, '\\', byte(r))
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		}
		i += n
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
