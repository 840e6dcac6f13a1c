package confab_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	codeBlock = regexp.MustCompile("(?ms)^```([^\n`]*)\n(.*?)^```$")
	notRun    = regexp.MustCompile(`(?m)^<!-- not run: .+ -->\n\z`)
)

// runLanguages lists the languages of code blocks that the script compat/docs/run takes from the
// documents and runs without a change.
var runLanguages = []string{"sh", "go", "python"}

// shownLanguages lists the languages of code blocks in documents that compat/docs/run does not run:
// output, data, configuration of other programs, and code that the page marks as not run.
var shownLanguages = []string{"text", "json", "yaml", "ini", "nginx", "caddyfile", "js", "java", "csharp"}

// TestBlocksAreRunOrMarked checks the language of each code block in README.md, docs, sdk and
// examples, which tells compat/docs/run whether to run the block. A block of commands that is not
// run must have the language text, or a comment before it that says why.
func TestBlocksAreRunOrMarked(t *testing.T) {
	run, marked := 0, 0
	for _, path := range textFiles(t, ".", ".md") {
		path = filepath.ToSlash(path)
		switch folder, _, _ := strings.Cut(path, "/"); {
		case folder == "compat", folder == "dist", strings.HasPrefix(path, "docs/contract/"), strings.Contains(path, "/testdata/"):
			continue // not instructions for users
		}
		text := readText(t, path)
		for _, m := range codeBlock.FindAllStringSubmatchIndex(text, -1) {
			line := 1 + strings.Count(text[:m[0]], "\n")
			language, attribute, _ := strings.Cut(strings.TrimSpace(text[m[2]:m[3]]), " ")
			switch {
			case slices.Contains(shownLanguages, language):
				if attribute != "" && (language != "text" || attribute != "output") {
					t.Errorf("%s:%d: compat/docs/follow.py does not know %q", path, line, attribute)
				}
				marked++
			case !slices.Contains(runLanguages, language):
				t.Errorf("%s:%d: a block of the language %q: use one of %q, which compat/docs/run runs, or one of %q", path, line, language, runLanguages, shownLanguages)
			case notRun.MatchString(text[:m[0]]):
				marked++
			case path != "README.md" && !strings.HasPrefix(path, "sdk/") && !strings.HasPrefix(path, "examples/") && filepath.ToSlash(filepath.Dir(path)) != "docs":
				t.Errorf("%s:%d: compat/docs/run runs no blocks of this page", path, line)
			default:
				run++
			}
		}
	}
	if run < 25 {
		t.Errorf("%d blocks are run: this test looks at something else, or the pages lost their examples", run)
	}
	t.Logf("%d blocks are run by compat/docs/run, %d are marked", run, marked)
}
