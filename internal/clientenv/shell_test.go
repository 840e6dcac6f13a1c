package clientenv

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nasty lists values with characters that have a meaning in shells.
var nasty = []string{
	"", "plain", "/d/a b/ca.pem", "endpoint=https://localhost:8443/;accesskey=a+b/c==",
	`it's`, `"quoted"`, `'`, `\`, `\'`, `a\\b\`, "$HOME", "`id`", "$(id)", "%PATH%", "!x!", "a&b|c<d>e^f(g)",
	`a"&b"&c`, "#no comment", " lead and trail ", "~", "*?[x]", "‘typographic’ ‚quotes‛", "é ☃", "-n", "a\tb",
	`-Djavax.net.ssl.trustStore="/Application Support/t.p12" -Xmx1g`,
}

func TestFormat(t *testing.T) {
	vars := func(s string) []Var { return []Var{{"A", s}} }
	tests := []struct {
		shell     Shell
		in, want  string
		wantError bool
	}{
		{Sh, `it's $HOME`, `export A='it'\''s $HOME'`, false},
		{Sh, "a\nb", "export A='a\nb'", false},
		{Sh, "a\x00b", "", true},
		{Fish, `it's \ $HOME`, `set -gx A 'it\'s \\ $HOME'`, false},
		{PowerShell, `it's ’$HOME`, `$Env:A = 'it''s ’’$HOME'`, false},
		{Cmd, `a b & 100%`, `set "A=a b & 100%%"`, false},
		{Cmd, `x="a b" & y`, `set "A=x="a b" & y"`, false},
		{Cmd, `x="a & b`, `set "A=x="a ^& b"`, false},
		{Cmd, "a\nb", "", true},
		{Dotenv, "/d/ca.pem", "A=/d/ca.pem", false},
		{Dotenv, "", "A=''", false},
		{Dotenv, "endpoint=https://x/;accesskey=a==", "A='endpoint=https://x/;accesskey=a=='", false},
		{Dotenv, `x="a b"`, `A='x="a b"'`, false},
		{Dotenv, "it's $5 \"`\\", `A="it's \$5 \"` + "\\`" + `\\"`, false},
		{Dotenv, "a\nb", "", true},
		{"nu", "x", "", true},
	}
	for _, tt := range tests {
		got, err := Format(tt.shell, vars(tt.in))
		if (err != nil) != tt.wantError {
			t.Errorf("Format(%s, %q): error %v, want error = %v", tt.shell, tt.in, err, tt.wantError)
		}
		if err == nil && got != tt.want+"\n" {
			t.Errorf("Format(%s, %q)\n got %s want %s", tt.shell, tt.in, got, tt.want)
		}
	}
}

// evalSh formats the values as variables in the syntax kind, lets sh execute the text, and
// returns the values that the variables have in sh.
func evalSh(t *testing.T, kind Shell, values []string) []string {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh on PATH")
	}
	var vars []Var
	script := ""
	for i, v := range values {
		name := "V" + strings.Repeat("x", i)
		vars = append(vars, Var{name, v})
		script += `printf '%s\001' "$` + name + "\"\n"
	}
	text, err := Format(kind, vars)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sh, "-c", `eval "$1"; eval "$2"`, "sh", text, script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sh: %v\n%s\n%s", err, out, text)
	}
	got := strings.Split(string(out), "\x01")
	return got[:len(got)-1]
}

// TestEvalBySh formats values with special characters as variables and checks that sh reads
// the same values.
func TestEvalBySh(t *testing.T) {
	if diff := cmp.Diff(append(nasty, "two\nlines\n"), evalSh(t, Sh, append(nasty, "two\nlines\n"))); diff != "" {
		t.Errorf("sh (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(nasty, evalSh(t, Dotenv, nasty)); diff != "" {
		t.Errorf("a .env file sourced by sh (-want +got):\n%s", diff)
	}
}

func FuzzEvalBySh(f *testing.F) {
	for _, s := range nasty {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "\x00\x01") {
			t.Skip("the test's own separators")
		}
		if got := evalSh(t, Sh, []string{s}); len(got) != 1 || got[0] != s {
			t.Errorf("%q is read back as %q", s, got)
		}
		if strings.ContainsAny(s, "\r\n") {
			return
		}
		if got := evalSh(t, Dotenv, []string{s}); len(got) != 1 || got[0] != s {
			t.Errorf("%q in a .env file is read back as %q", s, got)
		}
	})
}

func TestJSON(t *testing.T) {
	text, err := JSON([]Var{{"A", nasty[4]}, {"B", ""}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"A": nasty[4], "B": ""}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestGuessShell(t *testing.T) {
	tests := []struct {
		shell, goos string
		want        Shell
	}{
		{"/bin/bash", "linux", Sh},
		{"/usr/local/bin/fish", "darwin", Fish},
		{"/bin/zsh", "darwin", Sh},
		{"/usr/bin/pwsh", "linux", PowerShell},
		{"", "linux", Sh},
		{"/bin/tcsh", "linux", Sh},
		{"/bin/dotenv", "linux", Sh},
		{"", "windows", PowerShell},
		{"/usr/bin/bash", "windows", Sh}, // bash of Git for Windows
		{`C:\Program Files\Git\bin\bash.exe`, "windows", Sh},
	}
	for _, tt := range tests {
		if got := GuessShell(env("SHELL", tt.shell), tt.goos); got != tt.want {
			t.Errorf("GuessShell(%q, %s) = %s, want %s", tt.shell, tt.goos, got, tt.want)
		}
	}
}

func TestParseShell(t *testing.T) {
	for _, s := range Shells {
		if got, err := ParseShell(string(s)); err != nil || got != s {
			t.Errorf("ParseShell(%q) = %q, %v", s, got, err)
		}
	}
	if _, err := ParseShell("nu"); err == nil {
		t.Error("ParseShell took nu")
	}
}
