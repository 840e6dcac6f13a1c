package core

import (
	"fmt"

	"github.com/confab-chat/confab/internal/why"
)

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

// Error says why the service refused an operation. Code, Message and Target may be sent to a
// client. Reason, Why and Cause are for the log only.
type Error struct {
	Code    Code
	Message string
	Target  string // the name of the invalid field; may be empty
	Reason  string // why the caller may not perform the operation, such as "not a participant"; may be empty
	Why     why.Cause
	Cause   error // may be nil

	of *Error // the error that Because copied to make this one, or nil
}

// Error returns a text for logs. The text includes Cause and must not be sent to a client.
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

// Is reports whether e is a copy of target that Because has made.
func (e *Error) Is(target error) bool { return e.of != nil && error(e.of) == target }

// Because returns a copy of the error with a new Why, which why.Because makes of code and facts.
// errors.Is(copy, e) is true.
func (e *Error) Because(code why.Code, facts ...string) *Error {
	of := e.of
	if of == nil {
		of = e
	}
	other := *e
	other.Why, other.of = why.Because(code, facts...), of
	return &other
}

// Forbid returns a copy of ErrForbidden with a reason and a cause, which are shown only in the log.
func Forbid(reason string, cause why.Cause) *Error {
	e := *ErrForbidden
	e.Reason, e.Why = reason, cause
	return &e
}

// Invalid returns a BadRequest error whose Target is the invalid field.
func Invalid(target, format string, args ...any) *Error {
	e := &Error{Code: BadRequest, Target: target, Message: fmt.Sprintf(format, args...)}
	e.Why = why.Because(why.InvalidField, "field", target, "problem", e.Message)
	return e
}

// tooLarge returns a BadRequest error for a field, target, that is larger than the limit. unit is
// the unit of has and limit, such as "bytes". setting names the setting that can raise the limit,
// or is "".
func tooLarge(target string, has, limit int, unit, setting, format string, args ...any) *Error {
	return Invalid(target, format, args...).Because(why.TooLarge,
		"field", target, "has", fmt.Sprint(has), "limit", fmt.Sprint(limit), "unit", unit, "setting", setting)
}

// tooMany returns a BadRequest error for a request that would give a thread more of something than
// the limit. unit names the things counted. setting names the setting that can raise the limit, or
// is "".
func tooMany(target string, has, limit int, unit, setting, format string, args ...any) *Error {
	return Invalid(target, format, args...).Because(why.TooMany,
		"has", fmt.Sprint(has), "limit", fmt.Sprint(limit), "unit", unit, "setting", setting)
}

// profile is the text with which the explanation of a refusal names the setting that can raise the
// limit.
const profile = "another profile of --limits"

// Refusals with the codes and messages of the contract (docs/contract/chat.md §7.2).
var (
	ErrBusy           = &Error{Code: Unavailable, Message: "The server is currently unable to handle the request.", Why: why.Because(why.Busy, "problem", "the request found no moment within its time")} // Unverified: an example, never recorded.
	ErrForbidden      = &Error{Code: Forbidden, Message: "The initiator doesn't have the permission to perform the requested operation.", Why: why.Because(why.NotParticipant)}
	errNotParticipant = Forbid("not a participant", why.Because(why.NeverParticipant))
	errNotSender      = Forbid("not the sender of the message", why.Because(why.NotTheSender))
	errThreadNotFound = &Error{Code: NotFound, Message: "The specified thread id was not found.", Why: why.Because(why.ThreadDeleted)}
	// The error for a caller who was never in the thread; see Service.exists.
	ErrUnknownThread       = &Error{Code: NotFound, Message: errThreadNotFound.Message, Why: why.Because(why.UnknownThread)}
	errMessageNotFound     = &Error{Code: NotFound, Message: "The specified message id was not found.", Why: why.Because(why.UnknownMessage)}      // Unverified: the contract only guesses the status.
	errParticipantNotFound = &Error{Code: NotFound, Message: "The specified participant was not found.", Why: why.Because(why.UnknownParticipant)} // Unverified: no recording has it.
	errUserDeleted         = &Error{Code: Unauthorized, Message: "the user was deleted", Reason: "user deleted", Why: why.Because(why.UserDeleted)}
	errLeaving             = &Error{Code: Unauthorized, Message: "the user was deleted", Reason: "user deleted: it may delete only threads that it has created or is alone in", Why: why.Because(why.UserLeaving)}
	errNotOwned            = &Error{Code: IdentityNotOwned, Message: "Provided identity doesn't belong to the resource.", Why: why.Because(why.IdentityNotOwned)}
)

// InvalidIdentifier returns a BadRequest error for a malformed user id (docs/contract/chat.md
// §7.2).
func InvalidIdentifier(id string) *Error {
	return Invalid("communicationIdentifier", "Identifier format is invalid (%s).", id)
}
