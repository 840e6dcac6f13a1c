package postgres

import (
	"cmp"
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// upsertAudit inserts audit rows. If a row is written again because it was not known whether the
// first try was committed, it is replaced.
var upsertAudit = audits.upsert()

// keyAuditSQL does the same as upsertAudit, but only if the stored access key with the given index
// has the given serial and secret. It is run after the key was written.
var keyAuditSQL = fmt.Sprintf(`%[1]s WHERE EXISTS (SELECT FROM access_keys WHERE index = $%[2]d AND serial = $%[3]d AND secret = $%[4]d)
	ON CONFLICT (refused, at, number) DO UPDATE SET %[5]s`,
	audits.insert, len(audits.columns)+1, len(audits.columns)+2, len(audits.columns)+3, audits.assign("excluded", audits.key))

// queueKeyAudit queues the audit rows of a change of an access key. They are written only if the
// access key is stored.
func queueKeyAudit(b *pgx.Batch, index int, k core.AccessKeyRow, rows []core.Audit) {
	if len(rows) > 0 {
		b.Queue(keyAuditSQL, append(arraysOf(audits.columns, rows), index, int64(k.Serial), k.Secret)...)
	}
}

// beforeSQL selects the audit rows before the key $1, $2, the newest first.
const beforeSQL = `FROM audit WHERE (at, number) < ($1::bigint, $2::bigint) ORDER BY at DESC, number DESC`

// auditSQL looks at the first $3 rows of beforeSQL and selects the first $4 rows that have the
// given texts.
var auditSQL = fmt.Sprintf(`SELECT %s FROM (SELECT * %s LIMIT $3) looked
	WHERE $5 IN ('', operation) AND $6 IN ('', who) AND $7 IN ('', target) AND $8 IN ('', outcome)
	ORDER BY at DESC, number DESC LIMIT $4`, audits.list, beforeSQL)

// AuditPage returns a page of the audit rows, the newest first; see core.Store.
func (s *Store) AuditPage(ctx context.Context, q core.AuditQuery) (page core.AuditPage, err error) {
	before := cmp.Or(q.Before, core.AuditKey{At: math.MaxInt64})
	var end []core.AuditKey // the key of the last row that was looked at; empty if fewer than core.AuditLooked rows were
	err = s.read(ctx, "audit rows", func(b *pgx.Batch) {
		page, end = core.AuditPage{}, nil
		b.Queue(auditSQL, before.At, int64(before.Number), core.AuditLooked, q.Limit, q.Operation, q.Who, q.Target, q.Outcome).
			Query(collect(&page.Rows, audits.rowTo))
		b.Queue(`SELECT at, number `+beforeSQL+` OFFSET $3 - 1 LIMIT 1`, before.At, int64(before.Number), core.AuditLooked).
			Query(collect(&end, pgx.RowToStructByPos[core.AuditKey]))
	})
	switch n := len(page.Rows); {
	case err != nil:
		return core.AuditPage{}, err
	case n == q.Limit:
		page.Next = page.Rows[n-1].AuditKey
	case len(end) > 0:
		page.Next = end[0]
	}
	return page, nil
}

// auditBytes is the SQL expression for the approximate size of an audit row in bytes.
const auditBytes = `64 + octet_length(who) + octet_length(kind) + octet_length(role) + octet_length(client) + octet_length(operation)
	+ octet_length(target) + octet_length(outcome) + octet_length(request)`

// trimRefusedSQL deletes the oldest rows of refused attempts, so that the newest $1 bytes stay.
const trimRefusedSQL = `DELETE FROM audit WHERE refused AND (at, number) <= (
		SELECT at, number FROM (
			SELECT at, number, sum(` + auditBytes + `) OVER (ORDER BY at DESC, number DESC) AS total FROM audit WHERE refused
		) sums WHERE total > $1::bigint ORDER BY at DESC, number DESC LIMIT 1)`

// TrimAudit deletes the audit rows that are older than the given time. Of the rows of refused
// attempts it keeps only the newest ones, up to the given number of bytes; see core.Store.
func (s *Store) TrimAudit(ctx context.Context, before int64, refused int) error {
	err := s.transact(ctx, trimTimeouts, func(b *pgx.Batch) {
		b.Queue(`DELETE FROM audit WHERE at < $1`, before)
		b.Queue(trimRefusedSQL, refused)
	})
	if err != nil {
		return fmt.Errorf("delete audit rows: %w", err)
	}
	return nil
}
