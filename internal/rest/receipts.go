package rest

import (
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/rest/wire"
)

// sendReceipt handles a request that stores a read receipt. The response has no body.
// Unverified: that a malformed message id in the body gets the same error as one in a
// path; only the error for an unknown id was recorded (docs/contract/chat.md §4.3).
func (h *Handler) sendReceipt(req *request) (any, error) {
	var in wire.SendReadReceiptRequest
	if err := h.decode(req, &in); err != nil {
		return nil, err
	}
	id, err := core.ParseMessageID(in.ChatMessageID)
	if err != nil {
		return nil, err
	}
	return nil, h.core.SendReceipt(req.Context(), req.caller, req.thread, id)
}

func (h *Handler) listReceipts(req *request) (any, error) {
	skip, limit, err := req.skipPage()
	if err != nil {
		return nil, err
	}
	rs, next, err := h.receipts(req, skip, limit)
	if err != nil {
		return nil, err
	}
	out := &wire.ChatMessageReadReceiptsCollection{Value: wire.ReceiptsFromCore(rs)}
	if next > 0 {
		out.NextLink = h.nextSkipLink(req, "/readReceipts", next)
	}
	return out, nil
}

// receipts returns a page of a thread's receipts, with the results of core.Service.ListReceipts.
// It first reserves the memory for the receipts.
func (h *Handler) receipts(req *request, skip, limit int) (rs []core.Receipt, next int, err error) {
	size, err := h.core.ReceiptsSize(req.Context(), req.caller, req.thread)
	if err != nil {
		return nil, 0, err
	}
	if size > smallPage { // reserve for all receipts of the thread, because the store reads all of them for each page
		if err := h.reserve(req, int64(size)); err != nil {
			return nil, 0, err
		}
	}
	return h.core.ListReceipts(req.Context(), req.caller, req.thread, skip, limit)
}

// sendTyping handles a request that sends a typing notification. The request's body,
// which has the sender's display name, is optional (docs/contract/chat.md §4.4).
func (h *Handler) sendTyping(req *request) (any, error) {
	var in wire.SendTypingNotificationRequest
	if err := h.decodeOptional(req, &in); err != nil {
		return nil, err
	}
	return nil, h.core.Typing(req.Context(), req.caller, req.thread, in.SenderDisplayName)
}
