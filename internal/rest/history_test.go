package rest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
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
	for _, a := range []*api{chat, identity} {
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
