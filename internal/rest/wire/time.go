package wire

import (
	"errors"
	"reflect"
	"time"
)

// Time is a date in the bodies of chat routes, in epoch milliseconds. Encode writes it in
// UTC and truncates it to whole seconds (docs/contract/chat.md §2).
type Time int64

// maxTime is the first moment after the latest valid Time: its year has five digits.
var maxTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)

var (
	errNotDate   = errors.New("must be a date such as 2021-09-07T21:44:01Z")
	errDateRange = errors.New("must be a date from 1970 to 9999")
)

// ParseTime parses an RFC 3339 date with any fraction and offset. It fails unless the
// date is from 1970 to 9999; see TimeOf for the year 1.
func ParseTime(s string) (Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, errNotDate
	}
	return TimeOf(t)
}

// TimeOf converts t to epoch milliseconds. It fails unless t is from 1970 to 9999 or the
// zero time.Time, for which it returns 0.
//
// Unverified: the zero time.Time is .NET's DateTime.MinValue, which many programs with
// the official SDK send to request the whole history.
func TimeOf(t time.Time) (Time, error) {
	if t.IsZero() {
		return 0, nil
	}
	if t.Unix() < 0 || !t.Before(maxTime) {
		return 0, errDateRange
	}
	return Time(t.UnixMilli()), nil
}

func encodeTime(dst []byte, v reflect.Value) []byte {
	return time.UnixMilli(v.Int()).UTC().AppendFormat(dst, `"2006-01-02T15:04:05Z"`)
}

func decodeTime(s *scanner, v reflect.Value) error {
	if s.peek() != '"' {
		return s.mismatch("a date such as 2021-09-07T21:44:01Z")
	}
	text, err := s.text()
	if err != nil {
		return err
	}
	t, err := ParseTime(string(text))
	if err != nil {
		return errorf("%s", err.Error())
	}
	v.SetInt(int64(t))
	return nil
}
