package server_test

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/store/postgres"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// TestTransfer exports a store with many messages and imports the export, each step in a process
// of its own: into an embedded store and, if PostgreSQL is available, into PostgreSQL and back. It
// checks that the responses to clients stay the same, byte for byte, and that the memory of a step
// does not grow after the first fifth of its rows.
func TestTransfer(t *testing.T) {
	messages := 20_000
	if v := os.Getenv("TEST_EXPORT_MESSAGES"); v != "" {
		var err error
		if messages, err = strconv.Atoi(v); err != nil || messages < 1000 {
			t.Fatalf("TEST_EXPORT_MESSAGES=%q is not a number of 1000 or more", v)
		}
	}
	dir := t.TempDir()
	from := filepath.Join(dir, "from")
	m := transfer{T: t, dir: dir}
	m.fill(from, messages)
	want := m.checksum(from)

	places := []string{filepath.Join(dir, "embedded")}
	if address := os.Getenv("TEST_POSTGRES_URL"); address != "" {
		places = append(places, freshDatabase(t, address), filepath.Join(dir, "back"))
	} else {
		t.Log("set TEST_POSTGRES_URL to move through PostgreSQL too: scripts/postgres -- go test ./internal/server")
	}
	for i, to := range places {
		file := filepath.Join(dir, fmt.Sprint(i, ".jsonl"))
		m.step("export", from, file)
		m.step("import", to, file)
		if got := m.checksum(to); got != want {
			t.Fatalf("answers after %s: checksum %s, want %s", kindOf(to), got, want)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		from = to
	}
}

// transfer is the state of TestTransfer: its folder, the ids of its threads and users, and
// the number of rows.
type transfer struct {
	*testing.T
	dir            string
	threads, users []string
	rows           int
}

func kindOf(place string) string {
	if strings.HasPrefix(place, "postgres") {
		return "PostgreSQL"
	}
	return "embedded"
}

func settingsOf(place string) config.Config {
	if kindOf(place) == "PostgreSQL" {
		return config.Config{Database: place}
	}
	return config.Config{Data: place}
}

func (m *transfer) open(place string) (s core.Store) {
	m.Helper()
	var err error
	if kindOf(place) == "PostgreSQL" {
		s, err = postgres.Open(m.Context(), place, postgres.Options{Initial: storetest.Initial})
	} else {
		s, err = pebble.Open(filepath.Join(place, "store"), pebble.Options{Initial: storetest.Initial})
	}
	if err != nil {
		m.Fatal(err)
	}
	return s
}

func (m *transfer) checksum(place string) string {
	m.Helper()
	began := time.Now()
	s := m.open(place)
	defer s.Close()
	sum := storetest.Checksum(m.T, s, m.threads, m.users)
	m.Logf("answers of %s read in %.1f s, checksum %.12s", kindOf(place), time.Since(began).Seconds(), sum)
	return sum
}

// fill creates threads of a thousand messages each, with ten members that send messages
// and read receipts. Two of three threads have a retention policy.
func (m *transfer) fill(place string, messages int) {
	m.Helper()
	if err := os.MkdirAll(place, 0o700); err != nil {
		m.Fatal(err)
	}
	s := m.open(place)
	defer func() {
		counts, err := s.(core.Checker).Check(context.Background())
		if err != nil {
			m.Fatal(err)
		}
		m.rows = int(counts.Rows()) + 1 // count one row more, for the resource
		s.Close()
	}()
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC).UnixMilli()
	apply := func(c *core.Change) *core.Change {
		at += 700
		rs, err := s.Apply(context.Background(), core.Batch{At: at, Changes: []*core.Change{c}})
		if err != nil || rs[0].Status != core.Applied {
			m.Fatalf("apply %s: %+v, %v", c.Key, rs, err)
		}
		return rs[0].Change
	}
	for n := range max(messages/1000, 1) {
		id := fmt.Sprintf("19:%032x@thread.v2", n)
		m.threads = append(m.threads, id)
		c := &core.Change{Key: id, Thread: id, Properties: &core.Properties{Topic: "topic", Metadata: map[string]string{"n": fmt.Sprint(n)}, RetentionDays: []int32{0, 30, 90}[n%3]},
			Answer: &core.CreateAnswer{Topic: "topic"}, Events: []core.Event{{Kind: core.ThreadCreated}},
			Messages: []core.Message{{Kind: core.TopicUpdated, Content: "topic"}}}
		for i := range 10 {
			who := fmt.Sprintf("8:acs:%s_%012d", storetest.Initial.ID, n+i)
			if n+i == len(m.users) {
				m.users = append(m.users, who)
				apply(&core.Change{Key: who, PutUsers: []core.User{{ID: who, State: core.UserLive, Generation: 1}}})
			}
			c.Members = append(c.Members, core.Member{User: who, DisplayName: "Ann", Order: uint32(i + 1), Intervals: []core.Interval{{}}})
		}
		apply(c)
		roster := core.NewRoster(c.Members)
		for sent := 1; sent < 1000; {
			part := &core.Change{Key: id, Thread: id, Revision: 1, Roster: roster.Participants()}
			for ; len(part.Messages) < 50 && sent < 1000; sent++ {
				who := c.Members[sent%10].User
				part.Messages = append(part.Messages, core.Message{Kind: core.Text, Sender: who, Content: fmt.Sprint("Where do we eat at ", sent, "? ", strings.Repeat("I am hungry. ", sent%8))})
				part.Events = append(part.Events, core.Event{Kind: core.MessageReceived, Actor: who})
			}
			part.SendToken, part.Caller = fmt.Sprint("token ", sent), c.Members[0].User
			first := apply(part).Messages[0].ID
			apply(&core.Change{Key: id, Thread: id, Revision: 1, Receipt: &core.Receipt{User: c.Members[sent%9].User, MessageID: first},
				Events: []core.Event{{Kind: core.ReceiptReceived}}})
		}
	}
}

// step runs an export or import in a new process. It logs the time and the memory that the
// process needed.
func (m *transfer) step(what, place, file string) {
	m.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TEST_TRANSFER_CHILD="+what, "TEST_TRANSFER_PLACE="+place, "TEST_TRANSFER_FILE="+file, fmt.Sprint("TEST_TRANSFER_ROWS=", m.rows), "GORACE=atexit_sleep_ms=0")
	out, err := cmd.Output()
	if err != nil {
		m.Fatalf("%s %s: %v\n%s", what, kindOf(place), err, err.(*exec.ExitError).Stderr)
	}
	lines := strings.Fields(string(out))
	if len(lines) != 2+fifths {
		m.Fatalf("%s says %q", what, out)
	}
	var n [2 + fifths]int
	for i := range n {
		if n[i], err = strconv.Atoi(lines[i]); err != nil {
			m.Fatal(err)
		}
	}
	rows, took, resident := n[0], time.Duration(n[1]), n[2:]
	if rows != m.rows {
		m.Errorf("%s %s: %d rows, want %d", what, kindOf(place), rows, m.rows)
	}
	m.Logf("%s %s: %d rows in %.1f s, %.0f rows/s, MiB resident after each fifth: %d",
		what, kindOf(place), rows, took.Seconds(), float64(rows)/took.Seconds(), resident)
	// With so many rows, all tables and caches of fixed size are full after the first fifth. With
	// fewer rows, filling them may take the whole step.
	if rows > 1_000_000 && resident[fifths-1] > resident[0]+resident[0]/4+16 {
		m.Errorf("%s %s: %d MiB resident: the memory grows with the rows", what, kindOf(place), resident)
	}
}

// fifths is the number of times that a step measures its memory.
const fifths = 5

// transferChild runs one export or import in a process that TestTransfer started; TestMain calls
// it. It prints the number of rows, the time in nanoseconds, and the memory in MiB after each
// fifth of the rows.
func transferChild(what string) {
	cfg, name := settingsOf(os.Getenv("TEST_TRANSFER_PLACE")), os.Getenv("TEST_TRANSFER_FILE")
	expected, _ := strconv.Atoi(os.Getenv("TEST_TRANSFER_ROWS"))
	rows, held, began := 0, []int{}, time.Now()
	row := func() {
		if rows++; rows%max(expected/fifths, 1) == 0 && len(held) < fifths-1 {
			held = append(held, resident())
		}
	}
	err := func() error {
		if what == "import" {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			_, _, err = server.Import(context.Background(), cfg, f, row)
			return err
		}
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		_, err = server.Export(context.Background(), cfg, f, server.ExportOptions{Now: began, Row: row})
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	for held = append(held, resident()); len(held) < fifths; {
		held = append(held, held[len(held)-1]) // repeat the last measurement if the store had too few rows for all of them
	}
	fmt.Println(rows, time.Since(began).Nanoseconds(), strings.Trim(fmt.Sprint(held), "[]"))
	os.Exit(0)
}

// resident returns the resident memory of the process in MiB, or 0 if it is not known.
func resident() int {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return n >> 10
		}
	}
	return 0
}

// freshDatabase creates a database for the test and returns its URL.
func freshDatabase(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("transfer_%d", time.Now().UnixNano())
	run := func(sql string) {
		t.Helper()
		conn, err := pgx.Connect(context.Background(), address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	run("CREATE DATABASE " + name)
	t.Cleanup(func() { run("DROP DATABASE " + name) })
	u.Path = name
	return u.String()
}
