package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/confab-chat/confab/internal/store/row"
)

// failure says what is known of a transaction that failed.
type failure uint8

const (
	refused failure = iota // nothing was written, and trying again would not help
	again                  // nothing was written, and trying again may help
	missing                // nothing was written, for want of a day's partition
	full                   // nothing was written, for want of disk space
	lost                   // the connection was lost: known only if COMMIT had not been sent
)

// SQLSTATEs after which a new attempt sees a newer state and may do better.
var transient = map[string]bool{
	"23505": true, // unique violation: another writer made the same row first
	"40001": true, // serialization failure
	"40P01": true, // deadlock
	"55P03": true, // lock timeout
	"57014": true, // statement timeout
	"25006": true, // read-only transaction: a standby, or a primary stepping down
	"53300": true, // too many connections
}

// classify classifies an error of the driver. Only an error of the server with the
// severity ERROR is an answer: the transaction is aborted then, and the rest of
// the pipeline, with its COMMIT, was skipped. A FATAL ends the connection at any
// point, even behind a COMMIT that was carried out but not yet answered.
func classify(err error) failure {
	var e *pgconn.PgError
	switch {
	case errors.Is(err, row.ErrNewer), errors.Is(err, row.ErrDamaged), errors.Is(err, errColumn): // it stays so
		return refused
	case !errors.As(err, &e):
		return lost
	}
	severity := e.SeverityUnlocalized
	if severity == "" { // PgBouncer's own errors have none; it closes the connection
		severity = e.Severity
	}
	switch {
	case severity != "ERROR":
		return lost
	case e.Code == "23514": // check violation: the events table has no such partition
		return missing
	case e.Code == "53100":
		return full
	case transient[e.Code]:
		return again
	}
	return refused
}

// gone says whether a read failed because of its connection, not its contents.
func gone(ctx context.Context, err error) bool {
	f := classify(err)
	return ctx.Err() == nil && (f == lost || f == again)
}
