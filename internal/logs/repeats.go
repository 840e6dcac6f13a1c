// Package logs has slog handlers that limit the size of a log: the number of lines about the
// same error, and the length of a field. It also has an output whose level and format can
// change while loggers write to it, and for which no logger has to wait.
package logs

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// RepeatEvery is the minimum time between two log lines about the same error.
const RepeatEvery = time.Second

// knownErrors is the number of different errors that repeats remembers at a time. All further
// errors are counted together, as if they were one error.
const knownErrors = 256

// repeats is a log handler that limits the lines about an error that many requests meet, such
// as a full disk. It writes the first warning or error of a kind at once, and then at most one
// line in RepeatEvery, with the number of records that the line stands for. Two records are of
// the same kind if their messages and root causes differ only in numbers, such as addresses,
// ids and positions. It writes an error's text, never its stack.
type repeats struct {
	next  slog.Handler
	state *repeatState
}

type repeatState struct {
	mu    sync.Mutex // guards the fields below
	known map[repeatKey]*repeated
}

// repeatKey identifies log records of the same kind: their message and root cause, without
// numbers.
type repeatKey struct{ message, cause string }

type repeated struct {
	until time.Time   // the time before which no line is written
	held  int         // number of lines held back
	last  slog.Record // the last record held back
}

// NewRepeats returns a handler that limits repeated warnings and errors, as the type repeats
// does, and passes all other records to next.
func NewRepeats(next slog.Handler) slog.Handler {
	return repeats{next, &repeatState{known: map[repeatKey]*repeated{}}}
}

func (h repeats) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h repeats) WithAttrs(as []slog.Attr) slog.Handler {
	return repeats{h.next.WithAttrs(as), h.state}
}

func (h repeats) WithGroup(name string) slog.Handler { return repeats{h.next.WithGroup(name), h.state} }

// Handle writes the record at once, or holds the record back for at most RepeatEvery.
func (h repeats) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return h.next.Handle(ctx, r)
	}
	plain := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	key := repeatKey{message: withoutNumbers(r.Message)}
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			key.cause = withoutNumbers(firstCause(err).Error())
			a.Value = slog.StringValue(err.Error())
		}
		plain.AddAttrs(a)
		return true
	})
	key, due := h.state.due(key, time.Now())
	if due {
		return h.next.Handle(ctx, plain)
	}
	h.state.hold(key, plain, func(r slog.Record) { h.next.Handle(context.WithoutCancel(ctx), r) })
	return nil
}

// others is the common key of all errors beyond the knownErrors different errors that are
// remembered.
var others repeatKey

// due reports whether a record with this key may be written now. If so, it stores the time of the
// record. It returns the key under which the record is counted: key, or others if repeats already
// remembers knownErrors keys.
func (s *repeatState) due(key repeatKey, now time.Time) (repeatKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= knownErrors {
		for k, e := range s.known {
			if e.held == 0 && !now.Before(e.until) {
				delete(s.known, k)
			}
		}
	}
	if s.known[key] == nil && len(s.known) >= knownErrors {
		key = others
	}
	e := s.known[key]
	if e == nil {
		e = &repeated{}
		s.known[key] = e
	}
	if e.held > 0 || now.Before(e.until) {
		return key, false
	}
	e.until = now.Add(RepeatEvery)
	return key, true
}

// hold keeps a record back. When a line with this key may be written again, hold calls write with
// the latest record that was held back, and adds the number of records held back.
func (s *repeatState) hold(key repeatKey, r slog.Record, write func(slog.Record)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.known[key]
	if e == nil { // forgotten in between
		e = &repeated{}
		s.known[key] = e
	}
	e.held++
	e.last = r
	if e.held > 1 {
		return
	}
	time.AfterFunc(time.Until(e.until), func() {
		s.mu.Lock()
		last := e.last
		last.AddAttrs(slog.Int("times", e.held))
		e.held, e.until = 0, time.Now().Add(RepeatEvery)
		s.mu.Unlock()
		write(last)
	})
}

// firstCause unwraps err to the innermost error. If an error wraps several, it follows the
// first one.
func firstCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if several, ok := err.(interface{ Unwrap() []error }); ok && len(several.Unwrap()) > 0 {
			inner = several.Unwrap()[0]
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}

// withoutNumbers replaces each number in text by 0. A number begins with a decimal digit and
// may continue with decimal and hexadecimal digits.
func withoutNumbers(text string) string {
	if !strings.ContainsAny(text, "0123456789") {
		return text
	}
	var b strings.Builder
	number := false
	for i := range len(text) {
		c := text[i]
		switch {
		case '0' <= c && c <= '9':
			if !number {
				b.WriteByte('0')
			}
			number = true
		case number && ('a' <= c && c <= 'f' || 'A' <= c && c <= 'F'):
		default:
			number = false
			b.WriteByte(c)
		}
	}
	return b.String()
}
