package chat

import (
	"encoding/json"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// Message is one message of a thread (docs/contract/chat.md §4.1, §6): what somebody wrote, or a
// system message that tells of a new topic, of participants who came or of
// participants who left. Type says which.
type Message struct {
	// ID is decimal text, unique in the thread, and never changes.
	ID string `json:"id"`

	// Type says which members of Content are set. A later server may know types
	// that have no constant here; they are kept as they came.
	Type MessageType `json:"type"`

	// SequenceID is the message's place in the thread, a decimal number. Lists are
	// ordered by it, the highest first. An edit or a deletion gives the message a
	// new one, so that it moves to the top.
	SequenceID string `json:"sequenceId,omitzero"`

	// Version is decimal text too. It is the ID until an edit or a deletion gives
	// the message another one, which is larger.
	Version string `json:"version"`

	// Content is what the message says.
	Content MessageContent `json:"content,omitzero"`

	// SenderDisplayName is the name that the sender gave with the message, if any.
	SenderDisplayName string `json:"senderDisplayName,omitzero"`

	// CreatedOn is when the message arrived at the server.
	CreatedOn time.Time `json:"createdOn"`

	// Sender is who wrote the message. It is zero for system messages, which have
	// an initiator in their Content.
	Sender communication.Identifier `json:"senderCommunicationIdentifier,omitzero"`

	// DeletedOn is when the message was deleted, and zero if it was not. A deleted
	// message stays in the list, with empty Content.
	DeletedOn time.Time `json:"deletedOn,omitzero"`

	// EditedOn is when the message was last edited, and zero if it never was.
	EditedOn time.Time `json:"editedOn,omitzero"`

	// Metadata is what the sender attached to the message.
	Metadata map[string]string `json:"metadata,omitzero"`
}

// MessageContent is what a [Message] says. Its type tells which members are set.
type MessageContent struct {
	// Message is the text of a MessageTypeText or MessageTypeHTML. It is empty
	// once the message is deleted.
	Message string `json:"message,omitzero"`

	// Topic is the new topic, of a MessageTypeTopicUpdated.
	Topic string `json:"topic,omitzero"`

	// Participants are those who came or left, of a MessageTypeParticipantAdded
	// or MessageTypeParticipantRemoved.
	Participants []Participant `json:"participants,omitzero"`

	// Attachments are the files that came with a text, from Microsoft Teams for
	// the most part. They can be read here, and not sent.
	Attachments []Attachment `json:"attachments,omitzero"`

	// Initiator is who caused a system message, and zero for all others.
	Initiator communication.Identifier `json:"initiatorCommunicationIdentifier,omitzero"`
}

// MessageType is the kind of a [Message]. The set is open: treat a type that you
// do not know as something to show little of, not as an error.
type MessageType string

// The types of a message (docs/contract/chat.md §4.1, §6). Only the first two can be sent.
const (
	MessageTypeText               MessageType = "text"
	MessageTypeHTML               MessageType = "html"
	MessageTypeTopicUpdated       MessageType = "topicUpdated"
	MessageTypeParticipantAdded   MessageType = "participantAdded"
	MessageTypeParticipantRemoved MessageType = "participantRemoved"
)

// Attachment is a file of a message.
type Attachment struct {
	ID   string         `json:"id"`
	Type AttachmentType `json:"attachmentType"`

	// Name is the name of the file, if it has one.
	Name string `json:"name,omitzero"`

	// URL is where the file can be downloaded, and PreviewURL where a smaller
	// picture of it can. Either may be empty.
	URL        string `json:"url,omitzero"`
	PreviewURL string `json:"previewUrl,omitzero"`
}

// AttachmentType is the kind of an [Attachment]. The set is open, as that of
// [MessageType] is.
type AttachmentType string

// The types of an attachment (docs/contract/chat.md §4.1).
const (
	AttachmentTypeImage AttachmentType = "image"
	AttachmentTypeFile  AttachmentType = "file"
)

// MarshalJSON writes the message as the service does. A text or HTML message has
// the member message even when it is empty, and a message with a sender has the
// sender's display name even when it is empty.
func (m Message) MarshalJSON() ([]byte, error) {
	type plain Message // without this method
	type content MessageContent
	w := struct {
		plain
		// These two hide the members of plain that have the same names.
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

// seconds is how the contract writes a time: whole seconds, UTC (docs/contract/chat.md §0.6). Zero
// stays zero, so that it is left out.
func seconds(t time.Time) time.Time {
	return t.UTC().Truncate(time.Second)
}
