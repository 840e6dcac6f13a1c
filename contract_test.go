package confab_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const contractDir = "docs/contract"

// contractPage is one page of docs/contract. It maps the number of each section, such as "4.1", to
// the text between the section's heading and the next heading.
type contractPage map[string]string

var contractHeading = regexp.MustCompile(`(?m)^#{2,3} ([0-9]+(?:\.[0-9]+)?)\.? .+$`)

func parseContractPage(text string) contractPage {
	page := contractPage{}
	headings := contractHeading.FindAllStringSubmatchIndex(text, -1)
	for i, h := range headings {
		end := len(text)
		if i+1 < len(headings) {
			end = headings[i+1][0]
		}
		page[text[h[2]:h[3]]] = text[h[1]:end]
	}
	return page
}

// contractPages returns the pages of docs/contract that have numbered sections. The keys are their
// file names.
func contractPages(t *testing.T) map[string]contractPage {
	t.Helper()
	pages := map[string]contractPage{}
	for _, path := range textFiles(t, contractDir, ".md") {
		if name := filepath.Base(path); name != "README.md" {
			pages[name] = parseContractPage(readText(t, path))
		}
	}
	if len(pages) == 0 {
		t.Fatalf("no pages in %s", contractDir)
	}
	return pages
}

var (
	// citations matches the name of a page of docs/contract and the section numbers that follow the
	// name. A line break inside a comment does not end the match.
	citations = regexp.MustCompile(`(docs/contract/)?\b([a-z-]+\.md)(?:(?:[\s/,]|and|to)*§[0-9]+(?:\.[0-9]+)*(?:[\s/]+rule[\s/]+[0-9]+)?)+`)
	section   = regexp.MustCompile(`§([0-9]+(?:\.[0-9]+)*)(?:[\s/]+rule[\s/]+([0-9]+))?`)
)

// broken returns the sections of docs/contract that text cites and that do not exist, and n, the
// number of all cited sections. A section sign without the name of a page before it cites the page
// that self names. If self is empty, such a section sign is ignored.
func broken(pages map[string]contractPage, self, text string) (bad []string, n int) {
	check := func(name, cited string) {
		for _, s := range section.FindAllStringSubmatch(cited, -1) {
			n++
			body, ok := pages[name][s[1]]
			if ok && s[2] != "" {
				ok = strings.Contains(body, "\n"+s[2]+". ")
			}
			if !ok {
				bad = append(bad, name+" "+s[0])
			}
		}
	}
	rest := citations.ReplaceAllStringFunc(text, func(c string) string {
		m := citations.FindStringSubmatch(c)
		if m[1] != "" || pages[m[2]] != nil { // skip the name of a file that is no page of the contract
			check(m[2], c)
		}
		return ""
	})
	if self != "" {
		check(self, rest)
	}
	return bad, n
}

// TestContractCitations checks that every section of docs/contract that a Go file or a
// document cites exists.
func TestContractCitations(t *testing.T) {
	pages := contractPages(t)
	total := 0
	for _, path := range textFiles(t, ".", ".go", ".md") {
		self := ""
		if name := filepath.Base(path); filepath.Dir(path) == filepath.FromSlash(contractDir) && pages[name] != nil {
			self = name
		}
		bad, n := broken(pages, self, readText(t, path))
		for _, b := range bad {
			t.Errorf("%s cites %s, which %s does not have", path, b, contractDir)
		}
		total += n
	}
	if total == 0 {
		t.Error("found no citation at all")
	}
}

func TestBrokenCitations(t *testing.T) {
	pages := map[string]contractPage{"chat.md": parseContractPage("# C\n## 4. Messages\n### 4.1 Send\n1. one\n10. ten\n### 4.2 Edit\n")}
	const s = "\u00a7" // the section sign as an escape sequence, so that TestContractCitations finds no citations in this test
	for _, c := range []struct {
		text string
		n    int
		bad  []string
	}{
		{"see chat.md " + s + "4.", 1, nil},
		{"(docs/contract/chat.md " + s + "4.1, " + s + "4.2)", 2, nil},
		{"// (chat.md " + s + "4.1,\n\t// " + s + "4.3)", 2, []string{"chat.md " + s + "4.3"}},
		{"// as docs/contract/chat.md\n// " + s + "5 says", 1, []string{"chat.md " + s + "5"}},
		{"chat.md " + s + "4.1 rule 10 and chat.md " + s + "4.1 rule 2", 2, []string{"chat.md " + s + "4.1 rule 2"}},
		{"docs/contract/mail.md " + s + "1", 1, []string{"mail.md " + s + "1"}},
		{"plan.md " + s + "1", 0, nil},
		{"RFC 8259 " + s + "8.1", 0, nil},
	} {
		bad, n := broken(pages, "", c.text)
		if n != c.n || !slices.Equal(bad, c.bad) {
			t.Errorf("%q: %d citations, broken %q, want %d, %q", c.text, n, bad, c.n, c.bad)
		}
	}
}

// mark matches the words with which a section of docs/contract says how its statement is known.
// docs/contract/README.md explains these words.
var mark = regexp.MustCompile(`\b(Recorded|Asserted|Documented|Reported|Ran|Read|Decided|Planned|Unverified)\b`)

// TestContractMarks checks that every section of docs/contract says how its statements are
// known, with a word that mark matches. The same holds for every row of a table with a
// column "evidence".
func TestContractMarks(t *testing.T) {
	legend := readText(t, filepath.Join(contractDir, "README.md"))
	for _, m := range strings.Split(strings.Trim(mark.String(), `\b()`), "|") {
		if !strings.Contains(legend, "\n| **"+m+"** |") {
			t.Errorf("the legend does not explain %s", m)
		}
	}
	for name, page := range contractPages(t) {
		for _, number := range slices.Sorted(maps.Keys(page)) {
			body := page[number]
			if strings.TrimSpace(body) != "" && !mark.MatchString(body) {
				t.Errorf("%s §%s has no mark", name, number)
			}
			inTable := false
			for line := range strings.Lines(body) {
				cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
				last := strings.TrimSpace(cells[len(cells)-1])
				switch {
				case !strings.HasPrefix(line, "|"):
					inTable = false
				case last == "evidence":
					inTable = true
				case inTable && !strings.HasPrefix(line, "|--") && !mark.MatchString(last):
					t.Errorf("%s §%s: no mark at the end of the row %s", name, number, line)
				}
			}
		}
	}
}

var recordingName = regexp.MustCompile("`((?:chat-(?:js|py)_|identity-[0-9])[^`…]+)`")

// TestContractRecordings checks that every recording that docs/contract names is a file in
// internal/rest/testdata/recordings.
func TestContractRecordings(t *testing.T) {
	for _, path := range textFiles(t, contractDir, ".md") {
		for _, m := range recordingName.FindAllStringSubmatch(readText(t, path), -1) {
			if _, err := os.Stat("internal/rest/testdata/recordings/" + m[1] + ".json"); err != nil {
				t.Errorf("%s names the recording %s: %v", path, m[1], err)
			}
		}
	}
}

var (
	code = regexp.MustCompile("(?ms)^```.*?^```|`[^`\n]+`")
	link = regexp.MustCompile(`\]\(([^()\s]+)\)`)
)

// TestDocsLinks checks that every relative link in the documents leads to a file that
// exists, and that a heading in the link exists too.
func TestDocsLinks(t *testing.T) {
	for _, path := range append(textFiles(t, "docs", ".md"), "README.md") {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(readText(t, path), "code"), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), filepath.FromSlash(file))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(readText(t, target)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", path, m[1])
			}
		}
	}
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```")
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
)

// anchors returns, for each heading of a document, the name with which a link on GitHub addresses
// the heading.
func anchors(text string) []string {
	var all []string
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, h[1]))
	}
	return all
}

// textFiles returns the paths of the files below dir that have one of the suffixes. It leaves out
// hidden folders, the installed packages in node_modules and the build results in dist.
func textFiles(t *testing.T, dir string, suffixes ...string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || path == "dist" || strings.HasPrefix(d.Name(), ".") && path != ".") {
			return fs.SkipDir
		}
		if !d.IsDir() && slices.Contains(suffixes, filepath.Ext(path)) {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSecurityPageNamesTests checks that each promise of docs/security.md names a test, and
// that the tests to which it links exist.
func TestSecurityPageNamesTests(t *testing.T) {
	page, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\[(Test\w+)\]\(\.\./([^)]+)\)`)
	named := regexp.MustCompile("\\[Test\\w+\\]|`Test\\w+`|\\.txtar")
	promises := false
	for line := range strings.Lines(string(page)) {
		switch {
		case strings.HasPrefix(line, "| promise |"):
			promises = true
		case !strings.HasPrefix(line, "|"):
			promises = false
		case promises && !strings.HasPrefix(line, "|---") && !named.MatchString(line):
			t.Errorf("a promise names no test: %s", line)
		}
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			src, err := os.ReadFile(m[2])
			if err != nil {
				t.Errorf("docs/security.md: %v", err)
			} else if !strings.Contains(string(src), "func "+m[1]+"(") {
				t.Errorf("docs/security.md: %s has no %s", m[2], m[1])
			}
		}
	}
}
