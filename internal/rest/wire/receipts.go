package wire

import "github.com/confab-chat/confab/internal/core"

// SendReadReceiptRequest is the body of POST .../readReceipts.
type SendReadReceiptRequest struct {
	ChatMessageID string `json:"chatMessageId" required:"true"`
}

// ChatMessageReadReceiptsCollection is a page of read receipts. NextLink is empty on the
// last page.
type ChatMessageReadReceiptsCollection struct {
	Value    []ChatMessageReadReceipt `json:"value"`
	NextLink string                   `json:"nextLink,omitzero"`
}

// ChatMessageReadReceipt names the last message that a participant has read (docs/contract/chat.md
// §4.3).
type ChatMessageReadReceipt struct {
	SenderID      string                        `json:"senderId" in:"flat ids"`
	Sender        *CommunicationIdentifierModel `json:"senderCommunicationIdentifier" in:"identifier models"`
	ChatMessageID string                        `json:"chatMessageId"`
	ReadOn        Time                          `json:"readOn"`
}

// SendTypingNotificationRequest is the optional body of POST .../typing.
type SendTypingNotificationRequest struct {
	SenderDisplayName string `json:"senderDisplayName,omitzero" in:"typing names"`
}

// ReceiptsFromCore converts read receipts to their JSON form.
func ReceiptsFromCore(rs []core.Receipt) []ChatMessageReadReceipt {
	page := make([]ChatMessageReadReceipt, len(rs))
	for i, r := range rs {
		page[i] = ChatMessageReadReceipt{
			SenderID: r.User, Sender: IdentifierFromCore(r.User),
			ChatMessageID: MessageID(r.MessageID), ReadOn: Time(r.ReadOn),
		}
	}
	return page
}
