package chat

import (
	"encoding/json"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// Message is one message of a thread (docs/contract/chat.md §4.1, §6): a text that a participant
// sent, or a system message that reports a new topic or participants that were added or removed.
// Type tells which.
type Message struct {
	// ID is a decimal number as text, unique in the thread. It never changes.
	ID string `json:"id"`

	// Type determines which fields of Content are set. A newer server may send types that have no
	// constant here; they are kept unchanged.
	Type MessageType `json:"type"`

	// SequenceID is the message's position in the thread, a decimal number as text. Lists are
	// ordered by it, highest first. An edit or a deletion assigns a new SequenceID, which moves the
	// message to the top.
	SequenceID string `json:"sequenceId,omitzero"`

	// Version is a decimal number as text. It equals ID until an edit or a deletion assigns a
	// larger one.
	Version string `json:"version"`

	// Content is the text of the message, or the details of a system message.
	Content MessageContent `json:"content,omitzero"`

	// SenderDisplayName is the display name that the sender set for the message, if any.
	SenderDisplayName string `json:"senderDisplayName,omitzero"`

	// CreatedOn is the time at which the server received the message.
	CreatedOn time.Time `json:"createdOn"`

	// Sender is the user that sent the message. It is zero for system messages, which have
	// Content.Initiator instead.
	Sender communication.Identifier `json:"senderCommunicationIdentifier,omitzero"`

	// DeletedOn is the time of the deletion, zero if the message is not deleted. A deleted message
	// stays in the list, with empty Content.
	DeletedOn time.Time `json:"deletedOn,omitzero"`

	// EditedOn is the time of the last edit, zero if the message was never edited.
	EditedOn time.Time `json:"editedOn,omitzero"`

	// Metadata holds the keys and values that the sender attached to the message.
	Metadata map[string]string `json:"metadata,omitzero"`
}

// MessageContent is the content of a [Message]. The type of the message determines which fields are
// set.
type MessageContent struct {
	// Message is the text of a message of type MessageTypeText or MessageTypeHTML. It is empty
	// after the message is deleted.
	Message string `json:"message,omitzero"`

	// Topic is the new topic, in a message of type MessageTypeTopicUpdated.
	Topic string `json:"topic,omitzero"`

	// Participants are the participants that were added or removed, in a message of type
	// MessageTypeParticipantAdded or MessageTypeParticipantRemoved.
	Participants []Participant `json:"participants,omitzero"`

	// Attachments are the files of a text message, which mostly come from Microsoft Teams. This
	// package can read attachments but not send them.
	Attachments []Attachment `json:"attachments,omitzero"`

	// Initiator is the user that caused a system message. It is zero for other messages.
	Initiator communication.Identifier `json:"initiatorCommunicationIdentifier,omitzero"`
}

// MessageType is the type of a [Message]. Newer servers may add types, so a program should ignore
// or show a placeholder for a type that it does not know, not fail.
type MessageType string

// Message types (docs/contract/chat.md §4.1, §6). Only text and HTML messages can be sent.
const (
	MessageTypeText               MessageType = "text"
	MessageTypeHTML               MessageType = "html"
	MessageTypeTopicUpdated       MessageType = "topicUpdated"
	MessageTypeParticipantAdded   MessageType = "participantAdded"
	MessageTypeParticipantRemoved MessageType = "participantRemoved"
)

// Attachment is a file that is attached to a message.
type Attachment struct {
	ID   string         `json:"id"`
	Type AttachmentType `json:"attachmentType"`

	// Name is the file name; it may be empty.
	Name string `json:"name,omitzero"`

	// URL is the address of the file, and PreviewURL that of a smaller picture of it. Either may be
	// empty.
	URL        string `json:"url,omitzero"`
	PreviewURL string `json:"previewUrl,omitzero"`
}

// AttachmentType is the type of an [Attachment]. Newer servers may add types.
type AttachmentType string

// Attachment types (docs/contract/chat.md §4.1).
const (
	AttachmentTypeImage AttachmentType = "image"
	AttachmentTypeFile  AttachmentType = "file"
)

// MarshalJSON encodes the message as the service does, with times in whole seconds. A text or HTML
// message always has the member content.message, and a message with a sender always has
// senderDisplayName, even if they are empty.
func (m Message) MarshalJSON() ([]byte, error) {
	type plain Message // has no MarshalJSON, so that json.Marshal does not recurse
	type content MessageContent
	w := struct {
		plain
		// These fields shadow the fields of plain with the same JSON names.
		Content           any     `json:"content,omitempty"`
		SenderDisplayName *string `json:"senderDisplayName,omitempty"`
	}{plain: plain(m)}
	w.CreatedOn, w.DeletedOn, w.EditedOn = seconds(m.CreatedOn), seconds(m.DeletedOn), seconds(m.EditedOn)

	switch {
	case m.Type == MessageTypeText || m.Type == MessageTypeHTML:
		w.Content = struct {
			Message string `json:"message"`
			content
		}{m.Content.Message, content(m.Content)}
	case !m.Content.isZero():
		w.Content = m.Content
	}
	if !m.Sender.IsZero() || m.SenderDisplayName != "" {
		w.SenderDisplayName = &m.SenderDisplayName
	}
	return json.Marshal(w)
}

func (c *MessageContent) isZero() bool {
	return c.Message == "" && c.Topic == "" && c.Participants == nil && c.Attachments == nil && c.Initiator.IsZero()
}

// seconds converts t to UTC and truncates it to whole seconds, as the contract writes times
// (docs/contract/chat.md §0.6). The zero time stays zero, so that omitzero omits it.
func seconds(t time.Time) time.Time {
	return t.UTC().Truncate(time.Second)
}
