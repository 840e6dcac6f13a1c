package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

var (
	_ core.Exporter = (*Store)(nil)
	_ core.Importer = (*Store)(nil)
)

// numbered is the log with the positions of an export: 1 and on.
const numbered = `(SELECT *, row_number() OVER (ORDER BY position) AS place FROM events)`

// exports are the kinds of records in their order.
var exports = []records{
	users,
	queried{heads, fmt.Sprintf(`SELECT %s FROM heads LEFT JOIN (SELECT thread, max(place) AS place FROM %s e GROUP BY thread) last ON last.thread = id ORDER BY id`,
		instead(heads.list, "last_position", "coalesce(place, 0)"), numbered)},
	members, messages, answers, sent, receipts,
	queried{events, fmt.Sprintf(`SELECT %s FROM %s e ORDER BY place`, instead(events.list, "position", "place"), numbered)},
}

// queried is a table with a query of its own.
type queried struct {
	records
	sql string
}

func (q queried) query() string { return q.sql }

// instead returns a list of columns with an expression under the name of one.
func instead(list, column, expression string) string {
	return strings.Replace(list, column, expression+" AS "+column, 1)
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
			rows, err := tx.Query(ctx, e.query())
			if err == nil {
				err = each(func(from pgx.CollectableRow) error {
					record, err := e.scanRecord(from)
					if err != nil {
						return err
					}
					if h, ok := record.(row.DatedHead); ok {
						record = h.Head
					}
					return yield(record)
				})(rows)
			}
			if err != nil {
				table, _ := e.target()
				return fmt.Errorf("export %s: %w", table, err)
			}
		}
		return nil
	})
}
