package config

import (
	"strings"
	"testing"

	"github.com/knadh/koanf/v2"
)

// TestWhereThePasswordOfTheDatabaseMayBe checks that a database address with a password is accepted
// from the variable, from confab.yaml and from a file. It also checks that a flag with a password
// is refused, because every user of the machine can read the flags of a process.
func TestWhereThePasswordOfTheDatabaseMayBe(t *testing.T) {
	const secret, open = "postgres://ann:pa55word@db/chat?sslmode=verify-full", "postgres://ann@db/chat?sslmode=verify-full"
	files := map[string]string{"url": secret + "\n"}
	for name, p := range map[string]place{
		"variable":                {env: []string{"CONFAB_DATABASE=" + secret}},
		"variable with a file":    {env: []string{"CONFAB_DATABASE_FILE=url"}, files: files},
		"flag with a file":        {flags: []string{"--database-file", "url"}, files: files},
		"confab.yaml":             {yaml: "database: " + secret + "\n"},
		"confab.yaml with a file": {yaml: "database-file: url\n", files: files},
	} {
		p.flags = append(p.flags, "--data", "d")
		c, _, err := p.load(t)
		if err != nil || c.Database != secret {
			t.Errorf("%s: %q, %v; want %q", name, c.Database, err, secret)
		}
		if strings.Contains(c.String(), "pa55word") {
			t.Errorf("%s: the password is shown:\n%s", name, c)
		}
	}
	for _, address := range []string{secret, "postgres://db/chat?user=ann&password=pa55word", "postgres://ann@db/chat?sslkey=k&sslpassword=pa55word"} {
		_, _, err := place{flags: []string{"--data", "d", "--database", address}}.load(t)
		if err == nil || !strings.Contains(err.Error(), "list of processes") || strings.Contains(err.Error(), "pa55word") {
			t.Errorf("flag %s: %v, want a refusal that names the reason and not the password", address, err)
		}
	}
	if c, _, err := (place{flags: []string{"--data", "d", "--database", open}}).load(t); err != nil || c.Database != open {
		t.Errorf("flag without a password: %q, %v", c.Database, err)
	}
	if _, _, err := (place{flags: []string{"--data", "d", "--database", open, "--database-file", "url"}, files: files}).load(t); err == nil {
		t.Error("the address may be set twice")
	}
}

// TestPathsOnTheNetwork checks which paths count as UNC paths, and that every setting that names
// a file or a folder refuses them on Windows.
func TestPathsOnTheNetwork(t *testing.T) {
	for path, want := range map[string]bool{
		`\\host\share\key.pem`: true, `//host/share/key.pem`: true, `\/host\share`: true, `\\?\UNC\host\share\k`: true, `\\.\pipe\x`: true, `//?/UNC/host/k`: true,
		`C:\keys\key.pem`: false, `keys\key.pem`: false, `\keys\key.pem`: false, `/keys/key.pem`: false, `\\?\C:\keys\key.pem`: false, "": false, `~\key.pem`: false,
	} {
		if got := onNetwork(path, "windows"); got != want {
			t.Errorf("%s on Windows: %v, want %v", path, got, want)
		}
		if onNetwork(path, "linux") {
			t.Errorf("%s counts as a path on the network on Linux", path)
		}
	}
	var c Config
	for _, s := range Settings {
		switch s.Name {
		case "data", "tls-cert", "tls-key":
			if err := s.set(&c, value{text: `\\host\share\x`, goos: "windows"}); err != error(errOnNetwork) {
				t.Errorf("%s: %v, want %v", s.Name, err, errOnNetwork)
			}
		}
	}
	l := &loader{values: map[string]value{}}
	k := koanf.New(".")
	for _, s := range Settings {
		if s.inFile() {
			l.set(k, s, true, `\\host\share\x`, value{source: fromFlag, goos: "windows"})
		}
	}
	if len(l.errs) != 4 || len(l.values) > 0 || !strings.Contains(l.errs[0].Error(), "on the network") {
		t.Errorf("files of secrets: %v, %v; want each refused", l.errs, l.values)
	}
}
