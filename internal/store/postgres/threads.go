package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// threadsSQL selects up to $6 threads of user $1 whose last activity is before the cursor ($5,
// $7) and not before $3. The user's list has times in minutes only. So the query first reads
// the entries of the cursor's minute $2 and of as many earlier minutes as a page needs, down to
// minute $4, and then compares the exact times.
const threadsSQL = `
WITH listed AS (
	(SELECT thread, minute FROM user_threads WHERE user_id = $1 AND minute = $2 AND minute >= $4)
	UNION ALL
	(SELECT thread, minute FROM user_threads WHERE user_id = $1 AND minute < $2 AND minute >= $4
		ORDER BY minute DESC FETCH FIRST $6 ROWS WITH TIES)
), entries AS (
	SELECT l.minute, h.id, h.deleted_on,
		CASE WHEN m.left_on IS NULL THEN h.topic ELSE m.left_topic END AS topic,
		coalesce(m.left_on, h.last_message_on) AS active_on
	FROM listed l
	JOIN heads h ON h.id = l.thread
	JOIN members m ON m.thread = l.thread AND m.user_id = $1
)
SELECT id AS thread, topic, deleted_on, active_on AS last_message_on FROM entries
WHERE active_on >= $3 AND (active_on, id) < ($5, $7::text COLLATE "C")
ORDER BY minute DESC, active_on DESC, id DESC
LIMIT $6`

// Threads returns a page of a user's threads, the one with the latest activity first.
func (s *Store) Threads(ctx context.Context, q core.ThreadsQuery) (core.ThreadsPage, error) {
	before := q.Before
	if before == (core.ThreadsCursor{}) {
		before.On = math.MaxInt64
	}
	found, err := readAll(ctx, s, "threads of user "+q.User, pgx.RowToStructByName[core.ThreadEntry], threadsSQL,
		q.User, core.MinuteOf(before.On), q.Since, core.MinuteOf(q.Since), before.On, q.Limit+1, before.Thread)
	if err != nil {
		return core.ThreadsPage{}, err
	}
	page := core.ThreadsPage{Threads: found}
	if len(found) > q.Limit {
		page.Threads = found[:q.Limit]
		last := page.Threads[q.Limit-1]
		page.Next = core.ThreadsCursor{On: last.LastMessageOn, Thread: last.Thread}
	}
	return page, nil
}

// ThreadsOf returns up to limit ids of threads in the user's list that are greater than after,
// in ascending order.
func (s *Store) ThreadsOf(ctx context.Context, user, after string, limit int) ([]string, error) {
	const sql = `SELECT thread FROM user_threads WHERE user_id = $1 AND thread > $2::text COLLATE "C" ORDER BY thread LIMIT $3`
	return readAll(ctx, s, "threads of user "+user, pgx.RowTo[string], sql, user, after, limit)
}
