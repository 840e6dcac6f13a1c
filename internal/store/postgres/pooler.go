package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errPooler means that a connection leads to a pooler such as PgBouncer. Such a pooler may run each
// transaction on another connection to the database, where the statements that a client has
// prepared do not exist. Only the first connections fail with this error.
var errPooler = errors.New("a pooler is in front of the database: connect again without prepared statements")

// execMode returns how new connections run statements. Without a pooler each statement is parsed
// once for a connection, and then called by its name.
func (s *Store) execMode() pgx.QueryExecMode {
	if s.pooler.Load() {
		return pgx.QueryExecModeCacheDescribe
	}
	return pgx.QueryExecModeCacheStatement
}

// sessionSQL returns the process id of the database's process behind a connection. If it is $1, no
// pooler lies between, and sessionSQL sets plan_cache_mode for the session: each execution of a
// prepared statement gets a plan for its parameters, as it does without a name. A plan for any
// parameters could read a whole table for a page of 20.
const sessionSQL = `SELECT pg_backend_pid(), CASE WHEN pg_backend_pid() = $1::bigint THEN set_config('plan_cache_mode', 'force_custom_plan', false) END`

// checkPooler fails with errPooler if a new connection that prepares statements leads to a pooler.
// A pooler is recognized by the process id that it tells its clients: it is not the one of the
// database's process. If the operator has chosen a mode, checkPooler checks nothing.
func (s *Store) checkPooler(ctx context.Context, conn *pgx.Conn) error {
	if s.modeChosen || conn.Config().DefaultQueryExecMode != pgx.QueryExecModeCacheStatement {
		return nil
	}
	told := conn.PgConn().PID()
	var pid uint32
	if err := conn.QueryRow(ctx, sessionSQL, pgx.QueryExecModeExec, int64(told)).Scan(&pid, nil); err != nil {
		return err
	}
	if pid == told {
		return nil
	}
	if !s.pooler.Swap(true) {
		s.log.Info("store: a pooler is in front of the database; statements are not prepared")
	}
	return errPooler
}

// heedPooler is called with each error of the database. If the error says that a prepared
// statement is missing or belongs to somebody else, a pooler is in front of the database that
// checkPooler did not recognize. heedPooler then replaces all connections by ones that prepare
// no statements.
func (s *Store) heedPooler(err error) {
	if s.modeChosen || !missingStatement(err) || s.pooler.Swap(true) {
		return
	}
	s.log.Warn("store: prepared statements do not last, as behind a pooler; statements are not prepared any more", "error", err)
	s.pool.Reset()
}

// missingStatement reports whether err says that a prepared statement does not exist, or that
// one of its name exists already.
func missingStatement(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "26000" || e.Code == "42P05")
}
