package rest

import (
	"fmt"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/limits"
)

// Limiter counts requests. Package limits has the one implementation.
type Limiter interface {
	Allow(operation, user, thread string) (limits.Refusal, bool)
}

// checkRate refuses a request that comes too often (docs/contract/chat.md §9). Only participants
// use up the budget of a thread: other callers have a budget of their own, and the
// operation answers them with 403. Unverified: the words, which are an example's,
// and the unit of Retry-After.
func (h *Handler) checkRate(req *request) error {
	if h.limiter == nil || req.api != chat {
		return nil
	}
	thread := req.thread
	if thread != "" && !h.core.Participates(req.Context(), req.caller, thread) {
		thread = "not of " + req.caller
	}
	refusal, ok := h.limiter.Allow(req.route.operation, req.caller, thread)
	if ok {
		return nil
	}
	req.retryAfter = refusal.RetryAfter
	return &core.Error{Code: codeTooMany, Message: fmt.Sprintf("Rate limit exceeded (%s).", refusal.Limit)}
}
