package logs

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync/atomic"
)

// Output is a destination of log records. Its format and its minimum level can change while
// loggers use it. It is safe for concurrent use if its writer is.
type Output struct {
	w        io.Writer // of lines
	requests io.Writer // gets the lines about requests
	buffer   *buffer   // the buffer between the loggers and the writer, or nil
	level    slog.LevelVar
	json     atomic.Bool
}

// NewOutput returns an output that writes lines of text to w, for records of level info and
// above. A logger waits until its line is written.
func NewOutput(w io.Writer) *Output { return &Output{w: w, requests: w} }

// NewBufferedOutput returns an output like NewOutput, with a buffer before w, so that no logger
// waits for w. If loggers write lines faster than w takes them, the output drops lines and counts
// them. Lines about requests (RequestHandler) are written after 100 ms at the latest, and all other
// lines at once. Call Close at the end.
func NewBufferedOutput(w io.Writer) *Output {
	o := &Output{}
	o.buffer = newBuffer(w, o.droppedLine)
	o.w, o.requests = o.buffer, requestWriter{o.buffer}
	return o
}

// Close writes the lines in the buffer, if the output has one. It gives up after a second if the
// writer blocks. Records that are logged later are dropped.
func (o *Output) Close() {
	if o.buffer != nil {
		o.buffer.close()
	}
}

// Dropped returns the number of lines that were dropped. An output without a buffer drops none.
func (o *Output) Dropped() uint64 {
	if o.buffer == nil {
		return 0
	}
	return o.buffer.drops()
}

// droppedLine returns a line in the format of the output that says how many lines were dropped. It
// returns nothing if the level of the output is above warnings.
func (o *Output) droppedLine(dropped uint64) []byte {
	var line bytes.Buffer
	to := NewOutput(&line)
	to.Set(o.level.Level(), o.json.Load())
	slog.New(to.Handler()).Warn("log lines were dropped, because they could not be written as fast as they came", "lines", dropped)
	return line.Bytes()
}

// Set sets the minimum level of records that are written, and whether they are written as JSON
// or as text.
func (o *Output) Set(level slog.Level, json bool) {
	o.level.Set(level)
	o.json.Store(json)
}

// Handler returns a handler that writes records with the output's level or a higher one.
func (o *Output) Handler() slog.Handler { return o.handler(o.w, &o.level) }

// HandlerFrom returns a handler that writes records with the given level or a higher one. It
// ignores the level of the output.
func (o *Output) HandlerFrom(level slog.Level) slog.Handler { return o.handler(o.w, level) }

// RequestHandler returns a faster handler for lines about requests, of which a busy server writes
// many. It writes the same records as Handler, with the same text.
func (o *Output) RequestHandler() slog.Handler { return requests{o.handler(o.requests, &o.level)} }

func (o *Output) handler(w io.Writer, level slog.Leveler) formats {
	options := &slog.HandlerOptions{Level: level}
	return formats{o, slog.NewTextHandler(w, options), slog.NewJSONHandler(w, options)}
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
