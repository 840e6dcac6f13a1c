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

// limit refuses what comes too often (chat.md §9). The budget of a thread is
// its participants': whoever is not in it has one of its own, and hears 403
// from the operation. Unverified: the words, which are an example's, and the
// unit of Retry-After.
func (h *Handler) limit(q *request) error {
	if h.limiter == nil || q.family != chat {
		return nil
	}
	thread := q.thread
	if thread != "" && !h.core.Participates(q.Context(), q.caller, thread) {
		thread = "not of " + q.caller
	}
	refusal, ok := h.limiter.Allow(q.row.operation, q.caller, thread)
	if ok {
		return nil
	}
	q.retryAfter = refusal.RetryAfter
	return &core.Error{Code: codeTooMany, Message: fmt.Sprintf("Rate limit exceeded (%s).", refusal.Limit)}
}
