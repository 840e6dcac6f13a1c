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
func (tx *transaction) lock(ctx context.Context, t times, w *writer, changes []*core.Change) error {
	n := nameRows(changes)
	l := &core.Locked{
		Heads: make(map[string]*core.Head, len(n.threads)), Users: map[string]core.User{},
		Sent: map[core.SendKey]int64{}, Answers: map[string]*core.CreateAnswer{},
		Versions: map[core.MessageKey]int64{}, Receipts: map[core.ReceiptKey]core.Receipt{},
	}
	tx.locked, tx.there = l, map[string]bool{}
	var b pgx.Batch
	b.Queue("BEGIN")
	b.Queue(t.settings())
	var latest core.Head // the head with the greatest position
	if len(n.threads) > 0 {
		b.Queue(`SELECT `+headColumns+` FROM heads WHERE id = ANY($1) ORDER BY id FOR UPDATE`, slices.Sorted(maps.Keys(n.threads))).
			Query(each(func(row pgx.CollectableRow) error {
				h, day, err := scanHead(row)
				l.Heads[h.ID], l.Day, tx.there[h.ID] = &h, max(l.Day, day), true
				if h.LastPosition > latest.LastPosition {
					latest = h
				}
				return err
			}))
	}
	if len(n.users) > 0 {
		b.Queue(`SELECT id, state, deleted_at, generation FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE`, slices.Sorted(maps.Keys(n.users))).
			Query(each(func(row pgx.CollectableRow) error {
				u, err := pgx.RowToStructByPos[core.User](row)
				l.Users[u.ID], tx.there[u.ID] = u, true
				return err
			}))
	}
	n.queue(&b, l)
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
	tx.locked.Position = (tx.xid + uint64(xmin-uint32(tx.xid))) << indexBits
	return nil
}

// names are the rows that the changes of a batch name.
type names struct {
	threads, users map[string]bool
	sent           []core.SendKey
	versions       []core.MessageKey
	receipts       []core.ReceiptKey
	answers        []string
}

func nameRows(changes []*core.Change) names {
	n := names{threads: make(map[string]bool, len(changes)), users: map[string]bool{}}
	for _, c := range changes {
		if c.Thread != "" {
			n.threads[c.Thread] = true
		}
		for _, us := range [][]core.User{c.Users, c.PutUsers} {
			for _, u := range us {
				n.users[u.ID] = true
			}
		}
		if c.SendToken != "" {
			n.sent = append(n.sent, core.SendKey{Thread: c.Thread, Caller: c.Caller, Token: c.SendToken})
		}
		for _, r := range c.Rewrites {
			n.versions = append(n.versions, core.MessageKey{Thread: c.Thread, ID: r.ID})
		}
		if c.Receipt != nil {
			n.receipts = append(n.receipts, core.ReceiptKey{Thread: c.Thread, User: c.Receipt.User})
		}
		if c.Answer != nil {
			n.answers = append(n.answers, c.Thread)
		}
	}
	return n
}

// queue reads the rows that need no lock of their own: their head's guards them.
func (n names) queue(b *pgx.Batch, l *core.Locked) {
	if len(n.sent) > 0 {
		b.Queue(`SELECT thread, caller, token, message_id FROM sent
			JOIN unnest($1::text[], $2::text[], $3::text[]) AS k (thread, caller, token) USING (thread, caller, token)`,
			column(n.sent, func(k core.SendKey) string { return k.Thread }),
			column(n.sent, func(k core.SendKey) string { return k.Caller }),
			column(n.sent, func(k core.SendKey) string { return k.Token })).
			Query(each(func(row pgx.CollectableRow) error {
				var k core.SendKey
				var id int64
				err := row.Scan(&k.Thread, &k.Caller, &k.Token, &id)
				l.Sent[k] = id
				return err
			}))
	}
	if len(n.versions) > 0 {
		b.Queue(`SELECT thread, id, version FROM messages
			JOIN unnest($1::text[], $2::bigint[]) AS k (thread, id) USING (thread, id)`,
			column(n.versions, func(k core.MessageKey) string { return k.Thread }),
			column(n.versions, func(k core.MessageKey) int64 { return k.ID })).
			Query(each(func(row pgx.CollectableRow) error {
				var k core.MessageKey
				var version int64
				err := row.Scan(&k.Thread, &k.ID, &version)
				l.Versions[k] = version
				return err
			}))
	}
	if len(n.receipts) > 0 {
		b.Queue(`SELECT thread, user_id, message_id, read_on FROM receipts
			JOIN unnest($1::text[], $2::text[]) AS k (thread, user_id) USING (thread, user_id)`,
			column(n.receipts, func(k core.ReceiptKey) string { return k.Thread }),
			column(n.receipts, func(k core.ReceiptKey) string { return k.User })).
			Query(each(func(row pgx.CollectableRow) error {
				var thread string
				var r core.Receipt
				err := row.Scan(&thread, &r.User, &r.MessageID, &r.ReadOn)
				l.Receipts[core.ReceiptKey{Thread: thread, User: r.User}] = r
				return err
			}))
	}
	if len(n.answers) > 0 {
		b.Queue(`SELECT `+answerColumns+` FROM answers WHERE thread = ANY($1)`, n.answers).
			Query(each(func(row pgx.CollectableRow) error {
				a, err := scanAnswer(row)
				l.Answers[a.thread] = a.CreateAnswer
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
