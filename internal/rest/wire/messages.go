package wire

import (
	"reflect"
	"strconv"

	"github.com/confab-chat/confab/internal/core"
)

// SendChatMessageRequest is the body of POST .../messages.
type SendChatMessageRequest struct {
	Content           string            `json:"content"`
	SenderDisplayName string            `json:"senderDisplayName,omitzero"`
	Type              string            `json:"type,omitzero"`
	Metadata          map[string]string `json:"metadata,omitzero" in:"message metadata"`
	Attachments       []ChatAttachment  `json:"attachments,omitzero" in:"images"`
}

// SendChatMessageResult is the response to POST .../messages.
type SendChatMessageResult struct {
	ID string `json:"id"`
}

// UpdateChatMessageRequest is the body of PATCH .../messages/{id}, a merge patch. Unverified: that
// a null content empties the message's content, as RFC 7396 says, and that a null metadata changes
// nothing, because it names no key.
type UpdateChatMessageRequest struct {
	Content     *string          `json:"content,omitzero" null:"\"\""`
	Metadata    Patch            `json:"metadata,omitzero" null:"{}" in:"message metadata"`
	Attachments []ChatAttachment `json:"attachments,omitzero" in:"images"`
}

// ToCore converts the request to a command of package core. It fails if the request has attachments.
func (r *UpdateChatMessageRequest) ToCore() (core.UpdateMessage, error) {
	return core.UpdateMessage{Content: r.Content, Metadata: r.Metadata}, refuseAttachments(r.Attachments)
}

// refuseAttachments fails if a request has attachments, because this server stores none. A message
// without its attachments would lack files that its sender wanted to show.
func refuseAttachments(as []ChatAttachment) error {
	if len(as) > 0 {
		return &Error{Path: "attachments", Reason: "must be empty, because this server stores no attachments"}
	}
	return nil
}

// ChatMessagesCollection is a page of messages. NextLink is empty on the last page.
type ChatMessagesCollection struct {
	Value    Messages `json:"value"`
	NextLink string   `json:"nextLink,omitzero"`
}

// Messages is a list of messages that Encode writes as a JSON list of [ChatMessage]. It is only
// for responses: Decode panics for this type.
type Messages []core.Message

// ChatMessage is a message. Its fields are in the recorded order (docs/contract/chat.md §4.1).
type ChatMessage struct {
	ID                Decimal                       `json:"id"`
	Type              string                        `json:"type"`
	SequenceID        Decimal                       `json:"sequenceId"`
	Version           Decimal                       `json:"version"`
	Content           *ChatMessageContent           `json:"content,omitzero"`
	SenderDisplayName *string                       `json:"senderDisplayName,omitzero"`
	CreatedOn         Time                          `json:"createdOn"`
	SenderID          string                        `json:"senderId,omitzero" in:"flat ids"`
	Sender            *CommunicationIdentifierModel `json:"senderCommunicationIdentifier,omitzero" in:"identifier models"`
	DeletedOn         Time                          `json:"deletedOn,omitzero"`
	EditedOn          Time                          `json:"editedOn,omitzero"`
	Metadata          map[string]string             `json:"metadata,omitzero" in:"message metadata"`
	PolicyViolation   *PolicyViolation              `json:"policyViolation,omitzero" in:"policy violations"`
}

// PolicyViolation says that a message was blocked or that its readers are warned. This server
// neither blocks messages nor warns readers, so no message has a PolicyViolation.
type PolicyViolation struct {
	State string `json:"state"`
}

// ChatMessageContent is the content of a message. The message's type decides which
// members it has.
type ChatMessageContent struct {
	Message      *string                       `json:"message,omitzero"`
	Topic        string                        `json:"topic,omitzero"`
	Participants []ChatParticipant             `json:"participants,omitzero"`
	Attachments  []ChatAttachment              `json:"attachments,omitzero" in:"attachments"`
	InitiatorID  string                        `json:"initiator,omitzero" in:"flat ids"`
	Initiator    *CommunicationIdentifierModel `json:"initiatorCommunicationIdentifier,omitzero" in:"identifier models"`
}

// ChatAttachment describes a file that is attached to a message. This server's messages never have
// one.
type ChatAttachment struct {
	ID             string `json:"id"`
	AttachmentType string `json:"attachmentType"`
	ContentType    string `json:"contentType,omitzero" in:"content types"`
	Name           string `json:"name,omitzero"`
	URL            string `json:"url,omitzero"`
	PreviewURL     string `json:"previewUrl,omitzero"`
}

// ToCore converts the request to a command of package core. An unknown message type becomes kind
// 0, which package core refuses. A missing type becomes Text. ToCore fails if the request has
// attachments.
func (r *SendChatMessageRequest) ToCore() (core.SendMessage, error) {
	kind := core.Text
	if r.Type != "" {
		kind, _ = core.ParseMessageKind(r.Type)
	}
	cmd := core.SendMessage{Content: r.Content, Kind: kind, SenderDisplayName: r.SenderDisplayName, Metadata: r.Metadata}
	return cmd, refuseAttachments(r.Attachments)
}

// MessageID returns a message id in decimal.
func MessageID(id int64) string { return strconv.FormatInt(id, 10) }

// MessageFromCore converts a message to its JSON form. The result shares memory with
// *m.
func MessageFromCore(m *core.Message) *ChatMessage { return new(message).fill(m) }

// encodeMessages returns an encoder of Messages. For each message it fills the same ChatMessage
// and encodes this with the encoder one, so that a page needs memory for only one ChatMessage.
func encodeMessages(one encoder) encoder {
	return func(dst []byte, v reflect.Value) []byte {
		var m message
		converted := reflect.ValueOf(&m.ChatMessage).Elem()
		dst = append(dst, '[')
		ms := *v.Addr().Interface().(*Messages)
		for i := range ms {
			if i > 0 {
				dst = append(dst, ',')
			}
			m.fill(&ms[i])
			dst = one(dst, converted)
		}
		return append(dst, ']')
	}
}

// message is the memory of a ChatMessage and of its parts.
type message struct {
	ChatMessage
	content ChatMessageContent
	sender  identifier
}

// fill sets w to the JSON form of m and returns it.
func (w *message) fill(m *core.Message) *ChatMessage {
	w.content = contentOf(m)
	w.ChatMessage = ChatMessage{
		ID: Decimal(m.ID), Type: m.Kind.String(), SequenceID: Decimal(m.Sequence), Version: Decimal(m.Version),
		Content: &w.content, CreatedOn: Time(m.CreatedOn), DeletedOn: Time(m.DeletedOn), EditedOn: Time(m.EditedOn),
		Metadata: m.Metadata,
	}
	if m.Sender != "" { // set no display name and no sender for a system message (docs/contract/chat.md §6)
		w.SenderDisplayName = &m.SenderDisplayName
		w.SenderID, w.Sender = m.Sender, w.sender.fill(m.Sender)
	}
	return &w.ChatMessage
}

// noAttachments is encoded as an empty list. Unverified: that all messages have an empty list,
// which was recorded only at a preview version and for messages of type text
// (docs/contract/chat.md §4.1).
var noAttachments = []ChatAttachment{}

// contentOf returns the content of m, with the members that messages of its kind have.
func contentOf(m *core.Message) (c ChatMessageContent) {
	switch m.Kind {
	case core.Text, core.HTML:
		c.Message, c.Attachments = &m.Content, noAttachments
		return c
	case core.TopicUpdated:
		c.Topic = m.Content
	case core.ParticipantAdded, core.ParticipantRemoved:
		c.Participants = make([]ChatParticipant, len(m.Participants))
		for i, p := range m.Participants {
			c.Participants[i] = ChatParticipant{
				ID: p.User, Identifier: IdentifierFromCore(p.User), DisplayName: p.DisplayName, ShareHistoryTime: Time(p.ShareHistory),
			}
		}
	}
	c.InitiatorID, c.Initiator = m.Initiator, IdentifierFromCore(m.Initiator)
	return c
}
