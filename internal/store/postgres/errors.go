package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/confab-chat/confab/internal/store/row"
)

// failure is a class of errors of a transaction. It says whether Apply may try again.
type failure uint8

const (
	refused failure = iota // a retry would fail too, or is unsafe because the outcome is unknown
	again                  // nothing was written, and a retry may succeed
	missing                // nothing was written, because a day has no partition
	full                   // nothing was written, because the disk is full
	lost                   // the connection was lost: if COMMIT was sent, it may have been carried out
)

// transient has the SQLSTATE codes of errors after which a retry may succeed.
var transient = map[string]bool{
	"23505": true, // unique violation: another writer made the same row first
	"40001": true, // serialization failure
	"40P01": true, // deadlock
	"55P03": true, // lock timeout
	"57014": true, // statement timeout
	"25006": true, // read-only transaction: a standby, or a primary stepping down
	"53300": true, // too many connections
	"26000": true, // no prepared statement has that name; see Store.heed
	"42P05": true, // a prepared statement with that name exists already; see Store.heed
}

// classify returns the failure for an error of the driver. After an error of severity ERROR the
// transaction is aborted, and the server skips the statements after it, the COMMIT included.
// After a FATAL error the COMMIT may have been carried out without an answer, so it counts as
// lost.
func classify(err error) failure {
	var e *pgconn.PgError
	switch {
	case errors.Is(err, row.ErrNewer), errors.Is(err, row.ErrDamaged), errors.Is(err, errColumn): // a retry would fail too, because it would read the same row
		return refused
	case !errors.As(err, &e):
		return lost
	}
	severity := e.SeverityUnlocalized
	if severity == "" { // errors of PgBouncer itself lack this field; PgBouncer then closes the connection
		severity = e.Severity
	}
	switch {
	case severity != "ERROR":
		return lost
	case e.Code == "23514": // check violation: the events table has no such partition
		return missing
	case e.Code == "53100":
		return full
	case transient[e.Code], outdatedStatement(err):
		return again
	}
	return refused
}

// retryable reports whether a read that failed with err may succeed if it is repeated. It
// returns false if ctx has ended.
func retryable(ctx context.Context, err error) bool {
	f := classify(err)
	return ctx.Err() == nil && (f == lost || f == again)
}

// numberTaken reports whether err says that another batch has the number of this one. Then the
// sequence of batch numbers is behind the tables, as may happen after a restore.
func numberTaken(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23505" && e.ConstraintName == "batches_pkey"
}
