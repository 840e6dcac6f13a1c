package core

import "fmt"

// Code names the reason for a refusal. Package rest maps each Code to an HTTP status.
type Code string

// The error codes of the contract (docs/contract/chat.md §7.2, docs/contract/identity.md §3).
const (
	BadRequest       Code = "BadRequest"
	Validation       Code = "ValidationError"
	Unauthorized     Code = "Unauthorized"
	IdentityNotOwned Code = "IdentityNotOwned"
	Forbidden        Code = "Forbidden"
	NotFound         Code = "NotFound"
	Unavailable      Code = "ServiceUnavailable"
)

// Error is the refusal of an operation. Code, Message and Target may be sent to a client.
// Reason and Cause are for the log only.
type Error struct {
	Code    Code
	Message string
	Target  string // the name of the invalid field; may be empty
	Reason  string // why the caller may not do this, such as "not a participant"; may be empty
	Cause   error  // may be nil
}

// Error returns a text for logs. It includes the cause and must not be sent to a client.
func (e *Error) Error() string {
	s := string(e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Target != "" {
		s += " (" + e.Target + ")"
	}
	if e.Reason != "" {
		s += " [" + e.Reason + "]"
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns the error that caused the refusal, or nil.
func (e *Error) Unwrap() error { return e.Cause }

// Forbid returns a copy of ErrForbidden with a reason, which is shown only in the log.
func Forbid(reason string) *Error {
	e := *ErrForbidden
	e.Reason = reason
	return &e
}

// Invalid returns a BadRequest error whose Target is the invalid field.
func Invalid(target, format string, args ...any) *Error {
	return &Error{Code: BadRequest, Target: target, Message: fmt.Sprintf(format, args...)}
}

// Refusals with the codes and messages of the contract (docs/contract/chat.md §7.2).
var (
	ErrBusy                = &Error{Code: Unavailable, Message: "The server is currently unable to handle the request."} // Unverified: an example, never recorded.
	ErrForbidden           = &Error{Code: Forbidden, Message: "The initiator doesn't have the permission to perform the requested operation."}
	errNotParticipant      = Forbid("not a participant")
	errNotSender           = Forbid("not the sender of the message")
	errThreadNotFound      = &Error{Code: NotFound, Message: "The specified thread id was not found."}
	ErrUnknownThread       = &Error{Code: NotFound, Message: errThreadNotFound.Message}                  // the caller was never in it; see Service.exists
	errMessageNotFound     = &Error{Code: NotFound, Message: "The specified message id was not found."}  // Unverified: only its status is guessed in the contract.
	errParticipantNotFound = &Error{Code: NotFound, Message: "The specified participant was not found."} // Unverified: no recording has it.
	errUserDeleted         = &Error{Code: Unauthorized, Message: "the user was deleted", Reason: "user deleted"}
	errLeaving             = &Error{Code: Unauthorized, Message: "the user was deleted", Reason: "user deleted: it may delete only threads that it has created or is alone in"}
	errNotOwned            = &Error{Code: IdentityNotOwned, Message: "Provided identity doesn't belong to the resource."}
)

// InvalidIdentifier returns a BadRequest error for a malformed user id (docs/contract/chat.md
// §7.2).
func InvalidIdentifier(id string) *Error {
	return &Error{Code: BadRequest, Target: "communicationIdentifier", Message: fmt.Sprintf("Identifier format is invalid (%s).", id)}
}
