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

// TestFeaturesAreThoseOfHistory checks that every feature that a route, an error format, a header,
// a field of package wire or a constant names has a row in package apiver's history of its API. It
// also checks that something names each row of the history.
func TestFeaturesAreThoseOfHistory(t *testing.T) {
	rows := map[*apiver.List]map[string]bool{} // for each API and each feature in its history, whether something names the feature
	for _, list := range []*apiver.List{apiver.Chat, apiver.Identity} {
		rows[list] = map[string]bool{}
		for _, f := range list.Features() {
			rows[list][string(f)] = false
		}
	}
	name := func(where string, list *apiver.List, feature string) {
		if feature == string(always) {
			return
		}
		if _, ok := rows[list][feature]; !ok {
			t.Errorf("%s names the feature %q, which has no row in the history of its API", where, feature)
			return
		}
		rows[list][feature] = true
	}
	for _, r := range routes {
		name(r.method+" "+r.path, r.api.versions, string(r.in))
	}
	for _, a := range []*api{chat, identity, entra} {
		for _, e := range a.envelopes {
			name("an envelope", a.versions, string(e.in))
		}
	}
	for _, h := range idempotencyHeaders {
		name("the header "+h.name, apiver.Chat, string(h.in))
	}
	found := 0
	for file, f := range parsedFiles(t, ".", "wire") {
		list := apiver.Chat
		if file == "wire/identity.go" {
			list = apiver.Identity
		}
		for _, feature := range featuresIn(t, f) {
			found++
			name(file, list, feature)
		}
	}
	if found < 30 {
		t.Errorf("only %d features of fields and constants were found", found)
	}
	for _, features := range rows {
		for row, named := range features {
			if !named {
				t.Errorf("nothing names the feature %q", row)
			}
		}
	}
}

// parsedFiles returns the parsed Go files of packages, without tests, by their paths.
func parsedFiles(t *testing.T, folders ...string) map[string]*ast.File {
	t.Helper()
	parsed := map[string]*ast.File{}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
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
			parsed[filepath.ToSlash(file)] = f
		}
	}
	return parsed
}

// featuresIn returns the features that a Go file names: in tags "in" of struct fields and in
// constants of type apiver.Feature. It ignores other texts that are names of features.
func featuresIn(t *testing.T, f *ast.File) (features []string) {
	t.Helper()
	unquoted := func(literal *ast.BasicLit) string {
		s, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			if n.Tag == nil {
				break
			}
			if feature, ok := reflect.StructTag(unquoted(n.Tag)).Lookup("in"); ok {
				features = append(features, feature)
			}
		case *ast.ValueSpec:
			if of, ok := n.Type.(*ast.SelectorExpr); !ok || of.Sel.Name != "Feature" {
				break
			}
			for _, v := range n.Values {
				if literal, ok := v.(*ast.BasicLit); ok {
					features = append(features, unquoted(literal))
				}
			}
		}
		return true
	})
	return features
}

func TestFeaturesInAreFound(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x
import "github.com/confab-chat/confab/internal/apiver"
const a apiver.Feature = "a constant"
const b = "a text"
type c struct {
	D string `+"`json:\"d\" in:\"a field\"`"+`
	E string `+"`json:\"roles\"`"+`
}
func g() { log("roles", "in", `+"`in:\"roles\"`"+`) }
`, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := featuresIn(t, f), []string{"a constant", "a field"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// versionUsers lists the declarations of packages rest and wire that may depend on the api-version
// of a request: those that read the api-version from the query, those that choose the route, the
// error format or a header by it, and those that pass it to package wire. Handlers of routes are
// not in the list, because they must not depend on the api-version.
var versionUsers = map[string][]string{
	".": {
		"request", "parameters", "usualQueries", "Handler.findRoute", "Handler.parseVersion", "Handler.warnOfNewer", "Handler.unsupported", // read it
		"route", "path.route", "path.versions", "pathsOf", "api", "chat", "identity", "entra", "always",
		"envelope", "request.envelope", "hiddenThreads", "Handler.refuse", // errors
		"idempotencyHeaders", "request.idempotencyHeader", "Handler.write",
		"request.versionParameter",                                   // in links
		"Handler.decode", "Handler.decodeOptional", "Handler.handle", // to package wire
	},
	"wire": {"planKey", "planOf", "compile", "codecOf", "Decode", "Encode"},
}

// TestHandlersDoNotKnowVersions checks that only the declarations in versionUsers use the
// api-version of a request, the list of api-versions, a feature or the query parameter
// api-version.
func TestHandlersDoNotKnowVersions(t *testing.T) {
	handlers := map[string]bool{}
	for file, f := range parsedFiles(t, ".") {
		if file != "routes.go" {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool { // (*Handler).createThread
			if of, ok := n.(*ast.SelectorExpr); ok {
				if in, ok := of.X.(*ast.ParenExpr); ok && isHandler(in.X) {
					handlers["Handler."+of.Sel.Name] = true
				}
			}
			return true
		})
	}
	if !handlers["Handler.createThread"] || len(handlers) < 20 {
		t.Errorf("only %d handlers were found", len(handlers))
	}
	for folder, allowed := range versionUsers {
		used := map[string]bool{}
		for file, f := range parsedFiles(t, folder) {
			for _, who := range versionUsersIn(f) {
				used[who] = true
				if !slices.Contains(allowed, who) {
					t.Errorf("%s: %s depends on api-versions: name a feature in a table or in the tag of a field instead", file, who)
				}
			}
		}
		for _, who := range allowed {
			if !used[who] {
				t.Errorf("%s does not depend on api-versions: take it off the list", who)
			}
			if handlers[who] {
				t.Errorf("%s handles a route", who)
			}
		}
	}
}

func isHandler(x ast.Expr) bool {
	star, ok := x.(*ast.StarExpr)
	if !ok {
		return false
	}
	name, ok := star.X.(*ast.Ident)
	return ok && name.Name == "Handler"
}

// versionUsersIn returns the names of the declarations in a Go file that use an api-version, a
// feature or their lists, such as "Handler.findRoute".
func versionUsersIn(f *ast.File) (names []string) {
	touches := func(n ast.Node) (found bool) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				found = found || slices.Contains([]string{"version", "versions", "in", "answeredAs"}, n.Sel.Name)
			case *ast.Ident:
				found = found || n.Name == "apiver"
			case *ast.BasicLit:
				s, err := strconv.Unquote(n.Value)
				found = found || err == nil && strings.Trim(strings.ToLower(s), "?&=") == "api-version"
			}
			return !found
		})
		return found
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				of := d.Recv.List[0].Type
				if star, ok := of.(*ast.StarExpr); ok {
					of = star.X
				}
				name = fmt.Sprint(of) + "." + name
			}
			if touches(d) {
				names = append(names, name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if !touches(spec) {
					continue
				}
				switch spec := spec.(type) {
				case *ast.ImportSpec:
					names = append(names, "import "+spec.Path.Value) // name the import too if the file imports the package under another name
				case *ast.TypeSpec:
					names = append(names, spec.Name.Name)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	for _, spec := range f.Imports {
		if spec.Name != nil && strings.HasSuffix(spec.Path.Value, `/apiver"`) {
			names = append(names, "import "+spec.Name.Name)
		}
	}
	return names
}

func TestVersionUsersAreFound(t *testing.T) {
	const handler = "package x\nfunc (h *Handler) send(req *request) { "
	for _, code := range []string{
		`if strings.HasPrefix(string(req.version), "2021") {}`,
		`v := req.version; if v < other {}`,
		`if slices.Contains(old, req.version) {}`,
		`if old[req.version] {}`,
		`if apiver.Feature("roles").Has(v) {}`,
		`if f.Has(req.version) { return }`,
		`f := func() bool { return req.version < other }; f()`,
		`v, _ := req.api.versions.Parse(name)`,
		`if req.query.Get("api-version") < other {}`,
		`if req.query.Get("API-Version") < other {}`,
		`if req.route.in == "roles" {}`,
		`if req.answeredAs != "" {}`,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", handler+code+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := versionUsersIn(f); !slices.Equal(got, []string{"Handler.send"}) {
			t.Errorf("%s: found %q", code, got)
		}
	}
	for source, want := range map[string][]string{
		`import av "github.com/confab-chat/confab/internal/apiver"`: {"import av"},
		`import . "github.com/confab-chat/confab/internal/apiver"`:  {"import ."},
		`import "github.com/confab-chat/confab/internal/apiver"`:    nil,
		`var a, b = apiver.Chat, apiver.Identity`:                   {"a", "b"},
		`type v struct { v apiver.Version }`:                        {"v"},
		`func f() { log("in", "version", m.Version) }`:              nil,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := versionUsersIn(f); !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", source, got, want)
		}
	}
}

// TestVersionsAreNamedInTheTablesOnly checks that outside package apiver no code of the server
// compares api-versions or contains the name of one. The tables of routes and formats and the tags
// of fields describe the differences between api-versions by the names of features, so that
// handlers need not depend on versions.
func TestVersionsAreNamedInTheTablesOnly(t *testing.T) {
	read := 0
	for _, root := range []string{"../../internal", "../../cmd"} {
		err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			switch path := filepath.ToSlash(file); {
			case d.IsDir() && slices.Contains([]string{"../../internal/apiver", "../../internal/bench"}, path): // leave out package bench, because it is a client of the server
				return fs.SkipDir
			case d.IsDir() && d.Name() == "testdata": // leave out the programs of clients that package snippets writes
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
		`if req.version != "" && f.Has(req.version) {}`:   0, // want no problem: this code only asks whether the request has a version
		`x := "2021-09-07T21:44:01Z"`:                     0,
		`if f.Has(req.version) { return }`:                0,
	} {
		got := versionsIn(t, "x.go", "package x\nfunc f() { "+code+" }")
		if len(got) != want {
			t.Errorf("%s: %q, want %d", code, got, want)
		}
	}
}

// named matches the text of an expression that is probably an api-version, such as req.version.
var named = regexp.MustCompile(`(?i)(^|[.(])version\b`)

// versionsIn returns a line for each place in a Go file where code compares an api-version, or a
// literal has the name of one.
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
	ofVersions := strings.HasPrefix(filepath.ToSlash(file), "../../internal/rest/") || file == "x.go" // whether a name like version means an api-version: in other packages it does not, because they do not import apiver
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
