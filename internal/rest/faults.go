package rest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/confab-chat/confab/internal/core"
)

// Fault is a rule by which requests go wrong on purpose. It has a status, a drop or a
// delay; a delay may come with either of the two others, and before them. Package dev
// decides which rules are valid; chattest.Fault is the same struct for tests in Go.
type Fault struct {
	// Operation names the operation that is hit, such as "send message". Empty is
	// every operation.
	Operation string
	// Status, from 400 to 599, is the status of a refusal in the operation's own
	// envelope. The operation is not carried out.
	Status int
	// RetryAfter is sent with a status, rounded up to whole seconds.
	RetryAfter time.Duration
	// Delay is how long the request waits before anything else is done.
	Delay time.Duration
	// Drop closes the connection without a response, or over HTTP/2 the stream.
	Drop Drop
	// Times is how many requests are hit: 0 is one, Always is all to come.
	Times int
}

// Always as the Times of a Fault: until the faults are cleared.
const Always = -1

// Drop says when a connection is closed.
type Drop string

// The moments of a drop.
const (
	DropBefore Drop = "before" // the operation is not carried out
	DropAfter  Drop = "after"  // the operation is carried out and its response is lost
)

// Faults says which requests go wrong on purpose. Package dev implements it.
type Faults interface {
	// Next returns the fault of a request of an operation; ok is false for none.
	Next(operation string) (f Fault, ok bool)
	// Wait waits out a delay, or until the context or the server has ended.
	Wait(ctx context.Context, d time.Duration)
}

// dropNotes are the notes in the record of a request whose connection was dropped.
var dropNotes = map[Drop]string{
	DropBefore: "dropped on purpose: not carried out",
	DropAfter:  "dropped on purpose: the answer is lost",
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
	return core.Code(StatusName(status))
}

// StatusName returns the text of a status as a code, such as "GatewayTimeout".
func StatusName(status int) string {
	text := http.StatusText(status)
	if text == "" {
		return fmt.Sprintf("Status%d", status)
	}
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) }), "")
}
