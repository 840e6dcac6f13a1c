package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// write is the second round trip: the rows as arrays, a statement per table,
// then the COMMIT. New heads come first and new users last, each in the order
// of their ids: the only rows for which it may wait for another writer.
func (tx *transaction) write(ctx context.Context, r *rows) error {
	var b pgx.Batch
	var born, moved []*core.Head
	for _, h := range r.heads {
		if tx.there[h.ID] {
			moved = append(moved, h)
		} else {
			born = append(born, h)
		}
	}
	queueHeads(&b, insertHeads, born, r.day)
	queueHeads(&b, updateHeads, moved, r.day)
	queuePurges(&b, r)
	queueMessages(&b, insertMessages, r.messages)
	queueMessages(&b, updateMessages, column(pairs(r.rewrites, nil), func(p pair[core.MessageKey, message]) message { return p.row }))
	queueEvents(&b, r.events)
	queueMembers(&b, pairs(r.members, nil))
	queueReceipts(&b, r)
	queueSent(&b, pairs(r.sent, nil))
	queueAnswers(&b, r.answers)
	queueLists(&b, r)
	tx.queueUsers(&b, r.users)
	// A COMMIT that waits for a standby must not be cut short: it would be
	// reported as done all the same.
	b.Queue(`SELECT set_config('statement_timeout', '0', true)`)
	b.Queue(`COMMIT`)
	return tx.conn.SendBatch(ctx, &b).Close()
}

const headArrays = `unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[], $8::integer[],
	$9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])`

const insertHeads = `INSERT INTO heads (` + headColumns + `) SELECT *, $14::integer FROM ` + headArrays

const updateHeads = `UPDATE heads h SET revision = n.revision, topic = n.topic, created_by = n.created_by, created_on = n.created_on,
	deleted_on = n.deleted_on, metadata = n.metadata, retention_days = n.retention_days, last_id = n.last_id, last_sequence = n.last_sequence,
	last_event = n.last_event, last_position = n.last_position, last_message_on = n.last_message_on, last_day = $14::integer
	FROM ` + headArrays + ` AS n (id, revision, topic, created_by, created_on, deleted_on, metadata, retention_days,
	last_id, last_sequence, last_event, last_position, last_message_on) WHERE h.id = n.id`

func queueHeads(b *pgx.Batch, sql string, hs []*core.Head, day uint32) {
	if len(hs) == 0 {
		return
	}
	b.Queue(sql,
		column(hs, func(h *core.Head) string { return h.ID }),
		column(hs, func(h *core.Head) int64 { return int64(h.Revision) }),
		column(hs, func(h *core.Head) string { return h.Topic }),
		column(hs, func(h *core.Head) string { return h.CreatedBy }),
		column(hs, func(h *core.Head) int64 { return h.CreatedOn }),
		column(hs, func(h *core.Head) int64 { return h.DeletedOn }),
		column(hs, func(h *core.Head) []byte { return encodeMap(h.Metadata) }),
		column(hs, func(h *core.Head) int32 { return h.RetentionDays }),
		column(hs, func(h *core.Head) int64 { return h.LastID }),
		column(hs, func(h *core.Head) int64 { return int64(h.LastSequence) }),
		column(hs, func(h *core.Head) int64 { return int64(h.LastEvent) }),
		column(hs, func(h *core.Head) int64 { return int64(h.LastPosition) }),
		column(hs, func(h *core.Head) int64 { return h.LastMessageOn }),
		int32(day))
}

func queuePurges(b *pgx.Batch, r *rows) {
	if len(r.purged) == 0 {
		return
	}
	var threads []string
	for id := range r.purged {
		threads = append(threads, id)
	}
	b.Queue(`DELETE FROM messages WHERE thread = ANY($1)`, threads)
	b.Queue(`DELETE FROM sent WHERE thread = ANY($1)`, threads)
	b.Queue(`DELETE FROM receipts WHERE thread = ANY($1)`, threads)
}

const messageArrays = `unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::bigint[], $7::bigint[], $8::bigint[],
	$9::text[], $10::text[], $11::text[], $12::bytea[], $13::text[], $14::bytea[])`

const insertMessages = `INSERT INTO messages (thread, ` + messageColumns + `) SELECT * FROM ` + messageArrays

const updateMessages = `UPDATE messages m SET sequence = n.sequence, version = n.version, kind = n.kind, created_on = n.created_on,
	edited_on = n.edited_on, deleted_on = n.deleted_on, sender = n.sender, sender_name = n.sender_name, content = n.content,
	metadata = n.metadata, initiator = n.initiator, participants = n.participants
	FROM ` + messageArrays + ` AS n (thread, ` + messageColumns + `) WHERE m.thread = n.thread AND m.id = n.id`

func queueMessages(b *pgx.Batch, sql string, ms []message) {
	if len(ms) == 0 {
		return
	}
	b.Queue(sql,
		column(ms, func(m message) string { return m.thread }),
		column(ms, func(m message) int64 { return int64(m.Sequence) }),
		column(ms, func(m message) int64 { return m.ID }),
		column(ms, func(m message) int64 { return m.Version }),
		column(ms, func(m message) int16 { return int16(m.Kind) }),
		column(ms, func(m message) int64 { return m.CreatedOn }),
		column(ms, func(m message) int64 { return m.EditedOn }),
		column(ms, func(m message) int64 { return m.DeletedOn }),
		column(ms, func(m message) string { return m.Sender }),
		column(ms, func(m message) string { return m.SenderDisplayName }),
		column(ms, func(m message) string { return m.Content }),
		column(ms, func(m message) []byte { return encodeMap(m.Metadata) }),
		column(ms, func(m message) string { return m.Initiator }),
		column(ms, func(m message) []byte { return encodeParticipants(m.Participants) }))
}

func queueEvents(b *pgx.Batch, es []core.Event) {
	if len(es) == 0 {
		return
	}
	b.Queue(`INSERT INTO events (day, thread, number, position, kind, message_id, version, actor)
		SELECT * FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::bigint[], $5::smallint[], $6::bigint[], $7::bigint[], $8::text[])`,
		column(es, func(e core.Event) int32 { return int32(e.Day) }),
		column(es, func(e core.Event) string { return e.Thread }),
		column(es, func(e core.Event) int64 { return int64(e.Number) }),
		column(es, func(e core.Event) int64 { return int64(e.Position) }),
		column(es, func(e core.Event) int16 { return int16(e.Kind) }),
		column(es, func(e core.Event) int64 { return e.MessageID }),
		column(es, func(e core.Event) int64 { return e.Version }),
		column(es, func(e core.Event) string { return e.Actor }))
}

func queueMembers(b *pgx.Batch, ms []pair[core.ReceiptKey, core.Member]) {
	if len(ms) == 0 {
		return
	}
	type row = pair[core.ReceiptKey, core.Member]
	left := func(m row) core.Left {
		if m.row.Left == nil {
			return core.Left{}
		}
		return *m.row.Left
	}
	b.Queue(`INSERT INTO members (thread, user_id, display_name, share_history, joined_on, joining_order, intervals, metadata, left_on, left_sequence, left_topic)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[], $8::bytea[],
			$9::bigint[], $10::bigint[], $11::text[])
		ON CONFLICT (thread, user_id) DO UPDATE SET display_name = excluded.display_name, share_history = excluded.share_history,
			joined_on = excluded.joined_on, joining_order = excluded.joining_order, intervals = excluded.intervals, metadata = excluded.metadata,
			left_on = excluded.left_on, left_sequence = excluded.left_sequence, left_topic = excluded.left_topic`,
		column(ms, func(m row) string { return m.key.Thread }),
		column(ms, func(m row) string { return m.key.User }),
		column(ms, func(m row) string { return m.row.DisplayName }),
		column(ms, func(m row) int64 { return m.row.ShareHistory }),
		column(ms, func(m row) int64 { return m.row.JoinedOn }),
		column(ms, func(m row) int64 { return int64(m.row.Order) }),
		column(ms, func(m row) []byte { return encodeIntervals(m.row.Intervals) }),
		column(ms, func(m row) []byte { return encodeMap(m.row.Metadata) }),
		column(ms, func(m row) *int64 {
			if m.row.Left == nil {
				return nil
			}
			return &m.row.Left.On
		}),
		column(ms, func(m row) int64 { return int64(left(m).Sequence) }),
		column(ms, func(m row) string { return left(m).Topic }))
}

func queueReceipts(b *pgx.Batch, r *rows) {
	type row = pair[core.ReceiptKey, *core.Receipt]
	thread := func(p row) string { return p.key.Thread }
	user := func(p row) string { return p.key.User }
	if gone := pairs(r.receipts, func(r *core.Receipt) bool { return r == nil }); len(gone) > 0 {
		b.Queue(`DELETE FROM receipts r USING unnest($1::text[], $2::text[]) AS k (thread, user_id)
			WHERE r.thread = k.thread AND r.user_id = k.user_id`, column(gone, thread), column(gone, user))
	}
	if put := pairs(r.receipts, func(r *core.Receipt) bool { return r != nil }); len(put) > 0 {
		b.Queue(`INSERT INTO receipts (thread, user_id, message_id, read_on) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
			ON CONFLICT (thread, user_id) DO UPDATE SET message_id = excluded.message_id, read_on = excluded.read_on`,
			column(put, thread), column(put, user),
			column(put, func(p row) int64 { return p.row.MessageID }),
			column(put, func(p row) int64 { return p.row.ReadOn }))
	}
}

func queueSent(b *pgx.Batch, sent []pair[core.SendKey, int64]) {
	if len(sent) == 0 {
		return
	}
	type row = pair[core.SendKey, int64]
	b.Queue(`INSERT INTO sent (thread, caller, token, message_id) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])`,
		column(sent, func(p row) string { return p.key.Thread }),
		column(sent, func(p row) string { return p.key.Caller }),
		column(sent, func(p row) string { return p.key.Token }),
		column(sent, func(p row) int64 { return p.row }))
}

func queueAnswers(b *pgx.Batch, as []answer) {
	if len(as) == 0 {
		return
	}
	b.Queue(`INSERT INTO answers (`+answerColumns+`)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::integer[], $7::bytea[])
		ON CONFLICT (thread) DO UPDATE SET topic = excluded.topic, created_by = excluded.created_by, created_on = excluded.created_on,
			metadata = excluded.metadata, retention_days = excluded.retention_days, invalid = excluded.invalid`,
		column(as, func(a answer) string { return a.thread }),
		column(as, func(a answer) string { return a.Topic }),
		column(as, func(a answer) string { return a.CreatedBy }),
		column(as, func(a answer) int64 { return a.CreatedOn }),
		column(as, func(a answer) []byte { return encodeMap(a.Metadata) }),
		column(as, func(a answer) int32 { return a.RetentionDays }),
		column(as, func(a answer) []byte { return encodeInvalid(a.Invalid) }))
}

func queueLists(b *pgx.Batch, r *rows) {
	var gone, put []entry
	for e, there := range r.lists {
		if there {
			put = append(put, e)
		} else {
			gone = append(gone, e)
		}
	}
	queue := func(sql string, es []entry) {
		if len(es) == 0 {
			return
		}
		es = inOrder(es)
		b.Queue(sql,
			column(es, func(e entry) string { return e.user }),
			column(es, func(e entry) int64 { return e.minute }),
			column(es, func(e entry) string { return e.thread }))
	}
	queue(`DELETE FROM user_threads t USING unnest($1::text[], $2::bigint[], $3::text[]) AS k (user_id, minute, thread)
		WHERE t.user_id = k.user_id AND t.minute = k.minute AND t.thread = k.thread`, gone)
	queue(`INSERT INTO user_threads (user_id, minute, thread) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])
		ON CONFLICT DO NOTHING`, put)
}

// queueUsers inserts a new user without more ado: if another writer has made it
// meanwhile, the batch begins anew and sees it.
func (tx *transaction) queueUsers(b *pgx.Batch, us []core.User) {
	queue := func(sql string, us []core.User) {
		if len(us) == 0 {
			return
		}
		b.Queue(sql,
			column(us, func(u core.User) string { return u.ID }),
			column(us, func(u core.User) int16 { return int16(u.State) }),
			column(us, func(u core.User) int64 { return u.DeletedAt }),
			column(us, func(u core.User) int64 { return int64(u.Generation) }))
	}
	var born, moved []core.User
	for _, u := range us {
		if tx.there[u.ID] {
			moved = append(moved, u)
		} else {
			born = append(born, u)
		}
	}
	queue(`UPDATE users u SET state = n.state, deleted_at = n.deleted_at, generation = n.generation
		FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[]) AS n (id, state, deleted_at, generation) WHERE u.id = n.id`, moved)
	queue(`INSERT INTO users (id, state, deleted_at, generation) SELECT * FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[])`, born)
}
