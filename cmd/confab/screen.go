package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
)

// facts is the information about a server that `confab serve` prints or logs once the
// server is ready.
type facts struct {
	server.Info
	cfg     config.Config
	version string
	ready   time.Duration
	data    string // the --data flag to repeat in hints
}

// state returns a text about the server's data, such as "empty, new certificate authority
// made".
func (f facts) state() string {
	var parts []string
	switch {
	case f.Memory:
		parts = append(parts, "nothing is kept")
	case f.DataState != "":
		parts = append(parts, f.DataState)
	}
	if f.NewCA && !f.Memory {
		parts = append(parts, "new certificate authority made")
	}
	return strings.Join(parts, ", ")
}

// open returns the addresses of the listeners that other machines can reach.
func (f facts) open() []string {
	var open []string
	for _, addr := range []string{f.cfg.Listen, f.cfg.ListenHTTP, f.cfg.ListenOps} { // listen-admin is on loopback
		if addr != "" && !config.Loopback(addr) {
			open = append(open, addr)
		}
	}
	return open
}

// log writes the facts to the log, without access keys.
func (f facts) log(l *slog.Logger) {
	kind := "server"
	if f.Dev {
		kind = "development server"
	}
	l.Info(kind, "version", f.version, "pid", f.PID)
	l.Info("endpoint", "url", f.Endpoint)
	if f.HTTP != "" {
		l.Info("http", "url", f.HTTP)
	}
	if f.Ops != "" {
		l.Info("ops", "url", f.Ops)
	}
	door := []any{"socket", f.AdminSocket}
	if f.Admin != "" {
		door = append(door, "url", f.Admin)
	}
	l.Info("operator's door", door...)
	l.Info("data", "path", f.Data, "state", f.state())
	l.Info("limits", "profile", f.cfg.Limits.String())
	l.Info("connections", "most", f.Connections, "per_address", f.cfg.ConnectionsPerAddress)
	if key := f.publicKey(); key != "" {
		l.Warn("the " + key + " is public knowledge: development only")
	}
	if open := f.open(); len(open) > 0 && f.Dev {
		l.Warn("listening for other machines too", "addresses", open)
	}
	l.Info("ready", "after", f.ready.Round(time.Millisecond))
}

// publicKey returns "access key" or "secondary access key": the first of the two keys that
// the user of a development server has not set. The server then uses a published key, which
// everybody knows. It returns "" if both keys are set or the server is no development
// server.
func (f facts) publicKey() string {
	switch {
	case f.Dev && f.cfg.AccessKey.IsZero():
		return "access key"
	case f.Dev && f.cfg.AccessKeySecondary.IsZero():
		return "secondary access key"
	}
	return ""
}

// screen prints to the terminal of a development server. It prints no line for a request
// before show has printed the addresses and keys of the server.
type screen struct {
	colour bool
	mu     sync.Mutex // guards w; held from newScreen to show
	w      io.Writer
}

func newScreen(w io.Writer, colour bool) *screen {
	s := &screen{w: w, colour: colour}
	s.mu.Lock()
	return s
}

// show prints the facts about the server, and then lets access print the lines for
// requests.
func (s *screen) show(f facts) {
	defer s.mu.Unlock()
	io.WriteString(s.w, f.screen())
}

// screen returns the text that a development server prints when it is ready.
func (f facts) screen() string {
	var b strings.Builder
	keeps := "your data stays"
	if f.Memory {
		keeps = "its data is lost then"
	}
	fmt.Fprintf(&b, "Confab %s, development server. Ctrl-C stops it; %s.\n\n", f.version, keeps)
	line := func(name, value, note string) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-9s %s", name, pad(value, 33)+note), " ") + "\n")
	}
	line("Endpoint", f.Endpoint, "for the SDKs")
	line("Connect", clientenv.Server{Endpoint: f.Endpoint, AccessKey: f.AccessKey}.ConnectionString(), "")
	data := tilde(f.Data)
	if f.Memory {
		data = "in memory"
	}
	line("Data", data, f.state())

	b.WriteString("\nTry, in a second terminal:\n")
	name := programName()
	env := evalHint(clientenv.GuessShell(os.Getenv, runtime.GOOS), name+" env"+f.data)
	if f.Memory { // env refuses it, since its files end with it
		b.WriteString("  " + name + " run" + f.data + " -- python start-chat.py    any program, with a server of its own\n")
	} else {
		run := name + " run" + f.data + " -- python start-chat.py"
		width := max(len(run), len(env)) + 4
		b.WriteString("  " + pad(run, width) + "any program, with these settings\n")
		b.WriteString("  " + pad(env, width) + "or this shell\n")
	}

	b.WriteString("\n")
	if key := f.publicKey(); key != "" {
		b.WriteString("The " + key + " is public knowledge: development only. ")
	}
	if open := f.open(); len(open) == 0 {
		b.WriteString("Listening on this machine alone.")
	} else {
		fmt.Fprintf(&b, "Listening for OTHER MACHINES too: %s.", strings.Join(open, ", "))
	}
	fmt.Fprintf(&b, " Limits: %v.\n", f.cfg.Limits)
	fmt.Fprintf(&b, "Ready in %d ms.\n\n", max(f.ready.Milliseconds(), 1))
	return b.String()
}

// access prints one line for a request. It waits until show has printed the facts about the
// server.
func (s *screen) access(r rest.Record) {
	s.print(accessLine(r, s.colour))
}

func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(s.w, text)
}

// accessLine returns a line about a request for a person to read:
//
//	21:04:11  401  send message    0 ms  azsdk-python-communication-chat/1.2.0   19:6f1c...  token refused (expired 5m0s ago)
func accessLine(r rest.Record, colour bool) string {
	status := fmt.Sprint(r.Status)
	if r.Status == 0 {
		status = "---" // dropped by an injected fault
	}
	if colour {
		status = statusColour(r.Status) + status + "\x1b[0m"
	}
	operation := r.Operation
	if operation == "" {
		operation = r.Method + " " + r.Path
	}
	agent, _, _ := strings.Cut(r.UserAgent, " ")
	line := fmt.Sprintf("%s  %s  %s%3d ms  %s", r.Time.Format(time.TimeOnly), status,
		pad(printable(operation, 40), 15), r.Duration.Milliseconds(), pad(printable(agent, 60), 40))
	thread := r.Thread
	if len(thread) > 10 {
		thread = thread[:7] + "..."
	}
	line += pad(printable(thread, 20), 12) + printable(r.Note, 200)
	if r.Reason != "" {
		line += " (" + printable(r.Reason, 200) + ")"
	}
	return strings.TrimRight(line, " ") + "\n"
}

func statusColour(status int) string {
	switch {
	case status >= 500, status == 0:
		return "\x1b[31m" // red
	case status >= 400:
		return "\x1b[33m" // yellow
	}
	return "\x1b[32m" // green
}

// colour reports whether to print colours. It returns false if NO_COLOR is set or if TERM
// is "dumb".
func colour() bool { return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" }

// printable makes text of a client safe for a terminal. It returns the first n characters
// of s, with ? for each unprintable character.
func printable(s string, n int) string {
	clean := strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if utf8.RuneCountInString(clean) > n {
		clean = string([]rune(clean)[:n]) + "..."
	}
	return clean
}

// pad appends blanks to s until it has width characters. It appends at least two.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(2, width-utf8.RuneCountInString(s)))
}
