package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

var (
	_ core.Exporter = (*Store)(nil)
	_ core.Importer = (*Store)(nil)
)

// numbered is the log with the positions of an export: 1 and on.
const numbered = `(SELECT *, row_number() OVER (ORDER BY position) AS place FROM events)`

// exports are the kinds of records in their order, each a query and what makes
// a record of its rows.
var exports = []struct {
	what, query string
	record      func(pgx.CollectableRow) (core.Record, error)
}{
	{"users", `SELECT id, state, deleted_at, generation FROM users ORDER BY id`,
		func(row pgx.CollectableRow) (core.Record, error) { return pgx.RowToStructByPos[core.User](row) }},
	{"heads", `SELECT id, revision, topic, created_by, created_on, deleted_on, metadata, retention_days,
			last_id, last_sequence, last_event, coalesce(place, 0), last_message_on, last_day
		FROM heads LEFT JOIN (SELECT thread, max(place) AS place FROM ` + numbered + ` e GROUP BY thread) last ON last.thread = id ORDER BY id`,
		func(row pgx.CollectableRow) (core.Record, error) {
			h, _, err := scanHead(row)
			return h, err
		}},
	{"members", `SELECT thread, user_id, display_name, share_history, joined_on, joining_order, intervals, metadata, left_on, left_sequence, left_topic
		FROM members ORDER BY thread, user_id`,
		func(row pgx.CollectableRow) (core.Record, error) {
			var r core.ThreadMember
			var err error
			r.Member, err = scanMember(behind{row, &r.Thread})
			return r, err
		}},
	{"messages", `SELECT thread, ` + messageColumns + ` FROM messages ORDER BY thread, sequence`,
		func(row pgx.CollectableRow) (core.Record, error) {
			var r core.ThreadMessage
			var err error
			r.Message, err = scanMessage(behind{row, &r.Thread})
			return r, err
		}},
	{"answers", `SELECT ` + answerColumns + ` FROM answers ORDER BY thread`,
		func(row pgx.CollectableRow) (core.Record, error) {
			a, err := scanAnswer(row)
			return core.ThreadAnswer{Thread: a.thread, CreateAnswer: *a.CreateAnswer}, err
		}},
	{"send tokens", `SELECT thread, caller, token, message_id FROM sent ORDER BY thread, caller, token`,
		func(row pgx.CollectableRow) (core.Record, error) {
			var r core.SentToken
			err := row.Scan(&r.Thread, &r.Caller, &r.Token, &r.MessageID)
			return r, err
		}},
	{"receipts", `SELECT thread, user_id, message_id, read_on FROM receipts ORDER BY thread, user_id`,
		func(row pgx.CollectableRow) (core.Record, error) {
			var r core.ThreadReceipt
			err := row.Scan(&r.Thread, &r.User, &r.MessageID, &r.ReadOn)
			return r, err
		}},
	{"events", `SELECT thread, day, number, place, kind, message_id, version, actor FROM ` + numbered + ` e ORDER BY place`,
		func(row pgx.CollectableRow) (core.Record, error) { return pgx.RowToStructByPos[core.Event](row) }},
}

// behind reads a row that has one column before those of its kind.
type behind struct {
	pgx.CollectableRow
	first any
}

func (r behind) Scan(dest ...any) error {
	return r.CollectableRow.Scan(append([]any{r.first}, dest...)...)
}

// Export yields every record as one transaction sees them; see core.Exporter.
// The rows arrive one after another and are not kept.
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
			rows, err := tx.Query(ctx, e.query)
			if err != nil {
				return fmt.Errorf("export %s: %w", e.what, err)
			}
			for rows.Next() {
				record, err := e.record(rows)
				if err == nil {
					err = yield(record)
				}
				if err != nil {
					rows.Close()
					return fmt.Errorf("export %s: %w", e.what, err)
				}
			}
			if err := rows.Err(); err != nil {
				return fmt.Errorf("export %s: %w", e.what, err)
			}
		}
		return nil
	})
}
