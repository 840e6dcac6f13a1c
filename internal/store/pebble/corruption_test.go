package pebble

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
	"github.com/confab-chat/confab/internal/transfer"
	"github.com/confab-chat/confab/sdk/communication"
)

// corruptible has folders with copies of one store that holds every kind of row, in the states
// that TestCorruption damages.
type corruptible struct {
	closed, killed *undamaged
	olderManifest  string // folder with an older copy of the manifest
	olderLog       string // folder with older copies of the newest log and of the mark (the file DURABLE)
	late           int    // number of messages sent after olderLog was copied
	erased         string // a user who was erased
	purged         map[string]bool
}

// undamaged is a store's folder without damage, and the rows that it holds.
type undamaged struct {
	dir     string
	census  Census
	records []core.Record
	rows    map[string]winner // by recordKey
}

// winner is the current value of a row, and the number of the file that holds it. Other files
// may hold older values of the row.
type winner struct {
	file uint64
	row  core.Record
}

// corruptionStore makes a store to which many senders send messages, and returns copies of its
// folder in several states.
func corruptionStore(t *testing.T, messages int) *corruptible {
	t.Helper()
	ctx := t.Context()
	root := t.TempDir()
	dir := filepath.Join(root, "closed")
	c := &corruptible{olderManifest: filepath.Join(root, "older-manifest"), olderLog: filepath.Join(root, "older-log"), purged: map[string]bool{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(dir, Options{Initial: storetest.Initial, MemTableSize: 512 << 10})
	must(err)
	var now atomic.Int64
	now.Store(goldenMidnight.Add(-time.Hour).UnixMilli())
	svc, err := core.New(ctx, s, new(local.Bus), core.Options{Now: func() time.Time { return time.UnixMilli(now.Add(20)) }})
	must(err)

	users := make([]string, 24)
	for i := range users {
		u, err := svc.CreateUser(ctx)
		if i%3 == 0 {
			u, err = svc.UserByCustomID(ctx, fmt.Sprint("custom id ", i))
		}
		must(err)
		users[i] = u.ID
	}
	threads := make([]string, 40)
	owner := func(i int) string { return users[i%len(users)] }
	for i := range threads {
		var others []core.NewParticipant
		for n := range 6 {
			others = append(others, core.NewParticipant{User: communication.ParseRawID(owner(i + 3*n)), DisplayName: fmt.Sprint("user ", n)})
		}
		p, _, err := svc.CreateThread(ctx, owner(i), core.CreateThread{Topic: fmt.Sprint("topic ", i), Participants: others, Token: fmt.Sprint("create ", i), RetentionDays: int32(30 + 30*(i%3))})
		must(err)
		threads[i] = p.ID
	}
	// send sends n messages from 64 goroutines at the same time, as several users.
	sent := 0
	send := func(n int) {
		t.Helper()
		errs := make(chan error, 64)
		var next atomic.Int64
		for range cap(errs) {
			go func() {
				for {
					i := int(next.Add(1)) - 1
					if i >= n {
						errs <- nil
						return
					}
					thread := (sent + i) % len(threads)
					m := core.SendMessage{Kind: core.Text, Content: fmt.Sprint("message ", sent+i, strings.Repeat(" word", 8)), SenderDisplayName: "a name"}
					if i%10 == 0 {
						m.Token = fmt.Sprint("send ", sent+i)
					}
					id, err := svc.SendMessage(ctx, owner(thread+3*((sent+i)%6)), threads[thread], m)
					edit := "edited"
					if err == nil && i%40 == 0 {
						err = svc.UpdateMessage(ctx, owner(thread+3*((sent+i)%6)), threads[thread], id, core.UpdateMessage{Content: &edit})
					}
					if err == nil && i%50 == 0 {
						err = svc.SendReceipt(ctx, owner(thread), threads[thread], id)
					}
					if err != nil {
						errs <- err
						return
					}
				}
			}()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		sent += n
	}
	c.late = min(messages/40, 60) // this number of messages fits into a memtable, so the rows of these messages stay in the log
	send(messages / 2)
	must(s.db.Flush())
	s.copyTo(t, c.olderManifest)
	send(messages - messages/2 - 2*c.late)
	now.Add(2 * time.Hour.Milliseconds()) // the next day
	for _, i := range []int{7, 8} {
		must(svc.DeleteThread(ctx, owner(i), threads[i]))
		c.purged[threads[i]] = true
	}
	threads = slices.Delete(threads, 7, 9)
	must(svc.RemoveParticipant(ctx, owner(0), threads[0], communication.ParseRawID(owner(3))))
	gone := users[len(users)-1]
	c.erased = gone
	must(svc.DeleteUser(ctx, gone))
	now.Add(time.Hour.Milliseconds())
	_, err = svc.Sweep(ctx)
	must(err)
	_, err = s.PutEndpoints(ctx, []core.Endpoint{{User: users[0], ID: "a browser", At: core.Cursor{Epoch: storetest.Initial.Epoch, Position: 5}, Seen: now.Load()}})
	must(err)
	must(s.db.Flush())
	// All rows written from here on stay in the newest log. Two threads were deleted, which
	// changed the indexes of the threads after them: send only to the first seven threads, of
	// which owner(i) is still the owner.
	last := func(n int) {
		for i := range n {
			thread := i % 7
			_, err := svc.SendMessage(ctx, owner(thread), threads[thread], core.SendMessage{Kind: core.Text, Content: fmt.Sprint("late message ", sent+i)})
			must(err)
		}
		sent += n
	}
	last(c.late)
	s.copyTo(t, c.olderLog)
	last(c.late)
	killed := filepath.Join(root, "killed")
	s.copyTo(t, killed)
	svc.Close()
	must(s.Close())
	if sent != messages {
		t.Fatalf("%d messages were sent, want %d", sent, messages)
	}
	c.closed, c.killed = newUndamaged(t, dir), newUndamaged(t, killed)
	return c
}

// copyTo copies the store's folder to another folder, after flushes and compactions have ended. The
// caller makes sure that nobody writes to the store.
func (s *Store) copyTo(t *testing.T, to string) {
	t.Helper()
	for began := time.Now(); ; {
		idle := func() bool {
			m := s.db.Metrics()
			return m.Compact.NumInProgress == 0 && m.Flush.NumInProgress == 0
		}
		if before := s.db.Metrics().Total().TablesCount; idle() {
			err := storetest.CopyFolder(s.dir, to)
			if err == nil && idle() && before == s.db.Metrics().Total().TablesCount {
				if _, err = CheckFolder(t.Context(), to, Options{CacheSize: 1 << 20}, func(string) {}); err == nil {
					return
				}
			}
			if rerr := os.RemoveAll(to); rerr != nil {
				t.Fatal(rerr)
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("copy the store: %v", err)
			}
		}
	}
}

func newUndamaged(t *testing.T, dir string) *undamaged {
	t.Helper()
	u := &undamaged{dir: dir, rows: map[string]winner{}}
	trimLog(t, dir)
	checked, err := CheckFolder(t.Context(), dir, Options{}, func(fault string) { t.Error(fault) })
	if err != nil {
		t.Fatal(err)
	}
	u.census = checked.Census
	u.records, _ = salvage(t, dir)
	for _, r := range u.records {
		u.rows[recordKey(r)] = winner{row: r}
	}
	raw, err := openRaw(vfs.NewMem(), "values", new(workSpace))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.db.Close()
	s := &Store{fs: vfs.Default, dir: dir, log: discard}
	opts := s.options(Options{})
	opts.EnsureDefaults()
	r := reader{ctx: t.Context(), fs: vfs.Default, dir: dir, opts: opts, raw: raw, report: &Salvaged{}}
	if err := r.readAll(); err != nil {
		t.Fatal(err)
	}
	kinds := map[byte]func(key, value []byte) (core.Record, error){}
	for _, k := range exported(nil, 1) {
		kinds[k.letter] = k.read
	}
	kinds[kindEvent] = func(key, value []byte) (core.Record, error) { return events.decode(key, value) }
	delete(kinds, kindPosition)
	err = raw.each(func(key, value []byte, file uint64) error {
		read := kinds[key[0]]
		if read == nil {
			return nil
		}
		record, err := read(key, value)
		if err != nil {
			return err
		}
		w, ok := u.rows[recordKey(record)]
		if !ok {
			return fmt.Errorf("row %q was not salvaged", key)
		}
		w.file = file
		u.rows[recordKey(record)] = w
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// trimLog truncates the newest log at the end of its own records. Pebble writes a new log over
// an old one, and most damages would hit the remains of the old log behind that end.
func trimLog(t *testing.T, dir string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs %q, %v", logs, err)
	}
	newest := slices.Max(logs)
	number, _ := fileNumber(filepath.Base(newest), "", logSuffix)
	mark, _, _, err := readMark(vfs.Default, dir)
	if err != nil {
		t.Fatal(err)
	}
	length := mark.length(logFile, number)
	if info, err := os.Stat(newest); err != nil || length == 0 || length > info.Size() {
		t.Fatalf("the mark says that %d bytes of %s are durable: %v, %v", length, newest, info, err)
	}
	if err := os.Truncate(newest, length); err != nil {
		t.Fatal(err)
	}
}

// recordKey returns a name of a record, made only of fields that Salvage never changes.
func recordKey(r core.Record) string {
	switch r := r.(type) {
	case core.Resource:
		return "resource"
	case core.User:
		return "u" + r.ID
	case core.Head:
		return "h" + r.ID
	case core.ThreadMember:
		return "p" + r.Thread + " " + r.User
	case core.ThreadMessage:
		return fmt.Sprint("m", r.Thread, " ", r.ID, " ", r.Version)
	case core.ThreadAnswer:
		return "c" + r.Thread
	case core.SentToken:
		return fmt.Sprint("t", r.SendKey)
	case core.ThreadReceipt:
		return "r" + r.Thread + " " + r.User
	case core.Event:
		if r.Thread == "" {
			return fmt.Sprint("e", r.Actor, " ", r.Kind, " ", r.At)
		}
		return fmt.Sprint("e", r.Thread, " ", r.Number)
	}
	panic(fmt.Sprintf("record %T", r))
}

// TestCorruption damages one file of a store after another, in all ways, after a clean stop and
// after a kill, and runs CheckFolder. CheckFolder must find all rows, or refuse the store and
// name the file, or name the table whose rows cannot be read; it must not change the disk. From
// each store with a fault, Salvage must save every row outside of the damaged file, and the
// result must pass Check in a new store.
//
// By default Salvage runs once for each damaged file. If TEST_CORRUPTION_MESSAGES is set, it
// runs for each damage, and then the whole test is repeated with a store of that many messages,
// with one Salvage for each damaged file.
func TestCorruption(t *testing.T) {
	n := os.Getenv("TEST_CORRUPTION_MESSAGES")
	t.Run("small", func(t *testing.T) { testCorruption(t, 600, n != "") })
	if n == "" {
		return
	}
	messages, err := strconv.Atoi(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("large", func(t *testing.T) { testCorruption(t, messages, false) })
}

func testCorruption(t *testing.T, messages int, salvageAll bool) {
	c := corruptionStore(t, messages)
	table := &corruptionTable{corruptible: c, outcomes: map[string]int{}, imported: map[[32]byte]bool{}, once: map[string]bool{}, salvageAll: salvageAll}
	t.Run("table", func(t *testing.T) {
		for stop, base := range map[string]*undamaged{"closed": c.closed, "killed": c.killed} {
			for _, kind := range storetest.FileKinds {
				files, err := kind.Files(base.dir)
				if err != nil || kind.Required && len(files) == 0 {
					t.Fatalf("%s: no file is called %s (%v)", stop, kind.Pattern, err)
				}
				if kind.Name == "log" && len(files) > 1 {
					files = files[len(files)-1:] // keep only the newest log: the manifest says that older logs are not needed
				}
				for _, name := range oneOrTwo(files) {
					for _, damage := range storetest.Damages {
						if damage.Older && !kind.Swapped {
							continue
						}
						t.Run(strings.Join([]string{stop, kind.Name, name, damage.Name}, "/"), func(t *testing.T) {
							t.Parallel()
							table.damage(t, base, kind, name, damage)
						})
					}
				}
			}
		}
		t.Run("lag", func(t *testing.T) {
			t.Parallel()
			table.lag(t)
		})
	})
	total := 0
	for _, o := range slices.Sorted(maps.Keys(table.outcomes)) {
		t.Logf("%-70s %d", o, table.outcomes[o])
		total += table.outcomes[o]
	}
	t.Logf("%d damages of a store with %d messages, %d salvages", total, messages, table.salvages)
}

// oneOrTwo returns the newest of the files, and also the oldest if there are several.
func oneOrTwo(files []string) []string {
	if len(files) < 2 {
		return files
	}
	return []string{files[len(files)-1], files[0]}
}

// corruptionTable counts how often damage of a file had each outcome, over all subtests.
type corruptionTable struct {
	*corruptible
	mu       sync.Mutex // guards the fields below
	outcomes map[string]int
	imported map[[32]byte]bool // checksums of the records that were imported
	once     map[string]bool   // names of damaged files for which Salvage ran already
	salvages int

	salvageAll bool
}

func (c *corruptionTable) count(outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcomes[outcome]++
}

// linked makes a new folder with hard links to the files of a folder. It copies the file with the
// given name, if that exists, instead of linking it, so that the test can damage the copy.
func linked(t *testing.T, from, name string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "store")
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.IsDir() {
			continue
		}
		if f.Name() != name {
			err = os.Link(filepath.Join(from, f.Name()), filepath.Join(to, f.Name()))
		} else {
			err = copyFile(filepath.Join(from, name), filepath.Join(to, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// damage applies one damage to a file of a copy of base, runs CheckFolder on the copy, and
// counts the outcome. If rows are missing, it may also run Salvage.
func (c *corruptionTable) damage(t *testing.T, base *undamaged, kind storetest.FileKind, name string, damage storetest.Damage) {
	dir := linked(t, base.dir, name)
	older := c.olderManifest
	if kind.Name == "log" {
		older = c.olderLog
	}
	applies, err := damage.Do(filepath.Join(dir, name), filepath.Join(older, name))
	if err != nil {
		t.Fatal(err)
	}
	if !applies {
		return
	}
	outcome := c.judge(t, dir, base, kind, name)
	c.count(kind.Name + ": " + outcome)
	if outcome != "all rows are there" && c.salvageNow(base.dir+name) {
		c.salvage(t, dir, base, kind, name)
	}
}

// salvageNow reports whether the test should run Salvage for a damage of this file, and counts
// the run if so.
func (c *corruptionTable) salvageNow(file string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.salvageAll && c.once[file] {
		return false
	}
	c.once[file] = true
	c.salvages++
	return true
}

// judge runs CheckFolder on a folder with a damaged file and returns the outcome as a phrase. It
// fails the test if TestCorruption does not allow the outcome.
func (c *corruptionTable) judge(t *testing.T, dir string, base *undamaged, kind storetest.FileKind, name string) string {
	t.Helper()
	before, err := storetest.Sums(dir)
	if err != nil {
		t.Fatal(err)
	}
	var faults []string
	checked, err := CheckFolder(t.Context(), dir, Options{CacheSize: 8 << 20}, func(fault string) { faults = append(faults, fault) })
	after, serr := storetest.Sums(dir)
	if diff := cmp.Diff(before, after); diff != "" || serr != nil {
		t.Errorf("the check changed the folder: %v (-before +after)\n%s", serr, diff)
	}
	switch {
	case err == nil:
		if diff := cmp.Diff(base.census, checked.Census); diff != "" {
			t.Errorf("rows are missing, and the check says nothing (-want +got)\n%s", diff)
		}
		return "all rows are there"
	case len(faults) == 0:
		names(t, dir, name, err)
		return "refused by name"
	}
	for _, fault := range faults {
		if kind.Name != "table" || !strings.HasPrefix(fault, name+": ") {
			t.Errorf("fault %q, want only ones that name %s", fault, name)
		}
	}
	return "rows of the named table cannot be read"
}

// salvage runs Salvage on the folder, compares the result with the rows that base has outside
// of the damaged file, and imports it into a new store.
func (c *corruptionTable) salvage(t *testing.T, dir string, base *undamaged, kind storetest.FileKind, name string) {
	t.Helper()
	var damaged uint64
	if n, ok := fileNumber(name, "", tableSuffix); ok {
		damaged = n
	} else if n, ok := fileNumber(name, "", logSuffix); ok {
		damaged = n
	}
	records, report := salvage(t, dir)
	named := slices.ContainsFunc(report.Lost, func(l Lost) bool { match, _ := filepath.Match(l.File, name); return match })
	if !named && !strings.Contains(report.Refused, name) && !strings.Contains(report.Refused, kind.Pattern) {
		t.Errorf("the report of the salvage does not name %s: %+v", name, report)
	}
	if damaged == 0 && len(records) != len(base.records) {
		t.Errorf("%d records were salvaged, want all %d", len(records), len(base.records))
	}
	c.arrived(t, base, damaged, records)
	c.mustImport(t, records)
}

// arrived fails the test unless records has each row whose current value is in an undamaged file. A
// row may be missing if it is useless without a row of the damaged file, such as a receipt of a
// thread whose head and messages are lost.
func (c *corruptionTable) arrived(t *testing.T, base *undamaged, damaged uint64, records []core.Record) {
	t.Helper()
	got := map[string]core.Record{}
	for _, r := range records {
		got[recordKey(r)] = r
		if m, ok := r.(core.ThreadMessage); ok && damaged == 0 && (m.Sender == c.erased && m.Content != "" || c.purged[m.Thread]) {
			t.Errorf("a message returned that was erased: %+v", m)
		}
	}
	lost := func(key string) bool { return base.rows[key].file == damaged }
	messages := map[string]bool{} // keys of messages outside of the damaged file, and ids of their threads
	for _, w := range base.rows {
		if m, ok := w.row.(core.ThreadMessage); ok && w.file != damaged {
			messages[m.Thread], messages[fmt.Sprint(m.Thread, " ", m.ID)] = true, true
		}
	}
	dropped := func(thread string) bool { return lost("h"+thread) && !messages[thread] }
	missing := 0
	for key, w := range base.rows {
		if w.file == damaged {
			continue
		}
		if r, ok := got[key]; ok {
			if m, isMessage := r.(core.ThreadMessage); isMessage && !cmp.Equal(m, w.row) {
				t.Errorf("message %+v, want %+v", m, w.row)
			}
			continue
		}
		explained := false
		switch r := w.row.(type) {
		case core.ThreadMember:
			explained = dropped(r.Thread) || r.Left != nil && !messages[r.Thread]
		case core.ThreadAnswer:
			explained = dropped(r.Thread)
		case core.ThreadReceipt:
			explained = dropped(r.Thread)
		case core.SentToken:
			explained = dropped(r.Thread) || !messages[fmt.Sprint(r.Thread, " ", r.MessageID)]
		case core.Event:
			explained = dropped(r.Thread)
		}
		if missing++; !explained && missing < 10 {
			t.Errorf("row %q of file %d is missing: %+v", key, w.file, w.row)
		}
	}
}

// mustImport imports records into a new store, which must pass its check. It returns at once if
// the same records were imported before.
func (c *corruptionTable) mustImport(t *testing.T, records []core.Record) {
	t.Helper()
	h := sha256.New()
	w := transfer.NewWriter(h, transfer.Options{})
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sum := [32]byte(h.Sum(nil))
	c.mu.Lock()
	known := c.imported[sum]
	c.imported[sum] = true
	c.mu.Unlock()
	if known {
		return
	}
	s, err := Open("store", Options{FS: vfs.NewMem(), Initial: storetest.Initial, CacheSize: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Import(context.Background(), storetest.Reading(records)); err != nil {
		t.Errorf("import what was salvaged: %v", err)
		return
	}
	faults := 0
	_, err = check(context.Background(), s.db, func(fault string) error {
		if faults++; faults > 5 {
			return errors.New("too many faults")
		}
		t.Errorf("fault in what was salvaged: %s", fault)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// lag truncates the newest log of a store whose mark, the file DURABLE, is older, as after a
// power cut. If the log ends before the length in the mark, the store must be refused. If it
// ends behind that length, nobody can tell the damage from a write that the cut broke off: the
// store must open, and may lack only messages that were sent after the mark was written.
func (c *corruptionTable) lag(t *testing.T) {
	logs, err := filepath.Glob(filepath.Join(c.olderLog, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs %q, %v", logs, err)
	}
	name := filepath.Base(slices.Max(logs))
	mark, _, _, err := readMark(vfs.Default, c.olderLog)
	if err != nil {
		t.Fatal(err)
	}
	number, _ := fileNumber(name, "", logSuffix)
	durable := mark.length(logFile, number)
	if durable == 0 {
		t.Fatalf("the older mark does not know %s", name)
	}
	for _, behind := range []bool{true, false} {
		dir := linked(t, c.killed.dir, name)
		if err := os.Remove(filepath.Join(dir, markName)); err != nil {
			t.Fatal(err)
		}
		if err := copyFile(filepath.Join(c.olderLog, markName), filepath.Join(dir, markName)); err != nil {
			t.Fatal(err)
		}
		to := durable - 1
		if behind {
			to = durable + 1
		}
		if err := os.Truncate(filepath.Join(dir, name), to); err != nil {
			t.Fatal(err)
		}
		if !behind {
			if outcome := c.judge(t, dir, c.killed, storetest.FileKind{Name: "log"}, name); outcome != "refused by name" {
				t.Errorf("the log ends before the mark: %s", outcome)
			}
			continue
		}
		checked, err := CheckFolder(t.Context(), dir, Options{}, func(fault string) { t.Error(fault) })
		if err != nil {
			t.Fatal(err)
		}
		lost := c.killed.census.Rows("messages") - checked.Rows("messages")
		if lost > uint64(c.late) {
			t.Errorf("%d messages are gone, but only %d were sent after the mark", lost, c.late)
		}
		c.count(fmt.Sprintf("log: %d of %d messages sent after the mark are gone, which nobody can tell", lost, c.late))
	}
}
