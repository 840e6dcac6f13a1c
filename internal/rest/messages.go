package rest

import "github.com/confab-chat/confab/internal/rest/wire"

func (h *Handler) sendMessage(q *request) (any, error) {
	var in wire.SendChatMessageRequest
	if err := h.decode(q, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	cmd.Token = q.Header.Get(idempotencyHeader)
	id, err := h.core.SendMessage(q.Context(), q.caller, q.thread, cmd)
	if err != nil {
		return nil, err
	}
	message := wire.MessageID(id)
	q.location = h.base(q) + "/chat/threads/" + escapeID(q.thread) + "/messages/" + message
	return &wire.SendChatMessageResult{ID: message}, nil
}

func (h *Handler) getMessage(q *request) (any, error) {
	m, err := h.core.Message(q.Context(), q.caller, q.thread, q.message)
	if err != nil {
		return nil, err
	}
	return wire.MessageFromCore(&m), nil
}

func (h *Handler) updateMessage(q *request) (any, error) {
	var in wire.UpdateChatMessageRequest
	if err := h.decode(q, &in); err != nil {
		return nil, err
	}
	return nil, h.core.UpdateMessage(q.Context(), q.caller, q.thread, q.message, in.ToCore())
}

func (h *Handler) deleteMessage(q *request) (any, error) {
	return nil, h.core.DeleteMessage(q.Context(), q.caller, q.thread, q.message)
}

func (h *Handler) listMessages(q *request) (any, error) {
	list, err := q.messagesPage()
	if err != nil {
		return nil, err
	}
	page, err := h.core.ListMessages(q.Context(), q.caller, q.thread, list)
	if err != nil {
		return nil, err
	}
	out := &wire.ChatMessagesCollection{Value: wire.MessagesFromCore(page.Messages)}
	if page.Next > 0 {
		list.Before = page.Next
		out.NextLink = h.nextMessages(q, list)
	}
	return out, nil
}
