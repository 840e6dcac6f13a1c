package postgres

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// oldest is the oldest major version of PostgreSQL that has all features that this package
// uses.
const oldest = 13

// checkServer fails if the server at the other end of a connection is too old, or if the
// encoding of its database cannot hold all texts. PgBouncer passes on these parameters of its
// server.
func checkServer(conn *pgconn.PgConn) error {
	version := conn.ParameterStatus("server_version") // 13.22 (Debian 13.22-1), 19beta1
	digits := len(version) - len(strings.TrimLeft(version, "0123456789"))
	if major, err := strconv.Atoi(version[:digits]); err == nil && major < oldest {
		return &troubleError{tooOld, version}
	}
	switch encoding := conn.ParameterStatus("server_encoding"); encoding {
	case "", "UTF8", "SQL_ASCII": // SQL_ASCII accepts all bytes
		return nil
	default:
		return &troubleError{badEncoding, encoding}
	}
}

// query is implemented by pools, connections and transactions.
type query interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// checkWritable fails if the database takes no writes: it is a standby, or transactions are
// read-only by default.
func checkWritable(ctx context.Context, q query) error {
	var recovering bool
	var only string
	err := q.QueryRow(ctx, `SELECT pg_is_in_recovery(), current_setting('transaction_read_only')`).Scan(&recovering, &only)
	switch {
	case err != nil:
		return fmt.Errorf("ask whether the database takes writes: %w", err)
	case recovering:
		return &troubleError{of: standby}
	case only == "on":
		return &troubleError{readOnly, "default_transaction_read_only is on"}
	}
	return nil
}

// Writable fails if the database does not answer, or takes no writes, for example because it is a
// standby. The function Reason describes its error in a few words.
func (s *Store) Writable(ctx context.Context) error { return checkWritable(ctx, s.pool) }

// Renew closes all idle connections now, and the others after their use. Call it after the database
// could not be reached. A connection to a machine that has vanished may stay open without an
// answer, and the pool would test one such connection after another, each for pingTime.
func (s *Store) Renew() { s.pool.Reset() }

// Pool has figures about the pool of connections.
type Pool struct {
	Open, Idle, InUse, Most int // numbers of connections in the pool; Open includes connections that are being made
	Waits                   uint64
	Waited                  time.Duration
}

// Pool returns figures about the pool: the number of connections now, and, since the store was
// opened, how often and how long callers waited for a connection.
func (s *Store) Pool() Pool {
	st := s.pool.Stat()
	return Pool{
		Open: int(st.TotalConns()), Idle: int(st.IdleConns()), InUse: int(st.AcquiredConns()), Most: int(st.MaxConns()),
		Waits: uint64(st.EmptyAcquireCount()), Waited: st.EmptyAcquireWaitTime(),
	}
}

// Inspection holds the versions and settings that Inspect read from a database.
type Inspection struct {
	Host, Database string // host:port or the socket of the server, and the name of the database, both as in the address
	Version        string // version of PostgreSQL
	Tables, Known  int64  // version of the tables or 0, and the newest one that this binary knows
	Fsync          bool   // the setting fsync; if it is off, a power cut loses acknowledged messages
}

// Inspect connects to a database and returns what Open would find there. It changes nothing. It
// fails in the cases in which Open fails, with the same *StartError.
func Inspect(ctx context.Context, url string) (i Inspection, err error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return i, fmt.Errorf("read the database's address: %w", err)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTime
	}
	i = Inspection{Host: hostsOf(config), Database: config.Database, Known: newestVersion()}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err == nil {
		err = i.read(ctx, conn)
		conn.Close(ctx)
	}
	if err != nil {
		return i, explain(config, err)
	}
	return i, nil
}

// read fills i with the versions and settings that it reads over conn. It fails in the cases in
// which Open fails.
func (i *Inspection) read(ctx context.Context, conn *pgx.Conn) error {
	i.Version = conn.PgConn().ParameterStatus("server_version")
	if err := checkServer(conn.PgConn()); err != nil {
		return err
	}
	if err := checkWritable(ctx, conn); err != nil {
		return err
	}
	var made, mayMake bool
	err := conn.QueryRow(ctx, `SELECT current_setting('fsync') = 'on', to_regclass($1) IS NOT NULL,
		coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)`, versions).Scan(&i.Fsync, &made, &mayMake)
	if err != nil {
		return fmt.Errorf("ask for the tables: %w", err)
	}
	if made {
		if err := conn.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versions+` WHERE is_applied`).Scan(&i.Tables); err != nil {
			return fmt.Errorf("read the version of the tables: %w", err)
		}
	}
	switch {
	case i.Tables > i.Known:
		return newer(i.Tables, i.Known)
	case i.Tables < i.Known && !mayMake:
		return &troubleError{noRights, "it may not create tables"}
	}
	return nil
}

// newer returns the error for tables that a newer version of Confab has migrated: tables is
// their version, and known the newest one that this program knows.
func newer(tables, known int64) error {
	return fmt.Errorf("the tables were %w: they have version %d, this one knows up to %d", ErrNewer, tables, known)
}

// newestVersion returns the version of the tables after the last embedded migration.
func newestVersion() (newest int64) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil { // impossible: the pattern is well-formed
		panic(err)
	}
	for _, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}
