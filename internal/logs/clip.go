package logs

import (
	"context"
	"log/slog"

	"github.com/confab-chat/confab/internal/clip"
)

// MaxField is the maximum number of bytes of a field in a log line.
const MaxField = 512

// unclipped is the key of the field that is not shortened: the stack of a panic.
const unclipped = "stack"

// NewClip returns a handler that shortens the message of a record, and fields with long texts or
// errors, to MaxField bytes each, and passes the record to next. A shortened error still unwraps to
// the original error.
func NewClip(next slog.Handler) slog.Handler { return clipper{next} }

type clipper struct{ next slog.Handler }

func (h clipper) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h clipper) WithGroup(name string) slog.Handler { return clipper{h.next.WithGroup(name)} }

func (h clipper) WithAttrs(as []slog.Attr) slog.Handler {
	clipped := make([]slog.Attr, len(as))
	for i, a := range as {
		clipped[i] = clipAttr(a)
	}
	return clipper{h.next.WithAttrs(clipped)}
}

// Handle implements slog.Handler. It passes the record to the next handler, or a shortened copy
// if the message or a field is too long.
func (h clipper) Handle(ctx context.Context, r slog.Record) error {
	long := len(r.Message) > MaxField
	r.Attrs(func(a slog.Attr) bool {
		// Make a copy for every value that is neither a string nor a number, because only clipAttr
		// finds out the value's length.
		long = long || a.Value.Kind() == slog.KindString && len(a.Value.String()) > MaxField || a.Value.Kind() == slog.KindAny
		return !long
	})
	if !long {
		return h.next.Handle(ctx, r)
	}
	short := slog.NewRecord(r.Time, r.Level, clip.Text(r.Message, MaxField), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		short.AddAttrs(clipAttr(a))
		return true
	})
	return h.next.Handle(ctx, short)
}

func clipAttr(a slog.Attr) slog.Attr {
	if a.Key == unclipped {
		return a
	}
	switch a.Value.Kind() {
	case slog.KindString:
		if text := a.Value.String(); len(text) > MaxField {
			a.Value = slog.StringValue(clip.Text(text, MaxField))
		}
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			if text := err.Error(); len(text) > MaxField {
				a.Value = slog.AnyValue(clippedError{err, clip.Text(text, MaxField)})
			}
		} else if text := a.Value.String(); len(text) > MaxField {
			a.Value = slog.StringValue(clip.Text(text, MaxField))
		}
	}
	return a
}

// clippedError is an error whose text was shortened. It unwraps to the original error.
type clippedError struct {
	error
	text string
}

func (e clippedError) Error() string { return e.text }
func (e clippedError) Unwrap() error { return e.error }
