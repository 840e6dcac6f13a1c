package confab_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestArchitecturePageFollowsTheImports checks the table of packages in docs/ARCHITECTURE.md. The
// table must name every package, and must list each package below the packages that it imports.
func TestArchitecturePageFollowsTheImports(t *testing.T) {
	page, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	place := map[string]int{}
	quoted := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, name := range quoted.FindAllStringSubmatch(cells[1]+" "+cells[2], -1) {
				if _, seen := place[name[1]]; !seen {
					place[name[1]] = len(place) + 1
				}
			}
		}
	}
	for _, p := range append(packages(t, "."), packages(t, "sdk")...) {
		part := strings.TrimPrefix(p.ImportPath, root+"/")
		if part == root || strings.HasPrefix(part, "sdk/internal/") { // skip packages of sdk/internal, which the page names together with their clients
			continue
		}
		if place[part] == 0 {
			t.Errorf("docs/ARCHITECTURE.md has no place for %s", part)
			continue
		}
		for _, i := range p.Imports {
			if in, ok := strings.CutPrefix(i, root+"/"); ok && !strings.HasPrefix(in, "sdk/internal/") && place[in] > place[part] {
				t.Errorf("docs/ARCHITECTURE.md names %s above %s, which it imports", part, in)
			}
		}
	}
}
