package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

var (
	_ core.Exporter = (*Store)(nil)
	_ core.Importer = (*Store)(nil)
)

// numbered selects the events of the log, with their positions in an export, 1, 2, 3 and so on,
// in the column place. Events that have no position yet come last, in the order in which they
// will get one. Trimmed events are left out: their batches have no row in the tables log and
// batches.
const numbered = `(SELECT e.*, row_number() OVER (ORDER BY l.last NULLS LAST, e.position) AS place
	FROM events e LEFT JOIN log l ON l.batch = e.position >> 20
	WHERE l.last > (SELECT position FROM log_floor) OR l.last IS NULL AND EXISTS (SELECT FROM batches b WHERE b.number = e.position >> 20))`

// exports has the tables of an export in the order that core.Record describes. An event without
// a thread gets its position as its number, and the checks of events are exported as 0.
var exports = []records{
	users,
	queried{heads, fmt.Sprintf(`SELECT %s FROM heads LEFT JOIN (SELECT thread, max(place) AS place FROM %s e GROUP BY thread) last ON last.thread = id ORDER BY id`,
		replaceColumn(heads.list, "last_position", "coalesce(place, 0)"), numbered)},
	members, unpurged(messages), unpurged(kept), answers, unpurged(sent), unpurged(receipts),
	queried{events, fmt.Sprintf(`SELECT %s FROM %s e ORDER BY place`,
		replaceColumn(replaceColumn(replaceColumn(events.list, "position", "place"), "number", "CASE thread WHEN '' THEN place ELSE number END"), "batch_check", "0"), numbered)},
	audits,
}

// queried is a table whose rows are exported with the query sql instead of the query of the table.
type queried struct {
	records
	sql string
}

func (q queried) query() string { return q.sql }

// replaceColumn replaces a column in the column list of a SELECT by an expression, and gives the
// expression the column's name. The column may have a table's name and a dot in front.
func replaceColumn(list, column, expression string) string {
	name := column[strings.LastIndex(column, ".")+1:]
	return strings.Replace(list, column, expression+" AS "+name, 1)
}

// Export calls yield with each record, all read in one repeatable-read transaction; see
// core.Exporter. It does not keep all rows in memory.
func (s *Store) Export(ctx context.Context, yield func(core.Record) error) error {
	resource, err := s.Resource(ctx)
	if err != nil {
		return err
	}
	if err := yield(resource); err != nil {
		return err
	}
	if _, err := s.Sequence(ctx); err != nil {
		return err
	}
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// Lock events before the snapshot is taken, so that no partition in it is dropped.
		if _, err := tx.Exec(ctx, `LOCK TABLE ONLY events IN ACCESS SHARE MODE`); err != nil {
			return err
		}
		for _, e := range exports {
			rows, _ := tx.Query(ctx, e.query()) // rows returns its error too
			err := each(func(from pgx.CollectableRow) error {
				record, err := e.scanRecord(from)
				if err != nil {
					return err
				}
				if h, ok := record.(row.DatedHead); ok {
					record = h.Head
				}
				return yield(record)
			})(rows)
			if err != nil {
				table, _ := e.target()
				return fmt.Errorf("export %s: %w", table, err)
			}
		}
		return nil
	})
}

// Import writes the records of an export in one transaction; see core.Importer.
func (s *Store) Import(ctx context.Context, next func() (core.Record, error)) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := mustBeEmpty(ctx, tx); err != nil {
			return err
		}
		im := &importer{tx: tx, next: next}
		return im.run(ctx)
	})
	if err != nil {
		return fmt.Errorf("import into PostgreSQL: %w", err)
	}
	return nil
}

// mustBeEmpty fails with core.ErrNotEmpty if the store has a user, a thread, an event, a batch,
// an endpoint or an audit row.
func mustBeEmpty(ctx context.Context, tx pgx.Tx) error {
	var used bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM heads) OR EXISTS (SELECT FROM events) OR EXISTS (SELECT FROM batches) OR EXISTS (SELECT FROM endpoints) OR EXISTS (SELECT FROM audit)`).Scan(&used)
	if err == nil && used {
		err = fmt.Errorf("the database is %w: an import needs an empty one", core.ErrNotEmpty)
	}
	return err
}

// importer is the state of a call of Import.
type importer struct {
	tx       pgx.Tx
	next     func() (core.Record, error)
	record   core.Record // the next record to write; nil at the end
	position uint64      // position in the export of the last event that was read
	day      uint32      // day in the export of the last event that was read
	first    uint64      // number of the first batch
	batches  []batch     // the batches with the events that were read
	row      []any       // buffer for the column values of a record
	err      error       // the error that next returned, or the error for an invalid record
}

// batch is the data of a row in each of the tables batches and log. The column batch_check is
// 0, as for all imported events.
type batch struct {
	number, last uint64
	events       int
	day          uint32
}

// maxImported is the maximum number of events that Import puts into one batch. Tests lower it.
var maxImported = core.MaxBatchEvents

// run writes all records. It uses one COPY for consecutive records of the same kind; events of
// another day begin a new COPY.
func (im *importer) run(ctx context.Context) error {
	if err := im.tx.QueryRow(ctx, `SELECT nextval('batch_numbers')`).Scan(&im.first); err != nil {
		return err
	}
	im.advance()
	resource, ok := im.record.(core.Resource)
	if !ok || resource.ID == "" {
		return errors.Join(im.err, errors.New("the records name no resource"))
	}
	if err := im.resource(ctx, resource); err != nil {
		return err
	}
	for im.advance(); im.err == nil && im.record != nil; {
		i := slices.IndexFunc(exports, func(r records) bool { return r.holds(im.record) })
		if i < 0 {
			return fmt.Errorf("records of type %T are not known", im.record)
		}
		if err := im.partition(ctx); err != nil {
			return err
		}
		table, columns := exports[i].target()
		_, err := im.tx.CopyFrom(ctx, pgx.Identifier{table}, columns, im.source(exports[i]))
		if im.err != nil {
			return im.err // do not return the error of CopyFrom, which says only that its source failed
		}
		if err != nil {
			return fmt.Errorf("copy into %s: %w", table, err)
		}
	}
	if im.err != nil {
		return im.err
	}
	return im.derive(ctx)
}

// advance reads the next record into im.record. If the record is an event, advance checks its
// position in the export, and sets its position and day for this store.
func (im *importer) advance() {
	if im.record, im.err = im.next(); errors.Is(im.err, io.EOF) {
		im.record, im.err = nil, nil
	}
	if h, ok := im.record.(core.Head); ok {
		im.record = row.DatedHead{Head: h} // derive sets LastDay
	}
	e, ok := im.record.(core.Event)
	if !ok || im.err != nil {
		return
	}
	if e.Position != im.position+1 {
		im.err = fmt.Errorf("event %d of thread %s has position %d instead of %d", e.Number, e.Thread, e.Position, im.position+1)
		return
	}
	// Days must not decrease, but servers with different clocks may have written the exported
	// store.
	im.position, im.day = e.Position, max(im.day, e.Day)
	e.Day, e.Position = im.day, im.place()
	if e.Thread == "" {
		e.Number = e.Position
	}
	im.record = e
}

// place adds the event that was read to the last batch. It begins a new batch if the event has
// another day or the last batch is full. It returns the position to store with the event, which
// contains the batch's number and the event's index in the batch.
func (im *importer) place() uint64 {
	n := len(im.batches)
	if n == 0 || im.batches[n-1].day != im.day || im.batches[n-1].events == maxImported {
		im.batches = append(im.batches, batch{number: im.first + uint64(n), day: im.day})
		n++
	}
	b := &im.batches[n-1]
	b.events++
	b.last = im.position
	return core.PlaceOf(b.number) + uint64(b.events)
}

// resource writes the resource's id and cloud, and the access keys if the record has them.
func (im *importer) resource(ctx context.Context, r core.Resource) error {
	if _, err := im.tx.Exec(ctx, `UPDATE meta SET value = $1 WHERE name = 'resource'`, r.ID); err != nil {
		return err
	}
	if _, err := im.tx.Exec(ctx, `INSERT INTO meta (name, value) VALUES ('cloud', $1) ON CONFLICT (name) DO UPDATE SET value = $1`, r.Cloud.String()); err != nil {
		return err
	}
	for i, k := range r.Keys {
		if len(k.Secret) == 0 {
			continue
		}
		if _, err := im.tx.Exec(ctx, `UPDATE access_keys SET serial = $2, secret = $3 WHERE index = $1`, i, k.Serial, k.Secret); err != nil {
			return err
		}
	}
	return nil
}

// partition creates the partition for the next record if that record is an event.
func (im *importer) partition(ctx context.Context) error {
	if _, ok := im.record.(core.Event); !ok {
		return nil
	}
	_, err := im.tx.Exec(ctx, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %[1]s PARTITION OF events FOR VALUES FROM (%[2]d) TO (%[3]d)`, partition(im.day), im.day, im.day+1))
	return err
}

// source returns the columns of the next records for a COPY. It ends at the first record that
// belongs to another table or is an event of another day.
func (im *importer) source(kind records) pgx.CopyFromSource {
	day := im.day
	return pgx.CopyFromFunc(func() ([]any, error) {
		if im.err != nil || im.record == nil || !kind.holds(im.record) || im.day != day {
			return nil, im.err
		}
		im.row = kind.values(im.row[:0], im.record)
		im.advance()
		return im.row, nil
	})
}

// derive writes the rows that an export leaves out because they follow from other rows. It fails if
// a row belongs to a thread without a head.
func (im *importer) derive(ctx context.Context) error {
	for _, step := range []string{
		`UPDATE heads SET last_position = last.place, last_day = last.day
			FROM (SELECT thread, max(position) AS place, max(day) AS day FROM events GROUP BY thread) last WHERE last.thread = id`,
		`INSERT INTO user_threads (user_id, minute, thread)
			SELECT user_id, ` + minuteOf("coalesce(left_on, last_message_on)") + `, thread FROM members JOIN heads ON heads.id = thread`,
	} {
		if _, err := im.tx.Exec(ctx, step); err != nil {
			return err
		}
	}
	if err := im.sequence(ctx); err != nil {
		return err
	}
	var orphan string
	err := im.tx.QueryRow(ctx, `SELECT thread FROM (SELECT thread FROM members UNION SELECT thread FROM messages UNION SELECT thread FROM superseded UNION SELECT thread FROM answers
		UNION SELECT thread FROM sent UNION SELECT thread FROM receipts UNION SELECT thread FROM events WHERE thread <> '') rows
		WHERE NOT EXISTS (SELECT FROM heads WHERE heads.id = thread) LIMIT 1`).Scan(&orphan)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("thread %s has rows but no head", orphan)
	}
	return err
}

// sequence writes the rows of the imported batches, with their positions, and sets the sequence of
// batch numbers to the number of the last batch.
func (im *importer) sequence(ctx context.Context) error {
	if len(im.batches) == 0 {
		return nil
	}
	var b pgx.Batch
	for _, r := range im.batches {
		b.Queue(insertBatch, int64(r.number), r.events, int64(0), int64(r.day))
		b.Queue(`INSERT INTO log (last, batch, events, batch_check, day) VALUES ($1, $2, $3, 0, $4)`, int64(r.last), int64(r.number), r.events, int64(r.day))
	}
	last := im.batches[len(im.batches)-1]
	b.Queue(`DELETE FROM runs`)
	b.Queue(`INSERT INTO runs (n, last, high, missing, missed_at) VALUES (1, $1, $2, '{}', '{}')`, int64(last.last), int64(last.number))
	b.Queue(`SELECT setval('batch_numbers', $1)`, int64(last.number))
	return im.tx.SendBatch(ctx, &b).Close()
}
