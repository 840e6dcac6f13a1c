package logs

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stacked is an error whose %+v format adds a stack to its text, like the errors of Pebble.
type stacked struct{ error }

func (s stacked) Unwrap() error { return errors.Unwrap(s.error) }

func (s stacked) Format(f fmt.State, verb rune) {
	fmt.Fprint(f, s.Error())
	if f.Flag('+') {
		fmt.Fprint(f, "\nstack trace")
	}
}

// TestRepeats logs 1,000 errors with the same cause within ten seconds. It checks that only
// eleven lines are written for them, without a stack, and that other lines are written too.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(NewRepeats(slog.NewTextHandler(&out, nil)))
		full := errors.New("no space")
		for i := range 1000 {
			log.Error("request refused", "request", i, "error", stacked{fmt.Errorf("write %d: %w", i, full)})
			time.Sleep(10 * time.Millisecond)
		}
		log.Error("request refused", "error", errors.New("another"))
		log.Info("request", "error", full)
		log.Info("request", "error", full)
		time.Sleep(2 * RepeatEvery)
		synctest.Wait()
		lines, stand := 0, 0
		for line := range strings.Lines(out.String()) {
			if !strings.Contains(line, "request refused") || strings.Contains(line, "another") {
				continue
			}
			lines++
			times := 1
			if _, n, ok := strings.Cut(strings.TrimSpace(line), "times="); ok {
				times, _ = strconv.Atoi(n)
			}
			stand += times
		}
		if lines != 11 || stand != 1000 {
			t.Errorf("%d lines stand for %d errors, want 11 for 1000\n%s", lines, stand, &out)
		}
		for text, want := range map[string]int{"stack trace": 0, "another": 1, "msg=request ": 2} {
			if got := strings.Count(out.String(), text); got != want {
				t.Errorf("%d lines with %q, want %d\n%s", got, text, want, &out)
			}
		}
	})
}

// TestRepeatsOfAKind logs errors that differ only in addresses, errors without a cause, and
// errors that are all different. It checks that none of them can flood the log.
func TestRepeatsOfAKind(t *testing.T) {
	for name, log := range map[string]func(*slog.Logger, int){
		"addresses": func(l *slog.Logger, i int) {
			l.Error("read", "error", fmt.Errorf("read tcp 10.0.0.%d:%d: timeout", i%250, i))
		},
		"numbers in the message": func(l *slog.Logger, i int) { l.Warn(fmt.Sprintf("file %06x.sst: too many open files", i)) },
		"no cause":               func(l *slog.Logger, i int) { l.Error("accept failed", "try", i) },
		"all different": func(l *slog.Logger, i int) {
			l.Error("read", "error", errors.New(strings.Map(func(r rune) rune { return r - '0' + 'g' }, strconv.Itoa(i))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				l := slog.New(NewRepeats(slog.NewTextHandler(&out, nil)))
				for i := range 10_000 {
					log(l, i)
					time.Sleep(time.Millisecond / 10)
				}
				time.Sleep(2 * RepeatEvery)
				synctest.Wait()
				stand := 0
				for line := range strings.Lines(out.String()) {
					times := 1
					if _, n, ok := strings.Cut(strings.TrimSpace(line), "times="); ok {
						times, _ = strconv.Atoi(n)
					}
					stand += times
				}
				if lines := strings.Count(out.String(), "\n"); lines > knownErrors+3 || name != "all different" && lines > 3 || stand != 10_000 {
					t.Errorf("%d lines stand for %d errors, want few for 10000", lines, stand)
				}
			})
		})
	}
}

// TestClip checks that no field is longer than MaxField and that shortened errors still unwrap
// to their causes.
func TestClip(t *testing.T) {
	long, cause := strings.Repeat("x", 2000), errors.New("cause")
	var out bytes.Buffer
	log := slog.New(NewClip(NewRepeats(slog.NewTextHandler(&out, nil)))).With("with", long)
	log.Info(long, "text", long, "any", []string{long}, "error", errors.New(long))
	log.Error("wrapped", "error", fmt.Errorf("%s: %w", long, cause))
	// Six shortened fields begin with an x. The seventh field, a slice, begins with a bracket.
	if n := strings.Count(out.String(), strings.Repeat("x", MaxField)+"…"); out.Len() > 7*(MaxField+100) || n != 6 {
		t.Errorf("the log has %d bytes and %d fields of %d bytes, want 6", out.Len(), n, MaxField)
	}
	if a := clipAttr(slog.Any("error", fmt.Errorf("%s: %w", long, cause))); !errors.Is(a.Value.Any().(error), cause) {
		t.Error("the clipped error has lost its cause")
	}
}
