package communication

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// The errors that programs test for with errors.Is. An [Error] matches ErrUnauthorized,
// ErrForbidden, ErrNotFound and ErrThrottled by its status code.
var (
	// ErrUnauthorized means that the server did not accept the token or key (401). A token may have
	// expired or been revoked.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden means that the caller is not allowed to carry out the operation (403), for
	// example because the caller is not a participant of the thread.
	ErrForbidden = errors.New("forbidden")
	// ErrNotFound means that the resource does not exist (404).
	ErrNotFound = errors.New("not found")
	// ErrThrottled means that the caller sent too many requests (429). Error.RetryAfter is the time
	// to wait, if the server returned one.
	ErrThrottled = errors.New("throttled")
	// ErrUnknownFate means that a request that creates something may or may not have been carried
	// out. Its response was lost, unusable, or has a status that does not tell (408 and 5xx).
	// Repeating the request may create another user, thread or message, unless the request has the
	// same idempotency token.
	ErrUnknownFate = errors.New("the request may have been carried out")
)

// Error is the error of every method of a client. A method fails if the server refuses the request,
// if no usable response arrives, or if the arguments are invalid. Get it with errors.As, or test it
// with errors.Is against the sentinel errors of this package, such as ErrNotFound.
//
// If the credential could not get a token from its issuer, errors.Is finds no sentinel error in the
// Error; errors.As(e.Err, &issuer) finds the *Error of the issuer, if there is one.
//
// If there was a response, the Error wraps an *azcore.ResponseError with that response. Otherwise
// it wraps the cause, so that errors.Is(err, context.Canceled) works.
type Error struct {
	// Op is the name of the operation, such as "send message". The faults that a Confab server
	// injects in tests use the same names.
	Op string
	// StatusCode is the HTTP status of the response, or 0 if there was no response.
	StatusCode int
	// Code and Message are the error code and the text of the server; either may be empty. Target
	// is the part of the request that Code refers to, and usually empty.
	Code, Message, Target string
	// RequestID identifies the request in the server's log. If the server returned no id, it is the
	// id that the client sent.
	RequestID string
	// RetryAfter is the time that the server asks the client to wait, or 0 if the server asks for
	// no wait.
	RetryAfter time.Duration
	// UnknownFate is true if the failed request may have been carried out. errors.Is(err,
	// ErrUnknownFate) returns this value.
	UnknownFate bool
	// Err is the cause of the error. It is never nil in an error that a client returns.
	Err error
}

// maxErrorText is the maximum length in bytes of each text from the server in an error message.
const maxErrorText = 500

// Error returns one line: the operation, the status, the server's error, and in parentheses details
// such as the request id.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	switch {
	case e.StatusCode != 0:
		fmt.Fprintf(&b, "%d %s", e.StatusCode, oneLine(e.name()))
		if e.Message != "" {
			b.WriteString(": " + oneLine(e.Message))
		}
	case e.Err != nil:
		b.WriteString(oneLine(e.Err.Error()))
	default:
		b.WriteString("failed")
	}
	var more []string
	if e.UnknownFate {
		more = append(more, ErrUnknownFate.Error())
	}
	if e.Target != "" {
		more = append(more, "target "+oneLine(e.Target))
	}
	if e.RetryAfter > 0 {
		more = append(more, "retry after "+e.RetryAfter.String())
	}
	if e.StatusCode != 0 && e.RequestID != "" {
		more = append(more, "request "+oneLine(e.RequestID))
	}
	if len(more) > 0 {
		b.WriteString(" (" + strings.Join(more, "; ") + ")")
	}
	return b.String()
}

func (e *Error) name() string {
	if e.Code != "" {
		return e.Code
	}
	if text := http.StatusText(e.StatusCode); text != "" {
		return text
	}
	return "unknown status"
}

// Unwrap returns the cause of the error, e.Err.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether e matches target, one of the sentinel errors of this package, such as
// ErrNotFound.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrUnauthorized:
		return e.StatusCode == http.StatusUnauthorized
	case ErrForbidden:
		return e.StatusCode == http.StatusForbidden
	case ErrNotFound:
		return e.StatusCode == http.StatusNotFound
	case ErrThrottled:
		return e.StatusCode == http.StatusTooManyRequests
	case ErrUnknownFate:
		return e.UnknownFate
	}
	return false
}

// oneLine truncates s to maxErrorText bytes and replaces white space and unprintable characters, so
// that s fits into one line of a log or a terminal.
func oneLine(s string) string {
	cut := len(s) > maxErrorText
	if cut {
		s = strings.ToValidUTF8(s[:maxErrorText], "")
	}
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if cut {
		s += "..."
	}
	return s
}
