package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
	"github.com/confab-chat/confab/sdk/communication"
)

// TestFirstSchemaIsFrozen checks that the first migration has not changed since its release:
// there are databases that it created. To change tables, add a new migration.
func TestFirstSchemaIsFrozen(t *testing.T) {
	sql, err := fs.ReadFile(migrations, "migrations/00001_tables.sql")
	if err != nil {
		t.Fatal(err)
	}
	const want = "f1acea3e59aa00dde06d146fc2a3e94c8c0ed5d2d23ee03f1e61a8fe9a4308e4"
	sum := sha256.Sum256(sql)
	if got := hex.EncodeToString(sum[:]); got != want {
		t.Errorf("the first migration has changed: its checksum is %s, want %s", got, want)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	url := emptyDatabase(t)
	open(t, url).Close()
	execute(t, url, `INSERT INTO schema_versions (version_id, is_applied) VALUES (99, true)`)
	_, err := Open(context.Background(), url, Options{})
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "99") {
		t.Errorf("error %v, want one that says newer and 99", err)
	}
}

// TestMigrationWaitsForNoLock migrates tables on which another session, such as pg_dump, has a
// lock. The migration must give up with an error that names the lock, because all queries of
// running servers wait behind it. After the session has ended, the migration must succeed.
func TestMigrationWaitsForNoLock(t *testing.T) {
	t.Parallel()
	url := emptyDatabase(t)
	open(t, url).Close()
	execute(t, url, `DELETE FROM schema_versions WHERE version_id >= 12; ALTER TABLE messages DROP COLUMN fingerprint; DROP TABLE audit, servers, relistings`)
	dump := dial(t, url)
	defer dump.Close(context.Background())
	if _, err := dump.Exec(context.Background(), `BEGIN; LOCK TABLE messages IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), url, Options{}); err == nil || !strings.Contains(err.Error(), "such as pg_dump") {
		t.Errorf("error %v, want one that names the lock", err)
	}
	dump.Close(context.Background())
	open(t, url).Close()
}

// TestOpenTogether opens an empty database with several stores at the same time. The tables
// must be created once, and all stores must have the same resource.
func TestOpenTogether(t *testing.T) {
	for _, variable := range []string{"TEST_POSTGRES_URL", "TEST_PGBOUNCER_URL"} {
		t.Run(variable, func(t *testing.T) {
			name := "fresh_" + strings.ToLower(variable)
			direct := server(t, "TEST_POSTGRES_URL")
			execute(t, direct, "CREATE DATABASE "+name)
			defer execute(t, direct, "DROP DATABASE "+name+" WITH (FORCE)")
			var wg sync.WaitGroup
			epochs := make([]string, 5)
			for i := range epochs {
				wg.Go(func() {
					initial := storetest.Initial
					initial.Epoch = fmt.Sprint("epoch ", i)
					s, err := Open(context.Background(), onServer(t, server(t, variable), name), Options{Initial: initial})
					if err != nil {
						t.Error(err)
						return
					}
					defer s.Close()
					r, err := s.Resource(context.Background())
					if err != nil {
						t.Error(err)
					}
					epochs[i] = r.Epoch
				})
			}
			wg.Wait()
			for _, e := range epochs {
				if e == "" || e != epochs[0] {
					t.Fatalf("the processes see epochs %q", epochs)
				}
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	_, err := Open(context.Background(), "postgres://confab:secret@127.0.0.1:1/confab", Options{})
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("error %v, want one that names the address and no password", err)
	}
}

// TestDroppedPartition drops the event tables of three days without the store's knowledge. A
// change on one of these days must create its table again.
func TestDroppedPartition(t *testing.T) {
	s := open(t, emptyDatabase(t))
	defer s.Close()
	const day = 86_400_000
	apply := func(s *Store, ms int64, id string, c *core.Change) {
		t.Helper()
		if rs, err := s.Apply(context.Background(), core.Batch{At: ms, Changes: []*core.Change{c}}); err != nil || rs[0].Status != core.Applied {
			t.Fatalf("%+v, %v", rs, err)
		}
	}
	days := func() []uint32 { // the days of the events that are left, in the order of the events
		t.Helper()
		rows, _ := s.pool.Query(context.Background(), `SELECT day FROM events ORDER BY position`)
		all, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for i := range 4 {
		id := fmt.Sprint("t", i)
		apply(s, at+int64(i)*day, id, newThread(id))
	}
	for _, day := range []uint32{20_000, 20_001, 20_003} {
		execute(t, s.pool.Config().ConnString(), `DROP TABLE `+partition(day))
	}
	if got := days(); !reflect.DeepEqual(got, []uint32{20_002}) {
		t.Errorf("events of days %v are left", got)
	}
	apply(s, at, "t3", text("t3", "by a clock that is behind"))
	apply(s, at, "late", newThread("late"))
	apply(s, at+3*day, "t3", text("t3", "again"))
	if got := days(); !reflect.DeepEqual(got, []uint32{20_002, 20_003, 20_000, 20_003}) {
		t.Errorf("events of days %v", got)
	}
}

// TestHeldHead lets another connection lock the row of a thread's head. Apply must fail if the lock
// is held longer than Apply's patience, and must succeed otherwise.
func TestHeldHead(t *testing.T) {
	url := emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	s.timeouts.lock, s.timeouts.patience = 100*time.Millisecond, 400*time.Millisecond
	mustApply(t, s, core.Applied, newThread("t"))
	ctx := context.Background()
	other := dial(t, url)
	defer other.Close(ctx)
	hold := func() {
		t.Helper()
		if _, err := other.Exec(ctx, `BEGIN; SELECT 1 FROM heads WHERE id = 't' FOR UPDATE`); err != nil {
			t.Fatal(err)
		}
	}

	// Hold the lock longer than Apply's patience. Apply must fail and write nothing.
	hold()
	joins := text("t", "never")
	joins.Members = []core.Member{{User: "8:acs:bob", Order: 2, Intervals: []core.Interval{{}}}}
	if _, err := s.Apply(ctx, core.Batch{At: at, Changes: []*core.Change{joins}}); !errors.Is(err, core.ErrUnavailable) {
		t.Errorf("error %v, want core.ErrUnavailable", err)
	}
	if _, err := other.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}

	// Hold the lock longer than the lock timeout, but shorter than Apply's patience. The change
	// must be written once.
	s.timeouts.patience = 10 * time.Second
	hold()
	var released sync.WaitGroup
	released.Go(func() {
		time.Sleep(350 * time.Millisecond) // sleep, because this case is about a duration
		if _, err := other.Exec(ctx, "ROLLBACK"); err != nil {
			t.Error(err)
		}
	})
	joins = text("t", "with bob")
	joins.Members = []core.Member{{User: "8:acs:bob", Order: 2, Intervals: []core.Interval{{}}}}
	mustApply(t, s, core.Applied, joins)
	released.Wait()
	th, err := s.Thread(ctx, "t")
	if err != nil || th.Size() != 2 || th.Members()[1].Intervals[0] != (core.Interval{From: 2}) {
		t.Errorf("the thread is %+v, %v", th, err)
	}
	page, err := s.Threads(ctx, core.ThreadsQuery{User: "8:acs:bob", Limit: 10})
	if err != nil || len(page.Threads) != 1 {
		t.Errorf("bob's list: %+v, %v", page, err)
	}
	if got := fmt.Sprint(contents(t, s, "t")); got != "[topic with bob]" {
		t.Errorf("the thread holds %s", got)
	}
}

// TestStoppedWriter delays the COMMIT of a store until PostgreSQL ends the idle transaction.
// Another store gets the locks and writes first. The delayed batch must then be written once,
// in a new transaction.
func TestStoppedWriter(t *testing.T) {
	url := emptyDatabase(t)
	c, through := behindCutter(t, url)
	stopped, other := open(t, through), open(t, url)
	defer stopped.Close()
	defer other.Close()
	stopped.timeouts.idle = 300 * time.Millisecond
	mustApply(t, stopped, core.Applied, newThread("t"))
	mustApply(t, stopped, core.Applied, text("t", "one"))
	var once sync.Once
	c.when(func(toServer bool, data []byte) (forward, cut bool) {
		if toServer && runs(data, "COMMIT") && runs(data, updateHeads) {
			once.Do(func() {
				mustApply(t, other, core.Applied, text("t", "by the other writer"))
			})
		}
		return true, false
	})
	mustApply(t, stopped, core.Applied, text("t", "two"))
	if got := fmt.Sprint(contents(t, other, "t")); got != "[topic one by the other writer two]" {
		t.Errorf("the thread holds %s", got)
	}
}

// TestCloud checks that a store keeps the cloud with which it was first opened. A store without a
// stored cloud, as older versions created it, must stay in the public cloud.
func TestCloud(t *testing.T) {
	for _, first := range []communication.Cloud{communication.CloudPublic, communication.CloudGCCH} {
		url := emptyDatabase(t)
		for _, cloud := range []communication.Cloud{first, communication.CloudDoD} {
			initial := storetest.Initial
			initial.Cloud = cloud
			s, err := Open(context.Background(), url, Options{Initial: initial})
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Resource(context.Background())
			if r.Cloud != first || err != nil {
				t.Errorf("made for %v, opened for %v: the resource is of %v, %v", first, cloud, r.Cloud, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
