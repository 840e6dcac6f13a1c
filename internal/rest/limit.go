package rest

import (
	"fmt"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/limits"
)

// Limiter applies rate limits. limits.Limiter implements it.
type Limiter interface {
	// Limits reports whether the operation has a limit.
	Limits(operation string) bool
	// Allow counts a request, or returns false and the limit that refuses it.
	Allow(operation, user, thread string) (limits.Refusal, bool)
}

// checkRate fails with a 429 if a chat request exceeds a rate limit (docs/contract/chat.md §9).
// Only participants use up the limit of a thread. A caller that is not one is counted
// under a separate key, and the operation refuses it later. Unverified: the message,
// which is that of an example in the documentation, and the unit of Retry-After.
func (h *Handler) checkRate(req *request) error {
	if h.limiter == nil || req.api != chat || !h.limiter.Limits(req.route.operation) {
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
