// Package logs has handlers that bound what a log can grow to: lines about the same error,
// and the length of a field. It also has an output whose level and format can change while
// loggers write to it.
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

// knownErrors is the number of different errors that repeats remembers. More that happen at
// a time count as one.
const knownErrors = 256

// repeats is a log handler that bounds the lines about an error that many requests share,
// such as a full disk. It writes the first warning or error of a kind at once, and after that
// at most one in RepeatEvery, with the number of records that it stands for. Records are of
// one kind if their messages and root causes differ in numbers only, such as addresses, ids
// and positions. It writes an error's text, never its stack.
type repeats struct {
	next  slog.Handler
	state *repeatState
}

type repeatState struct {
	mu    sync.Mutex // guards the fields below
	known map[repeatKey]*repeated
}

// repeatKey is what log lines about the same error have in common.
type repeatKey struct{ message, cause string }

type repeated struct {
	until time.Time   // no line is written before
	held  int         // number of lines held back
	last  slog.Record // the last of them
}

// NewRepeats returns a handler that passes records to next.
func NewRepeats(next slog.Handler) slog.Handler {
	return repeats{next, &repeatState{known: map[repeatKey]*repeated{}}}
}

func (h repeats) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h repeats) WithAttrs(as []slog.Attr) slog.Handler {
	return repeats{h.next.WithAttrs(as), h.state}
}

func (h repeats) WithGroup(name string) slog.Handler { return repeats{h.next.WithGroup(name), h.state} }

// Handle writes the record, or holds it back for at most RepeatEvery.
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

// others is the key under which errors are counted together when there are too many different
// ones.
var others repeatKey

// due reports whether a line may be written now, and notes that it is. It returns the key by
// which the error is remembered.
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

// hold keeps a record, and passes the last one that is kept to write when its time has
// come.
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

// firstCause unwraps err to the innermost error, and follows the first of several.
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

// withoutNumbers returns text with one 0 in the place of each run of digits. Hexadecimal
// digits that begin with a decimal one count too.
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
