package postgres

import (
	"context"
	"fmt"
	"sync"
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
}

// TestChosenModeIsKept connects to PgBouncer with the mode that the URL names, as for a version of
// it that supports prepared statements. The connection must not be refused.
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
	config.AfterConnect = nil
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
