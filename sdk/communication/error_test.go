package communication

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestErrorIsOneLine(t *testing.T) {
	for _, test := range []struct {
		err  Error
		want string
	}{
		{Error{}, "failed"},
		{Error{Op: "send message", Err: context.Canceled}, "send message: context canceled"},
		{Error{Op: "send message", Err: errors.New("two\nlines"), UnknownFate: true, RequestID: "ours"}, "send message: two lines (the request may have been carried out)"},
		{Error{Op: "send message", StatusCode: 403, Code: "Forbidden", Message: "No."}, "send message: 403 Forbidden: No."},
		{Error{StatusCode: 429, RetryAfter: time.Second, RequestID: "a.0"}, "429 Too Many Requests (retry after 1s; request a.0)"},
		{Error{StatusCode: 599, Target: "scopes"}, "599 unknown status (target scopes)"},
		{Error{StatusCode: 400, Code: "A", Message: strings.Repeat("é", 400)}, "400 A: " + strings.Repeat("é", 250) + "..."},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

func TestErrorIs(t *testing.T) {
	for status, want := range map[int]error{401: ErrUnauthorized, 403: ErrForbidden, 404: ErrNotFound, 429: ErrThrottled} {
		err := fmt.Errorf("wrapped: %w", &Error{StatusCode: status, Err: context.Canceled})
		for _, sentinel := range []error{ErrUnauthorized, ErrForbidden, ErrNotFound, ErrThrottled, ErrUnknownFate} {
			if got := errors.Is(err, sentinel); got != (sentinel == want) {
				t.Errorf("%d: errors.Is(err, %v) is %t", status, sentinel, got)
			}
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d: the cause is lost", status)
		}
	}
}
