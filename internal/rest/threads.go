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
	return &wire.CreateChatThreadResult{
		ChatThread:          wire.ThreadFromCore(thread),
		InvalidParticipants: wire.InvalidFromCore(invalid),
	}, nil
}

func (h *Handler) getThread(q *request) (any, error) {
	thread, err := q.threadID()
	if err != nil {
		return nil, err
	}
	properties, err := h.core.Thread(q.Context(), q.caller, thread)
	if err != nil {
		return nil, err
	}
	return wire.ThreadFromCore(properties), nil
}

// threadID is the first parameter of the path.
func (q *request) threadID() (string, error) {
	id := q.params[0]
	if err := core.CheckThreadID(id); err != nil {
		return "", err
	}
	q.thread = id
	return id, nil
}

// escapeID writes an id as Location was recorded: colon encoded, at-sign not
// (chat.md §3.1).
func escapeID(id string) string {
	return strings.ReplaceAll(url.PathEscape(id), ":", "%3A")
}
