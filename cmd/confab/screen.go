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

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/tty"
	"github.com/confab-chat/confab/internal/why"
)

// facts is the information about a server that `confab serve` prints or logs once the
// server is ready.
type facts struct {
	server.Info
	cfg     config.Config
	version string
	ready   time.Duration
	data    string // the flag --data, which commands in hints to the user need; or empty
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
	for _, addr := range []string{f.cfg.Listen, f.cfg.ListenHTTP, f.cfg.ListenOps} { // leave out the address listen-admin, because it is always on loopback
		if addr != "" && !config.Loopback(addr) {
			open = append(open, addr)
		}
	}
	return open
}

// log writes the facts about the server to the log, without access keys.
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
	if f.Chat != "" {
		l.Info("chat page", "url", f.Chat)
	}
	if f.Console != "" {
		l.Info("console", "url", withoutCode(f.Console))
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
	l.Info("memory", f.memory()...)
	l.Info("connections", "most", f.Connections, "per_address", f.cfg.ConnectionsPerAddress)
	if key := f.publicKey(); key != "" {
		l.Warn("the " + key + " is public knowledge: development only")
	}
	if open := f.open(); len(open) > 0 && f.Dev {
		l.Warn("listening for other machines too", "addresses", open)
	}
	l.Info("ready", "after", f.ready.Round(time.Millisecond))
}

// memory returns the names and the largest sizes of the caches and queues that the server keeps in
// memory.
func (f facts) memory() (bounds []any) {
	for _, b := range []struct {
		name  string
		bytes int64
	}{
		{"blocks", f.StoreMemory.Blocks}, {"memtables", f.StoreMemory.MemTables}, {"heads", f.StoreMemory.Heads},
		{"threads", f.cfg.ThreadCache}, {"live_queue", f.cfg.LiveQueue}, {"answers", f.cfg.AnswerMemory},
	} {
		if b.bytes > 0 { // leave out sizes of 0: with PostgreSQL, the store has no caches
			bounds = append(bounds, b.name, sizeText(uint64(b.bytes)))
		}
	}
	return bounds
}

// publicKey returns the name of the first access key of a development server that the user has not
// set: "access key" or "secondary access key". The server then uses a published key, which
// everybody knows. publicKey returns "" if both keys are set or the server is no development
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

// screen prints the addresses and keys of a development server to the terminal, and then a line for
// each request. Lines for requests wait until show has printed the addresses and keys.
type screen struct {
	mu    sync.Mutex // guards the fields below; newScreen locks it, and show or abandon unlocks it
	w     io.Writer
	facts facts
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	s.mu.Lock()
	return s
}

// show prints the addresses and keys of the server. It then unlocks s.mu, so that the methods
// access and failed can print.
func (s *screen) show(f facts) {
	defer s.mu.Unlock()
	s.facts = f
	io.WriteString(s.w, f.screen(tty.Of(s.w)))
}

// abandon is called instead of show if the server stops before it is ready. The methods access and
// failed then print nothing, and do not wait.
func (s *screen) abandon() {
	defer s.mu.Unlock()
	s.w = io.Discard
}

// access prints one line for a request. It waits until show has printed the facts about the
// server.
func (s *screen) access(r rest.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(s.w, accessLine(r, tty.Of(s.w))) // call tty.Of for each line, because the user may have changed the width of the terminal
}

// failed prints a remedy and the reason why a connection ended before its first request, such as a
// failed TLS handshake. It waits until show has printed the facts about the server.
func (s *screen) failed(c server.FailedConnection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(s.w, s.facts.failedLines(c, tty.Of(s.w)))
}

func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(s.w, text)
}

// screen returns the text that a development server prints on a terminal when it is ready.
func (f facts) screen(on tty.Screen) string {
	var b strings.Builder
	keeps := "your data stays"
	if f.Memory {
		keeps = "its data is lost then"
	}
	fmt.Fprintf(&b, "Confab %s, development server. Ctrl-C stops it; %s.\n\n", plainVersion(f.version), keeps)
	data := tilde(f.Data)
	if f.Memory {
		data = "in memory"
	}
	var noted [][]string
	if f.Chat != "" {
		noted = append(noted, []string{"Chat", f.Chat, "choose a name; a second tab is a second person"})
	}
	if f.Console != "" {
		noted = append(noted, []string{"Console", f.Console, "every request, live, and why"})
	}
	noted = append(noted, []string{"Endpoint", f.Endpoint, "for the SDKs"}, []string{"Data", data, f.state()})
	if f.Memory && f.CAFile != "" { // show the path of the CA file, because no other command shows the path for a server in memory
		noted = append(noted, []string{"Trust", f.CAFile, "for clients, while it runs"})
	}
	tty.Align(noted)
	for _, row := range noted {
		b.WriteString(on.Row(factIndent, row[2], "  "+tty.Pad(row[0], 8), row[1]))
	}
	copied(&b, on, "Key", f.AccessKey)
	copied(&b, on, "Connect", clientenv.Server{Endpoint: f.Endpoint, AccessKey: f.AccessKey}.ConnectionString())

	b.WriteString("\nTry, in a second terminal:\n")
	name := programName()
	run := name + " run" + f.data + " -- python start-chat.py"
	try := [][]string{{run, "any program, with these settings"},
		{evalHint(clientenv.GuessShell(os.Getenv, runtime.GOOS), name+" env"+f.data), "or this shell"}}
	if f.Memory { // do not suggest the command env, because the certificate files are removed when the server stops
		try = [][]string{{run, "any program, with a server of its own"}}
	}
	tty.Align(try)
	for _, row := range try {
		b.WriteString(on.Row(6, row[1], "  "+row[0]+"  "))
	}

	b.WriteString("\n")
	var known string
	if key := f.publicKey(); key != "" {
		known = "The " + key + " is public knowledge: development only. "
	}
	if open := f.open(); len(open) == 0 {
		known += "Listening on this machine alone."
	} else {
		known += fmt.Sprintf("Listening for OTHER MACHINES too: %s.", strings.Join(open, ", "))
	}
	b.WriteString(on.Wrap(0, known+fmt.Sprintf(" Limits: %v.", f.cfg.Limits)) + "\n")
	fmt.Fprintf(&b, "Ready in %d ms.\n\n", max(f.ready.Milliseconds(), 1))
	return b.String()
}

// factIndent is the column in which the values begin in the list of addresses and keys.
const factIndent = len("  Endpoint  ")

// copied writes a name and a value that people copy, such as a key. If the value does not fit on
// the line of its name, copied writes the value alone and uncut on the next line, so that the user
// can select exactly the value in the terminal.
func copied(b *strings.Builder, on tty.Screen, name, value string) {
	line := "  " + tty.Pad(name, 8)
	if on.Columns > 0 && tty.Width(line)+2+tty.Width(value) > on.Columns {
		fmt.Fprintf(b, "%s\n%s\n", strings.TrimRight(line, " "), value)
		return
	}
	fmt.Fprintf(b, "%s  %s\n", line, value)
}

// Widths in columns of the parts of a line about a request. The agent is the name of the client's
// library. On a narrow screen the agent gets fewer columns, or is left out if fewer than agentLeast
// columns remain.
const (
	operationColumns = 24 // width of "send typing notification", the longest operation
	durationColumns  = 7  // width of " 999 ms", the longest duration
	agentColumns     = 41 // width of the agent "azsdk-python-communication-identity/1.5.0"
	agentLeast       = 12
	threadColumns    = 10
	accessIndent     = len("21:04:11  201  ")
	accessFixed      = accessIndent + operationColumns + durationColumns + 2 + 2 + threadColumns
)

// accessLine returns a line about a request for a person to read:
//
//	21:04:11  403  send message               0 ms  azsdk-python-communication-chat/1.2.0      19:6f1c...
//	               8:acs:..c2f1 is not in this thread and never was. Let a participant add it, or use a participant's token.
//
// If the server refused the request, the next line gives the reason and a remedy. For any other
// request, the text r.Note follows at the end of the line, or on a second line if the screen is too
// narrow.
func accessLine(r rest.Record, on tty.Screen) string {
	status := fmt.Sprint(r.Status)
	if r.Status == 0 {
		status = "---" // no response
	}
	operation := r.Operation
	if operation == "" {
		operation = r.Method + " " + r.Path
	}
	cells := []string{
		r.Time.Format(time.TimeOnly), on.Paint(statusColour(r.Status), status),
		tty.Pad(tty.Cut(tty.Clean(operation), operationColumns), operationColumns) + fmt.Sprintf("%*s", durationColumns, shortDuration(r.Duration)),
	}
	room := agentColumns
	if on.Columns > 0 {
		room = min(room, on.Columns-accessFixed)
	}
	if room >= agentLeast {
		agent, _, _ := strings.Cut(r.UserAgent, " ")
		cells = append(cells, tty.Pad(shortAgent(tty.Clean(agent), room), room))
	}
	cells = append(cells, tty.Pad(tty.Cut(tty.Clean(r.Thread), threadColumns), threadColumns))
	if r.Why.IsZero() {
		return on.Row(accessIndent, tty.Clean(r.Note), cells...)
	}
	text := on.Wrap(accessIndent, tty.Clean(why.Of(r.Why).String()))
	return on.Row(accessIndent, "", cells...) + strings.Repeat(" ", accessIndent) + text + "\n"
}

// shortAgent shortens the name of a client's library to the given number of columns. It first
// removes "azsdk-" and "communication-", which the names of all official libraries contain, and
// then cuts out the middle.
func shortAgent(agent string, columns int) string {
	if tty.Width(agent) > columns {
		agent = strings.Replace(strings.TrimPrefix(agent, "azsdk-"), "communication-", "", 1)
	}
	return tty.CutMiddle(agent, columns)
}

// shortDuration returns a duration in at most six characters.
func shortDuration(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Truncate(100*time.Millisecond).Seconds())
	case d < 10*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 100*time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d h", int(d.Hours()))
}

func statusColour(status int) tty.Colour {
	switch {
	case status >= 500, status == 0:
		return tty.Red
	case status >= 400:
		return tty.Yellow
	}
	return tty.Green
}

// failedLines returns a line with the reason why a connection ended before its first request. If
// the user can solve the problem, a second line contains the remedy:
//
//	21:04:11  TLS  not trusted by 127.0.0.1: unknown certificate authority
//	               start the client with: confab run -- COMMAND; or see env (for a shell) and trust (for browsers)
func (f facts) failedLines(c server.FailedConnection, on tty.Screen) string {
	name := programName()
	what, next := c.What(), ""
	switch c.Kind {
	case server.Untrusted, server.HungUp:
		switch {
		case f.CertFile != "":
			next = "it must trust the authority of your certificate, " + tilde(f.CertFile)
		case f.Memory:
			next = "it must trust " + f.CAFile
		default:
			next = fmt.Sprintf("start the client with: %s run%s -- COMMAND; or see env (for a shell) and trust (for browsers)", name, f.data)
		}
	case server.PlainHTTP:
		next = "use https there: " + f.Endpoint
	case server.TLSToHTTP:
		next = "use http there; the port for https: " + f.Endpoint
	}
	text := on.Row(accessIndent, tty.Clean(what), c.Time.Format(time.TimeOnly), on.Paint(tty.Yellow, "TLS"))
	if next != "" {
		text += strings.Repeat(" ", accessIndent) + on.Wrap(accessIndent, next) + "\n"
	}
	return text
}

// printable prepares text of a client for a terminal: it replaces unprintable characters and
// cuts the text to the given number of columns.
func printable(s string, columns int) string { return tty.Cut(tty.Clean(s), columns) }

// pad appends at least two blanks to s, and further blanks until s has width characters.
func pad(s string, width int) string { return tty.Pad(s+"  ", width) }
