package wire

import (
	"testing"
	"time"
)

// TestParseTime checks that ParseTime reads every format of dates that clients send
// (docs/contract/chat.md §2).
func TestParseTime(t *testing.T) {
	const start = 1767225600000 // 2026-01-01T00:00:00Z
	for text, want := range map[string]Time{
		"2026-01-01T00:00:00Z":           start,
		"2026-01-01t00:00:00z":           start,
		"2026-01-01T00:00:00z":           start,
		"2026-01-01t02:00:00.250+02:00":  start + 250,
		"2025-12-31T23:59:60Z":           start, // ParseTime must read a leap second as the second after it
		"2025-12-31t18:59:60.5-05:00":    start + 500,
		"2023-05-27T01:38:35.956215Z":    1685151515956,
		"1970-01-01T00:00:00.001Z":       1,
		"1970-01-01T00:00:00Z":           0,
		"1970-01-01T00:00:00+01:00":      0,
		"1969-12-31T23:59:59.999Z":       0,
		"1900-01-01T00:00:00Z":           0,
		"0001-01-01T00:00:00.0000000Z":   0,
		"0001-01-01T00:00:00.001Z":       0,
		"0001-01-01T00:00:00+14:00":      0,
		"0000-01-01T00:00:00Z":           0,
		"9999-12-31T23:59:59.999999999Z": 253402300799999,
	} {
		if got, err := ParseTime(text); got != want || err != nil {
			t.Errorf("ParseTime(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "t", "z", "noon", "2026-01-01", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-02-30t00:00:00z", "-001-01-01T00:00:00Z",
		"2025-12-31T12:00:60Z", "2025-12-31T23:58:60Z", "2025-12-31T23:59:60+01:00", "2025-12-31T23:59:61Z", "2025-12-31T23:59:60", "2025-12-31T23:59:600Z",
		"10000-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01",
	} {
		if got, err := ParseTime(text); err == nil {
			t.Errorf("ParseTime(%q) = %d, want an error", text, got)
		}
	}
}

// FuzzParseTime checks that ParseTime accepts every date before the year 10000 that time.Parse
// accepts, with the same result, or 0 for a date before 1970.
func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2026-01-01T00:00:00Z", "2016-12-31t23:59:60z", "0001-01-01T00:00:00.5+23:59", "9999-12-31T23:59:59-01:00", "1969-12-31T23:59:60Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseTime(text)
		if err == nil && (got < 0 || !time.UnixMilli(int64(got)).Before(maxTime)) {
			t.Errorf("ParseTime(%q) = %d", text, got)
		}
		want, wrong := time.Parse(time.RFC3339, text)
		if wrong == nil && want.Before(maxTime) && (err != nil || int64(got) != max(0, want.UnixMilli())) {
			t.Errorf("ParseTime(%q) = %d, %v; want %v", text, got, err, want)
		}
	})
}
