package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun compares a program with itself in two very short pairs of measurements and checks
// the printed result.
func TestRun(t *testing.T) {
	t.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -ldflags=-s") // halves the time of linking
	program, what, err := build(t.Context(), "../../..", filepath.Join(t.TempDir(), "build"))
	if err != nil {
		t.Fatal(err)
	}
	if what != "folder ../../.." {
		t.Errorf("the build is called %q", what)
	}
	databases := map[string]string{"embedded store": ""}
	if address := os.Getenv("TEST_POSTGRES_URL"); address != "" {
		databases["PostgreSQL"] = address
	} else {
		t.Log("set TEST_POSTGRES_URL to compare on PostgreSQL too: scripts/postgres -- go test ./internal/bench/compare")
	}
	for store, database := range databases {
		t.Run(store, func(t *testing.T) {
			t.Setenv("CONFAB_LIMITS", "a setting of this environment, which no server accepts")
			dir := t.TempDir()
			var out strings.Builder
			if err := run(t.Context(), options{
				builds: [2]string{program, program}, pairs: 2, span: 500 * time.Millisecond, warm: 10 * time.Millisecond,
				connections: 4, threads: 3, size: 128, dir: dir, database: database, listen: [2]bool{false, true},
			}, &out); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for _, want := range []string{`(?m)^A: program .*\nB: program .*`, `(?m)^` + store + `, somebody listens on B: sends of 128 bytes to 3 threads on 4`, `(?m)^ +1 +A B \|`, `(?m)^ +2 +B A \|`, `(?m)^B / A: rate \d`} {
				if !regexp.MustCompile(want).MatchString(out.String()) {
					t.Errorf("nothing matches %s in\n%s", want, out.String())
				}
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestFailedRunLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	notConfab, err := exec.LookPath("false")
	if err != nil {
		t.Skip("the program false is needed")
	}
	for want, program := range map[string]string{"build A: ": "./nothing", "the server ended before it was ready": notConfab} {
		err := run(t.Context(), options{builds: [2]string{program, program}, dir: dir}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", program, err, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestBuildARevision commits a program, deletes its file from the working tree and checks that
// build builds the program from the commit.
func TestBuildARevision(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is needed")
	}
	repository := t.TempDir()
	t.Chdir(repository)
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false"}, args...)
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	source := filepath.Join("cmd", "confab", "main.go")
	if err := errors.Join(os.MkdirAll(filepath.Dir(source), 0o700),
		os.WriteFile("go.mod", []byte("module m\n\ngo 1.26.0\n"), 0o600),
		os.WriteFile(source, []byte("package main\n\nfunc main() { print(\"hello\") }\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	git("add", ".")
	git("commit", "-q", "-m", "cmd: say hello")
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	t.Chdir("cmd")
	program, what, err := build(t.Context(), "HEAD", filepath.Join(t.TempDir(), "A"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program).CombinedOutput(); err != nil || string(out) != "hello" {
		t.Errorf("the program says %q, %v", out, err)
	}
	if !strings.HasSuffix(what, " cmd: say hello") {
		t.Errorf("the build is called %q", what)
	}
	if _, _, err := build(t.Context(), "v9", filepath.Join(t.TempDir(), "A")); err == nil || !strings.Contains(err.Error(), "a path begins with ./") {
		t.Errorf("an unknown revision: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args  string
		want  [2]string
		fails string
	}{
		{args: "v1", want: [2]string{"v1", "."}},
		{args: "-pairs 3 v1 ./dist/confab", want: [2]string{"v1", "./dist/confab"}},
		{args: "", fails: "want one or two builds, not 0"},
		{args: "v1 v2 v3", fails: "want one or two builds, not 3"},
		{args: "-threads 0 v1", fails: "must be positive"},
		{args: "-listen c v1", fails: "is a, b or ab"},
		{args: "-none v1", fails: "not defined"},
	} {
		var printed bytes.Buffer
		o, err := parse(strings.Fields(tt.args), &printed)
		switch {
		case tt.fails == "" && (err != nil || o.builds != tt.want):
			t.Errorf("%q: %v, %v, want %v", tt.args, o.builds, err, tt.want)
		case tt.fails != "" && (err == nil || !strings.Contains(printed.String(), tt.fails) || !strings.Contains(printed.String(), "usage:")):
			t.Errorf("%q: %v, want %q and the usage, printed:\n%s", tt.args, err, tt.fails, printed.String())
		}
	}
}

// played returns a fake of the function measure that compare calls. It returns the given rates of
// the sides A and B, pair by pair. At each call it appends the name of the measured side to asked.
func played(rates [][2]float64, asked *string) func(int) (sample, error) {
	var n [2]int
	return func(side int) (sample, error) {
		*asked += names[side]
		s := sample{rate: rates[n[side]][side], cpu: time.Duration(50+side) * time.Microsecond}
		n[side]++
		return s, nil
	}
}

func TestCompare(t *testing.T) {
	steady := [][2]float64{{100, 101}, {200, 210}, {100, 102}, {100, 100}, {50, 51.5}} // 1.01 1.05 1.02 1.00 1.03
	for _, tt := range []struct {
		name         string
		rates        [][2]float64
		asked, final string
	}{
		{"five pairs", steady, "ABBAABBAAB", "B / A: rate 1.020, CPU per send 1.020 (median of 5 pairs; spread 5.0 %)"},
		{"ten pairs", append([][2]float64{{100, 107}, {100, 107}, {100, 107}, {100, 107}, {100, 100}}, steady...),
			"ABBAABBAABBAABBAABBA", "B / A: rate 1.040, CPU per send 1.020 (median of 10 pairs; spread 7.0 %)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			var asked string
			if err := compare(&out, 5, played(tt.rates, &asked)); err != nil {
				t.Fatal(err)
			}
			if asked != tt.asked {
				t.Errorf("measured in the order %s, want %s", asked, tt.asked)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if diff := cmp.Diff(tt.final, lines[len(lines)-1]); diff != "" {
				t.Errorf("last line (-want +got):\n%s", diff)
			}
			if want := "   2   B A |         200    50.0µs |         210    51.0µs |    1.050   1.020"; tt.name == "five pairs" && lines[2] != want {
				t.Errorf("the second pair:\n%s, want\n%s", lines[2], want)
			}
		})
	}
}

func TestCompareEndsWithTheFirstError(t *testing.T) {
	broken := errors.New("connection reset")
	n := 0
	err := compare(io.Discard, 5, func(int) (sample, error) {
		if n++; n == 3 {
			return sample{}, broken
		}
		return sample{rate: 1}, nil
	})
	if !errors.Is(err, broken) || err.Error() != "pair 2, B: connection reset" || n != 3 {
		t.Errorf("%v after %d rounds", err, n)
	}
}

func TestUnknownCPU(t *testing.T) {
	var out strings.Builder
	if err := compare(&out, 1, func(int) (sample, error) { return sample{rate: 1}, nil }); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "CPU per send not known (") {
		t.Errorf("printed\n%s", out.String())
	}
}
