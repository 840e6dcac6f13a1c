package core

import "fmt"

// Code names a kind of refusal. Package rest maps each to a status.
type Code string

// The codes of the contract (docs/contract/chat.md §7.2, docs/contract/identity.md §3).
const (
	BadRequest       Code = "BadRequest"
	Validation       Code = "ValidationError"
	Unauthorized     Code = "Unauthorized"
	IdentityNotOwned Code = "IdentityNotOwned"
	Forbidden        Code = "Forbidden"
	NotFound         Code = "NotFound"
	Unavailable      Code = "ServiceUnavailable"
)

// Error is a refusal. Message and Target are safe to show to anybody; the
// cause is for the log alone.
type Error struct {
	Code    Code
	Message string
	Target  string // the field that is wrong, if one is
	Cause   error
}

// Error includes the cause and so belongs in a log, not in an answer.
func (e *Error) Error() string {
	s := string(e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Target != "" {
		s += " (" + e.Target + ")"
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Invalid is a BadRequest that names the field it is about.
func Invalid(target, format string, args ...any) *Error {
	return &Error{Code: BadRequest, Target: target, Message: fmt.Sprintf(format, args...)}
}

// The refusals in the contract's words (docs/contract/chat.md §7.2).
var (
	ErrBusy            = &Error{Code: Unavailable, Message: "The server is currently unable to handle the request."} // Unverified: an example, never recorded.
	ErrForbidden       = &Error{Code: Forbidden, Message: "The initiator doesn't have the permission to perform the requested operation."}
	errThreadNotFound  = &Error{Code: NotFound, Message: "The specified thread id was not found."}
	errMessageNotFound = &Error{Code: NotFound, Message: "The specified message id was not found."} // Unverified: only its status is guessed in the contract.
	errNotOwned        = &Error{Code: IdentityNotOwned, Message: "Provided identity doesn't belong to the resource."}
)

// InvalidIdentifier is the refusal of a malformed user id (docs/contract/chat.md §7.2).
func InvalidIdentifier(id string) *Error {
	return &Error{Code: BadRequest, Target: "communicationIdentifier", Message: fmt.Sprintf("Identifier format is invalid (%s).", id)}
}
