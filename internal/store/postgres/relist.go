package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// nextRelistingSQL selects one thread of the table relistings: the one with the least id greater
// than $1, or if there is none, the one with the least id. It also selects the number of rows of
// the table.
const nextRelistingSQL = `SELECT thread, count(*) OVER () FROM relistings ORDER BY thread <= $1, thread LIMIT 1`

// relistSQL moves the list entries of the thread $1 from one minute to the other. It looks at up to
// $2 members, and moves the entries of those who have not left. It stores the id of the last member
// that it looked at, so that the next call continues there. After the last member of the thread,
// the relisting begins again, from the new minute to the minute of the thread's last message. The
// caller holds the lock of the thread's head. If another server has moved all entries, relistSQL
// changes nothing.
var relistSQL = fmt.Sprintf(`
WITH slice AS MATERIALIZED (
	SELECT user_id, left_on FROM members WHERE thread = $1 AND user_id > (SELECT through FROM relistings WHERE thread = $1)
	ORDER BY user_id LIMIT $2
), moved AS MATERIALIZED (
	SELECT user_id, from_minute, to_minute FROM slice, relistings WHERE thread = $1 AND left_on IS NULL
), was AS (
	DELETE FROM user_threads t USING moved m WHERE t.user_id = m.user_id AND t.minute = m.from_minute AND t.thread = $1
), is_now AS (
	INSERT INTO user_threads (user_id, minute, thread) SELECT user_id, to_minute, $1 FROM moved ON CONFLICT DO NOTHING
)
UPDATE relistings r SET
	through = CASE WHEN more THEN last ELSE '' END,
	from_minute = CASE WHEN more THEN from_minute ELSE to_minute END,
	to_minute = CASE WHEN more THEN to_minute ELSE %s END
FROM (SELECT count(*) = $2 AS more, max(user_id) AS last FROM slice) s, heads h WHERE r.thread = $1 AND h.id = $1`, minuteOf("last_message_on"))

// endRelistingSQL deletes the relisting of the thread $1 if all entries are at the minute of the
// thread's last message.
const endRelistingSQL = `DELETE FROM relistings WHERE thread = $1 AND from_minute = to_minute`

// Relist moves up to limit entries of users' lists, in a transaction of its own outside the lanes;
// see core.Store.
func (s *Store) Relist(ctx context.Context, limit int) (more bool, err error) {
	s.relisting.Lock()
	defer s.relisting.Unlock()
	var thread string
	var all int
	err = s.read(ctx, "the threads whose list entries are being moved", func(b *pgx.Batch) {
		thread, all = "", 0
		b.Queue(nextRelistingSQL, s.relisted).Query(each(func(row pgx.CollectableRow) error { return row.Scan(&thread, &all) }))
	})
	if err != nil {
		return false, err
	}
	s.relistings.Store(int64(all))
	if all == 0 {
		return false, nil
	}
	s.relisted = thread
	err = s.transact(ctx, s.timeouts, func(b *pgx.Batch) {
		b.Queue(`SELECT FROM heads WHERE id = $1 FOR UPDATE`, thread)
		b.Queue(relistSQL, thread, limit)
		b.Queue(endRelistingSQL, thread)
	})
	if err != nil {
		return false, fmt.Errorf("move thread %s in the lists of its participants: %w", thread, err)
	}
	return true, nil
}

// queueRelistings queues a query for the relistings of the threads of a batch, whose heads are locked.
func queueRelistings(b *pgx.Batch, l *core.BatchState, threads []string) {
	b.Queue(`SELECT `+relistings.list+` FROM relistings WHERE thread = ANY($1)`, threads).Query(relistings.each(func(r core.Relisting) {
		if l.Relistings == nil {
			l.Relistings = map[string]*core.Relisting{}
		}
		l.Relistings[r.Thread] = &r
	}))
}
