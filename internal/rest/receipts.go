package rest

import (
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// sendReceipt answers an empty 200. Unverified: a malformed message id in the
// body is refused as one in a path is; only the refusal of one that is not there
// was recorded (chat.md §4.3).
func (h *Handler) sendReceipt(q *request) (any, error) {
	var in wire.SendReadReceiptRequest
	if err := h.decode(q, &in); err != nil {
		return nil, err
	}
	id, err := core.ParseMessageID(in.ChatMessageID)
	if err != nil {
		return nil, err
	}
	return nil, h.core.SendReceipt(q.Context(), q.caller, q.thread, id)
}

func (h *Handler) listReceipts(q *request) (any, error) {
	skip, limit, err := q.skipPage()
	if err != nil {
		return nil, err
	}
	rs, next, err := h.core.ListReceipts(q.Context(), q.caller, q.thread, skip, limit)
	if err != nil {
		return nil, err
	}
	out := &wire.ChatMessageReadReceiptsCollection{Value: wire.ReceiptsFromCore(rs)}
	if next > 0 {
		out.NextLink = h.nextSkip(q, "/readReceipts", next)
	}
	return out, nil
}

// sendTyping has a body only since 2021-04-05-preview6, and even then may come
// without (chat.md §4.4).
func (h *Handler) sendTyping(q *request) (any, error) {
	var in wire.SendTypingNotificationRequest
	if err := h.decodeOptional(q, &in); err != nil {
		return nil, err
	}
	return nil, h.core.Typing(q.Context(), q.caller, q.thread, in.SenderDisplayName)
}
