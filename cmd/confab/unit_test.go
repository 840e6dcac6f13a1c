package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/tty"
	"github.com/confab-chat/confab/internal/why"
	"github.com/confab-chat/confab/sdk/communication"
)

func TestProgramName(t *testing.T) {
	const (
		inWork  = "/tmp/go-build3192131859/b001/exe/confab"
		inCache = "/home/a/.cache/go-build/87/8775f7a122f7ff6c9fc2b25ef77f0cc856da7e235c00798ccee8b4fc70c11147-d/confab"
	)
	tests := []struct {
		name, exe, arg0 string
		here            []string
		want            string
	}{
		{"on PATH", "/usr/bin/confab", "confab", nil, "confab"},
		{"by path", "/src/confab/confab", "./confab", []string{"cmd/confab/main.go"}, "./confab"},
		{"with blanks", "/my tools/confab", "/my tools/confab", nil, "'/my tools/confab'"},
		{"on Windows", `C:\confab.exe`, "confab.exe", nil, "confab"},
		{"go run in the repository", inWork, inWork, []string{"cmd/confab/main.go"}, "go run ./cmd/confab"},
		{"go run from the cache", inCache, inCache, []string{"cmd/confab/main.go"}, "go run ./cmd/confab"},
		{"go run on Windows", `C:\T\go-build31\b001\exe\confab.exe`, "x", []string{"cmd/confab/main.go"}, "go run ./cmd/confab"},
		{"go run in its folder", inWork, inWork, []string{"main.go", "serve.go"}, "go run ."},
		{"go run elsewhere", inWork, inWork, nil, "go run " + importPath},
		{"a folder named alike", "/go-build/confab", "/go-build/confab", nil, "/go-build/confab"},
	}
	for _, tt := range tests {
		here := func(file string) bool { return strings.Contains(strings.Join(tt.here, " ")+" ", file+" ") }
		if got := nameFor(tt.exe, tt.arg0, here); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestEvalHint(t *testing.T) {
	for shell, want := range map[clientenv.Shell]string{
		clientenv.Sh:         `eval "$(confab env)"`,
		clientenv.Fish:       `confab env | source`,
		clientenv.PowerShell: `confab env | Out-String | Invoke-Expression`,
	} {
		if got := evalHint(shell, "confab env"); got != want {
			t.Errorf("%s: got %q, want %q", shell, got, want)
		}
	}
}

func load(t *testing.T, own map[string]string) config.Config {
	t.Helper()
	cfg, err := config.Load(config.Input{Defaults: own})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestScreen compares the text that a development server prints at its start with the expected
// text.
func TestScreen(t *testing.T) {
	t.Setenv("HOME", "/home/a")
	t.Setenv("SHELL", "/bin/bash")
	f := facts{
		Info: server.Info{
			Endpoint: "https://localhost:8443", HTTP: "http://localhost:8080", Chat: "http://localhost:8080", Data: "/home/a/.local/share/confab/dev",
			DataState: "empty", NewCA: true, Dev: true, AccessKey: "a2V5",
		},
		cfg:     load(t, map[string]string{"dev": "true", "data": "/home/a/.local/share/confab/dev", "listen-http": "localhost:8080"}),
		version: "0.1.0",
		ready:   84 * time.Millisecond,
	}
	name := programName()
	pad := strings.Repeat(" ", len(" run -- python start-chat.py")-len(`eval "$( env)"`))
	want := `Confab 0.1.0, development server. Ctrl-C stops it; your data stays.

  Chat      http://localhost:8080      choose a name; a second tab is a second person
  Endpoint  https://localhost:8443     for the SDKs
  Data      ~/.local/share/confab/dev  empty, new certificate authority made
  Key       a2V5
  Connect   endpoint=https://localhost:8443/;accesskey=a2V5

Try, in a second terminal:
  ` + name + ` run -- python start-chat.py    any program, with these settings
  eval "$(` + name + ` env)"` + pad + `    or this shell

The access key is public knowledge: development only. Listening on this machine alone. Limits: fair.
Ready in 84 ms.

`
	if diff := cmp.Diff(want, f.screen(tty.Screen{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// The second case is a server in memory whose keys the user has set and which listens for other
	// machines.
	f.Memory, f.Data, f.Chat, f.Console = true, "memory:", "", "http://localhost:8082/?code=c0de"
	f.data = " --data memory:"
	cfg, err := config.Load(config.Input{
		Defaults: map[string]string{"dev": "true", "data": "memory:", "listen": "0.0.0.0:8443", "limits": "off"},
		Environ: []string{
			"CONFAB_ACCESS_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "CONFAB_ACCESS_KEY_SECONDARY=ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.cfg = cfg
	want = `Confab 0.1.0, development server. Ctrl-C stops it; its data is lost then.

  Console   http://localhost:8082/?code=c0de  every request, live, and why
  Endpoint  https://localhost:8443            for the SDKs
  Data      in memory                         nothing is kept
  Key       a2V5
  Connect   endpoint=https://localhost:8443/;accesskey=a2V5

Try, in a second terminal:
  ` + name + ` run --data memory: -- python start-chat.py    any program, with a server of its own

Listening for OTHER MACHINES too: 0.0.0.0:8443. Limits: off.
Ready in 84 ms.

`
	if diff := cmp.Diff(want, f.screen(tty.Screen{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// If the user sets only the primary key, the secondary key is still the published key, which
	// everybody knows.
	if f.cfg, err = config.Load(config.Input{
		Defaults: map[string]string{"dev": "true", "data": "memory:"},
		Environ:  []string{"CONFAB_ACCESS_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="},
	}); err != nil {
		t.Fatal(err)
	}
	if last := "\nThe secondary access key is public knowledge: development only. Listening on this machine alone."; !strings.Contains(f.screen(tty.Screen{}), last) {
		t.Errorf("got\n%s\nwant %q in it", f.screen(tty.Screen{}), last)
	}
}

// TestCodesStayOnTheScreen checks that two places lack the code with which a browser signs in
// to the console: the log, and the description of the server that other commands read.
func TestCodesStayOnTheScreen(t *testing.T) {
	f := facts{
		Info: server.Info{Chat: "http://localhost:8080", Console: "http://localhost:8082/?code=c0de", Dev: true},
		cfg:  load(t, map[string]string{"dev": "true", "data": "memory:"}),
	}
	var b bytes.Buffer
	f.log(slog.New(slog.NewTextHandler(&b, nil)))
	text, err := json.Marshal(newRunning(f.Info, time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string]string{"the log": b.String(), "server.json": string(text)} {
		if strings.Contains(got, "c0de") || !strings.Contains(got, "http://localhost:8082/") || !strings.Contains(got, "http://localhost:8080") {
			t.Errorf("%s has the code, or not the addresses:\n%s", what, got)
		}
	}
}

// TestAnnouncement rotates the access key before the file that describes a server is
// written, while the file exists, and after it was removed. It checks the key in the file
// each time.
func TestAnnouncement(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	file := filepath.Join(dir, runtimeFile)
	const first, second, third = "Zmlyc3Q=", "c2Vjb25k", "dGhpcmQ="
	var a announcement
	rotate := func(text string) {
		t.Helper()
		key, err := communication.NewAccessKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.rotated(key); err != nil {
			t.Error(err)
		}
	}
	check := func(want string) {
		t.Helper()
		var r running
		if err := readJSON(file, &r); err != nil || r.AccessKey != want || r.ConnectionString != "endpoint=https://a.example/;accesskey="+want {
			t.Errorf("the file says %q and %q, %v, want %q", r.AccessKey, r.ConnectionString, err, want)
		}
	}
	rotate(second)
	if _, err := os.Stat(file); err == nil {
		t.Error("a rotation made the file")
	}
	info := server.Info{PID: os.Getpid(), Endpoint: "https://a.example", LocalEndpoint: "https://localhost:8443", Data: dir, AccessKey: first}
	if err := a.publish(newRunning(info, time.Now())); err != nil {
		t.Fatal(err)
	}
	check(second)
	rotate(third)
	check(third)
	a.withdraw()
	rotate(second)
	if _, err := os.Stat(file); err == nil {
		t.Error("a rotation brought the file back")
	}
}

func TestAccessLine(t *testing.T) {
	at := time.Date(2026, 11, 21, 21, 4, 11, 0, time.Local)
	created := rest.Record{Time: at, Status: 201, Operation: "create thread", Duration: 3400 * time.Microsecond,
		UserAgent: "azsdk-python-communication-chat/1.2.0 Python/3.11.7 (Linux)", Thread: "19:6f1c2d3e4f@thread.v2"}
	refused := rest.Record{Time: at.Add(time.Second), Status: 403, Operation: "list messages",
		UserAgent: "azsdk-js-communication-chat/1.6.0", Thread: "19:6f1c2d3e4f@thread.v2", Note: "No permission.", Reason: "not a participant",
		Why: why.Because(why.NeverParticipant, "user", "8:acs:..c2f1")}
	tests := []struct {
		name    string
		r       rest.Record
		columns int
		want    string
	}{
		{"created", created, 0,
			`21:04:11  201  create thread              3 ms  azsdk-python-communication-chat/1.2.0      19:6f1c...`},
		{"created", created, 80,
			`21:04:11  201  create thread              3 ms  python-chat/1.2.0     19:6f1c...`},
		{"created", created, 60,
			`21:04:11  201  create thread              3 ms  19:6f1c...`},
		{"created", created, 40,
			`21:04:11  201  create thread         ...`},
		{"refused", refused, 0,
			`21:04:12  403  list messages              0 ms  azsdk-js-communication-chat/1.6.0          19:6f1c...
               8:acs:..c2f1 is not in this thread and never was. Let a participant add it, or use a participant's token.`},
		{"refused", refused, 80,
			`21:04:12  403  list messages              0 ms  js-chat/1.6.0         19:6f1c...
               8:acs:..c2f1 is not in this thread and never was. Let a
               participant add it, or use a participant's token.`},
		{"refused", refused, 40,
			`21:04:12  403  list messages         ...
               8:acs:..c2f1 is not in
               this thread and never
               was. Let a participant
               add it, or use a
               participant's token.`},
		{"no facts", rest.Record{Time: at, Status: 401, Operation: "list messages", Why: why.Because(why.KeyReplaced)}, 0,
			`21:04:11  401  list messages              0 ms
               The access key that signed the request was rotated while the request ran. Sign with the new key.`},
		{"unknown route", rest.Record{Time: at, Status: 404, Method: "GET", Path: "/x"}, 0,
			`21:04:11  404  GET /x                     0 ms`},
		{"long path", rest.Record{Time: at, Status: 404, Method: "GET", Path: "/" + strings.Repeat("x", 100)}, 0,
			`21:04:11  404  GET /xxxxxxxxxxxxxxxx...   0 ms`},
		{"no answer, slow", rest.Record{Time: at, Operation: "open event stream", Duration: 90 * time.Minute}, 0,
			`21:04:11  ---  open event stream        90 min`},
		{"what a terminal would obey", rest.Record{Time: at, Status: 404, Method: "GET", Path: "/\x1b[2J\r\n\x07\u202e\xff", UserAgent: "\x1b]0;x\x07"}, 0,
			`21:04:11  404  GET /?[2J?????             0 ms  ?]0;x?`},
		{"Korean", rest.Record{Time: at, Status: 404, Method: "GET", Path: "/점심", UserAgent: "점심앱/1.0", Note: strings.Repeat("없습니다 ", 10)}, 80,
			`21:04:11  404  GET /점심                  0 ms  점심앱/1.0
               없습니다 없습니다 없습니다 없습니다 없습니다 없습니다 없습니다...`},
	}
	for _, tt := range tests {
		if got := accessLine(tt.r, tty.Screen{Columns: tt.columns}); got != tt.want+"\n" {
			t.Errorf("%s, %d columns:\n got %q\nwant %q", tt.name, tt.columns, got, tt.want)
		}
	}
	if got := accessLine(created, tty.Screen{Colour: true}); !strings.Contains(got, "\x1b[32m201\x1b[0m") {
		t.Errorf("no colour: %q", got)
	}
}

// TestColumnsHold prints a line about a request for every operation and for durations of all
// widths. It checks that the thread's id begins in the same column of each line, on wide and
// narrow screens, with and without colours.
func TestColumnsHold(t *testing.T) {
	operations := server.Operations()
	if len(operations) < 30 || !slices.Contains(operations, "send typing notification") || !slices.Contains(operations, "unregister live client") {
		t.Fatalf("these are not all operations: %q", operations)
	}
	durations := []time.Duration{-1, 0, 999 * time.Millisecond, 999999 * time.Microsecond, 9999 * time.Millisecond, 10 * time.Second, 10*time.Minute - 1, 100*time.Minute - 1, 100 * time.Minute, 9999 * time.Hour}
	for _, on := range []tty.Screen{{}, {Columns: 80}, {Columns: 160}, {Columns: 80, Colour: true}} {
		agentRoom := agentColumns
		if on.Columns == 80 {
			agentRoom = 80 - accessFixed
		}
		for _, operation := range operations {
			for _, took := range durations {
				line := strings.TrimSuffix(accessLine(rest.Record{Status: 200, Operation: operation, Duration: took, UserAgent: "azsdk-python-communication-identity/1.5.0", Thread: "19:thread", Note: "short"}, on), "\n")
				before, _, ok := strings.Cut(line, "19:thread")
				want := accessIndent + operationColumns + durationColumns + 2 + agentRoom + 2
				if !ok || tty.Width(before) != want || !strings.Contains(line, operation) {
					t.Errorf("%d columns: the thread is in column %d, want %d:\n%s", on.Columns, tty.Width(before), want, line)
				}
				for text := range strings.Lines(line) {
					if w := tty.Width(strings.TrimSuffix(text, "\n")); on.Columns > 0 && w > on.Columns {
						t.Errorf("a line takes %d of %d columns:\n%s", w, on.Columns, line)
					}
				}
			}
		}
	}
}

// TestFailedLines compares the lines about connections that ended before a request with the
// expected lines. It does so for a server with a data folder, a server in memory, and a server with
// a certificate that the user provided.
func TestFailedLines(t *testing.T) {
	name := programName()
	dev := facts{Info: server.Info{Endpoint: "https://localhost:8443", CAFile: "/d/tls/ca.pem"}, data: " --data d"}
	memory, own := dev, dev
	memory.Memory, own.CertFile = true, "/etc/chain.pem"
	failed := func(kind server.FailureKind, times int) server.FailedConnection {
		return server.FailedConnection{Time: time.Date(2026, 11, 21, 21, 4, 11, 0, time.Local), Kind: kind, Client: "127.0.0.1", Port: "8080", Detail: "unknown certificate authority", Times: times}
	}
	for _, c := range []struct {
		f    facts
		c    server.FailedConnection
		want string
	}{
		{dev, failed(server.Untrusted, 1), "not trusted by 127.0.0.1: unknown certificate authority\n               start the client with: " + name + " run --data d -- COMMAND; or see env (for a shell) and trust (for browsers)\n"},
		{memory, failed(server.Untrusted, 3), "not trusted by 127.0.0.1: unknown certificate authority (3 times)\n               it must trust /d/tls/ca.pem\n"},
		{own, failed(server.HungUp, 1), "127.0.0.1 hung up in the handshake: it may not trust this server\n               it must trust the authority of your certificate, /etc/chain.pem\n"},
		{dev, failed(server.PlainHTTP, 1), "127.0.0.1 speaks http to the https port 8080\n               use https there: https://localhost:8443\n"},
		{dev, failed(server.TLSToHTTP, 1), "127.0.0.1 speaks https to the http port 8080\n               use http there; the port for https: https://localhost:8443\n"},
		{dev, failed(server.OtherTLS, 1), "no TLS with 127.0.0.1: unknown certificate authority\n"},
	} {
		if got := c.f.failedLines(c.c, tty.Screen{}); got != "21:04:11  TLS  "+c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.c.Kind, got, "21:04:11  TLS  "+c.want)
		}
		for line := range strings.Lines(dev.failedLines(c.c, tty.Screen{Columns: 80, Colour: true})) {
			if w := tty.Width(strings.TrimSuffix(line, "\n")); w > 80 && !strings.Contains(line, name) {
				t.Errorf("%s: a line takes %d columns: %s", c.c.Kind, w, line)
			}
		}
	}
}

// TestScreenOrder reports a request before the server is ready. It checks that the line for
// the request is printed after the facts about the server.
func TestScreenOrder(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out)
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		s.access(rest.Record{Operation: "create user"})
	}()
	s.show(facts{cfg: load(t, map[string]string{"data": "memory:"})})
	<-printed
	if ready, line := strings.Index(out.String(), "Ready in"), strings.Index(out.String(), "create user"); ready < 0 || line < ready {
		t.Errorf("the order is wrong:\n%s", out.String())
	}
}

func TestReport(t *testing.T) {
	tests := []struct {
		err  error
		want string
		code int
	}{
		{nil, "", 0},
		{exitCode(7), "", 7},
		{errors.New("open x: no"), "confab: open x: no.\n", 1},
		{errors.Join(errors.New("open x: y:\n\tz"), errors.New("no")), "confab: open x: y: z; no.\n", 1},
		{errors.New("no thread 점심\x1b[2J\u202ehere"), "confab: no thread 점심?[2J?here.\n", 1},
		{&failure{what: "a\x9bb", next: "do\rc"}, "confab: a?b.\n        Do?c.\n", 1},
		{&failure{what: "a is b", next: "do c"}, "confab: a is b.\n        Do c.\n", 1},
		{&failure{what: "a is b", next: "try: x y", code: 2}, "confab: a is b.\n        Try: x y\n", 2},
		{config.Errors{&config.Error{Setting: "a", Origin: "flag --a", Problem: "p", Next: "n?"}, &config.Error{Origin: "f:1", Problem: "q", Next: "m"}},
			"confab: a: p (flag --a).\n        N?\nconfab: f:1: q.\n        M.\n", 1},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		if code := report(&out, tt.err); code != tt.code || out.String() != tt.want {
			t.Errorf("report(%v) = %d %q, want %d %q", tt.err, code, out.String(), tt.code, tt.want)
		}
	}
}

func TestCannotRun(t *testing.T) {
	_, err := exec.LookPath("no-such-program-at-all")
	if got := cannotRun(err); got != 127 {
		t.Errorf("not found: %d, want 127", got)
	}
	if got := cannotRun(&fs.PathError{Op: "exec", Path: "x", Err: fs.ErrPermission}); got != 126 {
		t.Errorf("not allowed: %d, want 126", got)
	}
}

// TestAuditAtEachLevel rotates an access key of servers that log only errors, one as text
// and one as JSON. It checks that the log nevertheless contains the audit record of the
// rotation.
func TestAuditAtEachLevel(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		cfg, err := config.Load(config.Input{Defaults: map[string]string{
			"data": config.Memory, "listen": "localhost:0", "listen-ops": "off", "log-level": "error", "log-format": format,
		}})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer // read out only after output.Close, which waits until the log is written
		output := newOutput(cfg, &out, false)
		t.Cleanup(output.Close)
		s, err := server.Start(t.Context(), server.Options{Config: cfg, Audit: newAudit(output)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close(context.Background()) })
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.Info().AdminSocket)
		}}}
		resp, err := client.Post("http://localhost/admin/v1/keys/primary/rotate", "application/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		output.Close()
		if record := out.String(); resp.StatusCode != 200 || strings.Count(record, "\n") != 1 || !strings.Contains(record, "rotateKey") || strings.HasPrefix(record, "{") != (format == "json") {
			t.Errorf("%s: %s, and the log says %q, want the record of the rotation", format, resp.Status, record)
		}
	}
}

// TestChangedPasswordIsNamed changes only the password in the database setting. It checks
// that a reload reports the setting as changed, although config.Config.Shown hides the
// password.
func TestChangedPasswordIsNamed(t *testing.T) {
	var was, is config.Config
	was.Database, is.Database = "postgres://confab:old@db.example.com/confab", "postgres://confab:new@db.example.com/confab"
	if got := changedSettings(was, is); !slices.Equal(got, []string{"database"}) {
		t.Errorf("changed: %q, want the database", got)
	}
	if got := changedSettings(was, was); len(got) != 0 {
		t.Errorf("nothing has changed, and %q is named", got)
	}
}

// TestClosedWindowStopsOnce sends several SIGHUP after the terminal was closed. It checks
// that only one of these signals stops the server, because a second one would end the process
// before the store is closed.
func TestClosedWindowStopsOnce(t *testing.T) {
	hangups, stop := make(chan os.Signal, 3), make(chan os.Signal, 3)
	for range cap(hangups) {
		hangups <- syscall.SIGHUP
	}
	close(hangups)
	new(reloader).upon(hangups, func() bool { return true }, stop)
	if len(stop) != 1 {
		t.Errorf("%d signals stop the server, want 1", len(stop))
	}
}
