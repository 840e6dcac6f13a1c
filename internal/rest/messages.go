package rest

import (
	"strconv"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

func (h *Handler) sendMessage(req *request) (any, error) {
	var in wire.SendChatMessageRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	return h.send(req, cmd)
}

// send sends a message with the idempotency token and the client's request id, if the request has
// them.
func (h *Handler) send(req *request, cmd core.SendMessage) (any, error) {
	cmd.Token, cmd.RequestID = req.idempotencyToken(), req.clientID()
	sent, err := h.core.Send(req.Context(), req.caller, req.thread, cmd)
	if err != nil {
		return nil, err
	}
	if sent.Repeated {
		h.refund(req) // do not count the bytes of a repeated send, because nothing was written
	}
	var buffer [256]byte // memory on the stack for the URL of the message; most URLs fit into it
	b := append(h.appendThreadURL(buffer[:0], req, req.thread), "/messages/"...)
	start := len(b)
	req.location = string(strconv.AppendInt(b, sent.ID, 10))
	return &wire.SendChatMessageResult{ID: req.location[start:]}, nil
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
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	return nil, h.core.UpdateMessage(req.Context(), req.caller, req.thread, req.message, cmd)
}

func (h *Handler) deleteMessage(req *request) (any, error) {
	return nil, h.core.DeleteMessage(req.Context(), req.caller, req.thread, req.message)
}

func (h *Handler) listMessages(req *request) (any, error) {
	ms, next, err := h.pageOfMessages(req)
	if err != nil {
		return nil, err
	}
	return &wire.ChatMessagesCollection{Value: ms, NextLink: next}, nil
}

// pageOfMessages returns the messages of the page that a request asks for, and the link to the
// next page, or "" if there is none.
func (h *Handler) pageOfMessages(req *request) (ms []core.Message, next string, err error) {
	list, err := req.messagesPage()
	if err != nil {
		return nil, "", err
	}
	list.Bytes = smallPage
	page, err := h.core.ListMessages(req.Context(), req.caller, req.thread, list)
	if err == nil && page.Next > 0 && len(page.Messages) < list.Limit {
		// The page was cut because its rows exceed the memory that was reserved. Reserve more memory and
		// read the page again.
		page = core.MessagesPage{}
		err = h.reserve(req, core.PageBytes)
		if err == nil {
			list.Bytes = core.PageBytes
		} else if err == errNoMemory { // a short page needs little memory
			err = h.reserve(req, smallPage)
		}
		if err != nil {
			return nil, "", err
		}
		page, err = h.core.ListMessages(req.Context(), req.caller, req.thread, list)
	}
	if err != nil {
		return nil, "", err
	}
	if list.Bytes > smallPage { // the JSON of a smaller page has less than core.PageBytes
		cutJSON(&page)
	}
	if page.Next > 0 {
		list.Before = page.Next
		next = h.nextMessagesLink(req, list)
	}
	return page.Messages, next, nil
}

// cutJSON shortens a page so that the texts of its messages have at most core.PageBytes as JSON. A
// page from the store may have more, because a character may take six times as many bytes in JSON
// as in the store. The page keeps at least its first message.
func cutJSON(page *core.MessagesPage) {
	bytes := 0
	for i := range page.Messages {
		if bytes += messageSize(&page.Messages[i]); bytes > core.PageBytes && i > 0 {
			page.Messages, page.Next = page.Messages[:i], page.Messages[i-1].Sequence
			return
		}
	}
}

// messageSize returns the size of a message's texts as JSON, in bytes.
func messageSize(m *core.Message) int {
	bytes := wire.StringSize(m.Content) + wire.StringSize(m.SenderDisplayName)
	for k, v := range m.Metadata {
		bytes += wire.StringSize(k) + wire.StringSize(v)
	}
	for _, p := range m.Participants {
		bytes += wire.StringSize(p.User) + wire.StringSize(p.DisplayName)
	}
	return bytes
}
