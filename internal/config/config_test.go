package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestSecretsStayHidden(t *testing.T) {
	c, _, err := place{flags: []string{"--dev"}, env: []string{"CONFAB_ACCESS_KEY=" + key1}}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	if c.AccessKey.Text() != key1 {
		t.Fatal("the key did not arrive")
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+" "+verb+"\n", c, c.AccessKey)
		fmt.Fprintf(&out, verb+" "+verb+"\n", &c, &c.AccessKey)
	}
	out.WriteString(c.String())
	fmt.Fprintln(&out, c.Shown())
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("settings", "config", c, "key", c.AccessKey, "other", []any{c.AccessKey})
	}
	// Print the Config without its String method, because fmt cannot call methods of an unexported
	// field.
	fmt.Fprintf(&out, "%+v", struct{ c Config }{c})
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	for _, spelling := range []string{key1, fmt.Sprintf("%x", key1), fmt.Sprintf("%q", key1)} {
		if strings.Contains(out.String(), spelling) {
			t.Fatalf("the key is shown:\n%s", out.String())
		}
	}
	if !strings.Contains(c.String(), "access-key: (hidden)") || !strings.Contains(c.String(), "# variable CONFAB_ACCESS_KEY") {
		t.Errorf("String does not say that there is a key:\n%s", c)
	}
	if strings.Contains(c.String(), "access-key-secondary: (hidden)") {
		t.Errorf("String shows a hidden key where none is set:\n%s", c)
	}
}

// TestExample checks that the file that WriteExample writes is valid if its comment signs are
// removed, and that it sets every setting to its default.
func TestExample(t *testing.T) {
	var b bytes.Buffer
	if err := WriteExample(&b); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := regexp.MustCompile(`(?m)^#([a-z])`).ReplaceAllString(b.String(), "$1")
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Load(Input{Dir: dir, Defaults: map[string]string{"data": Memory}})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, s := range Settings {
		if s.Default != "" && got.values[s.Name].source != fromFile || got.values[s.Name].text != s.Default && s.Name != "data" {
			t.Errorf("%s is %q from %s, want %q from the example", s.Name, got.values[s.Name].text, got.Origin(s.Name), s.Default)
		}
	}
}

func TestAddFlags(t *testing.T) {
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	AddFlags(fs, "data", "access-key")
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if got, want := strings.Join(names, " "), "access-key-file config data"; got != want {
		t.Errorf("flags %q, want %q", got, want)
	}
	fs = pflag.NewFlagSet("x", pflag.ContinueOnError)
	AddFlags(fs)
	for _, line := range []string{
		"--listen host:port ", "(default localhost:8443)", "--listen-http host:port ", "(default off, with --dev localhost:8080)",
		"--access-key-file file ", "--tls-names names", "--dev ",
	} {
		if !strings.Contains(fs.FlagUsages(), line) {
			t.Errorf("the help lacks %q:\n%s", line, fs.FlagUsages())
		}
	}
	if fs.Lookup("access-key") != nil {
		t.Error("a secret has a flag of its own")
	}
}

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"localhost:8443": true, "LocalHost:1": true, "127.0.0.1:0": true, "127.9.9.9:1": true, "[::1]:8443": true,
		":8443": false, "0.0.0.0:8443": false, "[::]:1": false, "chat.lan:1": false, "localhost": false, "": false,
	} {
		if got := Loopback(addr); got != want {
			t.Errorf("Loopback(%q) = %v, want %v", addr, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	good := map[string]int64{
		"0": 0, "1": 1, "64MiB": 64 << 20, "64mib": 64 << 20, "64 MiB": 64 << 20, "64M": 64 << 20, "5MB": 5e6, "12b": 12,
		"3TiB": 3 << 40, "2kb": 2000, "2k": 2048, "9223372036854775807": 1<<63 - 1,
	}
	for s, want := range good {
		if got, err := ParseSize(s); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "MiB", "-1", "+1", "1.5GiB", "1 000", "64XB", "9223372036854775808", "9000000TiB", " 1", "1e3", "0x10", "1MiB2"} {
		if n, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", s, n)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "64MiB", "1 TB", "-1", "", "99999999999999999999KiB", "5\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("ParseSize(%q) = %d", s, n)
		}
		if again, err := ParseSize(fmt.Sprint(n)); err != nil || again != n {
			t.Fatalf("ParseSize(%q) = %d, and of that %d, %v", s, n, again, err)
		}
	})
}

// FuzzLoad loads arbitrary text from a configuration file and a variable. It checks that Load does
// not panic, and that String returns a text for every Config that Load returns.
func FuzzLoad(f *testing.F) {
	f.Add("dev: true\nlisten: localhost:1", "LISTEN", "localhost:2")
	f.Add("access-key: x\n? [a]\n: b", "ACCESS_KEY", key1)
	f.Add("&a [*a]", "DATA", "~")
	f.Add("<<: {dev: true}", "TLS_NAMES", ",,a,")
	f.Fuzz(func(t *testing.T, text, name, val string) {
		m, _, err := readYAML([]byte(text))
		if err == nil && m == nil {
			t.Fatal("neither settings nor an error")
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Input{Dir: dir, Environ: []string{"CONFAB_" + name + "=" + val, "HOME=/h"}})
		if err == nil && c.String() == "" {
			t.Fatal("nothing to show")
		}
	})
}

// TestTheDatabasesPasswordIsNotShown checks that Config.String and the error for an invalid
// database address do not contain the password in the address.
func TestTheDatabasesPasswordIsNotShown(t *testing.T) {
	for _, address := range []string{"postgres://ann:pa55word@db/chat", "postgres://db/chat?user=ann&password=pa55word"} {
		c, _, err := place{flags: []string{"--data", "d"}, env: []string{"CONFAB_DATABASE=" + address}}.load(t)
		if err != nil {
			t.Fatal(err)
		}
		if c.Database != address {
			t.Errorf("database %q, want %q", c.Database, address)
		}
		if shown := c.String(); strings.Contains(shown, "pa55word") || !strings.Contains(shown, "db/chat") {
			t.Errorf("shown as\n%s", shown)
		}
	}
	_, _, err := place{flags: []string{"--data", "d", "--database", "mysql://ann:pa55word@db/chat"}}.load(t)
	if err == nil || strings.Contains(err.Error(), "pa55word") {
		t.Errorf("a refused address: %v", err)
	}
}
