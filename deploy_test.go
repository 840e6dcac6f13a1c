package confab_test

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// metricNames returns the names of all metrics. It finds them as string literals in
// internal/metrics.
func metricNames(t *testing.T) []string {
	t.Helper()
	literal := regexp.MustCompile(`"(confab_[a-z_]+)"`)
	var names []string
	for _, path := range textFiles(t, "internal/metrics", ".go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, m := range literal.FindAllStringSubmatch(readText(t, path), -1) {
			names = append(names, m[1])
		}
	}
	if len(names) < 30 {
		t.Fatalf("only %d names of metrics in internal/metrics: %q", len(names), names)
	}
	return names
}

// metricsIn returns the names of metrics in a text. It ignores a name after a dollar sign, which is
// a variable, for example in a configuration of nginx.
func metricsIn(text string) (names []string) {
	for _, m := range metricName.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

var metricName = regexp.MustCompile(`(?:^|[^$\w])(confab_[a-z]+(?:_[a-z]+)*)\b`)

// TestMetricsAreDocumented checks that docs/operating.md names every metric, and that every metric
// that README.md, the documents and the alert rules name exists.
func TestMetricsAreDocumented(t *testing.T) {
	names := metricNames(t)
	operating := metricsIn(readText(t, "docs/operating.md"))
	for _, name := range names {
		if !slices.Contains(operating, name) {
			t.Errorf("docs/operating.md does not have the metric %s", name)
		}
	}
	for _, path := range append(textFiles(t, "docs", ".md"), "README.md", "deploy/alerts.yml", "deploy/alerts_test.yml") {
		for _, name := range metricsIn(readText(t, path)) {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} { // of histograms
				base = strings.TrimSuffix(base, suffix)
			}
			if !slices.Contains(names, name) && !slices.Contains(names, base) {
				t.Errorf("%s names the metric %s, which does not exist", path, name)
			}
		}
	}
}

// TestAlertRules checks that each alert rule has a severity, a summary of what has happened and an
// action to take, that docs/operating.md lists the rule, and that deploy/alerts_test.yml tests it.
func TestAlertRules(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(readText(t, "deploy/alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	page, tests, n := readText(t, "docs/operating.md"), readText(t, "deploy/alerts_test.yml"), 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			n++
			if r.Alert == "" || r.Expr == "" || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
				t.Errorf("the rule %q lacks its name, its expression, its summary or its action", r.Alert)
			}
			if s := r.Labels["severity"]; s != "page" && s != "ticket" {
				t.Errorf("%s has the severity %q, want page or ticket", r.Alert, s)
			}
			if !strings.Contains(page, "`"+r.Alert+"`") {
				t.Errorf("docs/operating.md does not list %s", r.Alert)
			}
			if !strings.Contains(tests, `{alertname="`+r.Alert+`"}`) {
				t.Errorf("deploy/alerts_test.yml does not let %s fire", r.Alert)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d rules in deploy/alerts.yml", n)
	}
}

// TestUnit checks deploy/confab.service with systemd-analyze verify. It replaces the program in the
// unit by /bin/true, because the program must exist.
func TestUnit(t *testing.T) {
	unit := readText(t, "deploy/confab.service")
	const program = "/usr/local/bin/confab"
	if n := strings.Count(unit, "Exec"+"Start="+program+" serve "); n != 1 {
		t.Fatalf("the unit starts %s serve %d times, want once", program, n)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here (on Debian: apt-get install systemd)")
	}
	file := filepath.Join(t.TempDir(), "confab.service")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(unit, program, "/bin/true")), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("confab.service")) { // systemd-analyze prints the name of the unit if it warns of the unit
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestContainerRunsAlone builds the program as deploy/Containerfile does. It starts the program
// under the conditions of the container: as another user, in a root folder that contains only the
// program, a folder for data and /etc/hosts. The health check of the container must succeed, and
// the server must stop. So the program needs no other file of an image. The test
// builds no image, and needs root to start the program.
func TestContainerRunsAlone(t *testing.T) {
	if os.Getenv("TEST_DEPLOY") == "" {
		t.Skip("set TEST_DEPLOY=1 to build the program of the container: make deploy")
	}
	containerfile := readText(t, "deploy/Containerfile")
	world := t.TempDir()
	build := regexp.MustCompile(`(?m)^RUN CGO_ENABLED=0 go (build .*) -o /out/confab (\./cmd/confab)$`).FindStringSubmatch(containerfile)
	if build == nil {
		t.Fatal("deploy/Containerfile does not build /out/confab without cgo")
	}
	binary := filepath.Join(world, "confab")
	cmd := exec.CommandContext(t.Context(), "go", append(strings.Fields(build[1]), "-o", binary, build[2])...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	program, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the program needs the libraries %q, %v", libraries, err)
	}
	if slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Error("the program needs a loader")
	}
	runInContainer(t, world, containerfile)
}

// arguments returns the words in the list of an instruction in containerfile, such as CMD
// ["serve"].
func arguments(t *testing.T, containerfile, instruction string) []string {
	t.Helper()
	var words []string
	m := regexp.MustCompile(`(?m)^` + instruction + ` (\[.*\])$`).FindStringSubmatch(containerfile)
	if m == nil {
		t.Fatalf("deploy/Containerfile has no %s", instruction)
	}
	if err := yaml.Unmarshal([]byte(m[1]), &words); err != nil {
		t.Fatal(err)
	}
	return words
}

// freePort returns an address such as ":43121". A moment ago, no program listened on the port.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return ":" + port
}

// waitForLine reads from r until the text has appeared. If reading fails before that, waitForLine
// returns an error with everything that it has read.
func waitForLine(r io.Reader, text string) error {
	var all strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(all.String(), text) {
		n, err := r.Read(b)
		all.Write(b[:n])
		if err != nil {
			return fmt.Errorf("%w, without %q in\n%s", err, text, &all)
		}
	}
	return nil
}
