package postgres

import (
	"context"
	"fmt"
	neturl "net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(dropping{m}) }

// dropping is a testing.M whose Run drops the databases that the tests created.
type dropping struct{ *testing.M }

func (d dropping) Run() int {
	code := d.M.Run()
	if err := databases.drop(); err != nil {
		fmt.Fprintln(os.Stderr, "drop the tests' databases:", err)
		return max(code, 1)
	}
	return code
}

// server returns the URL of a server from an environment variable. It skips the test if the
// variable is not set.
func server(t testing.TB, variable string) string {
	t.Helper()
	u := os.Getenv(variable)
	if u == "" {
		t.Skipf("%s is not set: scripts/postgres -- go test ./internal/store/postgres sets it", variable)
	}
	return u
}

// databases holds databases that later tests may use again. The suite opens a hundred stores,
// and creating a database for each would take a minute.
var databases pool

type pool struct {
	mu         sync.Mutex
	made, free []string // names of databases
}

// take returns the name of an empty database. It creates one if none is free for use.
func (p *pool) take(t testing.TB) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	url := server(t, "TEST_POSTGRES_URL")
	if n := len(p.free) - 1; n >= 0 {
		name := p.free[n]
		p.free = p.free[:n]
		execute(t, onServer(t, url, name), `DELETE FROM meta; DELETE FROM access_keys; DELETE FROM endpoints; DELETE FROM audit; DELETE FROM users; DELETE FROM heads; DELETE FROM members;
			DELETE FROM messages; DELETE FROM superseded; DELETE FROM sent; DELETE FROM answers; DELETE FROM receipts; DELETE FROM user_threads; DELETE FROM relistings; DELETE FROM events;
			DELETE FROM batches; DELETE FROM log; DELETE FROM runs; DELETE FROM servers; UPDATE log_floor SET position = 0, batch_check = 0`)
		return name
	}
	name := fmt.Sprintf("confab_test_%d_%d", os.Getpid(), len(p.made))
	execute(t, url, "CREATE DATABASE "+name)
	p.made = append(p.made, name)
	return name
}

// give makes a database available for later tests. Its tables must be as Open created them;
// rows may remain.
func (p *pool) give(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, name)
}

func (p *pool) drop() error {
	if len(p.made) == 0 {
		return nil
	}
	ctx := context.Background()
	admin, err := pgx.Connect(ctx, os.Getenv("TEST_POSTGRES_URL"))
	if err != nil {
		return err
	}
	defer admin.Close(ctx)
	for _, name := range p.made {
		if _, err := admin.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	return nil
}

// onServer returns the URL of the database with this name on a server.
func onServer(t testing.TB, server, name string) string {
	t.Helper()
	u, err := neturl.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = name
	return u.String()
}

// emptyDatabase returns the URL of an empty database that no other test uses. The URL
// leads directly to PostgreSQL, not through PgBouncer.
func emptyDatabase(t testing.TB) string {
	t.Helper()
	name := databases.take(t) // no other test gets this database, so the test may change its tables
	return onServer(t, server(t, "TEST_POSTGRES_URL"), name)
}

// execute runs SQL statements on a new connection.
func execute(t testing.TB, url, sql string) {
	t.Helper()
	conn := dial(t, url)
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func dial(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return conn
}

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(context.Background(), url, Options{Initial: storetest.Initial})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

// pooled is a store for the test suite. When it is closed, a later test may use its database.
type pooled struct {
	*Store
	name, url string // name and URL of the database
	second    bool   // true for a second store on the database: its Close does not give the database to later tests
}

func (p pooled) Close() error {
	err := p.Store.Close()
	if !p.second {
		databases.give(p.name)
	}
	return err
}

// engine returns the PostgreSQL engine for the test suite; server is the URL of the server.
func engine(server string) storetest.Engine {
	return storetest.Engine{
		Open: func(t *testing.T) core.Store {
			name := databases.take(t)
			url := onServer(t, server, name)
			return pooled{Store: open(t, url), name: name, url: url}
		},
		Reopen: func(t *testing.T, s core.Store) core.Store {
			t.Helper()
			p := s.(pooled)
			if err := p.Store.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			p.Store = open(t, p.url)
			return p
		},
		Second: func(t *testing.T, s core.Store) core.Store {
			url := s.(pooled).url
			return pooled{Store: open(t, url), url: url, second: true}
		},
		Blockable: func(t *testing.T) (core.Store, *storetest.Gate) {
			url := emptyDatabase(t)
			u, err := neturl.Parse(url)
			if err != nil {
				t.Fatal(err)
			}
			s := open(t, onServer(t, server, u.Path))
			s.timeouts.patience, s.timeouts.trip = 5*time.Minute, 5*time.Minute // use long timeouts, because the gate may stay shut for long on a busy machine
			return s, gate(t, url)
		},
		ThreadRows: func(t *testing.T, s core.Store, q core.ThreadsQuery) int {
			t.Helper()
			conn := dial(t, onServer(t, os.Getenv("TEST_POSTGRES_URL"), s.(pooled).name)) // not through PgBouncer
			defer conn.Close(context.Background())
			plan := planner{t, conn}.plan(threadsSQL[q.Expand], threadsArguments(q)...)
			return int(plan.read("user_threads") + plan.read("heads") + plan.read("members"))
		},
	}
}

func TestSuite(t *testing.T) {
	storetest.Run(t, engine(server(t, "TEST_POSTGRES_URL")))
}

// TestSuiteBehindPgBouncer runs the test suite through PgBouncer, which gives each
// transaction another connection to PostgreSQL.
func TestSuiteBehindPgBouncer(t *testing.T) {
	storetest.Run(t, engine(server(t, "TEST_PGBOUNCER_URL")))
}

// gate returns a Gate for the database: while it is shut, every COMMIT that writes an event, a
// user or an access key waits for an advisory lock. At that point the statements of the
// transaction have run, but nothing is committed.
func gate(t *testing.T, url string) *storetest.Gate {
	ctx := context.Background()
	holder, watcher := dial(t, url), dial(t, url)
	hold := func(sql string) {
		if _, err := holder.Exec(ctx, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	hold(`CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM set_config('lock_timeout', '0', true); PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$`)
	for _, table := range []string{"events", "users", "access_keys"} {
		hold(`CREATE CONSTRAINT TRIGGER at_gate AFTER INSERT OR UPDATE ON ` + table + ` DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_gate()`)
	}
	var g storetest.Gate
	var wg sync.WaitGroup
	g.Shutting = func() {
		hold(`SELECT pg_advisory_lock(7)`)
		wg.Go(func() {
			for waiting := 0; waiting == 0; {
				if err := watcher.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`).Scan(&waiting); err != nil {
					t.Errorf("look for a commit at the gate: %v", err)
					return
				}
			}
			g.Pass()
		})
	}
	g.Opening = func() { hold(`SELECT pg_advisory_unlock(7)`) }
	t.Cleanup(func() {
		g.Open()
		wg.Wait()
		holder.Close(ctx)
		watcher.Close(ctx)
	})
	return &g
}
