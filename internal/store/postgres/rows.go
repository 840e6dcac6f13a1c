package postgres

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/confab-chat/confab/internal/core"
)

// Lists and maps inside a row are one bytea each: the number of the format,
// which is 1 today, a count, then the entries; unsigned numbers as uvarints,
// signed ones as zig-zag varints, texts as a length and bytes, a map sorted by
// key. The embedded engine writes the same bytes for them. Neither jsonb nor
// arrays of text can hold every string that a map may (no zero byte, nothing
// but UTF-8), and an empty list is NULL, which costs a bit.
const format = 1

var (
	errFormat = errors.New("value has a format that this version does not know")
	errShort  = errors.New("value is damaged: it ends too early or holds too much")
)

func str(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// list encodes a count and the entries.
func list[T any](rows []T, entry func(b []byte, row T) []byte) []byte {
	if len(rows) == 0 {
		return nil
	}
	b := binary.AppendUvarint([]byte{format}, uint64(len(rows)))
	for _, row := range rows {
		b = entry(b, row)
	}
	return b
}

func encodeMap(m map[string]string) []byte {
	return list(slices.Sorted(maps.Keys(m)), func(b []byte, k string) []byte { return str(str(b, k), m[k]) })
}

// encodeIntervals never returns NULL, which the column refuses.
func encodeIntervals(is []core.Interval) []byte {
	if len(is) == 0 {
		return []byte{format, 0}
	}
	return list(is, func(b []byte, i core.Interval) []byte {
		return binary.AppendUvarint(binary.AppendUvarint(b, i.From), i.To)
	})
}

func encodeParticipants(ps []core.MessageParticipant) []byte {
	return list(ps, func(b []byte, p core.MessageParticipant) []byte {
		return binary.AppendVarint(str(str(b, p.User), p.DisplayName), p.ShareHistory)
	})
}

func encodeInvalid(ps []core.InvalidParticipant) []byte {
	return list(ps, func(b []byte, p core.InvalidParticipant) []byte {
		return str(str(str(b, p.User), p.Code), p.Message)
	})
}

// reader takes a value apart. The first error sticks, and every later read
// returns zero.
type reader struct {
	b   []byte
	err error
}

// entries reads a value to its end.
func entries[T any](value []byte, entry func(r *reader) T) ([]T, error) {
	if value == nil {
		return nil, nil
	}
	if len(value) == 0 || value[0] != format {
		return nil, errFormat
	}
	r := &reader{b: value[1:]}
	n := r.unsigned()
	if n > uint64(len(r.b)) { // an entry takes a byte at least
		return nil, errShort
	}
	rows := make([]T, n)
	for i := range rows {
		rows[i] = entry(r)
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = errShort
	}
	return rows, r.err
}

func decodeMap(value []byte) (map[string]string, error) {
	pairs, err := entries(value, func(r *reader) [2]string { return [2]string{r.text(), r.text()} })
	if len(pairs) == 0 || err != nil {
		return nil, err
	}
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		m[p[0]] = p[1]
	}
	return m, nil
}

func decodeIntervals(value []byte) ([]core.Interval, error) {
	return entries(value, func(r *reader) core.Interval {
		return core.Interval{From: r.unsigned(), To: r.unsigned()}
	})
}

func decodeParticipants(value []byte) ([]core.MessageParticipant, error) {
	return entries(value, func(r *reader) core.MessageParticipant {
		return core.MessageParticipant{User: r.text(), DisplayName: r.text(), ShareHistory: r.signed()}
	})
}

func decodeInvalid(value []byte) ([]core.InvalidParticipant, error) {
	return entries(value, func(r *reader) core.InvalidParticipant {
		return core.InvalidParticipant{User: r.text(), Code: r.text(), Message: r.text()}
	})
}

func (r *reader) take(n int) {
	if r.err == nil && n <= 0 {
		r.err = errShort
	}
	if r.err != nil {
		r.b = nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) unsigned() uint64 {
	v, n := binary.Uvarint(r.b)
	r.take(n)
	return v
}

func (r *reader) signed() int64 {
	v, n := binary.Varint(r.b)
	r.take(n)
	return v
}

func (r *reader) text() string {
	n := r.unsigned()
	if n > uint64(len(r.b)) {
		r.err = errShort
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
