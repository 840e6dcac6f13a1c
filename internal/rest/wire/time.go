package wire

import (
	"errors"
	"reflect"
	"strings"
	"time"
)

// Time is a date in the bodies of chat routes, in epoch milliseconds. Encode writes it in
// UTC and truncates it to whole seconds (docs/contract/chat.md §2).
type Time int64

// maxTime is the first moment after the latest valid Time, because its year has five digits.
var maxTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)

var (
	errNotDate   = errors.New("must be a date such as 2021-09-07T21:44:01Z")
	errDateRange = errors.New("must be a date before the year 10000")
)

// ParseTime parses an RFC 3339 date with any fraction and offset. Like RFC 3339, it accepts t
// and z in either case and the second 60 of a leap second. It fails for a date after 9999, and
// returns 0 for a date before 1970, as TimeOf does.
func ParseTime(s string) (Time, error) {
	s = strings.ToUpper(s) // accept lower case too: the only letters in an RFC 3339 date are T and Z
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		var leap bool
		if t, leap = parseLeapSecond(s); !leap {
			return 0, errNotDate
		}
	}
	return TimeOf(t)
}

// parseLeapSecond parses a date whose second is 60, such as 2016-12-31T23:59:60Z, as the
// second after it, because the clocks of computers have no leap seconds. It returns false
// unless the minute is the last one of a day in UTC, in which leap seconds are inserted.
func parseLeapSecond(s string) (t time.Time, ok bool) {
	const minute = len("2016-12-31T23:59")
	if len(s) < minute || !strings.HasPrefix(s[minute:], ":60") {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, s[:minute]+":59"+s[minute+len(":60"):])
	u := t.UTC()
	return t.Add(time.Second), err == nil && u.Hour() == 23 && u.Minute() == 59
}

// TimeOf converts t to epoch milliseconds. It returns 0 for a date before 1970: programs ask for
// the whole history with dates such as 1900-01-01 and .NET's DateTime.MinValue, which is in the
// year 1, and the server has no data older than 1970 (docs/contract/chat.md §2). TimeOf fails
// for a date after 9999.
func TimeOf(t time.Time) (Time, error) {
	if !t.Before(maxTime) {
		return 0, errDateRange
	}
	return Time(max(0, t.UnixMilli())), nil
}

func encodeTime(dst []byte, v reflect.Value) []byte {
	return append(time.UnixMilli(v.Int()).UTC().AppendFormat(append(dst, '"'), time.RFC3339), '"') // a layout that package time writes fast
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
