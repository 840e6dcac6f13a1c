package communication

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// What an [Error] can be, for errors.Is. An Error is the first four by its status.
var (
	// ErrUnauthorized: the server knows no caller behind the token or key (401). A
	// token may have expired or been revoked.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden: the caller may not do this (403), for example because it is not
	// in the thread.
	ErrForbidden = errors.New("forbidden")
	// ErrNotFound: there is no such thing (404).
	ErrNotFound = errors.New("not found")
	// ErrThrottled: too many requests (429). Error.RetryAfter says how long to wait,
	// when the server said it.
	ErrThrottled = errors.New("throttled")
	// ErrUnknownFate: a request that makes something new may have been carried out or
	// not. The answer got lost, or was one that does not tell (408 and 5xx). Sending it
	// again may do the thing twice, unless it has the same idempotency token.
	ErrUnknownFate = errors.New("the request may have been carried out")
)

// Error is what every method of a client returns when it fails: the server refused,
// or there was no answer that could be used. Get it with errors.As, or ask errors.Is
// for one of the sentinels of this package.
//
// An error of the one who issues tokens is not the operation's: errors.Is finds none of
// the sentinels in it, errors.As(e.Err, &issuer) the *Error that it may be.
//
// It wraps an *azcore.ResponseError, with the whole answer, when there was an answer,
// and otherwise the reason why there was none: errors.Is(err, context.Canceled)
// works.
type Error struct {
	// Op is the operation, in words: "send message". Faults of a Confab server for
	// tests have the same names.
	Op string
	// StatusCode is the HTTP status of the answer, 0 when there was none.
	StatusCode int
	// Code and Message are the server's, for programs and for people; either may be
	// empty. Target is the part of the request that Code is about, and mostly empty.
	Code, Message, Target string
	// RequestID is the name of the request in the server's log, or, when the server
	// gave none, the one that the client sent.
	RequestID string
	// RetryAfter is how long the server asks to wait, 0 when it does not say.
	RetryAfter time.Duration
	// UnknownFate is what errors.Is reports for ErrUnknownFate.
	UnknownFate bool
	// Err is the cause, never nil in an Error of a client.
	Err error
}

// maxErrorText bounds, in bytes, what the server can put into a line of a log.
const maxErrorText = 500

// Error returns one line: what was attempted, the status, what the server said, and
// in brackets what helps to find out more.
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

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether e is what target, one of the sentinels of this package, says.
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

// oneLine makes text of a server fit for a line of a log or a terminal.
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
