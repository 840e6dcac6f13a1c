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

// dropNotes are the notes in the record of a request whose connection was dropped.
var dropNotes = map[dev.Drop]string{
	dev.Before: "dropped on purpose: not carried out",
	dev.After:  "dropped on purpose: the answer is lost",
}

// injectFault finds the fault of a request. It comes before the token is checked, as
// a fault of a machine in between would. It waits out a delay and returns a status as
// an error; its callers carry out a drop.
func (h *Handler) injectFault(req *request) error {
	if h.faults == nil {
		return nil
	}
	f, ok := h.faults.Next(req.route.operation)
	if !ok {
		return nil
	}
	req.fault = f
	if f.Delay > 0 {
		// The body first: its deadline runs, and net/http notices that a client hung
		// up only when the body is read.
		if err := h.readBody(req); err != nil {
			return err
		}
		h.faults.Wait(req.Context(), f.Delay)
	}
	if f.Status == 0 {
		return nil
	}
	req.retryAfter = f.RetryAfter
	return &core.Error{Code: faultCode(req.api, f.Status), Message: "The development server was told to answer this."}
}

// faultCode returns the code that the server's own refusals have with the status, or
// one made of the status's text.
func faultCode(a *api, status int) core.Code {
	switch {
	case status == http.StatusUnauthorized && a == identity:
		return codeDenied
	case status == http.StatusBadRequest:
		return a.invalidBody
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
