package rest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/apiver"
)

// TestFeaturesAreThoseOfHistory checks that every feature that a route, a format or a wire field
// names has a row in the history of package apiver, and that each row is named by one of them.
func TestFeaturesAreThoseOfHistory(t *testing.T) {
	rows := map[string]bool{} // whether something names the row
	for _, list := range []*apiver.List{apiver.Chat, apiver.Identity} {
		for _, f := range list.Features() {
			rows[string(f)] = false
		}
	}
	name := func(where, feature string) {
		if _, ok := rows[feature]; !ok && feature != "" {
			t.Errorf("%s names the feature %q, which has no row", where, feature)
		}
	}
	for _, r := range routes {
		name(r.method+" "+r.path, string(r.in))
	}
	for _, a := range []*api{chat, identity, entra} {
		for _, e := range a.envelopes {
			name("envelope", string(e.in))
		}
	}
	for _, pattern := range []string{"*.go", "wire/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal("no files", err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				text, ok := n.(*ast.BasicLit)
				if !ok || text.Kind != token.STRING {
					return true
				}
				s, err := strconv.Unquote(text.Value)
				if err != nil {
					t.Fatal(err)
				}
				if feature, ok := reflect.StructTag(s).Lookup("in"); ok {
					name(file, feature)
					s = feature
				}
				if _, ok := rows[s]; ok {
					rows[s] = true
				}
				return true
			})
		}
	}
	for row, named := range rows {
		if !named {
			t.Errorf("nothing names the feature %q", row)
		}
	}
}

// TestVersionsAreNamedInTheTablesOnly checks that no code of the server compares api-versions or has
// the name of one, except package apiver. Handlers must not depend on versions: what differs is in
// the tables of routes and formats and in the tags of fields, by the names of features.
func TestVersionsAreNamedInTheTablesOnly(t *testing.T) {
	read := 0
	for _, root := range []string{"../../internal", "../../cmd"} {
		err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			switch path := filepath.ToSlash(file); {
			case d.IsDir() && slices.Contains([]string{"../../internal/apiver", "../../internal/bench"}, path): // bench is a client
				return fs.SkipDir
			case path == "../../cmd/confab/client.go": // a client too
				return nil
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			source, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			read++
			for _, problem := range versionsIn(t, file, string(source)) {
				t.Error(problem)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 100 {
		t.Errorf("only %d files were read", read)
	}
}

func TestVersionsInAreFound(t *testing.T) {
	for code, want := range map[string]int{
		`if req.version < other { return }`:               1,
		`if req.version == other { return }`:              1,
		`if v >= req.version && x { return }`:             1,
		`if string(req.version) != "x" { return }`:        1,
		`if strings.Compare(string(r.version), x) > 0 {}`: 1,
		`switch req.version { case x: }`:                  1,
		`x := "2021-09-07"`:                               1,
		"x := `/chat/threads?api-version=2025-03-15`":     1,
		`x := apiver.Version("2024-06-05-preview")`:       1,
		`if req.version != "" && f.Has(req.version) {}`:   0, // whether there is one
		`x := "2021-09-07T21:44:01Z"`:                     0,
		`if f.Has(req.version) { return }`:                0,
	} {
		got := versionsIn(t, "x.go", "package x\nfunc f() { "+code+" }")
		if len(got) != want {
			t.Errorf("%s: %q, want %d", code, got, want)
		}
	}
}

// named matches an expression that stands for an api-version.
var named = regexp.MustCompile(`(?i)(^|[.(])version\b`)

// versionsIn returns a line for each comparison of an api-version and each literal with the name of
// one in a Go file.
func versionsIn(t *testing.T, file, source string) (problems []string) {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, file, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := func(n ast.Node) string { return source[set.Position(n.Pos()).Offset:set.Position(n.End()).Offset] }
	add := func(n ast.Node, what string) {
		problems = append(problems, fmt.Sprintf("%s %s: %s", set.Position(n.Pos()), what, text(n)))
	}
	ofVersions := strings.HasPrefix(filepath.ToSlash(file), "../../internal/rest/") || file == "x.go" // the others do not import apiver
	var literal []string
	for _, list := range []*apiver.List{apiver.Chat, apiver.Identity} {
		for _, v := range list.Versions() {
			literal = append(literal, string(v))
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			switch n.Op {
			case token.LSS, token.LEQ, token.GTR, token.GEQ, token.EQL, token.NEQ:
				if x, y := text(n.X), text(n.Y); ofVersions && y != `""` && (named.MatchString(x) || named.MatchString(y)) {
					add(n, "compares api-versions")
				}
			}
		case *ast.SwitchStmt:
			if ofVersions && n.Tag != nil && named.MatchString(text(n.Tag)) {
				add(n.Tag, "switches on an api-version")
			}
		case *ast.BasicLit:
			s, err := strconv.Unquote(n.Value)
			if err != nil || n.Kind != token.STRING {
				return true
			}
			_, parameter, _ := strings.Cut(s, "api-version=")
			for _, v := range literal {
				if s == v || parameter == v || strings.HasPrefix(parameter, v+"&") {
					add(n, "names an api-version")
					break
				}
			}
		}
		return true
	})
	return problems
}
