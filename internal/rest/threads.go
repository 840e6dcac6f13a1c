package rest

import (
	"net/url"
	"strings"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// idempotencyHeader makes a repeated create or send the same one. Unverified for
// sends: the contract has it for creates alone (chat.md §3.1).
const idempotencyHeader = "repeatability-request-id"

func (h *Handler) createThread(q *request) (any, error) {
	var in wire.CreateChatThreadRequest
	if err := h.decode(q, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	cmd.Token = q.Header.Get(idempotencyHeader)
	thread, invalid, err := h.core.CreateThread(q.Context(), q.caller, cmd)
	if err != nil {
		return nil, err
	}
	q.thread, q.note = thread.ID, thread.Topic
	q.location = h.base(q) + "/chat/threads/" + escapeID(thread.ID)
	out := &wire.CreateChatThreadResult{ChatThread: wire.ThreadFromCore(thread)}
	out.Errors, out.InvalidParticipants = wire.InvalidFromCore(invalid)
	return out, nil
}

func (h *Handler) listThreads(q *request) (any, error) {
	before, since, limit, err := q.threadsPage()
	if err != nil {
		return nil, err
	}
	page, err := h.core.ListThreads(q.Context(), q.caller, before, since, limit)
	if err != nil {
		return nil, err
	}
	out := &wire.ChatThreadsItemCollection{Value: wire.ThreadsFromCore(page.Threads)}
	if page.Next != (core.ThreadsCursor{}) {
		out.NextLink = h.nextThreads(q, page.Next, since)
	}
	return out, nil
}

func (h *Handler) getThread(q *request) (any, error) {
	properties, err := h.core.Thread(q.Context(), q.caller, q.thread)
	if err != nil {
		return nil, err
	}
	return wire.ThreadFromCore(properties), nil
}

func (h *Handler) updateThread(q *request) (any, error) {
	var in wire.UpdateChatThreadRequest
	if err := h.decode(q, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	return nil, h.core.UpdateThread(q.Context(), q.caller, q.thread, cmd)
}

func (h *Handler) deleteThread(q *request) (any, error) {
	return nil, h.core.DeleteThread(q.Context(), q.caller, q.thread)
}

// escapeID writes an id as Location was recorded: colon encoded, at-sign not
// (chat.md §3.1).
func escapeID(id string) string {
	return strings.ReplaceAll(url.PathEscape(id), ":", "%3A")
}
