package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/confab-chat/confab/internal/store/row"
)

// failure classifies the error of a transaction, for Apply to decide whether to retry.
type failure uint8

const (
	refused failure = iota // nothing was written, and a retry would fail too
	again                  // nothing was written, and a retry may succeed
	missing                // nothing was written, because a day has no partition
	full                   // nothing was written, because the disk is full
	lost                   // the connection was lost: if COMMIT was sent, it may have been carried out
)

// transient has the SQLSTATEs after which a retry may succeed.
var transient = map[string]bool{
	"23505": true, // unique violation: another writer made the same row first
	"40001": true, // serialization failure
	"40P01": true, // deadlock
	"55P03": true, // lock timeout
	"57014": true, // statement timeout
	"25006": true, // read-only transaction: a standby, or a primary stepping down
	"53300": true, // too many connections
}

// classify classifies an error of the driver. After a server error of severity ERROR
// the transaction is aborted, and the server has skipped the rest of the pipeline
// with its COMMIT. A FATAL may end the connection at any point, even after a COMMIT
// that was carried out but not yet answered, so it is classified as lost.
func classify(err error) failure {
	var e *pgconn.PgError
	switch {
	case errors.Is(err, row.ErrNewer), errors.Is(err, row.ErrDamaged), errors.Is(err, errColumn): // a retry reads the same row
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

// retryable reports whether a read may succeed if it is repeated, and ctx has not ended.
func retryable(ctx context.Context, err error) bool {
	f := classify(err)
	return ctx.Err() == nil && (f == lost || f == again)
}

// numberTaken reports whether a batch could not be written because another one has its
// number: the sequence is behind the tables, as it may be after a restore.
func numberTaken(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23505" && e.ConstraintName == "batches_pkey"
}
