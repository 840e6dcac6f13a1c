package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/dev"
)

// Faults says which requests go wrong on purpose. Package dev has the one
// implementation.
type Faults interface {
	// Next is the fault of a request of an operation; ok is false for none.
	Next(operation string) (f dev.Fault, ok bool)
	// Wait waits out a delay, or until the context or the server has ended.
	Wait(ctx context.Context, d time.Duration)
}

// What the record says of a request whose connection was dropped.
var dropped = map[dev.Drop]string{
	dev.Before: "dropped on purpose: not carried out",
	dev.After:  "dropped on purpose: the answer is lost",
}

// goWrong finds the fault of a request. It comes before the token is looked at,
// as that of a machine in between would. A delay is over when it returns, and a
// status is its error; a drop is for those that called it.
func (h *Handler) goWrong(q *request) error {
	if h.faults == nil {
		return nil
	}
	f, ok := h.faults.Next(q.row.operation)
	if !ok {
		return nil
	}
	q.fault = f
	if f.Delay > 0 {
		// The body first: its time runs, and net/http notices that a client has
		// gone only when there is nothing left to read from it.
		if err := h.readBody(q); err != nil {
			return err
		}
		h.faults.Wait(q.Context(), f.Delay)
	}
	if f.Status == 0 {
		return nil
	}
	q.retryAfter = f.RetryAfter
	return &core.Error{Code: faultCode(q.family, f.Status), Message: "The development server was told to answer this."}
}

// faultCode is the code that an answer of ours with the status has, if there is
// one.
func faultCode(f *family, status int) core.Code {
	switch {
	case status == http.StatusUnauthorized && f == identity:
		return codeDenied
	case status == http.StatusBadRequest:
		return f.invalid
	}
	for _, code := range []core.Code{
		core.Unauthorized, core.Forbidden, core.NotFound, codeMethod, codeTimeout, codeTooLarge, codeMediaType, codeTooMany, codeInternal, core.Unavailable,
	} {
		if statuses[code] == status {
			return code
		}
	}
	return core.Code(dev.Code(status))
}
