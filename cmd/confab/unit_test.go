package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
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

// TestScreen compares the text that a development server prints at its start.
func TestScreen(t *testing.T) {
	t.Setenv("HOME", "/home/a")
	t.Setenv("SHELL", "/bin/bash")
	f := facts{
		Info: server.Info{
			Endpoint: "https://localhost:8443", HTTP: "http://localhost:8080", Data: "/home/a/.local/share/confab/dev",
			DataState: "empty", NewCA: true, Dev: true, AccessKey: "a2V5",
		},
		cfg:     load(t, map[string]string{"dev": "true", "data": "/home/a/.local/share/confab/dev", "listen-http": "localhost:8080"}),
		version: "0.1.0",
		ready:   84 * time.Millisecond,
	}
	name := programName()
	pad := strings.Repeat(" ", len(" run -- python start-chat.py")-len(`eval "$( env)"`))
	want := `Confab 0.1.0, development server. Ctrl-C stops it; your data stays.

  Endpoint  https://localhost:8443           for the SDKs
  Connect   endpoint=https://localhost:8443/;accesskey=a2V5
  Data      ~/.local/share/confab/dev        empty, new certificate authority made

Try, in a second terminal:
  ` + name + ` run -- python start-chat.py    any program, with these settings
  eval "$(` + name + ` env)"` + pad + `    or this shell

The access key is public knowledge: development only. Listening on this machine alone. Limits: fair.
Ready in 84 ms.

`
	if diff := cmp.Diff(want, f.screen()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// The second case is a server in memory that has keys of the user and listens for other
	// machines.
	f.Memory, f.Data = true, "memory:"
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

  Endpoint  https://localhost:8443           for the SDKs
  Connect   endpoint=https://localhost:8443/;accesskey=a2V5
  Data      in memory                        nothing is kept

Try, in a second terminal:
  ` + name + ` run --data memory: -- python start-chat.py    any program, with a server of its own

Listening for OTHER MACHINES too: 0.0.0.0:8443. Limits: off.
Ready in 84 ms.

`
	if diff := cmp.Diff(want, f.screen()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	// A primary key of the user leaves the well-known secondary key.
	if f.cfg, err = config.Load(config.Input{
		Defaults: map[string]string{"dev": "true", "data": "memory:"},
		Environ:  []string{"CONFAB_ACCESS_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="},
	}); err != nil {
		t.Fatal(err)
	}
	if last := "\nThe secondary access key is public knowledge: development only. Listening on this machine alone."; !strings.Contains(f.screen(), last) {
		t.Errorf("got\n%s\nwant %q in it", f.screen(), last)
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
	tests := []struct {
		name string
		r    rest.Record
		want string
	}{
		{"created", rest.Record{Time: at, Status: 201, Operation: "create thread", Duration: 3400 * time.Microsecond,
			UserAgent: "azsdk-python-communication-chat/1.2.0 Python/3.11.7 (Linux)", Thread: "19:6f1c2d3e4f@thread.v2"},
			`21:04:11  201  create thread    3 ms  azsdk-python-communication-chat/1.2.0   19:6f1c...`},
		{"refused", rest.Record{Time: at.Add(time.Second), Status: 403, Operation: "list messages",
			UserAgent: "azsdk-js-communication-chat/1.6.0", Thread: "19:6f1c2d3e4f@thread.v2", Note: "No permission.", Reason: "not a participant"},
			`21:04:12  403  list messages    0 ms  azsdk-js-communication-chat/1.6.0       19:6f1c...  No permission. (not a participant)`},
		{"unknown route", rest.Record{Time: at, Status: 404, Method: "GET", Path: "/x"},
			`21:04:11  404  GET /x           0 ms`},
		{"what a terminal would obey", rest.Record{Time: at, Status: 404, Method: "GET", Path: "/\x1b[2J\r\n\x07\u202e\xff", UserAgent: "\x1b]0;x\x07"},
			`21:04:11  404  GET /?[2J?????    0 ms  ?]0;x?`},
	}
	for _, tt := range tests {
		if got := accessLine(tt.r, false); got != tt.want+"\n" {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
	if got := accessLine(tests[0].r, true); !strings.Contains(got, "\x1b[32m201\x1b[0m") {
		t.Errorf("no colour: %q", got)
	}
}

// TestScreenOrder reports a request before the server is ready. It checks that the line for
// the request is printed after the facts about the server.
func TestScreenOrder(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, false)
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

// TestAuditAtEachLevel rotates a key of servers that log errors only, and checks that their
// logs have the record.
func TestAuditAtEachLevel(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		cfg, err := config.Load(config.Input{Defaults: map[string]string{
			"data": config.Memory, "listen": "localhost:0", "listen-ops": "off", "log-level": "error", "log-format": format,
		}})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer // the record is written before the response, and nothing after it
		s, err := server.Start(t.Context(), server.Options{Config: cfg, Audit: newAudit(newOutput(cfg, &out, false))})
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
		if record := out.String(); resp.StatusCode != 200 || strings.Count(record, "\n") != 1 || !strings.Contains(record, "rotate key") || strings.HasPrefix(record, "{") != (format == "json") {
			t.Errorf("%s: %s, and the log says %q, want the record of the rotation", format, resp.Status, record)
		}
	}
}
