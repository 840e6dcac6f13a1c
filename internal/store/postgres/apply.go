package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/confab-chat/confab/internal/core"
)

// schedule has the points in time at which Apply gives up the steps of a batch.
type schedule struct {
	giveUp time.Time // no try begins after this time
	write  time.Time // at this time the connection is closed if the COMMIT is not answered
	end    time.Time // at this time Apply returns, if necessary with core.ErrUnknown
}

// A server must answer each HTTP request within 20 s. Package rest lets Apply begin to write a
// request's batch during the first 13 s. If the COMMIT was sent by then, Apply waits for its answer
// for at most commitTime more. Without an answer, Apply uses the last askTime of this time to ask
// whether the COMMIT was carried out.
const (
	leastPatience = time.Second
	commitTime    = 5 * time.Second
	askTime       = 3 * time.Second
)

// schedule returns the schedule of a batch that begins now. until is Batch.Until.
func (t timeouts) schedule(until time.Time) schedule {
	now := time.Now()
	s := schedule{giveUp: now.Add(t.patience)}
	if until.IsZero() {
		s.write, s.end = s.giveUp.Add(t.trip), s.giveUp.Add(t.trip+t.unknown)
		return s
	}
	if least := now.Add(leastPatience); until.Before(least) {
		until = least
	}
	if until.Before(s.giveUp) {
		s.giveUp = until
	}
	s.end = until.Add(commitTime)
	s.write = s.end.Add(-askTime)
	return s
}

// Apply commits a batch in one transaction; see core.Store. If a try fails and nothing was
// committed, Apply tries again for timeouts.patience or until b.Until, and then returns
// core.ErrUnavailable. Each try calls the changes' Decide functions again. If the connection is
// lost during the COMMIT, Apply asks the database whether the batch was committed; if there is
// no answer in time, it returns core.ErrUnknown.
func (s *Store) Apply(ctx context.Context, b core.Batch) ([]core.Outcome, error) {
	if len(b.Changes) == 0 {
		return nil, nil
	}
	plan := s.timeouts.schedule(b.Until)
	for try := 1; ; try++ {
		outcomes, f, err := s.attempt(ctx, b, plan)
		s.heed(err)
		switch {
		case err == nil:
			return outcomes, nil
		case f == full:
			return nil, fmt.Errorf("apply %d changes: %w: %w", len(b.Changes), core.ErrStorageFull, err)
		case f == refused:
			return nil, fmt.Errorf("apply %d changes: %w", len(b.Changes), err)
		}
		if f == lost {
			s.links.Add(1)
		}
		s.log.Warn("store: a batch was not committed", "try", try, "error", err)
		if pause(ctx, try) != nil || time.Now().After(plan.giveUp) {
			return nil, fmt.Errorf("apply %d changes: %w: %w", len(b.Changes), core.ErrUnavailable, err)
		}
	}
}

// attempt runs the batch in one transaction. If it fails, nothing was committed, unless the error
// wraps core.ErrUnknown. With such an error the returned failure is refused, so that Apply does not
// try again.
func (s *Store) attempt(ctx context.Context, b core.Batch, plan schedule) ([]core.Outcome, failure, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeouts.begin)
	defer cancel()
	ctx, cancel = context.WithDeadline(ctx, plan.giveUp)
	defer cancel()
	shift := s.shift.Load()
	if err := s.prepareDay(ctx, core.DayOf(b.At+shift)); err != nil {
		return nil, classify(err), err
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, lost, fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()

	w := &s.writers[core.LaneOf(b.Changes[0].Key, lanes)]
	w.batch++
	s.recall(w)
	tx := transaction{conn: conn, state: core.NewBatchState(b)}
	tx.state.DayShift, tx.state.RelistingsInAll = shift, int(s.relistings.Load())
	committed := false
	defer func() {
		if !committed {
			w.recent.Forget(tx.state)
		}
	}()
	if err := tx.lock(ctx, s.timeouts, w, b); err != nil {
		tx.rollback()
		return nil, classify(err), fmt.Errorf("lock the rows of a batch: %w", err)
	}
	outcomes := core.Assign(b, tx.state)
	rows := rowsOf(outcomes, tx.state)
	if rows.empty() {
		committed = true // there is nothing to write
		s.rollback(&tx)
		return outcomes, 0, nil
	}
	if n := len(rows.events); n > core.MaxBatchEvents {
		s.rollback(&tx)
		return nil, refused, fmt.Errorf("%w: %d events are too many for a batch", core.ErrUnavailable, n)
	}
	// From here on, ignore the caller's context: the COMMIT is sent together with the writes,
	// and must not be interrupted.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), s.timeouts.trip)
	defer cancel()
	ctx, cancel = context.WithDeadline(ctx, plan.write)
	defer cancel()
	err = tx.write(ctx, rows, b.Check)
	if committed = err == nil; committed {
		s.relistings.Add(int64(len(rows.relistings)))
		if len(rows.events) == 0 {
			s.unused.add(tx.number)
		}
		return unplaced(outcomes, tx.number), 0, nil
	}
	f := classify(err)
	if f != lost {
		s.rollback(&tx)
		switch {
		case numberTaken(err):
			s.log.Error("store: the sequence of batch numbers is behind the tables; it is lifted", "number", tx.number)
			err = errors.Join(err, s.liftNumbers(ctx))
		case f == missing:
			s.days.Delete(tx.state.Day)
			err = errors.Join(err, s.prepareDay(ctx, tx.state.Day))
		}
		return nil, f, fmt.Errorf("write the rows of a batch: %w", err)
	}
	tx.abandon()
	var err2 error
	committed, err2 = s.outcome(w, plan.end)
	switch {
	case err2 != nil:
		return nil, refused, fmt.Errorf("%w: %w", core.ErrUnknown, errors.Join(err, err2))
	case committed:
		s.log.Warn("store: connection lost while committing; the batch was committed", "error", err)
		return unplaced(outcomes, tx.number), 0, nil
	}
	return nil, lost, fmt.Errorf("connection lost while committing, nothing was committed: %w", err)
}

// unplaced sets the field Batch of each event of the applied changes to number, and returns the
// outcomes. A Batch that is not 0 tells the caller that the event has no position in the log yet:
// its Position only orders the events of a thread.
func unplaced(outcomes []core.Outcome, number uint64) []core.Outcome {
	for _, o := range outcomes {
		if o.Status != core.Applied {
			continue
		}
		for i := range o.Change.Events {
			o.Change.Events[i].Batch = number
		}
	}
	return outcomes
}

// transaction is the open transaction of a batch, with the rows that it has read and locked.
type transaction struct {
	conn   *pgxpool.Conn
	state  *core.BatchState
	exists map[string]bool // ids of the threads and users that have a row
	number uint64          // number of the batch; 0 if the batch cannot have events
}

// rollback ends the transaction and releases its locks. If ROLLBACK fails, it closes the
// connection, which also ends the transaction. It reports whether the connection is still
// alive.
func (tx *transaction) rollback() bool {
	if tx.conn.Conn().IsClosed() {
		return false
	}
	if tx.conn.Conn().PgConn().TxStatus() == 'I' {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := tx.conn.Exec(ctx, "ROLLBACK"); err != nil {
		tx.abandon()
		return false
	}
	return true
}

// rollback ends a transaction that has drawn a batch number. If the connection is alive, rollback
// remembers the number as unused. Otherwise it does not: the server may have crashed, and may draw
// the same number for another batch.
func (s *Store) rollback(tx *transaction) {
	if tx.rollback() {
		s.unused.add(tx.number)
	}
}

// abandon closes the connection without waiting for the server.
func (tx *transaction) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = tx.conn.Conn().Close(ctx) // ignore the error: a broken connection returns its error again
}

// claimSQL writes the number of the batch into the lane's row of the table writers, and locks
// that row until the transaction ends. If $3 is true, it also draws and returns a new batch
// number, else it returns 0. All existing heads and users of the batch are locked before, so
// the batches of a thread have ascending numbers.
const claimSQL = `INSERT INTO writers AS w (id, batch) VALUES ($1, $2)
	ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, at = now()
	RETURNING CASE WHEN $3 THEN nextval('batch_numbers') ELSE 0 END`

// askSQL waits until no transaction locks the lane's row of the table writers, and then returns
// the batch number in the row. It is an INSERT, because a SELECT would not wait for a
// transaction that inserts the row.
const askSQL = `INSERT INTO writers AS w (id, batch) VALUES ($1, 0)
	ON CONFLICT (id) DO UPDATE SET at = now()
	RETURNING batch`

// outcome reports whether the lane's last batch was committed, after the connection was lost.
// It asks for up to timeouts.unknown, but not after end, and then returns an error. The package
// documentation says why it does not use pg_xact_status.
func (s *Store) outcome(w *writer, end time.Time) (committed bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeouts.unknown)
	defer cancel()
	if least := time.Now().Add(leastPatience); end.Before(least) { // the process was suspended
		end = least
	}
	ctx, cancel = context.WithDeadline(ctx, end)
	defer cancel()
	for try := 1; ; try++ {
		var batch int64
		var b pgx.Batch
		b.Queue("BEGIN")
		b.Queue(s.timeouts.settings())
		b.Queue(askSQL, w.id).QueryRow(func(row pgx.Row) error { return row.Scan(&batch) })
		b.Queue("COMMIT")
		if err = s.send(ctx, &b); err == nil {
			return batch == w.batch, nil
		}
		s.log.Warn("store: the outcome of a batch is not known yet", "try", try, "error", err)
		if f := classify(err); f == refused || f == full || pause(ctx, try) != nil {
			return false, err
		}
	}
}

// send runs a batch of statements in one round trip. It gives up 2 s after the lock timeout.
func (s *Store) send(ctx context.Context, b *pgx.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeouts.lock+2*time.Second)
	defer cancel()
	return s.pool.SendBatch(ctx, b).Close()
}
