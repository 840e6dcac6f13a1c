package main

import (
	"flag"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/tty"
)

var update = flag.Bool("update", false, "rewrite the expected files in the scripts of testdata; look at what has changed")

// drawn is the main function of a test program that prints the screen of a command with invented
// data. Tests use it for screens whose real data differ too much between machines.
func drawn() {
	cmd := &cobra.Command{}
	cmd.SetOut(os.Stdout)
	switch os.Args[1] {
	case "doctor":
		err := printFindings(cmd, []finding{
			{Check: "settings", State: fine, Found: "they load"},
			{Check: "ports", State: broken, Found: "port 8443 is in use by another Confab (process 4121, data ~/.local/share/confab/dev)",
				Mend: "Use that one, stop it, or choose another: confab serve --dev --listen localhost:0 --listen-http localhost:0 --data memory:"},
			{Check: "disk", State: warning, Found: "a flush in ~/.local/share/confab takes 31.482ms", Mend: "each send waits for a flush: put the data folder on a local SSD"},
			{Check: "space", State: fine, Found: "101 GiB free in ~/.local/share/confab"},
			{Check: "clock", State: fine, Found: "2026-11-28 17:33:15 UTC, synchronized by the system"},
			{Check: "files", State: warning, Found: "this process may have 1024 files open, so that a server accepts 848 connections",
				Mend: "raise it for a server with many clients: ulimit -n 65536, or LimitNOFILE=65536 in its systemd unit"},
			{Check: "server", State: fine, Found: "none runs on this data folder; a temporary one in memory starts and answers"},
			{Check: "certificate", State: fine, Found: "valid until 2027-12-29"},
			{Check: "Python", State: fine, Found: "Python 3.11.7 by /tmp/confab-1234567890/bundle.pem trusts the server"},
			{Check: "Node", State: broken, Found: "UNABLE_TO_VERIFY_LEAF_SIGNATURE: unable to verify the first certificate",
				Mend: `give your client the authority itself: ca: fs.readFileSync(process.env.CONFAB_CA_FILE)`},
			{Check: "trust", State: skipped, Found: "not installed here, so not tried: Java, 고"},
		}, false)
		os.Exit(report(os.Stderr, err))
	}
	os.Exit(2)
}

// differing lists patterns of text that differs from run to run, such as ids and times. A
// replacement has as many columns as the text that it replaces, so that the line breaks stay the
// same.
var differing = []struct {
	pattern *regexp.Regexp
	with    string // a character that replaces each letter and digit of a match, or a text that replaces the match and is padded on the left
}{
	{regexp.MustCompile(`localhost:\d{5}`), "localhost:44444"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "21:04:11"},
	{regexp.MustCompile(` +[\d.]+ (?:ms|s|min) `), " 3 ms "},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`), "2026-11-28T21:04:11.123Z"},
	{regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "1"},
	{regexp.MustCompile(`\b19:[\w-]{4}\.\.\.`), "19:2222..."},
	{regexp.MustCompile(`\b19:[\w-]+@thread\.v2`), ""},
	{regexp.MustCompile(`\.\.\.[0-9a-f]{8}\b`), "1"}, // matches the last 8 digits of a user's id, after three dots
}

var ready = regexp.MustCompile(`(Ready in |after=)[\d.]+( ?m?s)`)

// picture implements the script command "picture FROM TO". It copies the terminal output in the
// file FROM to the file TO, with the same ids, times and ports in each run, and with ^[ for the
// escape character. If TERMINAL_COLUMNS is set, picture fails if a line has more columns, except
// for a line that people copy, such as a key.
func picture(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.ReplaceAll(ts.ReadFile(args[0]), "\r\n", "\n")
	if columns, err := strconv.Atoi(ts.Getenv("TERMINAL_COLUMNS")); err == nil {
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if copied := strings.HasPrefix(line, "endpoint=") || !strings.Contains(line, " "); !copied && tty.Width(line) > columns {
				ts.Fatalf("a line takes %d columns, more than %d:\n%s", tty.Width(line), columns, line)
			}
		}
	}
	text = ready.ReplaceAllString(text, "${1}84${2}")
	for _, d := range differing {
		text = d.pattern.ReplaceAllStringFunc(text, func(found string) string {
			switch {
			case len(d.with) == 1:
				return regexp.MustCompile(`[0-9a-f]`).ReplaceAllString(found, d.with)
			case d.with == "":
				return "19:" + strings.Repeat("2", len(found)-len("19:@thread.v2")) + "@thread.v2"
			}
			return strings.Repeat(" ", max(0, len(found)-len(d.with))) + d.with
		})
	}
	text = strings.ReplaceAll(text, ts.Getenv("WORK"), "$WORK")
	text = strings.ReplaceAll(text, "\x1b", "^[")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}
