// Command answers judges what a server has answered. It reads the records that
// `confab run --record` and `confab serve --dev --record` have written, and checks each answer of
// the chat and identity API against the OpenAPI file of the api-version that was asked:
//
//   - the OpenAPI file has the operation, and the file or the contract's error table has the
//     status;
//   - the body fits the schema for the status, and has no member that this version does not know;
//   - a status without a schema has no body.
//
// exceptions.go lists the differences that are accepted, with the reasons.
//
//	answers [-api FOLDER] [-every] [-suites NAMES] RECORD...
//
// It prints the number of answers by version, how often each exception was needed, the violations,
// and the first exchange with a violation. It exits with 1 if there are violations or if a record
// is not complete, and with 2 if it finds nothing to judge. With -every, an operation of a file
// that was never carried out is a violation; a refused operation counts as carried out only if
// exceptions.go names it. With -suites, a suite without a record is a violation.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// Limits of the output: the number of violations, and the bytes of the first exchange with a
// violation.
const (
	shown      = 40
	shownBytes = 8 << 10
)

func run(args []string, out, errs io.Writer) int {
	fs := flag.NewFlagSet("answers", flag.ContinueOnError)
	fs.SetOutput(errs)
	api := fs.String("api", "../../api", "`folder` with the OpenAPI files")
	every := fs.Bool("every", false, "require that each operation of each file was carried out")
	suites := fs.String("suites", "", "`names` of suites, separated by blanks: each must have exchanges in the folder of its name in each RECORD")
	fs.Usage = func() {
		fmt.Fprintln(errs, "usage: answers [-api FOLDER] [-every] [-suites NAMES] RECORD...\n\nJudges the answers in records that confab run --record has written.")
		fs.PrintDefaults()
	}
	if err := fs.Parse(args); err != nil || fs.NArg() == 0 {
		if err == nil {
			fs.Usage()
		}
		return 2
	}
	specs, err := readSpecs(*api)
	if err != nil {
		fmt.Fprintln(errs, "answers:", err)
		return 2
	}
	t := newTally(specs)
	for _, folder := range fs.Args() {
		if err := t.folder(folder); err != nil {
			fmt.Fprintln(errs, "answers:", err)
			return 2
		}
		t.requireSuites(folder, strings.Fields(*suites))
	}
	if *every {
		t.requireEvery()
	}
	t.print(out)
	switch {
	case len(t.found) > 0:
		return 1
	case t.judged == 0:
		fmt.Fprintln(errs, "answers: the records have no answer of the chat or identity API: were they written with --record?")
		return 2
	}
	return 0
}

// tally counts the recorded answers that were checked against the OpenAPI files, and the answers
// that violate them.
type tally struct {
	judge    *judge
	judged   int
	versions map[string]map[string]int // number of answers, by API and version
	outside  map[string]int            // number of exchanges that are not judged, by the reason
	found    map[violation]*sighting
	first    string // path of the first file with a violation
}

// sighting is the number of times that a violation was found, and the path of the first file with
// it.
type sighting struct {
	times int
	first string // path of the file
}

func newTally(s *specs) *tally {
	return &tally{
		judge: newJudge(s), versions: map[string]map[string]int{"chat": {}, "identity": {}},
		outside: map[string]int{}, found: map[violation]*sighting{},
	}
}

// folder judges all exchanges of the records below a folder.
func (t *tally) folder(path string) error {
	starts, err := readRecords(path)
	if err != nil {
		return err
	}
	for _, s := range starts {
		if s.incomplete != "" {
			t.see(violation{What: "the record is not complete: " + s.incomplete}, s.path)
		}
		o := &orders{}
		for _, e := range s.exchanges {
			o.see(e.exchange)
			t.add(e, o)
		}
	}
	return nil
}

// add judges one exchange and adds the verdict to the counts. o holds the faults that the test has
// ordered from the server before this exchange. If the response is one of them, add counts the
// fault as done.
func (t *tally) add(e recorded, o *orders) {
	v := t.judge.exchange(e.exchange, o)
	if v.outside != "" {
		t.outside[v.outside]++
	} else {
		t.judged++
		t.versions[v.api][cmp.Or(v.version, "none or unknown")]++
	}
	for _, found := range v.violations {
		t.see(found, e.file)
	}
}

// requireSuites adds a violation for each test suite whose folder, below the given folder, has no
// recorded exchange. The program that runs such a suite has not recorded its exchanges.
func (t *tally) requireSuites(folder string, suites []string) {
	for _, suite := range suites {
		starts, err := readRecords(filepath.Join(folder, suite))
		if err != nil || !slices.ContainsFunc(starts, func(s start) bool { return len(s.exchanges) > 0 }) {
			t.see(violation{What: fmt.Sprintf("the suite %s has no record in %s: does its runner pass --record?", suite, folder)}, "")
		}
	}
}

// requireEvery adds a violation for each operation of an OpenAPI file that the server has not
// carried out in any record.
func (t *tally) requireEvery() {
	for api, versions := range t.judge.specs.byVersion {
		for version, s := range versions {
			for _, o := range s.operations {
				if !t.judge.asked[api+" "+version+" "+o.name] {
					t.see(violation{API: api, Version: version, Operation: o.name, What: neverDone}, "")
				}
			}
		}
	}
}

// neverDone is the violation for an operation that the server has not carried out in any record.
const neverDone = "never carried out"

func (t *tally) see(v violation, where string) {
	if t.first == "" {
		t.first = where
	}
	s := t.found[v]
	if s == nil {
		s = &sighting{first: where}
		t.found[v] = s
	}
	s.times++
}

func (t *tally) print(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d answers judged, by api-version:\n", t.judged)
	for _, api := range []string{"chat", "identity"} {
		for _, v := range slices.Sorted(maps.Keys(t.versions[api])) {
			fmt.Fprintf(w, "  %s\t%s\t%d\n", api, v, t.versions[api][v])
		}
	}
	if len(t.outside) > 0 {
		fmt.Fprintln(w, "outside of the OpenAPI files:")
		for _, what := range slices.Sorted(maps.Keys(t.outside)) {
			fmt.Fprintf(w, "  %s\t\t%d\n", what, t.outside[what])
		}
	}
	fmt.Fprintln(w, "exceptions that were needed (compat/answers/exceptions.go has the reasons):")
	for _, name := range slices.Sorted(maps.Keys(t.judge.needed)) {
		fmt.Fprintf(w, "  %s\t\t%d\n", name, t.judge.needed[name])
	}
	w.Flush()
	fmt.Fprintf(out, "%d violations\n", len(t.found))
	all := slices.SortedFunc(maps.Keys(t.found), func(a, b violation) int { return strings.Compare(a.String(), b.String()) })
	for i, v := range all {
		if i == shown {
			fmt.Fprintf(out, "and %d more\n", len(all)-shown)
			break
		}
		s := t.found[v]
		fmt.Fprintf(out, "  %v\n", v)
		if s.first != "" {
			fmt.Fprintf(out, "      %d times, first in %s\n", s.times, s.first)
		}
	}
	if data, err := os.ReadFile(t.first); err == nil { // print nothing if t.first cannot be read: for an incomplete record it is a folder
		fmt.Fprintf(out, "the first exchange with a violation, %s:\n%s\n", t.first, data[:min(len(data), shownBytes)])
	}
}
