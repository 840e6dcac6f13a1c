package logs

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
)

// Output is a destination of log records. Its format and its minimum level can change while
// loggers use it. It is safe for concurrent use if its writer is.
type Output struct {
	w     io.Writer
	level slog.LevelVar
	json  atomic.Bool
}

// NewOutput returns an output that writes lines of text to w, for records of level info and
// above.
func NewOutput(w io.Writer) *Output { return &Output{w: w} }

// Set sets the minimum level of records that are written, and whether they are written as JSON
// or as text.
func (o *Output) Set(level slog.Level, json bool) {
	o.level.Set(level)
	o.json.Store(json)
}

// Handler returns a handler that writes the records of the output's level and above.
func (o *Output) Handler() slog.Handler { return o.handler(&o.level) }

// HandlerFrom returns a handler that writes the records of the given level and above. It
// ignores the level of the output.
func (o *Output) HandlerFrom(level slog.Level) slog.Handler { return o.handler(level) }

func (o *Output) handler(level slog.Leveler) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	return formats{o, slog.NewTextHandler(o.w, options), slog.NewJSONHandler(o.w, options)}
}

// formats is a slog.Handler that passes each record to the text or the JSON handler, whichever
// format the output has at that moment.
type formats struct {
	output     *Output
	text, json slog.Handler
}

// Enabled implements slog.Handler. It asks the text handler, because both handlers have the
// same level.
func (f formats) Enabled(ctx context.Context, l slog.Level) bool { return f.text.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (f formats) Handle(ctx context.Context, r slog.Record) error {
	if f.output.json.Load() {
		return f.json.Handle(ctx, r)
	}
	return f.text.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (f formats) WithAttrs(as []slog.Attr) slog.Handler {
	return formats{f.output, f.text.WithAttrs(as), f.json.WithAttrs(as)}
}

// WithGroup implements slog.Handler.
func (f formats) WithGroup(name string) slog.Handler {
	return formats{f.output, f.text.WithGroup(name), f.json.WithGroup(name)}
}
