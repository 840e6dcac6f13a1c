package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// repeatEvery is the minimum time between two log lines about the same error.
const repeatEvery = time.Second

// knownErrors is the number of errors that repeats remembers before it forgets those that
// are over.
const knownErrors = 256

// repeats is a log handler that bounds the lines about an error that many requests share,
// such as a full disk. It writes the first warning or error with a message and a root cause
// at once, and after that at most one in repeatEvery, with the number of those that it
// stands for. It writes an error's text, never its stack.
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

// newRepeats returns a handler that passes records to next.
func newRepeats(next slog.Handler) slog.Handler {
	return repeats{next, &repeatState{known: map[repeatKey]*repeated{}}}
}

func (h repeats) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h repeats) WithAttrs(as []slog.Attr) slog.Handler {
	return repeats{h.next.WithAttrs(as), h.state}
}

func (h repeats) WithGroup(name string) slog.Handler { return repeats{h.next.WithGroup(name), h.state} }

// Handle writes the record, or holds it back for at most repeatEvery.
func (h repeats) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return h.next.Handle(ctx, r)
	}
	plain := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	key := repeatKey{message: r.Message}
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			key.cause = firstCause(err).Error()
			a.Value = slog.StringValue(err.Error())
		}
		plain.AddAttrs(a)
		return true
	})
	if key.cause == "" || h.state.due(key, time.Now()) {
		return h.next.Handle(ctx, plain)
	}
	h.state.hold(key, plain, func(r slog.Record) { h.next.Handle(context.WithoutCancel(ctx), r) })
	return nil
}

// due reports whether a line may be written now, and notes that it is.
func (s *repeatState) due(key repeatKey, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= knownErrors {
		for k, e := range s.known {
			if e.held == 0 && !now.Before(e.until) {
				delete(s.known, k)
			}
		}
	}
	e := s.known[key]
	if e == nil {
		e = &repeated{}
		s.known[key] = e
	}
	if e.held > 0 || now.Before(e.until) {
		return false
	}
	e.until = now.Add(repeatEvery)
	return true
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
		e.held, e.until = 0, time.Now().Add(repeatEvery)
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
