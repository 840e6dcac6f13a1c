package postgres

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/confab-chat/confab/internal/core"
)

// prepared returns the number of statements that are prepared on a connection of the pool.
func prepared(t *testing.T, s *Store) (n int) {
	t.Helper()
	err := s.pool.QueryRow(context.Background(), `SELECT count(*) FROM pg_prepared_statements`, pgx.QueryExecModeExec).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestStatementsArePrepared opens a store directly and behind PgBouncer 1.18, which forgets
// prepared statements between transactions. Directly they must be prepared, and behind PgBouncer
// they must not be.
func TestStatementsArePrepared(t *testing.T) {
	direct := emptyDatabase(t)
	s := open(t, direct)
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	if s.pooler.Load() || prepared(t, s) == 0 {
		t.Errorf("directly: taken for a pooler: %v, %d statements are prepared", s.pooler.Load(), prepared(t, s))
	}

	behind := open(t, behindPooler(t, direct))
	defer behind.Close()
	mustApply(t, behind, core.Applied, newThread("u"))
	if !behind.pooler.Load() || prepared(t, behind) != 0 {
		t.Errorf("behind PgBouncer: recognized: %v, %d statements are prepared", behind.pooler.Load(), prepared(t, behind))
	}
	// Make PgBouncer lose its connections to the database.
	execute(t, direct, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	mustApply(t, behind, core.Applied, text("u", "after a restart"))
	if got := contents(t, behind, "u"); len(got) != 2 {
		t.Errorf("the thread holds %d messages, want 2", len(got))
	}
}

// TestPoolerInFrontLater puts PgBouncer between the database and a store that is running. No call
// may fail.
func TestPoolerInFrontLater(t *testing.T) {
	direct := emptyDatabase(t)
	bouncer, err := pgx.ParseConfig(behindPooler(t, direct))
	if err != nil {
		t.Fatal(err)
	}
	c, url := behindCutter(t, direct)
	s := open(t, url)
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	c.redirect(fmt.Sprintf("%s:%d", bouncer.Host, bouncer.Port))
	s.Renew() // the server also calls Renew when it has noticed that connections were lost
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if err := s.Writable(context.Background()); err != nil {
					t.Error(err)
				}
				if th, err := s.Thread(context.Background(), "t"); err != nil || th == nil {
					t.Errorf("thread %v, error %v", th, err)
				}
			}
		})
	}
	for range 20 {
		mustApply(t, s, core.Applied, text("t", "x"))
		sequence(t, s)
	}
	wg.Wait()
	if !s.pooler.Load() || prepared(t, s) != 0 {
		t.Errorf("recognized: %v, %d statements are prepared", s.pooler.Load(), prepared(t, s))
	}
}

// TestSilenceAfterConnecting connects to a database that stops answering right after the connection
// is made. The connection must not stay in the pool, which has few connections.
func TestSilenceAfterConnecting(t *testing.T) {
	c, url := behindCutter(t, emptyDatabase(t))
	s := open(t, url+"&connect_timeout=1")
	defer s.Close()
	var silent atomic.Bool
	silent.Store(true)
	c.when(func(toServer bool, data []byte) (forward, cut bool) {
		return !silent.Load() || !toServer || !bytes.Contains(data, []byte(sessionSQL)), false
	})
	s.pool.Reset()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := s.pool.Acquire(ctx); err == nil {
		t.Error("a connection that does not answer was used")
	}
	silent.Store(false)
	mustApply(t, s, core.Applied, newThread("t"))
}

// TestStatementCacheOff opens a store with a URL that turns off prepared statements, as is usual
// with PgBouncer. The store must work and prepare no statement.
func TestStatementCacheOff(t *testing.T) {
	s := open(t, emptyDatabase(t)+"&statement_cache_capacity=0")
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	if n := prepared(t, s); n != 0 {
		t.Errorf("%d statements are prepared", n)
	}
}

// TestTablesChangeBelowStatements changes the type of columns for which a store has prepared
// statements, as the migration of a newer server might. It does so once in a transaction that is
// rolled back. Reads and batches must continue to succeed.
func TestTablesChangeBelowStatements(t *testing.T) {
	url := emptyDatabase(t)
	s := open(t, url)
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	for i, change := range []string{
		`BEGIN; ALTER TABLE messages ALTER COLUMN kind TYPE bigint; ALTER TABLE heads ALTER COLUMN retention_days TYPE bigint; ROLLBACK`,
		`ALTER TABLE messages ALTER COLUMN kind TYPE bigint; ALTER TABLE heads ALTER COLUMN retention_days TYPE bigint`,
	} {
		var held []*pgxpool.Conn
		for range minPool { // each has the statements
			conn, err := s.pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Exec(t.Context(), `SELECT `+heads.list+` FROM heads WHERE id = $1`, "t"); err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
		for _, conn := range held {
			conn.Release()
		}
		mustApply(t, s, core.Applied, text("t", "before"))
		contents(t, s, "t")
		execute(t, url, change)
		if th, err := s.Thread(t.Context(), "t"); err != nil || th == nil {
			t.Errorf("change %d: thread %v, error %v", i, th, err)
		}
		mustApply(t, s, core.Applied, text("t", "after"))
		if got := len(contents(t, s, "t")); got != 3+2*i {
			t.Errorf("change %d: the thread holds %d messages, want %d", i, got, 3+2*i)
		}
	}
}

// TestPreparedStatementsAreFew applies batches and reads of many sizes. After the first size, no
// further statement may be prepared, because each statement takes memory in every connection.
func TestPreparedStatementsAreFew(t *testing.T) {
	s := open(t, emptyDatabase(t))
	defer s.Close()
	mustApply(t, s, core.Applied, newThread("t"))
	use := func(n int) {
		t.Helper()
		var batch []*core.Change
		for i := range n {
			batch = append(batch, text("t", fmt.Sprint(n, " ", i)))
		}
		mustApply(t, s, core.Applied, batch...)
		sequence(t, s)
		contents(t, s, "t")
		es, err := s.LogBefore(t.Context(), 0, n)
		if err != nil || len(es) == 0 {
			t.Fatal(es, err)
		}
		if _, err := s.Tell(t.Context(), es); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Threads(t.Context(), core.ThreadsQuery{User: fmt.Sprint(n), Limit: n}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.News(t.Context(), fmt.Sprint(n), 0, n); err != nil {
			t.Fatal(err)
		}
	}
	use(1)
	first := prepared(t, s)
	for n := range 30 {
		use(n + 2)
	}
	if now := prepared(t, s); now != first || first == 0 {
		t.Errorf("%d statements are prepared, at first %d", now, first)
	}
	var bytes int64
	err := s.pool.QueryRow(t.Context(), `SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name ~ '^CachedPlan'`, pgx.QueryExecModeExec).Scan(&bytes)
	t.Logf("%d statements take %d KB (%v)", first, bytes>>10, err)
}

// TestChosenModeIsKept connects to PgBouncer with a URL that chooses prepared statements, as for a
// version of PgBouncer that supports them. The connection must not be refused.
func TestChosenModeIsKept(t *testing.T) {
	s := open(t, emptyDatabase(t)+"&default_query_exec_mode=cache_statement")
	defer s.Close()
	conn := dial(t, behindPooler(t, s.pool.Config().ConnString())+"&default_query_exec_mode=cache_statement")
	defer conn.Close(context.Background())
	if err := s.checkPooler(context.Background(), conn); err != nil || s.pooler.Load() {
		t.Errorf("error %v, pooler recognized: %v", err, s.pooler.Load())
	}
}

// behindPooler returns the URL that leads to a database through PgBouncer.
func behindPooler(t *testing.T, direct string) string {
	t.Helper()
	config, err := pgx.ParseConfig(direct)
	if err != nil {
		t.Fatal(err)
	}
	return onServer(t, server(t, "TEST_PGBOUNCER_URL"), config.Database)
}

// TestPoolerIsRecognizedLate uses a store behind PgBouncer that prepares statements, as if the
// pooler told its clients the database's process id. Batches from several connections then find
// that their statements are missing, or that they exist already. Each must be stored once, and
// soon no statement may be prepared any more.
func TestPoolerIsRecognizedLate(t *testing.T) {
	direct := emptyDatabase(t)
	s := open(t, behindPooler(t, direct))
	defer s.Close()
	config := s.pool.Config()
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		markPreparing(conn)
		return nil
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	s.pool.Close()
	s.pool = pool
	s.pooler.Store(false)
	for n := range 8 {
		mustApply(t, s, core.Applied, newThread(fmt.Sprint("t", n)))
	}
	var wg sync.WaitGroup
	for n := range 4 { // readers take the connections to the database from the batches
		wg.Go(func() {
			for range 50 {
				if th, err := s.Thread(context.Background(), fmt.Sprint("t", n)); err != nil || th == nil {
					t.Errorf("thread t%d: %v, %v", n, th, err)
				}
			}
		})
	}
	for range 50 {
		mustApply(t, s, core.Applied, text("t7", "x"))
	}
	wg.Wait()
	if !s.pooler.Load() {
		t.Error("the pooler was not recognized")
	}
	if got := len(contents(t, s, "t7")); got != 51 {
		t.Errorf("the thread holds %d messages, want 51", got)
	}
}
