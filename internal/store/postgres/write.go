package postgres

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

var (
	updateHeads    = heads.update("id")
	updateUsers    = users.update("id")
	updateMessages = messages.update("thread", "id")
	upsertMembers  = members.upsert()
	upsertReceipts = receipts.upsert()
	upsertKept     = kept.upsert()
	upsertAnswers  = answers.upsert()
	insertLists    = lists.insert + ` ON CONFLICT DO NOTHING`
)

// insertBatch writes the row of a batch. When it is committed, the sequencer finds the batch by
// this row.
const insertBatch = `INSERT INTO batches (number, events, batch_check, day) VALUES ($1, $2, $3, $4)`

// write is the second round trip of a batch. It writes the rows, with one statement for each table
// and arrays of column values as parameters, and commits. New heads come first and new users last,
// each sorted by id, because these inserts may wait for another transaction that inserts the same
// id. check is the batch's random number, which distinguishes it from another batch with the same
// number.
func (tx *transaction) write(ctx context.Context, r *rows, check uint32) error {
	var b pgx.Batch
	updated, added := split(r.heads, func(h row.DatedHead) bool { return tx.exists[h.ID] })
	heads.queue(&b, heads.insert, added)
	heads.queue(&b, updateHeads, updated)
	queuePurges(&b, r)
	messages.queue(&b, messages.insert, r.messages)
	messages.queue(&b, updateMessages, slices.Collect(maps.Values(r.rewrites)))
	putKept, droppedKept := split(slices.Collect(maps.Values(r.kept)), func(r core.ThreadSuperseded) bool { return r.Until != 0 })
	kept.queueRemoval(&b, droppedKept)
	kept.queue(&b, upsertKept, putKept)
	if len(r.events) > 0 {
		events.queue(&b, events.insert, r.events)
		b.Queue(insertBatch, int64(tx.number), len(r.events), int64(check), int64(tx.state.Day))
	}
	members.queue(&b, upsertMembers, slices.Collect(maps.Values(r.members)))
	put, dropped := split(slices.Collect(maps.Values(r.receipts)), func(r core.ThreadReceipt) bool { return r.MessageID != 0 })
	receipts.queueRemoval(&b, dropped)
	receipts.queue(&b, upsertReceipts, put)
	sent.queue(&b, sent.insert, slices.Collect(maps.Values(r.sent)))
	answers.queue(&b, upsertAnswers, r.answers)
	listed, unlisted := split(slices.SortedFunc(maps.Keys(r.lists), listOrder), func(m core.ListMove) bool { return r.lists[m] })
	lists.queueRemoval(&b, unlisted)
	lists.queue(&b, insertLists, listed)
	relistings.queue(&b, relistings.insert, r.relistings)
	audits.queue(&b, upsertAudit, slices.Collect(maps.Values(r.audits)))
	// Do not use ON CONFLICT: if another transaction has inserted the user meanwhile, this
	// statement must fail, so that the batch is tried again and sees that row.
	changed, created := split(r.users, func(u core.User) bool { return tx.exists[u.ID] })
	users.queue(&b, updateUsers, changed)
	users.queue(&b, users.insert, created)
	// Turn off the statement timeout: a COMMIT that waits for a standby must not time out,
	// because the server would report it as done although the standby has not confirmed it.
	b.Queue(`SELECT set_config('statement_timeout', '0', true)`)
	b.Queue(`COMMIT`)
	return tx.conn.SendBatch(ctx, &b).Close()
}

// split returns the rows for which is returns true, and then the other rows. Both slices keep the
// order of the rows.
func split[T any](all []T, is func(T) bool) (yes, no []T) {
	for _, r := range all {
		if is(r) {
			yes = append(yes, r)
		} else {
			no = append(no, r)
		}
	}
	return yes, no
}
