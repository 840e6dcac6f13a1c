package why

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the generated part of docs/troubleshooting.md")

// rows returns all rows of the table.
func rows() (all []Row) {
	for _, g := range Table() {
		all = append(all, g.Rows...)
	}
	return all
}

// codes returns the names and values of the constants of type Code in table.go.
func codes(t *testing.T) map[string]Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "table.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]Code{}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if kind, ok := v.Type.(*ast.Ident); ok && kind.Name == "Code" {
				all[v.Names[0].Name] = Code(strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`))
			}
		}
	}
	return all
}

var (
	placeholder = regexp.MustCompile(`\{(\w+)\}`)
	kebab       = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
)

// TestTable checks that the table has one row for each code. It also fills the sentence and the
// remedy of each row with the facts of the row's example, and checks that no fact is unknown, that
// no bracket remains, and that the row has a remedy.
func TestTable(t *testing.T) {
	seen := map[Code]bool{}
	for _, r := range rows() {
		if seen[r.Code] || !kebab.MatchString(string(r.Code)) {
			t.Errorf("%s: the code is there twice, or is not in kebab case", r.Code)
		}
		seen[r.Code] = true
		example := Because(r.Code, r.Example...)
		for _, m := range placeholder.FindAllStringSubmatch(r.Sentence+r.Mend, -1) {
			if example.Fact(m[1]) == "" {
				t.Errorf("%s: the example has no %s", r.Code, m[1])
			}
		}
		got := Of(example)
		if strings.ContainsAny(got.Sentence+got.Mend, "[]") || strings.Contains(got.String(), unknown) || got.Mend == "" {
			t.Errorf("%s: %s", r.Code, got)
		}
		if bare := Of(Because(r.Code)); strings.ContainsAny(bare.String(), "[]{}") {
			t.Errorf("%s without facts: %s", r.Code, bare)
		}
	}
	for name, code := range codes(t) {
		if !seen[code] {
			t.Errorf("the code %s, %s, has no row", name, code)
		}
	}
	if len(seen) != len(codes(t)) {
		t.Errorf("%d rows and %d codes", len(seen), len(codes(t)))
	}
}

// TestOf checks the sentences of causes that have all facts, some facts, or none.
func TestOf(t *testing.T) {
	at := time.Date(2026, 11, 28, 21, 3, 11, 0, time.UTC)
	for _, c := range []struct {
		cause Cause
		want  string
	}{
		{Because(Removed, "user", User("8:acs:a5ba7870-ef05-4e2b-9901-7751faa29e20_00000011-9f42-59f5-88f7-08482200c2f1"), "by", "Ann", "at", Time(at)),
			"8:acs:..c2f1 is not in this thread: Ann removed it at 21:03:11 UTC on 2026-11-28. Add it again, or use another user's token."},
		{Because(ThreadDeleted, "thread", "19:f00d.."), "The thread 19:f00d.. was deleted. Create a new thread; a deleted one does not come back."},
		{Because(Removed), "(unknown) is not in this thread: (unknown) removed it at (unknown). Add it again, or use another user's token."},
		{Because(NoSuchRoute).As("a-code-of-tomorrow"), "The request was refused (a-code-of-tomorrow)."},
		{Because(Left, "user", "a", "at", "x").With("at", "noon"), "a is not in this thread: it left at noon. Add it again, or use another user's token."},
		{Because(Left, "user", "a", "at", "noon").Also("user", "b"), "a is not in this thread: it left at noon. Add it again, or use another user's token."},
		{Because(UnknownPath, "path", "{x}[y]"), "The server has no path {x}[y]. Compare the path with that of the SDK: something between, or the endpoint, may have changed it."},
		{Cause{}, ""},
		{Cause{}.Also("user", "a"), ""},
	} {
		if got := Of(c.cause).String(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	if long := Of(Because(UnknownPath, "path", strings.Repeat("a", 10_000))); len(long.Sentence) > MaxFact+100 {
		t.Errorf("a sentence of %d bytes", len(long.Sentence))
	}
	for in, want := range map[string]string{"8:acs:x": "8:acs:x", "": "", "28:bot": "28:bot"} {
		if got := User(in); got != want {
			t.Errorf("User(%q) = %q", in, got)
		}
	}
	if Time(time.Time{}) != "" {
		t.Error("the zero time is shown")
	}
}

const page = "../../docs/troubleshooting.md"

// TestPage checks that docs/troubleshooting.md contains the table. With the flag -update it writes
// the table to that file.
func TestPage(t *testing.T) {
	const begin, end = "<!-- The table of internal/why; go test ./internal/why -update writes it. -->\n", "<!-- The end of the table. -->\n"
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s lacks the marks of the table", page)
	}
	var b strings.Builder
	cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	for _, g := range Table() {
		b.WriteString("\n## " + g.Title + "\n\n| code | for example | what to do |\n|---|---|---|\n")
		for _, r := range g.Rows {
			reason := Of(Because(r.Code, r.Example...))
			b.WriteString("| `" + string(r.Code) + "` | " + cell(reason.Sentence) + " | " + cell(reason.Mend) + " |\n")
		}
	}
	b.WriteString("\n")
	want := before + begin + b.String() + end + after
	if want == string(data) {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the table: go test ./internal/why -update writes it", page)
	}
	if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// refusing lists the folders with code that refuses requests of clients.
var refusing = []string{"core", "rest", "gateway", "server", "signature", "token"}

// withoutCause lists functions that may return an error without a Why, as file and name. Their
// callers add the Why.
var withoutCause = []string{"core/errors.go Invalid"}

// TestEveryRefusalHasARow reads the source code in the folders refusing. It fails if a value of an
// error type for clients has no Why, or if a code is not used. Nobody can therefore add a refusal
// without a row in the table.
func TestEveryRefusalHasARow(t *testing.T) {
	used := map[string]bool{}
	refusals := 0
	for _, folder := range refusing {
		err := filepath.WalkDir(filepath.Join("..", folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			short := filepath.ToSlash(strings.TrimPrefix(path, ".."+string(filepath.Separator)))
			for _, d := range file.Decls {
				name := ""
				if f, ok := d.(*ast.FuncDecl); ok {
					name = f.Name.Name
				}
				ast.Inspect(d, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.SelectorExpr:
						if of, ok := n.X.(*ast.Ident); ok && of.Name == "why" {
							used[n.Sel.Name] = true
						}
					case *ast.CompositeLit:
						if !isRefusal(n.Type, short) || slices.Contains(withoutCause, short+" "+name) {
							return true
						}
						refusals++
						if !hasWhy(n) {
							t.Errorf("%s: a refusal has no Why", files.Position(n.Pos()))
						}
					}
					return true
				})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if refusals < 60 {
		t.Errorf("found only %d refusals: does the test look for the right types?", refusals)
	}
	for name, code := range codes(t) {
		if !used[name] {
			t.Errorf("nothing refuses a request with the code %s", code)
		}
	}
}

// isRefusal reports whether a type is an error type for clients.
func isRefusal(t ast.Expr, file string) bool {
	switch t := t.(type) {
	case *ast.Ident:
		switch t.Name {
		case "Error":
			return strings.HasPrefix(file, "core/") || strings.HasPrefix(file, "signature/")
		case "Refusal", "refusal":
			return strings.HasPrefix(file, "gateway/") || strings.HasPrefix(file, "token/")
		}
	case *ast.SelectorExpr:
		of, ok := t.X.(*ast.Ident)
		return ok && (of.Name == "core" && t.Sel.Name == "Error" || of.Name == "requests" && t.Sel.Name == "Refusal")
	}
	return false
}

// hasWhy reports whether a composite literal sets the field Why, by name or by listing the values
// of all fields.
func hasWhy(l *ast.CompositeLit) bool {
	for _, e := range l.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "Why" {
			return true
		}
	}
	return false
}
