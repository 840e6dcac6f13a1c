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
func (t timeouts) settings() string {
	return fmt.Sprintf(`SELECT set_config('lock_timeout', '%d', true), set_config('statement_timeout', '%d', true),
		set_config('idle_in_transaction_session_timeout', '%d', true),
		set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true)`,
		t.lock.Milliseconds(), t.statement.Milliseconds(), t.idle.Milliseconds())
}

// lock is the first round trip: it locks the heads and the users, each in the
// order of their ids, reads what else the changes name, and claims the lane's
// row. Each statement sees what was committed when it began, so that whatever
// is read behind the heads' locks is as their last holder left it.
func (tx *transaction) lock(ctx context.Context, t timeouts, w *writer, batch core.Batch) error {
	l := core.NewBatchState(batch)
	tx.state, tx.there = l, map[string]bool{}
	var b pgx.Batch
	b.Queue("BEGIN")
	b.Queue(t.settings())
	var latest core.Head // the head with the greatest position
	if len(l.Reads.Threads) > 0 {
		b.Queue(`SELECT `+heads.list+` FROM heads WHERE id = ANY($1) ORDER BY id FOR UPDATE`, slices.Sorted(maps.Keys(l.Reads.Threads))).
			Query(each(func(row pgx.CollectableRow) error {
				h, err := heads.scan(row)
				l.Heads[h.ID], l.Day, tx.there[h.ID] = &h.Head, max(l.Day, h.LastDay), true
				if h.LastPosition > latest.LastPosition {
					latest = h.Head
				}
				return err
			}))
	}
	if len(l.Reads.Users) > 0 {
		b.Queue(`SELECT `+users.list+` FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE`, slices.Sorted(maps.Keys(l.Reads.Users))).
			Query(each(func(row pgx.CollectableRow) error {
				u, err := users.scan(row)
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
	var wanted struct {
		sent     []core.SentToken
		messages []core.ThreadMessage
		receipts []core.ThreadReceipt
		rosters  []string
	}
	for k := range l.Reads.Sent {
		wanted.sent = append(wanted.sent, core.SentToken{SendKey: k})
	}
	for k := range l.Reads.Messages {
		wanted.messages = append(wanted.messages, core.ThreadMessage{Thread: k.Thread, Message: core.Message{ID: k.ID}})
	}
	for k := range l.Reads.Receipts {
		wanted.receipts = append(wanted.receipts, core.ThreadReceipt{Thread: k.Thread, Receipt: core.Receipt{User: k.User}})
	}
	for id, withMembers := range l.Reads.Threads {
		if withMembers {
			wanted.rosters = append(wanted.rosters, id)
		}
	}
	sent.find(b, wanted.sent, func(t core.SentToken) { l.Sent[t.SendKey] = t.MessageID }, sent.key...)
	messages.find(b, wanted.messages, func(m core.ThreadMessage) {
		l.Messages[core.MessageKey{Thread: m.Thread, ID: m.ID}] = m.Message
	}, "thread", "id")
	receipts.find(b, wanted.receipts, func(r core.ThreadReceipt) {
		l.Receipts[core.ReceiptKey{Thread: r.Thread, User: r.User}] = r.Receipt
	}, receipts.key...)
	if len(l.Reads.Answers) > 0 {
		b.Queue(`SELECT `+answers.list+` FROM answers WHERE thread = ANY($1)`, slices.Collect(maps.Keys(l.Reads.Answers))).
			Query(answers.each(func(a core.ThreadAnswer) { l.Answers[a.Thread] = &a.CreateAnswer }))
	}
	if len(wanted.rosters) > 0 {
		b.Queue(`SELECT `+members.list+` FROM members WHERE thread = ANY($1)`, wanted.rosters).
			Query(members.each(func(m core.ThreadMember) { l.Members[m.Thread] = append(l.Members[m.Thread], m.Member) }))
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
