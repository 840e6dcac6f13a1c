package postgres

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// entriesSQL defines a table named page with up to $6 threads of user $1 whose last activity is
// before the cursor ($5, $7) and not before $3. The user's list has times in minutes only. So the
// query first reads the entries of the cursor's minute $2 and of as many earlier minutes as a page
// needs, down to minute $4, and then compares the exact times.
//
// live is the id of a thread that is not deleted, or NULL; here is that of one that the user is
// also in now. since is the creation time of the oldest messages that the user may see, and
// left_at the last sequence for a user who has left, or NULL.
var entriesSQL = `
WITH listed AS (
	(SELECT thread, minute FROM user_threads WHERE user_id = $1 AND minute = $2 AND minute >= $4)
	UNION ALL
	(SELECT thread, minute FROM user_threads WHERE user_id = $1 AND minute < $2 AND minute >= $4
		ORDER BY minute DESC FETCH FIRST $6 ROWS WITH TIES)
), entries AS (
	SELECT l.minute, h.id, h.deleted_on AS ended_on,
		CASE WHEN m.left_on IS NULL THEN h.topic ELSE m.left_topic END AS topic,
		coalesce(m.left_on, h.last_message_on) AS active_on,
		CASE WHEN h.retention_days > 0 AND h.deleted_on = 0 THEN ` + expiresOn + ` ELSE 0 END AS expires_on,
		CASE WHEN h.deleted_on = 0 THEN h.id END AS live,
		CASE WHEN h.deleted_on = 0 AND m.left_on IS NULL THEN h.id END AS here,
		least(m.share_history, m.joined_on) AS since,
		CASE WHEN m.left_on IS NOT NULL THEN m.left_sequence END AS left_at
	FROM listed l
	JOIN heads h ON h.id = l.thread
	JOIN members m ON m.thread = l.thread AND m.user_id = $1
), page AS (
	SELECT * FROM entries
	WHERE active_on >= $3 AND (active_on, id) < ($5, $7::text COLLATE "C")
	ORDER BY minute DESC, active_on DESC, id DESC
	LIMIT $6
)
SELECT page.id AS entry, page.topic, page.ended_on, page.active_on, page.expires_on`

// previewSQL is a table named message with the last message that the user of entriesSQL may see,
// or with no row; see core.ThreadEntry. The first SELECT is for a user who is in the thread, and
// the other two are for one who has left: the second one looks for a superseded version after the
// message that the first one has found.
var previewSQL = fmt.Sprintf(`
LEFT JOIN LATERAL (
	(SELECT * FROM (SELECT %[1]s FROM messages WHERE thread = page.here ORDER BY id DESC LIMIT %[3]d) recent
		WHERE created_on >= page.since ORDER BY id DESC LIMIT 1)
	UNION ALL
	(SELECT %[1]s FROM messages WHERE thread = page.live AND sequence <= page.left_at AND created_on >= page.since
		ORDER BY sequence DESC LIMIT 1)
	UNION ALL
	(SELECT %[2]s FROM superseded WHERE thread = page.live AND sequence <= page.left_at AND until > page.left_at AND created_on >= page.since
		AND sequence > coalesce((SELECT max(sequence) FROM messages WHERE thread = page.live AND sequence <= page.left_at AND created_on >= page.since), 0)
		ORDER BY sequence DESC LIMIT 1)
	ORDER BY sequence DESC LIMIT 1
) message ON true`, shortened(threadMessages.list), shortened(keptList), core.RecentMessages)

// unreadSQL is a table named unread with the number of messages that are unread for the user of
// entriesSQL; see core.ThreadEntry.
var unreadSQL = fmt.Sprintf(`
CROSS JOIN LATERAL (
	SELECT count(*) AS unread FROM (
		SELECT FROM (
			SELECT sender, deleted_on, created_on FROM messages
			WHERE thread = page.here AND id > coalesce((SELECT message_id FROM receipts WHERE thread = page.here AND user_id = $1), 0)
			ORDER BY id DESC LIMIT %d
		) recent
		WHERE sender <> '' AND sender <> $1 AND deleted_on = 0 AND created_on >= page.since
		LIMIT %d
	) counted
) unread`, core.RecentMessages, core.MaxUnread)

// inOrderSQL makes the planner read the messages in the order of an index, so that the LIMITs bound
// what is read. It would otherwise rather sort all messages of a thread, because it does not know
// how many there are. Just-in-time compilation would take longer than the query.
const inOrderSQL = `SELECT set_config(name, 'off', true) FROM unnest('{enable_sort,enable_bitmapscan,enable_seqscan,jit}'::text[]) AS settings (name)`

// shortened returns a list of columns of a message for a preview: without metadata and
// fingerprint, and with as many characters of the content as the preview may have bytes.
func shortened(list string) string {
	return strings.NewReplacer(
		"NULL::bytea AS fingerprint", "NULL::bytea AS fingerprint", // of keptList: stays
		"fingerprint", "NULL::bytea AS fingerprint",
		"metadata", "NULL::bytea AS metadata",
		"content", fmt.Sprintf("left(content, %d) AS content", core.MaxPreview),
	).Replace(list)
}

// threadsSQL has the query for each value of core.ThreadsQuery.Expand.
var threadsSQL = func() map[core.Expand]string {
	all := map[core.Expand]string{}
	for _, e := range []core.Expand{{}, {LastMessage: true}, {Unread: true}, {LastMessage: true, Unread: true}} {
		sql, from := entriesSQL, "\nFROM page"
		if e.LastMessage {
			for _, c := range threadMessages.columns { // without a message, the columns are zero
				switch name := "message." + c.Name; c.Type {
				case "bytea":
					sql += ", " + name
				case "text":
					sql += fmt.Sprintf(", coalesce(%s, '') AS %s", name, c.Name)
				default:
					sql += fmt.Sprintf(", coalesce(%s, 0) AS %s", name, c.Name)
				}
			}
			from += previewSQL
		}
		if e.Unread {
			sql, from = sql+", unread.unread", from+unreadSQL
		}
		all[e] = sql + from + "\nORDER BY page.minute DESC, page.active_on DESC, page.id DESC"
	}
	return all
}()

// Threads returns a page of a user's threads, the one with the latest activity first.
func (s *Store) Threads(ctx context.Context, q core.ThreadsQuery) (core.ThreadsPage, error) {
	before := q.Before
	if before == (core.ThreadsCursor{}) {
		before.On = math.MaxInt64
	}
	var found []core.ThreadEntry
	err := s.read(ctx, "threads of user "+q.User, func(b *pgx.Batch) {
		if q.Expand != (core.Expand{}) {
			b.Queue(inOrderSQL)
		}
		b.Queue(threadsSQL[q.Expand], q.User, core.MinuteOf(before.On), q.Since, core.MinuteOf(q.Since), before.On, q.Limit+1, before.Thread).
			Query(collect(&found, scanEntry))
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

// scanEntry decodes a row of threadsSQL.
func scanEntry(from pgx.CollectableRow) (core.ThreadEntry, error) {
	var e core.ThreadEntry
	m, err := threadMessages.scan(from, extra{"entry", &e.Thread}, extra{"topic", &e.Topic}, extra{"ended_on", &e.DeletedOn},
		extra{"active_on", &e.LastMessageOn}, extra{"expires_on", &e.ExpiresOn}, extra{"unread", &e.Unread})
	if m.Sequence != 0 {
		e.LastMessage = m.Preview()
	}
	return e, err
}

// ThreadsOf returns up to limit ids of threads in the user's list that are greater than after,
// in ascending order.
func (s *Store) ThreadsOf(ctx context.Context, user, after string, limit int) ([]string, error) {
	const sql = `SELECT thread FROM user_threads WHERE user_id = $1 AND thread > $2::text COLLATE "C" ORDER BY thread LIMIT $3`
	return readAll(ctx, s, "threads of user "+user, pgx.RowTo[string], sql, user, after, limit)
}
