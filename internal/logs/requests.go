package logs

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// requests is a handler that writes the same lines as formats, but faster if the texts of a record
// are printable ASCII without quotes and backslashes, and its other fields are integers and small
// floats. It passes all other records to formats.
type requests struct{ formats }

// linePool has buffers for one line each.
var linePool = sync.Pool{New: func() any { return new([1024]byte) }}

// Handle implements slog.Handler.
func (h requests) Handle(ctx context.Context, r slog.Record) error {
	room := linePool.Get().(*[1024]byte)
	defer linePool.Put(room)
	line, ok := appendLine(room[:0], r, h.output.json.Load())
	if !ok {
		return h.formats.Handle(ctx, r)
	}
	_, err := h.output.requests.Write(line)
	return err
}

// appendLine appends the line that slog's TextHandler, or its JSONHandler if json is true, writes
// for the record. ok is false if appendLine cannot write the record's line.
func appendLine(line []byte, r slog.Record, json bool) (_ []byte, ok bool) {
	if r.Time.IsZero() || r.Time.Year() < 0 || r.Time.Year() > 9999 {
		return nil, false
	}
	if json {
		line = append(line, `{"time":"`...)
		line = r.Time.AppendFormat(line, time.RFC3339Nano)
		line = append(line, `","level":`...)
	} else {
		line = append(line, "time="...)
		line = r.Time.AppendFormat(line, "2006-01-02T15:04:05.000Z07:00")
		line = append(line, " level="...)
	}
	if line, ok = appendText(line, r.Level.String(), json); !ok {
		return nil, false
	}
	if line, ok = appendAttr(line, slog.String(slog.MessageKey, r.Message), json); !ok {
		return nil, false
	}
	r.Attrs(func(a slog.Attr) bool {
		line, ok = appendAttr(line, a, json)
		return ok
	})
	if json {
		line = append(line, '}')
	}
	return append(line, '\n'), ok
}

// appendAttr appends a separator and a field to a line.
func appendAttr(line []byte, a slog.Attr, json bool) (_ []byte, ok bool) {
	if quoted, plain := classify(a.Key); quoted || !plain {
		return nil, false
	}
	if json {
		line = append(line, `,"`...)
		line = append(line, a.Key...)
		line = append(line, `":`...)
	} else {
		line = append(line, ' ')
		line = append(line, a.Key...)
		line = append(line, '=')
	}
	switch a.Value.Kind() {
	case slog.KindString:
		return appendText(line, a.Value.String(), json)
	case slog.KindInt64:
		return strconv.AppendInt(line, a.Value.Int64(), 10), true
	case slog.KindFloat64:
		f := a.Value.Float64()
		switch {
		case !json:
			return strconv.AppendFloat(line, f, 'g', -1, 64), true
		case f == 0 || f >= 1e-6 && f < 1e21: // in this range encoding/json writes no exponent
			return strconv.AppendFloat(line, f, 'f', -1, 64), true
		}
	}
	return nil, false
}

// appendText appends a text, in quotes if the format needs quotes. ok is false if a character of
// the text must be escaped.
func appendText(line []byte, s string, json bool) (_ []byte, ok bool) {
	quoted, plain := classify(s)
	switch {
	case !plain:
		return nil, false
	case quoted || json:
		line = append(line, '"')
		line = append(line, s...)
		return append(line, '"'), true
	}
	return append(line, s...), true
}

// classify reports whether slog's TextHandler writes s in quotes (quoted), and whether all
// characters of s can stand in quotes without an escape (plain).
func classify(s string) (quoted, plain bool) {
	quoted = s == ""
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~' || c == '"' || c == '\\':
			return true, false
		case c == ' ' || c == '=':
			quoted = true
		}
	}
	return quoted, true
}
