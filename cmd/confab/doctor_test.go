package main

import (
	"errors"
	"io/fs"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/tty"
)

func TestFindings(t *testing.T) {
	now := time.Date(2026, 11, 21, 21, 4, 11, 0, time.UTC)
	tests := []struct {
		name string
		got  finding
		want finding
	}{
		{"clock", clockFinding(now, now.Add(-time.Hour), true, true), finding{"clock", fine, "2026-11-21 21:04:11 UTC, synchronized by the system", ""}},
		{"clock of which nothing is known", clockFinding(now, time.Time{}, false, false), finding{"clock", fine, "2026-11-21 21:04:11 UTC", ""}},
		{"clock that nobody keeps", clockFinding(now, time.Time{}, false, true), finding{"clock", warning, "2026-11-21 21:04:11 UTC",
			"the system does not synchronize it: run an NTP client, for instance with: timedatectl set-ntp true"}},
		{"clock of long ago", clockFinding(now, now.Add(time.Hour), true, true), finding{"clock", broken,
			"2026-11-21 21:04:11 UTC is before this program was built, 2026-11-21 22:04:11 UTC", "set the clock: tokens and certificates depend on it"}},

		{"disk", flushFinding("/d", 2*time.Millisecond, nil), finding{"disk", fine, "a flush in /d takes 2ms", ""}},
		{"slow disk", flushFinding("/d", 40*time.Millisecond, nil), finding{"disk", warning, "a flush in /d takes 40ms",
			"each send waits for a flush: put the data folder on a local SSD"}},
		{"no disk", flushFinding("/d", 3*time.Microsecond, nil), finding{"disk", warning, "a flush in /d takes 3µs",
			"this is memory, or a disk that does not flush: a power cut may lose acknowledged writes"}},
		{"read only", flushFinding("/d", 0, &fs.PathError{Op: "open", Path: "/d/x", Err: errors.New("read-only file system")}), finding{"disk", broken,
			"nothing can be written to /d: read-only file system",
			"make it a folder that this user may write to, run this as the server's user, or choose another with --data"}},

		{"space", spaceFinding("/d", 73<<30, 64<<20, nil), finding{"space", fine, "73 GiB free in /d", ""}},
		{"little space", spaceFinding("/d", 600<<20, 64<<20, nil), finding{"space", warning, "600 MiB free in /d", "writes will be refused below 64 MiB: free some space"}},
		{"no space", spaceFinding("/d", 1<<20, 64<<20, nil), finding{"space", broken, "1 MiB free in /d", "writes are refused below 64 MiB: free some space, or lower min-free-space"}},
		{"no floor", spaceFinding("/d", 100, 0, nil), finding{"space", fine, "100 bytes free in /d", ""}},
		{"unknown space", spaceFinding("/d", 0, 1, errors.New("x")), finding{"space", warning, "the free space of /d is not known: x", ""}},

		{"certificate", finding{"authority", fine, "it", ""}.ending(now, now.AddDate(0, 0, 31), "mend"), finding{"authority", fine, "it", ""}},
		{"certificate near its end", finding{"authority", fine, "it", ""}.ending(now, now.AddDate(0, 0, 29), "mend"), finding{"authority", warning, "it, but it ends on 2026-12-20", "mend"}},
		{"certificate at its end", finding{"authority", fine, "it", ""}.ending(now, now, "mend"), finding{"authority", broken, "it, but it ended on 2026-11-21", "mend"}},

		{"files", filesFinding(20000, true), finding{"files", fine, "this process may have 20000 files open, so that a server accepts 18952 connections", ""}},
		{"few files", filesFinding(1024, true), finding{"files", warning, "this process may have 1024 files open, so that a server accepts 848 connections",
			"raise it for a server with many clients: ulimit -n 65536, or LimitNOFILE=65536 in its systemd unit"}},
		{"no limit", filesFinding(0, false), finding{"files", fine, "this system sets no limit to open files and connections", ""}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestJudge(t *testing.T) {
	exit := &exec.ExitError{}
	find := func(name string) probe {
		for _, p := range probes {
			if p.name == name {
				return p
			}
		}
		t.Fatalf("no probe %s", name)
		return probe{}
	}
	tests := []struct {
		name, probe, out, stderr string
		err                      error
		proxy                    string
		state, found, mend       string
	}{
		{name: "trusted", probe: "Python", out: "Python 3.11.7\n", state: fine, found: "Python 3.11.7 trusts the server"},
		{name: "not trusted", probe: "Node", stderr: "\nUNABLE: x\n", err: exit, state: broken, found: "UNABLE: x", mend: "give your client the authority itself"},
		{name: "behind a proxy", probe: "Node", stderr: "x", err: exit, proxy: "https_proxy", state: broken, found: "x", mend: "a proxy is set (https_proxy): add localhost to NO_PROXY. If that is not it: give"},
		{name: "a Java that talks", probe: "Java", stderr: "Picked up JAVA_TOOL_OPTIONS: -D\njavax.net.ssl.SSLHandshakeException: PKIX", err: exit,
			state: broken, found: "javax.net.ssl.SSLHandshakeException: PKIX", mend: "look for another javax.net.ssl.trustStore"},
		{name: "a Java without a compiler", probe: "Java", stderr: "java.lang.module.FindException: Module jdk.compiler not found\n", err: exit,
			state: warning, found: "this Java cannot compile the probe", mend: "try a JDK, version 11 or later"},
		{name: "an old Java", probe: "Java", stderr: "Error: Could not find or load main class .tmp.Probe.java", err: exit,
			state: warning, found: "this Java cannot compile the probe", mend: "try a JDK"},
		{name: "ourselves", probe: "Go", stderr: "confab: tls: failed.\n", err: exit, state: broken, found: "tls: failed.", mend: "read CONFAB_CA_FILE"},
		{name: "too slow", probe: "Python", err: errors.New("no answer within 1m0s"), state: warning, found: "not tried: no answer within 1m0s"},
		{name: "what a terminal would obey", probe: "Node", stderr: "\x1b[2Jx", err: exit, state: broken, found: "?[2Jx", mend: "give"},
	}
	for _, tt := range tests {
		got := find(tt.probe).judge(tt.out, tt.stderr, tt.err, func(name string) string {
			if name == tt.proxy {
				return "http://proxy:3128"
			}
			return ""
		})
		if got.Check != tt.probe || got.State != tt.state || got.Found != tt.found || !strings.HasPrefix(got.Mend, tt.mend) || tt.mend == "" && got.Mend != "" {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
	for _, goos := range []string{"windows", "darwin"} {
		if m := goMend(goos); !strings.HasSuffix(m, " trust") {
			t.Errorf("on %s: %q", goos, m)
		}
	}
}

// TestSettingsOf checks that settings with a data folder and without dev describe a production
// server, and that all other settings describe a development server.
func TestSettingsOf(t *testing.T) {
	for _, tt := range []struct {
		environ []string
		dev     bool
	}{
		{[]string{"HOME=/h"}, true},
		{[]string{"CONFAB_DATA=/d"}, false},
		{[]string{"CONFAB_DATA=/d", "CONFAB_DEV=true"}, true},
	} {
		c, err := settingsOf(config.Input{Environ: tt.environ})
		if err != nil || c.Dev != tt.dev || c.ListenHTTP != map[bool]string{true: "localhost:8080"}[tt.dev] {
			t.Errorf("%v: dev %v, listen-http %q, %v", tt.environ, c.Dev, c.ListenHTTP, err)
		}
	}
}

func TestFindingsText(t *testing.T) {
	all := []finding{{"disk", fine, "quick", ""}, {"files", warning, "this process may have 1024 files open, so that a server accepts 848 connections", ""}, {"ports", broken, "taken\x1b[2J", "free them"}}
	for _, c := range []struct {
		on   tty.Screen
		want string
	}{
		{tty.Screen{}, `ok        disk          quick
warning   files         this process may have 1024 files open, so that a server accepts 848 connections
broken    ports         taken?[2J
                        free them
`},
		{tty.Screen{Columns: 80, Colour: true}, "\x1b[32mok      \x1b[0m  disk          quick\n" +
			"\x1b[33mwarning \x1b[0m  files         this process may have 1024 files open, so that a server\n                        accepts 848 connections\n" +
			"\x1b[31mbroken  \x1b[0m  ports         taken?[2J\n                        free them\n"},
	} {
		if got := findingsText(all, c.on); got != c.want {
			t.Errorf("%+v: got\n%s\nwant\n%s", c.on, got, c.want)
		}
	}
}

func TestAddressFindings(t *testing.T) {
	for address, want := range map[string]string{
		"": "", "postgres://ann@localhost/chat": fine, "postgres://ann@[::1]/chat": fine, "postgres:///chat?host=/run/postgresql": fine,
		"postgres://ann@db.example.org/chat?sslmode=verify-full":           fine,
		"postgres://ann:hush@db.example.org/chat":                          warning,
		"postgres://ann:hush@db.example.org/chat?sslmode=require":          warning,
		"postgres://ann:hush@db.example.org/chat?sslmode=disable":          warning,
		"postgres://ann:hush@localhost,db.example.org/chat?sslmode=prefer": warning,
	} {
		got := ""
		for _, f := range addressFindings(config.Config{Database: address}) {
			got += f.State
			if strings.Contains(f.Found+f.Mend, "hush") || f.State == warning && (!strings.Contains(f.Found, "db.example.org") || !strings.Contains(f.Mend, "verify-full")) {
				t.Errorf("%s: %+v", address, f)
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}
