package snippets_test

import (
	"flag"
	"go/format"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/snippets"
)

var update = flag.Bool("update", false, "write the golden files")

const ann = "8:acs:11111111-2222-4333-8444-555555555555_00000000-0000-0000-0000-000000000001"

// hostile is a body with texts that end a quoted string or run a command in one of the languages.
const hostile = "{\"content\":\"it's $(id) `id` \\\\ \\\" ${x} \u2028 </script> '''\\n한글 😀\"}"

// TestGolden checks that the generated programs equal the files in testdata.
func TestGolden(t *testing.T) {
	for name, r := range map[string]snippets.Request{
		"send": {Method: "POST", Path: "/chat/threads/19%3Aabc%40thread.v2/messages?api-version=2025-03-15", User: ann, Body: hostile},
		"list": {Method: "GET", Path: "/chat/threads?api-version=2025-03-15&maxPageSize=5", User: ann},
		// Without an option, curl would send this path as 1,000 requests and remove the dots.
		"ranges": {Method: "GET", Path: "/chat/../threads/[1-1000]?api-version=2025-03-15&a={b,c}", User: ann},
		"signed": {Method: "POST", Path: "/identities?api-version=2023-10-01", Body: `{"createTokenWithScopes":["chat"]}`},
		"cut":    {Method: "POST", Path: "/chat/threads?api-version=2025-03-15", User: ann, Body: `{"topic":`, BodyMissing: true, Type: "application/merge-patch+json"},
	} {
		for _, language := range snippets.Languages() {
			got, ok := snippets.Of(language, r)
			if !ok {
				t.Fatalf("there is no %s", language)
			}
			if language == snippets.Go {
				formatted, err := format.Source([]byte(got))
				if err != nil {
					t.Errorf("%s in Go: %v\n%s", name, err, got)
				} else if diff := cmp.Diff(string(formatted), got); diff != "" {
					t.Errorf("%s in Go is not formatted (-want +got):\n%s", name, diff)
				}
			}
			file := filepath.Join("testdata", name+"."+language)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s in %s (-want +got):\n%s", name, language, diff)
			}
		}
	}
	if _, ok := snippets.Of("cobol", snippets.Request{}); ok {
		t.Error("there is a program in cobol")
	}
}
