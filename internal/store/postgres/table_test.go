package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// TestTablesHaveTheColumns checks that the migrations create tables with the columns that
// package row defines.
func TestTablesHaveTheColumns(t *testing.T) {
	s := open(t, emptyDatabase(t))
	defer s.Close()
	for _, table := range append(slices.Clone(exports), lists) {
		name, want := table.target()
		rows, err := s.pool.Query(t.Context(), `SELECT column_name::text FROM information_schema.columns WHERE table_name = $1`, name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if diff := cmp.Diff(slices.Sorted(slices.Values(want)), got); diff != "" {
			t.Errorf("columns of %s (-schema of the row +table):\n%s", name, diff)
		}
	}
}

// TestExpressions checks that SQL expressions for times give the same results as package core,
// and that PostgreSQL uses the indexes made for these queries.
func TestExpressions(t *testing.T) {
	s := open(t, emptyDatabase(t))
	defer s.Close()
	h := core.Head{Properties: core.Properties{CreatedOn: 1_700_000_000_123, RetentionDays: 90}}
	var expires, minute int64
	err := s.pool.QueryRow(t.Context(), fmt.Sprintf(`SELECT %s, %s FROM (VALUES ($1::bigint, $2::integer)) AS h (created_on, retention_days)`, expiresOn, minuteOf("created_on")),
		h.CreatedOn, h.RetentionDays).Scan(&expires, &minute)
	if err != nil || expires != h.ExpiresOn() || minute != core.MinuteOf(h.CreatedOn) {
		t.Errorf("a thread expires on %d and was made in minute %d (%v); want %d and %d", expires, minute, err, h.ExpiresOn(), core.MinuteOf(h.CreatedOn))
	}
	for _, tc := range []struct{ sql, index string }{
		{deletingSQL, "users_deleting"},
		{expiringSQL, "heads_ending"},
	} {
		var plan []string
		err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off`); err != nil {
				return err
			}
			rows, err := tx.Query(t.Context(), `EXPLAIN `+strings.ReplaceAll(tc.sql, "$1", "5"))
			if err != nil {
				return err
			}
			plan, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		if err != nil || !strings.Contains(strings.Join(plan, "\n"), tc.index) {
			t.Errorf("%s does not use %s (%v):\n%s", tc.sql, tc.index, err, strings.Join(plan, "\n"))
		}
	}
}

// fakeRow is a row of a query's result with the given columns and values.
type fakeRow struct {
	pgx.CollectableRow
	columns []string
	values  map[string]any // texts and numbers
}

func (r fakeRow) FieldDescriptions() (fs []pgconn.FieldDescription) {
	for _, c := range r.columns {
		fs = append(fs, pgconn.FieldDescription{Name: c})
	}
	return fs
}

func (r fakeRow) Scan(targets ...any) error {
	for i, c := range r.columns {
		switch to := targets[i].(type) {
		case *string:
			*to = r.values[c].(string)
		case *int64:
			*to = r.values[c].(int64)
		default:
			return fmt.Errorf("no test value for a %T", to)
		}
	}
	return nil
}

// TestScanByName decodes rows whose columns are in another order, or of which some are missing. A
// row with an unknown column must be refused with the column's name.
func TestScanByName(t *testing.T) {
	want := core.ThreadReceipt{Thread: "19:a", Receipt: core.Receipt{User: "8:a", MessageID: 5, ReadOn: 6}}
	values := map[string]any{"thread": "19:a", "user_id": "8:a", "message_id": int64(5), "read_on": int64(6)}
	for _, columns := range [][]string{
		{"thread", "user_id", "message_id", "read_on"},
		{"read_on", "message_id", "user_id", "thread"},
	} {
		got, err := receipts.scan(fakeRow{columns: columns, values: values})
		if err != nil || got != want {
			t.Errorf("columns %v: %+v, %v; want %+v", columns, got, err, want)
		}
	}
	got, err := receipts.scan(fakeRow{columns: []string{"message_id"}, values: values})
	if want := (core.ThreadReceipt{Receipt: core.Receipt{MessageID: 5}}); err != nil || got != want {
		t.Errorf("one column: %+v, %v; want %+v", got, err, want)
	}
	for _, columns := range [][]string{{"thread", "mood"}, {"thread", "user_id", "message_id", "read_on", "mood"}} {
		_, err := receipts.scan(fakeRow{columns: columns, values: values})
		if !errors.Is(err, errColumn) || !strings.Contains(err.Error(), "mood") {
			t.Errorf("columns %v: %v, want %v with the name", columns, err, errColumn)
		}
	}
	for _, err := range []error{errColumn, row.ErrNewer, row.ErrDamaged} {
		if f := classify(fmt.Errorf("scan: %w", err)); f != refused {
			t.Errorf("%v is classified as %v: it would be tried again", err, f)
		}
	}
}

func TestSQL(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{receipts.insert, `INSERT INTO receipts (thread, user_id, message_id, read_on) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS n (thread, user_id, message_id, read_on)`},
		{receipts.upsert(), receipts.insert + ` ON CONFLICT (thread, user_id) DO UPDATE SET message_id = excluded.message_id, read_on = excluded.read_on`},
		{receipts.update("thread", "read_on"), `UPDATE receipts t SET user_id = n.user_id, message_id = n.message_id FROM ` + receipts.arrays + ` WHERE t.thread = n.thread AND t.read_on = n.read_on`},
		{receipts.remove(), `DELETE FROM receipts t USING unnest($1::text[], $2::text[]) AS n (thread, user_id) WHERE t.thread = n.thread AND t.user_id = n.user_id`},
		{receipts.query(), `SELECT thread, user_id, message_id, read_on FROM receipts ORDER BY thread, user_id`},
		{exports[8].query(), `SELECT day, thread, CASE thread WHEN '' THEN place ELSE number END AS number, kind, message_id, version, actor, place AS position, at, 0 AS batch_check FROM ` + numbered + ` e ORDER BY place`},
	} {
		if tc.got != tc.want {
			t.Errorf("got  %s\nwant %s", tc.got, tc.want)
		}
	}
}
