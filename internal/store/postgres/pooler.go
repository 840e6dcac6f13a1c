package postgres

import (
	"cmp"
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// execMode returns how new connections run statements. Without a pooler each statement is parsed
// once for a connection, and then called by its name. A pooler such as PgBouncer may run each
// transaction on another connection to the database, where the statements that a client has
// prepared do not exist.
func (s *Store) execMode() pgx.QueryExecMode {
	if s.pooler.Load() {
		return pgx.QueryExecModeCacheDescribe
	}
	return pgx.QueryExecModeCacheStatement
}

// preparesKey is the key of a connection's CustomData that is set if the connection prepares
// statements.
const preparesKey = "prepares statements"

// markPreparing reports whether a new connection prepares statements. If so, it marks the
// connection for the function usable.
func markPreparing(conn *pgx.Conn) bool {
	prepares := conn.Config().DefaultQueryExecMode == pgx.QueryExecModeCacheStatement
	if prepares {
		conn.PgConn().CustomData()[preparesKey] = true
	}
	return prepares
}

// usable reports whether the pool may use a connection. It returns false if the connection prepares
// statements and a pooler was recognized after it was made. The pool then closes the connection and
// takes another one.
func (s *Store) usable(_ context.Context, conn *pgx.Conn) (bool, error) {
	return !s.pooler.Load() || conn.PgConn().CustomData()[preparesKey] == nil, nil
}

// sessionSQL selects the process id of the database's process behind a connection. If the id equals
// $1, there is no pooler between, and sessionSQL sets plan_cache_mode for the session: each
// execution of a prepared statement is then planned for its parameters, like a statement without a
// name. Transactions that begin with the statement planning are planned differently.
const sessionSQL = `SELECT pg_backend_pid(), CASE WHEN pg_backend_pid() = $1::bigint THEN set_config('plan_cache_mode', 'force_custom_plan', false) END`

// checkPooler looks for a pooler at the other end of a new connection that prepares statements. A
// pooler is recognized by the process id that it tells its clients, which is not the id of the
// database's process. If the operator has chosen a mode, checkPooler checks nothing. It fails if
// the database does not answer within the time for making a connection.
func (s *Store) checkPooler(ctx context.Context, conn *pgx.Conn) error {
	if s.modeChosen || !markPreparing(conn) {
		return nil
	}
	if checkServer(conn.PgConn()) != nil { // Open reports this problem; the query below could fail for the same reason
		return nil
	}
	// The pool's context has no deadline, so set one for this query.
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(conn.Config().ConnectTimeout, connectTime))
	defer cancel()
	told := conn.PgConn().PID()
	var pid uint32
	if err := conn.QueryRow(ctx, sessionSQL, pgx.QueryExecModeExec, int64(told)).Scan(&pid, nil); err != nil {
		return err
	}
	if pid != told && !s.pooler.Swap(true) {
		s.log.Info("store: a pooler is in front of the database; statements are not prepared")
	}
	return nil
}

// heed is called with each error of a batch or read. Two errors say something about all connections.
//
// If a prepared statement is missing or belongs to somebody else, a pooler is in front of the
// database that checkPooler did not recognize. The store then uses only connections that prepare no
// statements.
//
// If the columns that a prepared statement returns have other types now, somebody has changed the
// tables, for example a newer server. The store then replaces all connections, each of which may
// have such a statement.
func (s *Store) heed(err error) {
	switch {
	case outdatedStatement(err):
		s.pool.Reset()
	case !s.modeChosen && missingStatement(err) && !s.pooler.Swap(true):
		s.log.Warn("store: prepared statements do not last, as behind a pooler; statements are not prepared any more", "error", err)
	}
}

// missingStatement reports whether err says that a prepared statement does not exist, or that a
// statement with its name exists already.
func missingStatement(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "26000" || e.Code == "42P05")
}

// outdatedStatement reports whether err says "cached plan must not change result type". It cannot
// recognize this error by its code, which stands for all features that PostgreSQL lacks, or by its
// text, which is translated.
func outdatedStatement(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "0A000" && e.Routine == "RevalidateCachedQuery"
}
