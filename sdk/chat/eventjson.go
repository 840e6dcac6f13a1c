package chat

import (
	"encoding/json"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// eventJSON has the JSON fields of all kinds of events in a stream (docs/events.md). An event has
// only the fields of its kind.
type eventJSON struct {
	ThreadID string `json:"threadId"`
	Number   int64  `json:"number"`
	Version  string `json:"version"`

	ID                string            `json:"id"`
	Type              MessageType       `json:"type"`
	Message           string            `json:"message"`
	Sender            string            `json:"sender"`
	SenderDisplayName string            `json:"senderDisplayName"`
	Metadata          map[string]string `json:"metadata"`
	ChatMessageID     string            `json:"chatMessageId"`

	CreatedOn  time.Time `json:"createdOn"`
	EditedOn   time.Time `json:"editedOn"`
	ReceivedOn time.Time `json:"receivedOn"`
	ReadOn     time.Time `json:"readOn"`
	UpdatedOn  time.Time `json:"updatedOn"`
	DeletedOn  time.Time `json:"deletedOn"`
	AddedOn    time.Time `json:"addedOn"`
	RemovedOn  time.Time `json:"removedOn"`

	CreatedBy eventParticipant `json:"createdBy"`
	UpdatedBy eventParticipant `json:"updatedBy"`
	DeletedBy eventParticipant `json:"deletedBy"`
	AddedBy   eventParticipant `json:"addedBy"`
	RemovedBy eventParticipant `json:"removedBy"`

	Participants        []eventParticipant `json:"participants"`
	ParticipantsAdded   []eventParticipant `json:"participantsAdded"`
	ParticipantsRemoved []eventParticipant `json:"participantsRemoved"`

	Properties struct {
		Topic    string            `json:"topic"`
		Metadata map[string]string `json:"metadata"`
	} `json:"properties"`
	RetentionPolicy RetentionPolicy `json:"retentionPolicy"`
	Reason          string          `json:"reason"`
}

// eventParticipant is the JSON form of a participant in an event.
type eventParticipant struct {
	ID               string            `json:"id"`
	DisplayName      string            `json:"displayName"`
	ShareHistoryTime time.Time         `json:"shareHistoryTime"`
	Metadata         map[string]string `json:"metadata"`
}

func (p eventParticipant) model() Participant {
	return Participant{
		Identifier: communication.ParseRawID(p.ID), DisplayName: p.DisplayName,
		ShareHistoryTime: p.ShareHistoryTime, Metadata: p.Metadata,
	}
}

func participantModels(in []eventParticipant) []Participant {
	out := make([]Participant, 0, len(in))
	for _, p := range in {
		out = append(out, p.model())
	}
	return out
}

func (w *eventJSON) message() Message {
	return Message{
		ID: w.ID, Type: w.Type, Version: w.Version, Content: MessageContent{Message: w.Message},
		SenderDisplayName: w.SenderDisplayName, CreatedOn: w.CreatedOn,
		Sender: communication.ParseRawID(w.Sender), DeletedOn: w.DeletedOn, EditedOn: w.EditedOn, Metadata: w.Metadata,
	}
}

// eventKinds maps the name that an event has in the stream, such as "chatThreadDeleted", to the
// function that makes the Event from its JSON form.
var eventKinds = map[string]func(EventInfo, *eventJSON) Event{
	"chatMessageReceived": func(i EventInfo, w *eventJSON) Event { return MessageReceived{i, w.message()} },
	"chatMessageEdited":   func(i EventInfo, w *eventJSON) Event { return MessageEdited{i, w.message()} },
	"chatMessageDeleted":  func(i EventInfo, w *eventJSON) Event { return MessageDeleted{i, w.message()} },
	"typingIndicatorReceived": func(i EventInfo, w *eventJSON) Event {
		return TypingIndicatorReceived{i, communication.ParseRawID(w.Sender), w.SenderDisplayName, w.Version, w.ReceivedOn}
	},
	"readReceiptReceived": func(i EventInfo, w *eventJSON) Event {
		return ReadReceiptReceived{i, ReadReceipt{
			Sender: communication.ParseRawID(w.Sender), MessageID: w.ChatMessageID, ReadOn: w.ReadOn,
		}}
	},
	"chatThreadCreated": func(i EventInfo, w *eventJSON) Event {
		return ThreadCreated{
			EventInfo: i, Version: w.Version, CreatedOn: w.CreatedOn, CreatedBy: w.CreatedBy.model(),
			Participants: participantModels(w.Participants),
			Topic:        w.Properties.Topic, Metadata: w.Properties.Metadata, RetentionPolicy: w.RetentionPolicy,
		}
	},
	"chatThreadPropertiesUpdated": func(i EventInfo, w *eventJSON) Event {
		return ThreadPropertiesUpdated{
			EventInfo: i, Version: w.Version, UpdatedOn: w.UpdatedOn, UpdatedBy: w.UpdatedBy.model(),
			Topic: w.Properties.Topic, Metadata: w.Properties.Metadata, RetentionPolicy: w.RetentionPolicy,
		}
	},
	"chatThreadDeleted": func(i EventInfo, w *eventJSON) Event {
		return ThreadDeleted{i, w.Version, w.DeletedOn, w.DeletedBy.model(), ThreadDeletedReason(w.Reason)}
	},
	"participantsAdded": func(i EventInfo, w *eventJSON) Event {
		return ParticipantsAdded{i, w.Version, w.AddedOn, w.AddedBy.model(), participantModels(w.ParticipantsAdded)}
	},
	"participantsRemoved": func(i EventInfo, w *eventJSON) Event {
		return ParticipantsRemoved{i, w.Version, w.RemovedOn, w.RemovedBy.model(), participantModels(w.ParticipantsRemoved)}
	},
	"gap": func(i EventInfo, w *eventJSON) Event { return Gap{i, GapReason(w.Reason)} },
}

// decodeEvent returns the Event that the message m of a stream describes. cursor becomes the Cursor
// of the Event. For a name that is not in eventKinds, decodeEvent accepts any JSON and returns an
// UnknownEvent. It returns a brokenError if the data is not JSON, or does not have the fields of a
// known kind.
func decodeEvent(m frame, cursor string) (Event, error) {
	kind, known := eventKinds[m.event]
	if !known {
		var w struct {
			ThreadID string `json:"threadId"`
			Number   int64  `json:"number"`
		}
		if !json.Valid(m.data) {
			return nil, brokenf("the data of %.40q is not JSON", m.event)
		}
		_ = json.Unmarshal(m.data, &w) // ignore the error: a field whose JSON value has the wrong type stays zero
		return UnknownEvent{EventInfo{cursor, w.ThreadID, w.Number}, m.event, m.data}, nil
	}
	var w eventJSON
	if err := json.Unmarshal(m.data, &w); err != nil {
		return nil, brokenf("the data of %s: %v", m.event, err)
	}
	if w.ThreadID == "" && m.event != "gap" {
		return nil, brokenf("the data of %s has no threadId", m.event)
	}
	return kind(EventInfo{cursor, w.ThreadID, w.Number}, &w), nil
}
