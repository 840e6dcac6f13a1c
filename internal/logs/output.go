package logs

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
)

// Output is where loggers write, in a format and from a level on that can change while they
// are in use. It is safe for concurrent use, if its writer is.
type Output struct {
	w     io.Writer
	level slog.LevelVar
	json  atomic.Bool
}

// NewOutput returns an output that writes to w: lines of text, from the level info on.
func NewOutput(w io.Writer) *Output { return &Output{w: w} }

// Set changes the level from which on records are written, and whether they are JSON or text.
func (o *Output) Set(level slog.Level, json bool) {
	o.level.Set(level)
	o.json.Store(json)
}

// Handler returns a handler that writes the records from the level of the output on.
func (o *Output) Handler() slog.Handler { return o.handler(&o.level) }

// HandlerFrom returns a handler that writes the records from a level of its own on, whatever
// the level of the output is.
func (o *Output) HandlerFrom(level slog.Level) slog.Handler { return o.handler(level) }

func (o *Output) handler(level slog.Leveler) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	return formats{o, slog.NewTextHandler(o.w, options), slog.NewJSONHandler(o.w, options)}
}

// formats passes records to the handler of the format that the output has at the moment.
type formats struct {
	output     *Output
	text, json slog.Handler
}

// Enabled implements slog.Handler. Both formats have the same level.
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
