package confab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/apiver"
)

// release is a row of compat/releases.json, which lists the SDK releases that the tests in compat
// run (compat/matrix/README.md).
type release struct {
	Language string `json:"language"`
	Chat     string `json:"chat"`
	Identity struct {
		Package string `json:"package"`
		Release string `json:"release"`
	} `json:"identity"`
	ChatVersions     []apiver.Version  `json:"chat_versions"`
	IdentityVersions []apiver.Version  `json:"identity_versions"`
	Lane             string            `json:"lane"`
	Postgres         bool              `json:"postgres"`
	Lacks            map[string]string `json:"lacks"`
}

// offered holds, for one language, the number of SDK releases of each kind that the package
// registry offers (docs/contract/api-versions.md §8, §9). checked is the number of chat releases
// that every check runs.
type offered struct{ chat, checked, identity, administration int }

var registries = map[string]offered{
	"javascript": {chat: 24, checked: 12, identity: 8, administration: 3},
	"python":     {chat: 10, checked: 8, identity: 12, administration: 4},
	"java":       {chat: 5, checked: 4, identity: 14},
}

// TestReleasesAreAll checks that compat/releases.json lists every release of the package
// registries. Of the releases with the lane "check", the oldest and the newest of each language
// must run on PostgreSQL too.
func TestReleasesAreAll(t *testing.T) {
	rows := readReleases(t)
	for language, want := range registries {
		var got offered
		seen := map[string]bool{}
		first := func(name string) bool { was := seen[name]; seen[name] = true; return !was }
		var checked []release
		for _, r := range rows {
			if r.Language != language {
				continue
			}
			if r.Chat != "" && first("chat "+r.Chat) {
				got.chat++
				if r.Lane == "check" {
					got.checked++
					checked = append(checked, r)
				}
			}
			if name := r.Identity.Package + " " + r.Identity.Release; first(name) {
				if strings.Contains(name, "administration") {
					got.administration++
				} else {
					got.identity++
				}
			}
		}
		if got != want {
			t.Errorf("%s has %+v, want %+v", language, got, want)
		}
		for i, r := range checked {
			if ends := i == 0 || i == len(checked)-1; r.Postgres != ends {
				t.Errorf("%s %s: postgres is %t, want %t: the oldest and the newest of the lane check", language, r.Chat, r.Postgres, ends)
			}
		}
	}
	rowOf := map[string]bool{}
	for _, r := range rows {
		name := fmt.Sprintf("%s %s with %s %s", r.Language, r.Chat, r.Identity.Package, r.Identity.Release)
		if rowOf[name] {
			t.Errorf("%s has two rows", name)
		}
		rowOf[name] = true
		switch {
		case registries[r.Language] == offered{}:
			t.Errorf("%s: the language is one of %q", name, slices.Sorted(maps.Keys(registries)))
		case r.Lane != "check" && r.Lane != "all":
			t.Errorf("%s: the lane is %q, want check or all", name, r.Lane)
		case r.Lane != "check" && r.Postgres:
			t.Errorf("%s runs on PostgreSQL, but is not in the lane check", name)
		case (r.Chat == "") != (len(r.ChatVersions) == 0), len(r.IdentityVersions) == 0:
			t.Errorf("%s has the versions %q of chat and %q of identity", name, r.ChatVersions, r.IdentityVersions)
		}
		for what, why := range r.Lacks {
			if strings.TrimSpace(why) == "" {
				t.Errorf("%s lacks %q: there is no reason", name, what)
			}
		}
	}
}

// TestReleasesSpeakEveryVersion checks that a release with the lane "check" uses each api-version
// of the server, or that compat/unspoken.json says why none uses the version.
func TestReleasesSpeakEveryVersion(t *testing.T) {
	var unspoken map[string]map[apiver.Version]string
	decodeStrictly(t, "compat/unspoken.json", &unspoken)
	rows := readReleases(t)
	for name, list := range map[string]*apiver.List{"chat": apiver.Chat, "identity": apiver.Identity} {
		spoken, checked := map[apiver.Version]bool{}, map[apiver.Version]bool{}
		for _, r := range rows {
			versions := r.ChatVersions
			if name == "identity" {
				versions = r.IdentityVersions
			}
			for _, v := range versions {
				if !slices.Contains(list.Versions(), v) {
					t.Errorf("%s %s %s is to speak %s %s, which the server does not have", r.Language, r.Chat, r.Identity.Release, name, v)
				}
				spoken[v] = true
				checked[v] = checked[v] || r.Lane == "check"
			}
		}
		for _, v := range list.Versions() {
			if !checked[v] && unspoken[name][v] == "" {
				t.Errorf("no release in the lane check speaks %s %s, and compat/unspoken.json does not say why", name, v)
			}
		}
		for v := range unspoken[name] {
			if _, ok := list.Parse(string(v)); !ok {
				t.Errorf("compat/unspoken.json names %s %s, which the server does not have", name, v)
			}
			if spoken[v] {
				t.Errorf("compat/unspoken.json says that no release speaks %s %s, but compat/releases.json has one", name, v)
			}
		}
	}
}

var (
	pin        = regexp.MustCompile(`(@azure/|azure-)communication-(chat|identity|administration)(?:==|@| )(v?\d+\.\d+[\w.-]*\w)`)
	named      = regexp.MustCompile(`\b(JavaScript|Python|Java) (\d+\.\d+\.\d+[\w.-]*\w)`)
	counted    = regexp.MustCompile(`\b(\d+) (?:for |of )?(JavaScript|Python|Java)\b`)
	total      = regexp.MustCompile(`\b(\d+) (chat|identity|administration) releases\b`)
	ofThem     = regexp.MustCompile(`\b(\d+) of the chat releases\b`) // in the lane check
	notRunHere = regexp.MustCompile(`\bnot (?:yet )?run\b`)
	language   = regexp.MustCompile(`\b(?:JavaScript|Python|Java)\b`)
	allFrom    = regexp.MustCompile(`\bof (chat|identity)(?: all)? from (\S+) on\b`)
	apiDate    = regexp.MustCompile(`\b20\d\d-\d\d-\d\d(?:-preview\d*)?\b`)
)

// TestDocumentsAgreeWithReleases reads every sentence of README and docs that names an SDK or an
// api-version. compat/releases.json must list each named release, and a number of releases must
// agree with that list. A sentence about SDKs that are not run must name no language of the list.
// The server must have each named api-version, and "all from VERSION on" must name its oldest
// version.
func TestDocumentsAgreeWithReleases(t *testing.T) {
	rows := readReleases(t)
	has := map[string]bool{}    // "python chat 1.2.0"
	count := map[string]int{}   // number of releases of each SDK package
	perName := map[string]int{} // number of chat releases of each language
	checked := 0                // number of chat releases with the lane "check"
	for _, r := range rows {
		if r.Chat != "" && r.Lane == "check" {
			checked++
		}
		_, pkg, _ := strings.Cut(r.Identity.Package, "communication-")
		for name, version := range map[string]string{"chat": r.Chat, pkg: r.Identity.Release} {
			key := r.Language + " " + name + " " + version
			if version != "" && !has[key] {
				has[key] = true
				count[name]++
				if name == "chat" {
					perName[r.Language]++
				}
			}
		}
	}
	found := 0
	for _, page := range append(textFiles(t, "docs", ".md"), "README.md", "compat/matrix/README.md") {
		page = filepath.ToSlash(page)
		if strings.HasPrefix(page, "docs/contract/") {
			continue // skip the contract, which says how releases behaved when they were observed
		}
		for _, s := range sentences(readText(t, page)) {
			for _, m := range pin.FindAllStringSubmatch(s, -1) {
				found++
				languages := []string{"python", "java"}
				if m[1] == "@azure/" {
					languages = []string{"javascript"}
				}
				if !slices.ContainsFunc(languages, func(l string) bool { return has[l+" "+m[2]+" "+m[3]] }) && !sameWire(s) {
					t.Errorf("%s: %q names %s, which compat/releases.json does not have", page, s, m[0])
				}
			}
			for _, m := range named.FindAllStringSubmatch(s, -1) {
				found++
				if !has[strings.ToLower(m[1])+" chat "+m[2]] && !has[strings.ToLower(m[1])+" identity "+m[2]] {
					t.Errorf("%s: %q names %s, which compat/releases.json does not have", page, s, m[0])
				}
			}
			for _, m := range counted.FindAllStringSubmatch(s, -1) {
				found++
				if want := perName[strings.ToLower(m[2])]; m[1] != strconv.Itoa(want) {
					t.Errorf("%s: %q says %s, and compat/releases.json has %d", page, s, m[0], want)
				}
			}
			for _, m := range total.FindAllStringSubmatch(s, -1) {
				found++
				if want := count[m[2]]; m[1] != strconv.Itoa(want) {
					t.Errorf("%s: %q says %s, and compat/releases.json has %d", page, s, m[0], want)
				}
			}
			for _, m := range ofThem.FindAllStringSubmatch(s, -1) {
				found++
				if m[1] != strconv.Itoa(checked) {
					t.Errorf("%s: %q says %s, and the lane check of compat/releases.json has %d", page, s, m[0], checked)
				}
			}
			if notRunHere.MatchString(s) && language.MatchString(s) {
				t.Errorf("%s: %q: compat/releases.json runs every release of that language", page, s)
			}
			for _, m := range allFrom.FindAllStringSubmatch(s, -1) {
				found++
				oldest := map[string]*apiver.List{"chat": apiver.Chat, "identity": apiver.Identity}[m[1]].Versions()[0]
				if m[2] != string(oldest) {
					t.Errorf("%s: %q says %q, and the oldest api-version that the server has is %s", page, s, m[0], oldest)
				}
			}
			for _, v := range apiDate.FindAllString(s, -1) {
				if !strings.Contains(s, "api-version") {
					continue
				}
				found++
				_, chat := apiver.Chat.Parse(v)
				_, identity := apiver.Identity.Parse(v)
				if !chat && !identity && v != "2024-09-01" { // allow 2024-09-01, the version of the configuration of live events
					t.Errorf("%s: %q names the api-version %s, which the server does not have", page, s, v)
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("%d names of releases and versions were found: this test looks at something else", found)
	}
}

// sameWire reports whether a sentence is a row of a table about an SDK for .NET, iOS or Android.
// The tests in compat do not run these SDKs, so compat/releases.json does not list them.
func sameWire(sentence string) bool {
	return regexp.MustCompile(`^\| (\.NET|iOS|Android) \|`).MatchString(sentence)
}

// sentences returns the sentences of a page. A row of a table and an item of a list begin a new
// sentence. A row is a single sentence, because its first cell names the subject of the other
// cells.
func sentences(page string) []string {
	var all []string
	page = regexp.MustCompile(`\n([|#*-])`).ReplaceAllString(page, "\n\n$1")
	for block := range strings.SplitSeq(page, "\n\n") {
		text := strings.Join(strings.Fields(block), " ")
		if strings.HasPrefix(text, "|") {
			all = append(all, text)
			continue
		}
		all = append(all, regexp.MustCompile(`[.:;] `).Split(text, -1)...)
	}
	return all
}

func readReleases(t *testing.T) []release {
	t.Helper()
	var rows []release
	decodeStrictly(t, "compat/releases.json", &rows)
	if len(rows) == 0 {
		t.Fatal("compat/releases.json has no rows")
	}
	return rows
}

// decodeStrictly decodes a JSON file into the value to. The test fails if the file has a member
// that the type of the value lacks.
func decodeStrictly(t *testing.T, path string, to any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
