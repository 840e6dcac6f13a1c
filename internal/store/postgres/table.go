package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// These variables describe the tables; their SQL is built from the columns in package row.
var (
	users    = newTable("users", row.User)
	heads    = newTable("heads", row.HeadWithDay)
	members  = newTable("members", row.ThreadMember)
	messages = newTable("messages", row.ThreadMessage)
	kept     = newTable("superseded", row.ThreadSuperseded)
	answers  = newTable("answers", row.ThreadAnswer)
	sent     = newTable("sent", row.SentToken)
	receipts = newTable("receipts", row.ThreadReceipt)
	events   = newTable("events", row.Event)
	lists    = newTable("user_threads", row.ListEntry)

	relistings = newTable("relistings", row.Relisting)

	endpoints = newTable("endpoints", row.Endpoint)
	audits    = newTable("audit", row.Audit)
)

// These variables describe tables of a thread's rows for queries that do not select the column
// with the thread's id.
var (
	threadMembers  = newTable("members", row.Member)
	threadMessages = newTable("messages", row.Message)
	threadReceipts = newTable("receipts", row.Receipt)
)

// expiresOn computes Head.ExpiresOn of package core in SQL, for a live thread with a retention
// policy. It must equal the expression of the index heads_ending.
var expiresOn = fmt.Sprintf("created_on + retention_days::bigint * %d", core.MillisPerDay)

// minuteOf returns the SQL expression for core.MinuteOf of time, an expression in epoch
// milliseconds.
func minuteOf(time string) string { return fmt.Sprintf("%s / %d", time, core.MillisPerMinute) }

// table describes a table: its columns, and SQL that is built from them.
type table[T any] struct {
	name    string
	columns []row.Column[T]
	names   []string // names of the columns, the key columns first
	key     []string
	list    string // the names, for a SELECT
	arrays  string // an item n for a FROM clause that makes rows from the arrays $1, $2, ..., one for each column
	insert  string // an INSERT of these rows
}

// newTable returns the table with this name for the rows of a kind.
func newTable[T any](name string, k *row.Kind[T]) *table[T] {
	t := &table[T]{name: name, columns: k.Columns()}
	for _, c := range t.columns {
		t.names = append(t.names, c.Name)
	}
	t.key = t.names[:len(k.Key)]
	t.list = strings.Join(t.names, ", ")
	t.arrays = unnest(t.columns)
	t.insert = fmt.Sprintf(`INSERT INTO %s (%s) SELECT * FROM %s`, name, t.list, t.arrays)
	return t
}

// unnest returns an item n for a FROM clause that makes rows from the arrays $1, $2, ..., one
// for each column.
func unnest[T any](columns []row.Column[T]) string {
	var arrays, names []string
	for i, c := range columns {
		arrays, names = append(arrays, fmt.Sprintf("$%d::%s[]", i+1, c.Type)), append(names, c.Name)
	}
	return fmt.Sprintf("unnest(%s) AS n (%s)", strings.Join(arrays, ", "), strings.Join(names, ", "))
}

// upsert returns a statement that inserts rows, or replaces existing rows with the same key.
func (t *table[T]) upsert() string {
	return fmt.Sprintf(`%s ON CONFLICT (%s) DO UPDATE SET %s`, t.insert, strings.Join(t.key, ", "), t.assign("excluded", t.key))
}

// update returns a statement that replaces existing rows. Each new row replaces the stored row that
// has the same values in the columns by.
func (t *table[T]) update(by ...string) string {
	return fmt.Sprintf(`UPDATE %s t SET %s FROM %s WHERE %s`, t.name, t.assign("n", by), t.arrays, agree(by))
}

// remove returns a statement that deletes rows by their keys.
func (t *table[T]) remove() string {
	return fmt.Sprintf(`DELETE FROM %s t USING %s WHERE %s`, t.name, unnest(t.columns[:len(t.key)]), agree(t.key))
}

// assign returns the list of a SET clause. It copies all columns of the row named from, without the
// columns named in except.
func (t *table[T]) assign(from string, except []string) string {
	var sets []string
	for _, name := range t.names {
		if !slices.Contains(except, name) {
			sets = append(sets, fmt.Sprintf("%s = %s.%s", name, from, name))
		}
	}
	return strings.Join(sets, ", ")
}

// agree returns the condition that the rows t and n have the same values in the named columns.
func agree(names []string) string {
	var same []string
	for _, name := range names {
		same = append(same, fmt.Sprintf("t.%s = n.%s", name, name))
	}
	return strings.Join(same, " AND ")
}

// queue queues a statement whose parameters are arrays, one for each column, with the values of
// rows. It does nothing if there are no rows.
func (t *table[T]) queue(b *pgx.Batch, sql string, rows []T) {
	t.queueColumns(b, sql, t.columns, rows)
}

// queueRemoval queues the deletion of rows by their keys.
func (t *table[T]) queueRemoval(b *pgx.Batch, rows []T) {
	t.queueColumns(b, t.remove(), t.columns[:len(t.key)], rows)
}

// queueColumns queues a statement whose parameters are arrays, one for each of the given
// columns, with the values of rows. It returns nil if there are no rows.
func (t *table[T]) queueColumns(b *pgx.Batch, sql string, columns []row.Column[T], rows []T) *pgx.QueuedQuery {
	if len(rows) == 0 {
		return nil
	}
	return b.Queue(sql, arraysOf(columns, rows)...)
}

// arraysOf returns an array for each column, with the values of all rows.
func arraysOf[T any](columns []row.Column[T], rows []T) []any {
	args := make([]any, len(columns))
	for i, c := range columns {
		args[i] = c.Array(len(rows), func(i int) *T { return &rows[i] })
	}
	return args
}

// find queues a query for stored rows and calls do for each of them. It finds the rows that have
// the same values as one of the given rows in the columns by. It does nothing if no rows are given.
func (t *table[T]) find(b *pgx.Batch, rows []T, do func(T), by ...string) {
	if len(rows) == 0 {
		return
	}
	var columns []row.Column[T]
	for _, c := range t.columns {
		if slices.Contains(by, c.Name) {
			columns = append(columns, c)
		}
	}
	sql := fmt.Sprintf(`SELECT %s FROM %s JOIN %s USING (%s)`, t.list, t.name, unnest(columns), strings.Join(by, ", "))
	b.Queue(sql, arraysOf(columns, rows)...).Query(t.each(do))
}

// each returns a function that decodes each row of a query's result and calls do with it.
func (t *table[T]) each(do func(T)) func(pgx.Rows) error {
	return each(func(from pgx.CollectableRow) error {
		r, err := t.scan(from)
		if err == nil {
			do(r)
		}
		return err
	})
}

// each returns a function that calls do for each row of a query's result, until do fails.
func each(do func(row pgx.CollectableRow) error) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		defer rows.Close()
		for rows.Next() {
			if err := do(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

// errColumn is the error for a query result with a column that the table does not have.
var errColumn = errors.New("the column is not known")

// extra is a column of a query's result that is not a column of the table: its name, and the
// pointer where scan stores its value.
type extra struct {
	name   string
	target any
}

// scan decodes a row of a query's result. Columns are matched by name: they may be any columns
// of the table, in any order, and the extras. It fails with errColumn for any other column.
func (t *table[T]) scan(from pgx.CollectableRow, extras ...extra) (r T, err error) {
	fields := from.FieldDescriptions()
	targets := make([]any, len(fields))
	for i, f := range fields {
		at := i
		if at >= len(t.columns) || t.columns[at].Name != f.Name {
			at = slices.IndexFunc(t.columns, func(c row.Column[T]) bool { return c.Name == f.Name })
		}
		if at >= 0 {
			targets[i] = t.columns[at].Target(&r)
			continue
		}
		at = slices.IndexFunc(extras, func(e extra) bool { return e.name == f.Name })
		if at < 0 {
			return r, fmt.Errorf("scan column %s of %s: %w", f.Name, t.name, errColumn)
		}
		targets[i] = extras[at].target
	}
	err = from.Scan(targets...)
	return r, err
}

// rowTo decodes a row as scan does, without extras. It is a pgx.RowToFunc.
func (t *table[T]) rowTo(from pgx.CollectableRow) (T, error) { return t.scan(from) }

// records is a table whose rows are exported and imported as records.
type records interface {
	target() (table string, columns []string)
	holds(core.Record) bool
	values(to []any, r core.Record) []any // appends the column values of r to the slice to; holds(r) must be true
	scanRecord(pgx.CollectableRow) (core.Record, error)
	query() string
}

func (t *table[T]) target() (string, []string) { return t.name, t.names }

func (t *table[T]) holds(r core.Record) bool {
	_, ok := any(r).(T)
	return ok
}

func (t *table[T]) values(to []any, r core.Record) []any {
	v := any(r).(T)
	for _, c := range t.columns {
		to = append(to, c.Value(&v))
	}
	return to
}

func (t *table[T]) scanRecord(from pgx.CollectableRow) (core.Record, error) {
	r, err := t.scan(from)
	if err != nil {
		return nil, err
	}
	return any(r).(core.Record), nil
}

// query returns a SELECT of all rows in the order of their keys, the order that core.Record
// describes.
func (t *table[T]) query() string {
	return fmt.Sprintf(`SELECT %s FROM %s ORDER BY %s`, t.list, t.name, strings.Join(t.key, ", "))
}
