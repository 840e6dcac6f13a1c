package rest

import "github.com/confab-chat/confab/internal/rest/wire"

func (h *Handler) sendMessage(req *request) (any, error) {
	var in wire.SendChatMessageRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	cmd := in.ToCore()
	cmd.Token = req.Header.Get(idempotencyHeader)
	id, err := h.core.SendMessage(req.Context(), req.caller, req.thread, cmd)
	if err != nil {
		return nil, err
	}
	message := wire.MessageID(id)
	req.location = h.baseURL(req) + "/chat/threads/" + escapeID(req.thread) + "/messages/" + message
	return &wire.SendChatMessageResult{ID: message}, nil
}

func (h *Handler) getMessage(req *request) (any, error) {
	m, err := h.core.Message(req.Context(), req.caller, req.thread, req.message)
	if err != nil {
		return nil, err
	}
	return wire.MessageFromCore(&m), nil
}

func (h *Handler) updateMessage(req *request) (any, error) {
	var in wire.UpdateChatMessageRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	return nil, h.core.UpdateMessage(req.Context(), req.caller, req.thread, req.message, in.ToCore())
}

func (h *Handler) deleteMessage(req *request) (any, error) {
	return nil, h.core.DeleteMessage(req.Context(), req.caller, req.thread, req.message)
}

func (h *Handler) listMessages(req *request) (any, error) {
	list, err := req.messagesPage()
	if err != nil {
		return nil, err
	}
	page, err := h.core.ListMessages(req.Context(), req.caller, req.thread, list)
	if err != nil {
		return nil, err
	}
	out := &wire.ChatMessagesCollection{Value: wire.MessagesFromCore(page.Messages)}
	if page.Next > 0 {
		list.Before = page.Next
		out.NextLink = h.nextMessagesLink(req, list)
	}
	return out, nil
}
