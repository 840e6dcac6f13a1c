package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// settings returns a statement that sets the timeouts of a transaction, and turns
// synchronous_commit on if it is off. The settings end with the transaction: behind PgBouncer,
// settings of a session would apply to transactions of other clients.
func (t timeouts) settings() string {
	return fmt.Sprintf(`SELECT set_config('lock_timeout', '%d', true), set_config('statement_timeout', '%d', true),
		set_config('idle_in_transaction_session_timeout', '%d', true),
		set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), true)`,
		t.lock.Milliseconds(), t.statement.Milliseconds(), t.idle.Milliseconds())
}

// planning is a statement that sets how the later statements of its transaction are planned: once
// for each connection, for arrays of any length, with an index for each table. Batches and frequent
// reads run it. Without it, a plan that was made while a table was small would read the whole table
// when it is large, and each execution would be planned again, which takes longer than reading a
// page of messages. jit is off, because PostgreSQL would compile these plans: it counts them as
// very expensive.
const planning = `SELECT set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true),
	set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)`

// planningInOrder is the statement planning with two more settings, for reads of pages. They make a
// read take its rows in the order of an index, so that LIMIT bounds the number of rows read. The
// planner does not know how many rows a thread or a user has, and would otherwise sort all of them.
const planningInOrder = planning + `, set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)`

// lock is the first round trip of a batch. It begins the transaction, locks heads and then
// users, each in the order of ids, reads the other rows that the changes name, and claims the
// lane's row in the table writers. If the batch may have events, it draws the batch's number.
// If another server has added messages to a thread that gets a send, reading them may take a
// second round trip.
// In READ COMMITTED each statement sees everything committed before it, so the rows of a thread
// are read as the previous holder of the head's lock left them. lock fails on a standby.
func (tx *transaction) lock(ctx context.Context, t timeouts, w *writer, batch core.Batch) error {
	l := tx.state
	tx.exists = map[string]bool{}
	var b pgx.Batch
	b.Queue("BEGIN")
	b.Queue(t.settings())
	b.Queue(planning)
	if len(l.Reads.Threads) > 0 {
		threads := slices.Sorted(maps.Keys(l.Reads.Threads))
		b.Queue(`SELECT `+heads.list+` FROM heads WHERE id = ANY($1) ORDER BY id FOR UPDATE`, threads).
			Query(heads.each(func(h row.DatedHead) {
				l.Heads[h.ID], l.Day, tx.exists[h.ID] = &h.Head, max(l.Day, h.LastDay), true
			}))
		queueRelistings(&b, l, threads)
	}
	if len(l.Reads.Users) > 0 {
		b.Queue(`SELECT `+users.list+` FROM users WHERE id = ANY($1) ORDER BY id FOR UPDATE`, slices.Sorted(maps.Keys(l.Reads.Users))).
			Query(users.each(func(u core.User) { l.Users[u.ID], tx.exists[u.ID] = u, true }))
	}
	queueReads(&b, l)
	recent := queryRecent(&b, w.recent.Expected(l, batch.At))
	b.Queue(claimSQL, w.id, w.batch, mayHaveEvents(batch)).QueryRow(func(row pgx.Row) error { return row.Scan(&tx.number) })
	if err := tx.conn.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	l.Position = core.PlaceOf(tx.number)
	return tx.loadRecent(ctx, w.recent, recent, batch.At)
}

// queueReads queues the queries for the rows that a batch reads besides heads and users. It does
// not lock these rows, because the lock of their thread's head protects them. Nothing protects
// custom ids: if another transaction gives a user the same custom id meanwhile, the unique index
// makes the write of this batch fail, and Apply tries again.
func queueReads(b *pgx.Batch, l *core.BatchState) {
	var tokens []core.SentToken
	for k := range l.Reads.Sent {
		tokens = append(tokens, core.SentToken{SendKey: k})
	}
	sent.find(b, tokens, func(t core.SentToken) { l.Sent[t.SendKey] = t.MessageID }, sent.key...)
	var ms []core.ThreadMessage
	for k := range l.Reads.Messages {
		ms = append(ms, core.ThreadMessage{Thread: k.Thread, Message: core.Message{ID: k.ID}})
	}
	messages.find(b, ms, func(m core.ThreadMessage) {
		l.Messages[core.MessageKey{Thread: m.Thread, ID: m.ID}] = m.Message
	}, "thread", "id")
	queueSpans(b, l)
	if len(l.Reads.CustomIDs) > 0 {
		b.Queue(`SELECT custom_id, id FROM users WHERE custom_id = ANY($1) AND custom_id <> ''`, slices.Collect(maps.Keys(l.Reads.CustomIDs))).
			Query(users.each(func(u core.User) { l.CustomIDs[u.CustomID] = u.ID }))
	}
	var rs []core.ThreadReceipt
	for k := range l.Reads.Receipts {
		rs = append(rs, core.ThreadReceipt{Thread: k.Thread, Receipt: core.Receipt{User: k.User}})
	}
	receipts.find(b, rs, func(r core.ThreadReceipt) {
		l.Receipts[core.ReceiptKey{Thread: r.Thread, User: r.User}] = r.Receipt
	}, receipts.key...)
	if len(l.Reads.Answers) > 0 {
		b.Queue(`SELECT `+answers.list+` FROM answers WHERE thread = ANY($1)`, slices.Collect(maps.Keys(l.Reads.Answers))).
			Query(answers.each(func(a core.ThreadAnswer) { l.Answers[a.Thread] = &a.CreateAnswer }))
	}
	if len(l.Reads.Sent)+len(l.Reads.Messages)+len(l.Reads.Receipts) > 0 { // after their queries
		queuePurged(b, slices.Collect(maps.Keys(l.Reads.Threads)), func(thread string) { hide(l, thread) })
	}
	var rosters []string
	for id, withMembers := range l.Reads.Threads {
		if withMembers {
			rosters = append(rosters, id)
		}
	}
	if len(rosters) > 0 {
		b.Queue(`SELECT `+members.list+` FROM members WHERE thread = ANY($1)`, rosters).
			Query(func(rows pgx.Rows) error {
				found := map[string][]core.Member{}
				err := members.each(func(m core.ThreadMember) { found[m.Thread] = append(found[m.Thread], m.Member) })(rows)
				for _, id := range rosters { // also a thread that the batch creates
					l.Members[id] = core.NewRoster(found[id])
				}
				return err
			})
	}
}

// spansSQL selects, for each superseded version of the given messages, its sequence and the
// sequence of the next version.
const spansSQL = `SELECT thread, id, sequence, until FROM superseded JOIN unnest($1::text[], $2::bigint[]) AS n (thread, id) USING (thread, id) ORDER BY sequence`

// queueSpans queues the query for the superseded versions that a batch needs, if there are any.
func queueSpans(b *pgx.Batch, l *core.BatchState) {
	if len(l.Reads.Superseded) == 0 {
		return
	}
	var threads []string
	var ids []int64
	for k := range l.Reads.Superseded {
		threads, ids = append(threads, k.Thread), append(ids, k.ID)
	}
	b.Queue(spansSQL, threads, ids).Query(kept.each(func(r core.ThreadSuperseded) {
		k := core.MessageKey{Thread: r.Thread, ID: r.ID}
		l.Superseded[k] = append(l.Superseded[k], core.Span{Sequence: r.Sequence, Until: r.Until})
	}))
}
