package confab_test

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "github.com/confab-chat/confab"

// pkg describes a Go package, with fields of the output of `go list -json`.
type pkg struct {
	ImportPath string
	Imports    []string
	Doc        string
	Dir        string
}

func packages(t *testing.T, dir string) []pkg {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Imports,Doc,Dir", "./...")
	list.Dir = dir
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v", dir, err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// may lists, for each package of this module, the packages of the module that it may import. A path
// that ends in /... stands for a package and all packages below it. For example, internal/rest may
// import internal/core, but internal/core may not import a store.
var may = map[string][]string{
	"sdk/communication":         {"sdk/internal/endpoint"},
	"sdk/internal/endpoint":     nil,
	"sdk/internal/pipeline":     {"sdk/communication", "sdk/internal/endpoint"},
	"sdk/internal/recorded":     nil,
	"sdk/identity":              {"sdk/communication", "sdk/internal/pipeline"},
	"sdk/chat":                  {"sdk/communication", "sdk/internal/pipeline"},
	"internal/core":             {"internal/clip", "internal/why", "sdk/communication"},
	"internal/apiver":           nil,
	"internal/clip":             nil,
	"internal/inbound":          {"internal/clip"},
	"internal/hosts":            nil,
	"internal/logs":             {"internal/clip"},
	"internal/tty":              nil,
	"internal/signature":        {"internal/clip", "internal/why", "sdk/communication"},
	"internal/token":            {"internal/core", "internal/why", "sdk/communication"},
	"internal/store/row":        {"internal/core"},
	"internal/store/pebble":     {"internal/core", "internal/store/row", "sdk/communication"},
	"internal/store/postgres":   {"internal/core", "internal/store/row", "sdk/communication"},
	"internal/store/storetest":  {"internal/core", "sdk/communication"},
	"internal/bus/local":        {"internal/core"},
	"internal/transfer":         {"internal/core", "sdk/communication"},
	"internal/gateway/hijack":   nil,
	"internal/gateway":          {"internal/core", "internal/gateway/hijack", "internal/token", "internal/why"},
	"internal/gateway/requests": {"internal/clip", "internal/core", "internal/dev", "internal/gateway", "internal/limits", "internal/token", "internal/why"},
	"internal/gateway/sse":      {"internal/clip", "internal/core", "internal/dev", "internal/gateway", "internal/gateway/hijack", "internal/gateway/requests", "internal/inbound", "internal/hosts", "internal/limits", "internal/token", "internal/why", "sdk/communication"},
	"internal/gateway/trouter":  {"internal/core", "internal/dev", "internal/gateway", "internal/gateway/hijack", "internal/gateway/requests", "internal/hosts", "internal/inbound", "internal/limits", "internal/token", "internal/why", "sdk/communication"},
	"internal/rest/wire":        {"internal/apiver", "internal/clip", "internal/core", "sdk/communication"},
	"internal/rest":             {"internal/apiver", "internal/clip", "internal/core", "internal/hosts", "internal/inbound", "internal/limits", "internal/rest/wire", "internal/signature", "internal/token", "internal/why", "sdk/communication"},
	"internal/dev":              {"internal/clip", "internal/hosts", "internal/inbound", "internal/rest"},
	"internal/metrics":          nil,
	"internal/exchange":         nil,
	"internal/why":              {"internal/clip"},
	"internal/traffic":          {"internal/clip", "internal/exchange", "internal/why"},
	"internal/record":           {"internal/exchange"},
	"internal/figures":          nil,
	"internal/snippets":         {"internal/apiver"},
	"internal/limits":           {"internal/core"},
	"internal/localca":          nil,
	"internal/clientenv":        {"internal/hosts", "internal/localca", "sdk/communication"},
	"internal/config":           {"internal/clientenv", "internal/core", "internal/hosts", "internal/limits", "internal/localca", "sdk/communication"},
	"internal/cputime":          nil,
	"internal/bench":            {"internal/bench/load", "internal/bus/local", "internal/core", "internal/cputime", "internal/store/pebble", "sdk/chat", "sdk/communication"},
	"internal/bench/load":       {"internal/cputime", "sdk/chat", "sdk/communication", "sdk/identity"},
	"internal/bench/reference":  {"internal/bench/load", "internal/bus/local", "internal/core", "internal/localca", "internal/rest", "internal/token", "sdk/communication"},
	"internal/bench/measure":    {"internal/bench/load", "internal/bench/seed"},
	"internal/bench/seed":       {"internal/bench/load", "internal/core", "internal/store/pebble", "internal/token"},
	"internal/bench/slowdisk":   nil,
	"internal/bench/compare":    {"internal/bench/load", "sdk/identity"},
	"internal/bench/pgo":        {},
	"web":                       nil,
	"internal/admin":            {"internal/clip", "internal/core", "internal/figures", "internal/hosts", "internal/inbound", "internal/snippets", "internal/token", "internal/traffic", "sdk/communication"},
	"internal/server/failures":  nil,
	"internal/server": {
		"internal/admin", "internal/bus/local", "internal/clip", "internal/config", "internal/core", "internal/dev", "internal/exchange", "internal/figures", "internal/gateway", "internal/gateway/sse", "internal/gateway/trouter",
		"internal/hosts", "internal/limits", "internal/localca", "internal/logs", "internal/metrics", "internal/record",
		"internal/rest", "internal/store/pebble", "internal/store/postgres", "internal/token", "internal/traffic", "internal/transfer", "internal/why", "sdk/communication", "web",
	},
	"chattest":             {"internal/clientenv", "internal/config", "internal/dev", "internal/rest", "internal/server", "internal/token", "sdk/chat", "sdk/communication", "sdk/identity"},
	"examples/quickstart":  {"sdk/chat", "sdk/communication", "sdk/identity"},
	"examples/bot":         {"sdk/chat", "sdk/communication", "sdk/identity"},
	"examples/tokenserver": {"sdk/communication", "sdk/identity"},
	"cmd/confab":           {"internal/admin", "internal/bench", "internal/bench/measure", "internal/bench/reference", "internal/bench/slowdisk", "internal/clientenv", "internal/config", "internal/core", "internal/localca", "internal/logs", "internal/rest", "internal/server", "internal/transfer", "internal/tty", "internal/why", "sdk/communication"},
}

// never lists forbidden imports. Each entry forbids the package in the field part, and the packages
// below it, to import the package in the field path or a package below that. The field why is the
// reason.
var never = []struct{ part, path, why string }{
	{"internal/core", "net/http", "the domain knows nothing of HTTP"},
	{"internal/core", "database/sql", "the domain knows nothing of SQL"},
	{"internal/core", "github.com/cockroachdb", "the domain knows no engine"},
	{"internal/store", "net/http", "an engine knows nothing of HTTP"},
	{"internal/rest", "github.com/cockroachdb", "rest asks core, never an engine"},
	{"internal/rest", root + "/internal/gateway", "a request knows nothing of live sessions"},
	{"sdk", "github.com/confab-chat/confab/internal", "the SDK stands alone"},
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range append(packages(t, "."), packages(t, "sdk")...) {
		part := strings.TrimPrefix(p.ImportPath, root+"/")
		if part == root {
			continue
		}
		allowed, known := may[part]
		if !known {
			t.Errorf("%s is not in the table of this test: say what it may import", part)
		}
		for _, i := range p.Imports {
			if in, ok := strings.CutPrefix(i, root+"/"); ok && !slices.Contains(allowed, in) {
				t.Errorf("%s imports %s, which the table does not allow", part, in)
			}
			for _, n := range never {
				if (part == n.part || strings.HasPrefix(part, n.part+"/")) && (i == n.path || strings.HasPrefix(i, n.path+"/")) {
					t.Errorf("%s imports %s: %s", part, i, n.why)
				}
			}
		}
	}
}

func TestEveryPackageHasADocComment(t *testing.T) {
	for _, p := range append(packages(t, "."), packages(t, "sdk")...) {
		if p.Doc == "" && p.ImportPath != root {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// TestNoInitAndNoCatchAllPackages checks that no package has a func init, and that none has a
// meaningless name such as util.
func TestNoInitAndNoCatchAllPackages(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if strings.HasPrefix(name, ".") && name != "." || name == "node_modules" || path == "dist" {
				return fs.SkipDir
			}
			if slices.Contains([]string{"util", "utils", "common", "helpers", "models"}, name) && !strings.HasPrefix(path, "api") {
				t.Errorf("%s: a package is named for what it is", path)
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(src, []byte("\nfunc init()")) {
			t.Errorf("%s: has func init; register nothing, call it", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// guessable matches code that uses a fixed name in the folder for temporary files. Every user of
// the machine can write to that folder, and could create a file or a link of that name first.
// os.MkdirTemp, os.CreateTemp, mktemp and mkdtemp choose names that nobody can guess, and folders
// that nobody else can read.
var guessable = regexp.MustCompile(`os\.TempDir\(\)|/tmp/\w|mktemp\s+(-\w+\s+)*(-\w*u|--dry-run)|TMPDIR[^\n]*/[\w-]+(["'\s]|$)|tempfile\.mktemp`)

// TestNoGuessableNames checks that no program and no script uses a fixed name in a shared folder
// for temporary files.
func TestNoGuessableNames(t *testing.T) {
	for text, want := range map[string]bool{
		`filepath.Join(os.TempDir(), "confab.sock")`: true, `open("/tmp/confab.log")`: true, `f=$(mktemp -u)`: true, `dir=${TMPDIR:-/tmp}/confab`: true,
		`mkdtempSync(path.join(os.tmpdir(), "confab-"))`: false, `work=$(mktemp -d)`: false, `os.MkdirTemp("", "confab-")`: false,
		`dir=$(mktemp -d "${TMPDIR:-/tmp}/confab-postgres.XXXXXX")`: false, `TMPDIR=$work timeout 900 \`: false,
	} {
		if guessable.MatchString(text) != want {
			t.Errorf("the pattern matches %s: %v, want %v", text, !want, want)
		}
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if strings.HasPrefix(d.Name(), ".") && path != "." || slices.Contains([]string{"node_modules", "testdata", "dist", "docs", "api"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		case strings.HasSuffix(path, "_test.go") || !d.Type().IsRegular() || !slices.Contains([]string{"", ".go", ".sh", ".mjs", ".py"}, filepath.Ext(path)):
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(src), "\n") {
			if guessable.MatchString(line) {
				t.Errorf("%s:%d uses a name that others can guess: %s", path, i+1, strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
