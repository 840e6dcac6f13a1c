package logs

import (
	"context"
	"log/slog"

	"github.com/confab-chat/confab/internal/clip"
)

// MaxField is the number of bytes that a field of a log line has at most.
const MaxField = 512

// unclipped is the key of the field that may be longer: the stack of a panic.
const unclipped = "stack"

// NewClip returns a handler that passes records to next, with the message and the texts and
// errors of their fields shortened to MaxField bytes. An error stays an error that unwraps to
// the original.
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

// Handle implements slog.Handler.
func (h clipper) Handle(ctx context.Context, r slog.Record) error {
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

// clippedError is an error with a shortened text.
type clippedError struct {
	error
	text string
}

func (e clippedError) Error() string { return e.text }
func (e clippedError) Unwrap() error { return e.error }
