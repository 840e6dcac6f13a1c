package measure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/bench/load"
)

// Calls counts the system calls of the server for each send. They are counted in a separate run,
// because strace makes each system call slow.
type Calls struct {
	PerSend float64 `json:"perSend"`
	// Most lists the most frequent system calls and how often each is made for a send.
	Most []Call `json:"most,omitempty"`
	// Not says why the system calls were not counted.
	Not string `json:"notCounted,omitempty"`
}

// Call is a system call and how often the server makes it for each send.
type Call struct {
	Name    string  `json:"name"`
	PerSend float64 `json:"perSend"`
}

func (c Calls) text() string {
	if c.Not != "" {
		return "system calls: not counted, " + c.Not
	}
	var most []string
	for _, m := range c.Most {
		most = append(most, fmt.Sprintf("%s %.2f", m.Name, m.PerSend))
	}
	return fmt.Sprintf("system calls of a send, in a separate run under strace with %d connections: %.2f (%s)", tracedConnections, c.PerSend, strings.Join(most, ", "))
}

const tracedConnections = 64

// systemCalls counts the system calls that a server makes for each send. It runs two servers under
// strace and sends to one of them for a longer time. The difference of their counts excludes the
// calls during the start and the preparation.
func (b *bench) systemCalls(ctx context.Context) *Calls {
	if _, err := exec.LookPath("strace"); err != nil {
		return &Calls{Not: "because strace is not installed"}
	}
	few, fewSends, err := b.traced(ctx, b.Span/4)
	if err == nil {
		var many map[string]int
		var manySends int
		many, manySends, err = b.traced(ctx, b.Span/4+2*b.Span)
		if err == nil && manySends <= fewSends {
			err = errors.New("the longer run had fewer sends")
		}
		if err == nil {
			return perSend(few, many, manySends-fewSends)
		}
	}
	return &Calls{Not: "because strace failed: " + err.Error()}
}

// perSend subtracts the counts of system calls in few from the counts in many and divides the
// differences by sends.
func perSend(few, many map[string]int, sends int) *Calls {
	c := &Calls{}
	for name, n := range many {
		x := float64(n-few[name]) / float64(sends)
		c.PerSend += x
		c.Most = append(c.Most, Call{name, x})
	}
	slices.SortFunc(c.Most, func(a, b Call) int { return cmp.Compare(b.PerSend, a.PerSend) })
	c.Most = c.Most[:min(6, len(c.Most))]
	return c
}

// traced runs a server under strace, sends messages to it for the time span, and returns its
// system calls by name and the number of messages.
func (b *bench) traced(ctx context.Context, span time.Duration) (calls map[string]int, sends int, err error) {
	dir, err := os.MkdirTemp(b.Dir, "strace-")
	if err != nil {
		return nil, 0, err
	}
	summary := filepath.Join(dir, "summary")
	server, err := b.startConfab(ctx, "strace", "-c", "-f", "-o", summary)
	if err != nil {
		return nil, 0, err
	}
	world, err := load.Populate(ctx, server, 50, 2)
	if err != nil {
		return nil, 0, err
	}
	l := load.NewSends(server, world, b.Size, tracedConnections)
	if _, err := load.Round(ctx, server, l.Load(), load.Options{Connections: tracedConnections, Span: span}); err != nil {
		return nil, 0, err
	}
	if err := server.Stop(); err != nil {
		return nil, 0, err
	}
	text, err := os.ReadFile(summary)
	if err != nil {
		return nil, 0, err
	}
	calls, err = parseSummary(string(text))
	return calls, l.Acknowledged(), err
}

// parseSummary reads the table that `strace -c` writes, and returns the number of calls by name.
// The columns of the table are: share, seconds, microseconds for each call, calls, errors (may be
// empty) and name.
func parseSummary(text string) (map[string]int, error) {
	calls := map[string]int{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[len(fields)-1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(fields[3]); err == nil {
			calls[fields[len(fields)-1]] += n
		}
	}
	if len(calls) == 0 {
		return nil, fmt.Errorf("no calls in the summary %q", text[:min(len(text), 200)])
	}
	return calls, nil
}
