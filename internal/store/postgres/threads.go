package postgres

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// threadsSQL reads whole minutes of a user's list: the cursor's own, and as
// many older ones as a page needs. Within them the exact times decide.
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

// Threads returns a page of a user's threads.
func (s *Store) Threads(ctx context.Context, q core.ThreadsQuery) (core.ThreadsPage, error) {
	before := q.Before
	if before == (core.ThreadsCursor{}) {
		before.On = math.MaxInt64
	}
	var found []core.ThreadEntry
	err := s.read(ctx, "threads of user "+q.User, func(b *pgx.Batch) {
		found = nil
		b.Queue(threadsSQL, q.User, core.MinuteOf(before.On), q.Since, core.MinuteOf(q.Since), before.On, q.Limit+1, before.Thread).
			Query(all(&found, pgx.RowToStructByName[core.ThreadEntry]))
	})
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

// ThreadsOf returns ids of the threads in a user's list, in the order of ids.
func (s *Store) ThreadsOf(ctx context.Context, user, after string, limit int) ([]string, error) {
	var ids []string
	err := s.read(ctx, "threads of user "+user, func(b *pgx.Batch) {
		ids = nil
		b.Queue(`SELECT thread FROM user_threads WHERE user_id = $1 AND thread > $2::text COLLATE "C" ORDER BY thread LIMIT $3`, user, after, limit).
			Query(all(&ids, pgx.RowTo[string]))
	})
	return ids, err
}
