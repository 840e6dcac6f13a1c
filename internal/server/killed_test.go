package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/store/pebble"
)

// TestKilledMoves kills a restore, an import and a backup at random moments. Afterwards the folder
// must be in one of three states: unchanged; refused as unfinished by everything that opens it; or
// complete, with the same rows as the source and, after a restore, the same certificates. A
// database must be empty or complete. The environment variable TEST_MOVE_KILLS is the number of
// kills for each kind of operation.
func TestKilledMoves(t *testing.T) {
	kills := 3
	if v := os.Getenv("TEST_MOVE_KILLS"); v != "" {
		var err error
		if kills, err = strconv.Atoi(v); err != nil || kills < 1 {
			t.Fatalf("TEST_MOVE_KILLS=%q is not a number of kills", v)
		}
	}
	m := newMoves(t)
	for _, what := range []string{"restore", "import", "import into an empty store", "backup", "import into PostgreSQL"} {
		t.Run(what, func(t *testing.T) {
			if what == "import into PostgreSQL" && os.Getenv("TEST_POSTGRES_URL") == "" {
				t.Skip("set TEST_POSTGRES_URL: scripts/postgres -- go test ./internal/server")
			}
			place := func(round int) string { return m.place(t, what, round) }
			to := place(0)
			took, finished := m.move(t, what, to, time.Hour)
			if outcome := m.judge(t, what, to); !finished || outcome != "whole" {
				t.Fatalf("a move that nobody kills is %s", outcome)
			}
			seen := map[string]int{}
			for round := 1; round <= kills; round++ {
				to := place(round)
				at := rand.N(took + took/20 + 1)
				m.move(t, what, to, at)
				outcome := m.judge(t, what, to)
				seen[outcome]++
				if t.Failed() {
					t.Fatalf("round %d, killed after %v of %v: %s", round, at, took, outcome)
				}
			}
			t.Logf("%d kills within %v: %v", kills, took.Round(time.Millisecond), seen)
		})
	}
}

// moves has the source for the operations of TestKilledMoves: a store with 5 threads, with a
// backup and an export of that store.
type moves struct {
	dir                  string
	source, backup, file string
	want                 exported
}

// exported describes an export without access keys: the number and the checksum of its rows, and
// the epoch of the store.
type exported struct {
	rows     core.Counts
	checksum string
	epoch    string
}

func newMoves(t *testing.T) *moves {
	t.Helper()
	m := &moves{dir: t.TempDir()}
	m.source, m.backup, m.file = filepath.Join(m.dir, "source"), filepath.Join(m.dir, "saved"), filepath.Join(m.dir, "source.jsonl")
	(&transfer{T: t}).fill(m.source, 5_000)
	start(t, server.Options{Config: settings(t, "data", m.source, "events-kept", "3650")}).stop(t) // start a server once, because its start makes the certificates
	makeBackup(t, m.source, m.backup)
	f, err := os.Create(m.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m.want, err = export(config.Config{Data: m.source}, f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// makeBackup makes a backup of a data folder that no server uses.
func makeBackup(t *testing.T, from, to string) {
	t.Helper()
	if err := offlineBackup(from, to); err != nil {
		t.Fatal(err)
	}
}

func offlineBackup(from, to string) error {
	order, _, err := server.PrepareBackup(to)
	if err == nil {
		_, err = server.OfflineBackup(context.Background(), config.Config{Data: from}, order, "test", time.Now())
	}
	return err
}

// export exports a store to out and describes the export. The export has a fixed time, so that
// equal stores give exports with equal checksums.
func export(c config.Config, out io.Writer) (e exported, err error) {
	sum, err := server.Export(context.Background(), c, out, server.ExportOptions{Now: time.UnixMilli(0), Row: func() {}})
	if err == nil && c.Database == "" {
		e.epoch, err = epochOf(c.Data)
	}
	e.rows, e.checksum = sum.Rows, sum.Checksum
	return e, err
}

// epochOf returns the epoch of the embedded store in a data folder.
func epochOf(data string) (string, error) {
	s, err := pebble.Open(filepath.Join(data, "store"), pebble.Options{ReadOnly: true})
	if err != nil {
		return "", err
	}
	r, err := s.Resource(context.Background())
	return r.Epoch, errors.Join(err, s.Close())
}

// place returns the path of a new folder for the result of a restore, an import or a backup, or
// the URL of a new database. For an import into an empty store it creates that store.
func (m *moves) place(t *testing.T, what string, round int) string {
	t.Helper()
	if what == "import into PostgreSQL" {
		return freshDatabase(t, os.Getenv("TEST_POSTGRES_URL"))
	}
	to := filepath.Join(m.dir, fmt.Sprint(what, " ", round))
	if what == "import into an empty store" {
		start(t, server.Options{Config: settings(t, "data", to, "events-kept", "3650")}).stop(t)
	}
	return to
}

// move runs a restore, an import or a backup in another process, and kills the process after the
// time killAt. It returns how long the process ran, and whether it finished its work.
func (m *moves) move(t *testing.T, what, to string, killAt time.Duration) (took time.Duration, finished bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEST_MOVE_CHILD="+what, "TEST_MOVE_SOURCE="+m.source, "TEST_MOVE_BACKUP="+m.backup, "TEST_MOVE_FILE="+m.file, "TEST_MOVE_TO="+to, "GORACE=atexit_sleep_ms=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var failed bytes.Buffer
	cmd.Stderr = &failed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan() // wait for the line that the process prints when it begins its work
	began := time.Now()
	killer := time.AfterFunc(killAt, func() { cmd.Process.Kill() })
	finished = lines.Scan()
	took = time.Since(began)
	killer.Stop()
	if err := cmd.Wait(); err != nil && failed.Len() > 0 {
		t.Fatalf("%s: %v\n%s", what, err, failed.Bytes())
	}
	return took, finished
}

// moveChild runs a restore, an import or a backup in a process that TestKilledMoves started;
// TestMain calls it.
func moveChild(what string) {
	to := os.Getenv("TEST_MOVE_TO")
	fmt.Println("began")
	var err error
	switch what {
	case "restore":
		_, _, err = server.Restore(context.Background(), os.Getenv("TEST_MOVE_BACKUP"), config.Config{Data: to})
	case "backup":
		err = offlineBackup(os.Getenv("TEST_MOVE_SOURCE"), to)
	default:
		var f *os.File
		if f, err = os.Open(os.Getenv("TEST_MOVE_FILE")); err == nil {
			_, _, err = server.Import(context.Background(), settingsOf(to), f, func() {})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	fmt.Println("done")
	os.Exit(0)
}

// judge returns the state in which a killed restore, import or backup has left its folder or
// database: "untouched", "refused" or "whole". It fails the test for any other state.
func (m *moves) judge(t *testing.T, what, to string) string {
	t.Helper()
	if kindOf(to) == "PostgreSQL" {
		return m.judgeDatabase(t, to)
	}
	if entries, err := os.ReadDir(to); errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return "untouched"
	}
	if what == "backup" {
		return m.judgeBackup(t, to)
	}
	s, err := server.Start(t.Context(), server.Options{Config: settings(t, "data", to, "events-kept", "3650")})
	if errors.Is(err, core.ErrUnfinished) {
		if _, err := export(config.Config{Data: to}, io.Discard); !errors.Is(err, core.ErrUnfinished) {
			t.Errorf("an export of what no server serves: %v", err)
		}
		if err := offlineBackup(to, filepath.Join(t.TempDir(), "b")); !errors.Is(err, core.ErrUnfinished) {
			t.Errorf("a backup of what no server serves: %v", err)
		}
		return "refused"
	}
	if err != nil {
		t.Errorf("a server on what was left: %v, want %v", err, core.ErrUnfinished)
		return "broken"
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	is, err := export(config.Config{Data: to}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if what == "import into an empty store" && is.rows == (core.Counts{}) {
		return "untouched"
	}
	if is.rows != m.want.rows || is.checksum != m.want.checksum {
		t.Errorf("a server serves %+v with checksum %.12s, want %+v with %.12s", is.rows, is.checksum, m.want.rows, m.want.checksum)
	}
	if is.epoch == m.want.epoch {
		t.Errorf("a server serves the epoch of the source")
	}
	if what == "restore" {
		for _, name := range []string{"ca.pem", "ca.key"} {
			was, _ := os.ReadFile(filepath.Join(m.source, "tls", name))
			if is, err := os.ReadFile(filepath.Join(to, "tls", name)); err != nil || !bytes.Equal(is, was) {
				t.Errorf("a server serves another %s than the source's (%v)", name, err)
			}
		}
	}
	return "whole"
}

// judgeBackup returns the state of a backup after the process that made it was killed. It fails
// the test if a server starts on the backup, or if a restore neither refuses the backup nor
// restores all of it.
func (m *moves) judgeBackup(t *testing.T, backup string) string {
	t.Helper()
	s, err := server.Start(t.Context(), server.Options{Config: settings(t, "data", backup, "events-kept", "3650")})
	if err == nil {
		s.Close(context.Background())
		t.Errorf("a server serves a backup")
	}
	to := filepath.Join(t.TempDir(), "restored")
	if _, _, err := server.Restore(t.Context(), backup, config.Config{Data: to}); err != nil {
		if entries, err := os.ReadDir(to); err == nil {
			t.Errorf("a refused backup left %v", entries)
		}
		return "refused"
	}
	return m.judge(t, "restore", to)
}

// judgeDatabase returns "untouched" if a database is empty and "whole" if it has all rows of the
// source. It fails the test for anything else.
func (m *moves) judgeDatabase(t *testing.T, to string) string {
	t.Helper()
	is, err := export(config.Config{Database: to}, io.Discard)
	switch {
	case err != nil:
		t.Fatal(err)
	case is.rows == (core.Counts{}):
		return "untouched"
	case is.rows != m.want.rows || is.checksum != m.want.checksum:
		t.Errorf("the database has %+v with checksum %.12s, want %+v with %.12s", is.rows, is.checksum, m.want.rows, m.want.checksum)
	}
	return "whole"
}
