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

// numbered selects all events with their positions in an export, 1, 2, 3, as place.
const numbered = `(SELECT *, row_number() OVER (ORDER BY position) AS place FROM events)`

// exports lists the tables of an export in the order of core.Record.
var exports = []records{
	users,
	queried{heads, fmt.Sprintf(`SELECT %s FROM heads LEFT JOIN (SELECT thread, max(place) AS place FROM %s e GROUP BY thread) last ON last.thread = id ORDER BY id`,
		replaceColumn(heads.list, "last_position", "coalesce(place, 0)"), numbered)},
	members, messages, answers, sent, receipts,
	queried{events, fmt.Sprintf(`SELECT %s FROM %s e ORDER BY place`, replaceColumn(events.list, "position", "place"), numbered)},
}

// queried is a table that is exported with the query sql.
type queried struct {
	records
	sql string
}

func (q queried) query() string { return q.sql }

// replaceColumn replaces a column in a list of columns by an expression of that name.
func replaceColumn(list, column, expression string) string {
	return strings.Replace(list, column, expression+" AS "+column, 1)
}

// Export yields every record, read in one repeatable-read transaction; see
// core.Exporter. It does not keep the rows in memory.
func (s *Store) Export(ctx context.Context, yield func(core.Record) error) error {
	resource, err := s.Resource(ctx)
	if err != nil {
		return err
	}
	if err := yield(resource); err != nil {
		return err
	}
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
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

// mustBeEmpty fails with core.ErrNotEmpty if the store has a user, a thread or an event.
func mustBeEmpty(ctx context.Context, tx pgx.Tx) error {
	var used bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM heads) OR EXISTS (SELECT FROM events)`).Scan(&used)
	if err == nil && used {
		err = fmt.Errorf("the database is %w: an import needs an empty one", core.ErrNotEmpty)
	}
	return err
}

// importer is the state of an Import.
type importer struct {
	tx       pgx.Tx
	next     func() (core.Record, error)
	record   core.Record // the next record to write; nil at the end
	position uint64      // of the last event that was read
	day      uint32      // of the last event that was read
	row      []any       // buffer for the columns of a record
	err      error       // of next, or of an invalid record
}

// run writes all records, with one COPY for each sequence of records of the same kind
// and, for events, of the same day.
func (im *importer) run(ctx context.Context) error {
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
			return im.err // err only tells that the source failed
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

// advance reads the next record, and checks and adapts it for this store.
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
	// Days must not decrease, but the exporting store's writers may have had different clocks.
	im.position, im.day = e.Position, max(im.day, e.Day)
	e.Day = im.day
	im.record = e
}

// resource sets the resource's id and the access keys that the record has.
func (im *importer) resource(ctx context.Context, r core.Resource) error {
	if _, err := im.tx.Exec(ctx, `UPDATE meta SET value = $1 WHERE name = 'resource'`, r.ID); err != nil {
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

// partition creates the partition for the next record if that is an event.
func (im *importer) partition(ctx context.Context) error {
	if _, ok := im.record.(core.Event); !ok {
		return nil
	}
	_, err := im.tx.Exec(ctx, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %[1]s PARTITION OF events FOR VALUES FROM (%[2]d) TO (%[3]d)`, partition(im.day), im.day, im.day+1))
	return err
}

// source returns the columns of the next records, up to the first record that another
// table holds or that is an event of another day.
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

// derive writes the rows that an export leaves out. It fails if a row of a thread has
// no head, or if the log has more events than this cluster's next position.
func (im *importer) derive(ctx context.Context) error {
	for _, step := range []string{
		`UPDATE heads SET last_day = last.day FROM (SELECT thread, max(day) AS day FROM events GROUP BY thread) last WHERE last.thread = id`,
		`INSERT INTO user_threads (user_id, minute, thread)
			SELECT user_id, ` + minuteOf("coalesce(left_on, last_message_on)") + `, thread FROM members JOIN heads ON heads.id = thread`,
	} {
		if _, err := im.tx.Exec(ctx, step); err != nil {
			return err
		}
	}
	// Later positions are made from this cluster's transaction ids and must be greater.
	var next int64
	if err := im.tx.QueryRow(ctx, `SELECT pg_current_xact_id()::text::bigint << $1::int`, indexBits).Scan(&next); err != nil {
		return err
	}
	if int64(im.position) >= next {
		return fmt.Errorf("the log has %d events, more than this young cluster can number before its own: use an older one", im.position)
	}
	var orphan string
	err := im.tx.QueryRow(ctx, `SELECT thread FROM (SELECT thread FROM members UNION SELECT thread FROM messages UNION SELECT thread FROM answers
		UNION SELECT thread FROM sent UNION SELECT thread FROM receipts UNION SELECT thread FROM events) rows
		WHERE NOT EXISTS (SELECT FROM heads WHERE heads.id = thread) LIMIT 1`).Scan(&orphan)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("thread %s has rows but no head", orphan)
	}
	return err
}
