package rest

import (
	"math"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// This file has the handlers of the chat operations whose bodies have another form at api-version
// 2020-09-21-preview2 than at all later ones (docs/contract/chat.md §8).

// createThreadWithMembers creates a thread. It ignores idempotency tokens, because api-version
// 2020-09-21-preview2 does not have them.
func (h *Handler) createThreadWithMembers(req *request) (any, error) {
	var in wire.CreateThreadWithMembersRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore(req.caller)
	if err != nil {
		return nil, err
	}
	thread, invalid, err := h.core.CreateThread(req.Context(), req.caller, cmd)
	if err != nil {
		return nil, err
	}
	h.locate(req, thread.ID)
	return in.Created(thread.ID, invalid), nil
}

func (h *Handler) listThreadInfos(req *request) (any, error) {
	ts, next, err := h.pageOfThreads(req)
	if err != nil {
		return nil, err
	}
	return &wire.ThreadInfosCollection{Value: wire.ThreadInfosFromCore(ts), NextLink: next}, nil
}

func (h *Handler) getThreadWithMembers(req *request) (any, error) {
	thread, ms, err := h.allMembers(req)
	if err != nil {
		return nil, err
	}
	return wire.ThreadWithMembersFromCore(thread, ms), nil
}

func (h *Handler) listMembers(req *request) (any, error) {
	_, ms, err := h.allMembers(req)
	if err != nil {
		return nil, err
	}
	return &wire.MembersCollection{Value: wire.MembersFromCore(ms)}, nil
}

// allMembers returns the properties and all members of the request's thread. It reserves memory
// for an answer with them.
func (h *Handler) allMembers(req *request) (core.ThreadProperties, []*core.Member, error) {
	thread, ms, err := h.core.ThreadWithParticipants(req.Context(), req.caller, req.thread)
	if err != nil {
		return thread, nil, err
	}
	size := 0 // the rows are shared with the cache, so only their JSON needs memory
	for _, m := range ms {
		size += memberSize(m)
	}
	if size > smallPage {
		err = h.reserve(req, int64(size))
	}
	return thread, ms, err
}

func (h *Handler) addMembers(req *request) (any, error) {
	var in wire.AddMembersRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	ps, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	invalid, err := h.core.AddParticipants(req.Context(), req.caller, req.thread, ps)
	if err != nil {
		return nil, err
	}
	return in.Added(invalid), nil
}

func (h *Handler) sendPlainMessage(req *request) (any, error) {
	var in wire.SendPlainMessageRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	return h.send(req, cmd)
}

func (h *Handler) getPlainMessage(req *request) (any, error) {
	m, err := h.core.Message(req.Context(), req.caller, req.thread, req.message)
	if err != nil {
		return nil, err
	}
	return wire.PlainMessageFromCore(req.thread, &m), nil
}

func (h *Handler) updatePlainMessage(req *request) (any, error) {
	var in wire.UpdatePlainMessageRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	cmd, err := in.ToCore()
	if err != nil {
		return nil, err
	}
	return nil, h.core.UpdateMessage(req.Context(), req.caller, req.thread, req.message, cmd)
}

func (h *Handler) listPlainMessages(req *request) (any, error) {
	ms, next, err := h.pageOfMessages(req)
	if err != nil {
		return nil, err
	}
	return &wire.PlainMessagesCollection{Value: wire.PlainMessagesFromCore(req.thread, ms), NextLink: next}, nil
}

// listAllReceipts lists all receipts of a thread, because 2020-09-21-preview2 has no query
// parameters for pages. All receipts of a thread together are smaller than the largest page
// (core.PageBytes).
func (h *Handler) listAllReceipts(req *request) (any, error) {
	rs, _, err := h.receipts(req, 0, math.MaxInt32)
	if err != nil {
		return nil, err
	}
	return &wire.ChatMessageReadReceiptsCollection{Value: wire.ReceiptsFromCore(rs)}, nil
}
