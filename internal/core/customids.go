package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confab-chat/confab/internal/why"
)

// maxCustomID is the greatest length of a custom id, in characters
// (docs/contract/identity.md §3.1).
const maxCustomID = 256

// customIDPause is how long UserByCustomID waits before it looks again for a user that another call
// is creating.
const customIDPause = 5 * time.Millisecond

// ErrCustomIDTaken is the reason for which Assign refuses a change that gives a user a custom id
// that another user already has.
var ErrCustomIDTaken = errors.New("another user has the custom id")

// CheckCustomID returns a ValidationError for a custom id that is empty, too long, not UTF-8 or
// contains NUL. Unverified: the code and the text.
func CheckCustomID(id string) error {
	const field = "customId"
	if id == "" {
		return &Error{Code: Validation, Target: field, Message: "The customId field must not be empty.",
			Why: why.Because(why.InvalidField, "field", field, "problem", "The customId field must not be empty.")}
	}
	var invalid *Error
	if errors.As(checkText(field, id, maxCustomID), &invalid) {
		return &Error{Code: Validation, Target: field, Message: invalid.Message, Why: invalid.Why}
	}
	return nil
}

// UserByCustomID returns the live user who has a custom id, and creates the user if nobody has the
// id. If several calls ask for the same custom id, on any servers, one of them creates the user and
// all return that user. A deleted user has lost its custom id, so the next call creates another
// user. Unverified: that the real service creates another one.
func (s *Service) UserByCustomID(ctx context.Context, customID string) (User, error) {
	if err := CheckCustomID(customID); err != nil {
		return User{}, err
	}
	deadline := time.Now().Add(s.patience)
	for {
		u, err := s.store.UserByCustomID(ctx, customID)
		if err != nil {
			return User{}, fmt.Errorf("look up a custom id: %w", err)
		}
		switch u.State {
		case UserLive:
			return u, nil
		case UserUnknown:
		// A deleted user still has the custom id: a server of a version without custom ids has
		// deleted the user.
		default:
			return User{}, fmt.Errorf("user %s is deleted and still has its custom id: an older server of this database has deleted it; clear users.custom_id of that row", u.ID)
		}
		u, err = s.createUser(ctx, customID)
		// If another call has created the user first, that user is durable by the time that call
		// returns, and a read then finds it.
		if !errors.Is(err, ErrCustomIDTaken) {
			return u, err
		}
		if time.Now().After(deadline) {
			return User{}, ErrBusy
		}
		select {
		case <-ctx.Done():
			return User{}, ErrBusy
		case <-time.After(customIDPause):
		}
	}
}
