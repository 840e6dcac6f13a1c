package rest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/why"
)

// Fault is a rule that makes requests to a development server fail or wait, for testing
// clients. A rule has a Status, a Drop or a Delay. A Delay may be combined with one of
// the others and comes first. dev.Faults.Add checks rules. chattest.Fault is the same
// type.
type Fault struct {
	// Operation is the operation that fails, such as "send message". Empty means
	// every operation.
	Operation string
	// Status is the HTTP status of the response, from 400 to 599. The operation is
	// not carried out, and the body has the operation's usual error format.
	Status int
	// RetryAfter is the Retry-After of the response, rounded up to whole seconds. It
	// requires a Status.
	RetryAfter time.Duration
	// Delay is how long the server waits before it authenticates the request.
	Delay time.Duration
	// Drop closes the connection (HTTP/2: the stream) without a response.
	Drop Drop
	// Times is the number of requests to which the rule applies. 0 means one; Always
	// means all.
	Times int
}

// Always as the Times of a Fault makes the rule apply to all requests until it is
// removed.
const Always = -1

// Drop says whether a Fault closes the connection before or after the operation is
// carried out.
type Drop string

// The values of Drop: do not close the connection, or close it before or after the
// operation.
const (
	DropBefore Drop = "before" // the operation is not carried out
	DropAfter  Drop = "after"  // carry out the operation, then close the connection without a response
)

// Faults decides which requests get a fault. dev.Faults implements it.
type Faults interface {
	// Next returns the fault for the next request of an operation. ok is false if
	// there is none.
	Next(operation string) (f Fault, ok bool)
	// Wait returns after d, or as soon as ctx is done or the server closes.
	Wait(ctx context.Context, d time.Duration)
}

// dropNotes maps the Drop of a fault to the note in the access log about a request
// whose connection the fault closed.
var dropNotes = map[Drop]string{
	DropBefore: "dropped on purpose: not carried out",
	DropAfter:  "dropped on purpose: the answer is lost",
}

// injectFault sets req.fault to the fault rule for the request, if any. It waits for the rule's
// Delay, and returns an error if the rule has a Status. The caller closes the connection if the
// rule has a Drop. injectFault runs before authentication, so that a fault looks like one of a
// proxy in front of the server.
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
		// Read the body before the delay: its deadline may be shorter than the delay,
		// and net/http detects that a client hung up only after the body was read.
		if err := h.readBody(req); err != nil {
			return err
		}
		h.faults.Wait(req.Context(), f.Delay)
	}
	if f.Status == 0 {
		return nil
	}
	req.retryAfter = f.RetryAfter
	return &core.Error{Code: faultCode(req.api, f.Status), Message: "The development server was told to answer this.",
		Why: why.Because(why.Fault, "status", strconv.Itoa(f.Status))}
}

// faultCode returns the error code for a fault with the HTTP status: the code that this
// server's own errors with the status have, or StatusName(status) if none has it.
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

// StatusName returns the text of an HTTP status without blanks, such as
// "GatewayTimeout" for 504, or "Status499" for a status without text.
func StatusName(status int) string {
	text := http.StatusText(status)
	if text == "" {
		return fmt.Sprintf("Status%d", status)
	}
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) }), "")
}
