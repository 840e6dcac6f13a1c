package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// settings limits a transaction, and has it wait for the disk whatever the
// server's own setting. They are set inside of it because a session's settings
// do not survive PgBouncer.
func (t times) settings() string {
	return fmt.Sprintf(`SELECT set_config('lock_timeout', '%d', true), set_config('statement_timeout', '%d', true),
		set_config('idle_in_transaction_session_timeout', '%d', true),
		set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true)`,
		t.lock.Milliseconds(), t.statement.Milliseconds(), t.idle.Milliseconds())
}

// lock is the first round trip: it locks the heads and the users, each in the
// order of their ids, reads what else the changes name, and claims the lane's
// row. Each statement sees what was committed when it began, so that whatever
// is read behind the heads' locks is as their last holder left it.
func (tx *transaction) lock(ctx context.Context, t times, w *writer, batch core.Batch) error {
	l := core.NewBatchState(batch)
	tx.state, tx.there = l, map[string]bool{}
	var b pgx.Batch
	b.Queue("BEGIN")
	b.Queue(t.settings())
	var latest core.Head // the head with the greatest position
	if len(l.Reads.Threads) > 0 {
		b.Queue(`SELECT `+headColumns+` FROM heads WHERE id = ANY($1) ORDER BY id FOR UPDATE`, slices.Sorted(maps.Keys(l.Reads.Threads))).
			Query(each(func(row pgx.CollectableRow) error {
				h, day, err := scanHead(row)
				l.Heads[h.ID], l.Day, tx.there[h.ID] = &h, max(l.Day, day), true
				if h.LastPosition > latest.LastPosition {
					latest = h
				}
				return err
			}))
	}
	if len(l.Reads.Users) > 0 {
		b.Queue(`SELECT id, state, deleted_at, generation FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE`, slices.Sorted(maps.Keys(l.Reads.Users))).
			Query(each(func(row pgx.CollectableRow) error {
				u, err := pgx.RowToStructByPos[core.User](row)
				l.Users[u.ID], tx.there[u.ID] = u, true
				return err
			}))
	}
	queueReads(&b, l)
	b.Queue(claim, w.id, w.batch).QueryRow(func(row pgx.Row) error { return row.Scan(&tx.xid) })
	if err := tx.conn.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	l.Position = tx.xid << indexBits
	if latest.LastPosition >= l.Position {
		return tx.later(ctx, latest.ID)
	}
	return nil
}

// later mends what is rare: this transaction got its id, then waited for a head
// on which a younger one wrote events. Their positions would come before those
// that the thread already has. The id of a subtransaction, taken now that all
// locks are held, is greater than any before.
func (tx *transaction) later(ctx context.Context, thread string) error {
	var xmin uint32
	var b pgx.Batch
	b.Queue(`SAVEPOINT later`)
	b.Queue(`UPDATE heads SET revision = revision WHERE id = $1 RETURNING xmin::text::bigint`, thread).
		QueryRow(func(row pgx.Row) error { return row.Scan(&xmin) })
	b.Queue(`RELEASE SAVEPOINT later`)
	if err := tx.conn.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	// A row knows the lower half of the id; it lies less than half a turn ahead.
	tx.state.Position = (tx.xid + uint64(xmin-uint32(tx.xid))) << indexBits
	return nil
}

// queueReads reads the rows that need no lock of their own: the lock of their
// thread's head guards them.
func queueReads(b *pgx.Batch, l *core.BatchState) {
	if sent := slices.Collect(maps.Keys(l.Reads.Sent)); len(sent) > 0 {
		b.Queue(`SELECT thread, caller, token, message_id FROM sent
			JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (thread, caller, token) USING (thread, caller, token)`,
			column(sent, func(k core.SendKey) string { return k.Thread }),
			column(sent, func(k core.SendKey) string { return k.Caller }),
			column(sent, func(k core.SendKey) string { return k.Token })).
			Query(each(func(row pgx.CollectableRow) error {
				var k core.SendKey
				var id int64
				err := row.Scan(&k.Thread, &k.Caller, &k.Token, &id)
				l.Sent[k] = id
				return err
			}))
	}
	if messages := slices.Collect(maps.Keys(l.Reads.Messages)); len(messages) > 0 {
		b.Queue(`SELECT thread, `+messageColumns+` FROM messages
			JOIN unnest($1::text[], $2::bigint[]) AS k (thread, id) USING (thread, id)`,
			column(messages, func(k core.MessageKey) string { return k.Thread }),
			column(messages, func(k core.MessageKey) int64 { return k.ID })).
			Query(each(func(row pgx.CollectableRow) error {
				var thread string
				m, err := scanMessage(behind{row, &thread})
				l.Messages[core.MessageKey{Thread: thread, ID: m.ID}] = m
				return err
			}))
	}
	if receipts := slices.Collect(maps.Keys(l.Reads.Receipts)); len(receipts) > 0 {
		b.Queue(`SELECT thread, user_id, message_id, read_on FROM receipts
			JOIN unnest($1::text[], $2::text[]) AS k (thread, user_id) USING (thread, user_id)`,
			column(receipts, func(k core.ReceiptKey) string { return k.Thread }),
			column(receipts, func(k core.ReceiptKey) string { return k.User })).
			Query(each(func(row pgx.CollectableRow) error {
				var thread string
				var r core.Receipt
				err := row.Scan(&thread, &r.User, &r.MessageID, &r.ReadOn)
				l.Receipts[core.ReceiptKey{Thread: thread, User: r.User}] = r
				return err
			}))
	}
	if len(l.Reads.Answers) > 0 {
		b.Queue(`SELECT `+answerColumns+` FROM answers WHERE thread = ANY($1)`, slices.Collect(maps.Keys(l.Reads.Answers))).
			Query(each(func(row pgx.CollectableRow) error {
				a, err := scanAnswer(row)
				l.Answers[a.thread] = a.CreateAnswer
				return err
			}))
	}
	var rosters []string
	for id, withMembers := range l.Reads.Threads {
		if withMembers {
			rosters = append(rosters, id)
		}
	}
	if len(rosters) > 0 {
		b.Queue(`SELECT thread, `+memberColumns+` FROM members WHERE thread = ANY($1)`, rosters).
			Query(each(func(row pgx.CollectableRow) error {
				var thread string
				m, err := scanMember(behind{row, &thread})
				l.Members[thread] = append(l.Members[thread], m)
				return err
			}))
	}
}

// each hands the rows of a queued query on, one by one.
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

// column is one column of rows, for an array parameter.
func column[R, V any](rows []R, value func(R) V) []V {
	vs := make([]V, len(rows))
	for i, r := range rows {
		vs[i] = value(r)
	}
	return vs
}
