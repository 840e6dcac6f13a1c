package rest

import (
	"errors"
	"fmt"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/why"
)

// Limiter applies rate limits. limits.Limiter implements it.
type Limiter interface {
	// Limits reports whether the operation has a limit.
	Limits(operation string) bool
	// Allow counts a request and returns true. If the request exceeds a limit, Allow
	// returns that limit and false, and does not count the request.
	Allow(operation, user, thread string) (limits.Refusal, bool)
}

// checkRate fails with a 429 if a chat request exceeds a rate limit
// (docs/contract/chat.md §9). Only participants use up the limit of a thread: a request
// of any other user is counted under a separate key, and package core refuses it later.
// Unverified: the unit of Retry-After and the message, which is from an example in
// Microsoft's documentation.
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
	return req.tooMany(why.RateLimit, refusal)
}

// tooMany returns the 429 for a request that exceeds a limit, and sets its Retry-After.
func (req *request) tooMany(code why.Code, refusal limits.Refusal) error {
	req.retryAfter = refusal.RetryAfter
	return &core.Error{Code: codeTooMany, Message: fmt.Sprintf("Rate limit exceeded (%s).", refusal.Limit),
		Why: why.Because(code, "limit", refusal.Limit, "resets", refusal.Wait())}
}

// count adds the n bytes of a chat request's body to the bytes that the caller has written in
// this hour. It fails with a 429 if the caller has written too many.
func (h *Handler) count(req *request, n int64) error {
	if h.written == nil || req.api != chat || n == 0 {
		return nil
	}
	refusal, ok := h.written.Allow(req.caller, n)
	if !ok {
		return req.tooMany(why.WrittenLimit, refusal)
	}
	req.counted = n
	return nil
}

// uncount takes back the bytes that count has added for a request that failed with err, unless
// the operation may have been carried out. It does not take them back if the request was refused
// for its content or because of who sent it: reading and cleaning the body cost work, and the
// next such request would be refused too.
func (h *Handler) uncount(req *request, err error) {
	if req.counted == 0 || errors.Is(err, core.ErrUnknown) {
		return
	}
	switch errorOf(req.api, err).Code {
	case core.BadRequest, core.Validation, core.Forbidden:
	default:
		h.refund(req)
	}
}

// refund takes back the bytes that count has added for the request, if any.
func (h *Handler) refund(req *request) {
	if req.counted != 0 {
		h.written.Refund(req.caller, req.counted)
		req.counted = 0
	}
}
