package rest

import (
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

func (h *Handler) sendMessage(q *request) (any, error) {
	thread, err := q.threadID()
	if err != nil {
		return nil, err
	}
	var in wire.SendChatMessageRequest
	if err := h.decode(q, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	cmd.Token = q.Header.Get(idempotencyHeader)
	id, err := h.core.SendMessage(q.Context(), q.caller, thread, cmd)
	if err != nil {
		return nil, err
	}
	message := wire.MessageID(id)
	q.location = h.base(q) + "/chat/threads/" + escapeID(thread) + "/messages/" + message
	return &wire.SendChatMessageResult{ID: message}, nil
}

func (h *Handler) getMessage(q *request) (any, error) {
	thread, err := q.threadID()
	if err != nil {
		return nil, err
	}
	id, err := core.ParseMessageID(q.params[1])
	if err != nil {
		return nil, err
	}
	m, err := h.core.Message(q.Context(), q.caller, thread, id)
	if err != nil {
		return nil, err
	}
	return wire.MessageFromCore(&m), nil
}

func (h *Handler) listMessages(q *request) (any, error) {
	thread, err := q.threadID()
	if err != nil {
		return nil, err
	}
	page, err := q.messagesPage(thread)
	if err != nil {
		return nil, err
	}
	ms, err := h.core.ListMessages(q.Context(), q.caller, thread, page)
	if err != nil {
		return nil, err
	}
	out := &wire.ChatMessagesCollection{Value: wire.MessagesFromCore(ms)}
	if len(ms) == page.Limit {
		out.NextLink = h.nextMessages(q, thread, page, ms[len(ms)-1].Sequence)
	}
	return out, nil
}
