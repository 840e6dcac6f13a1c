package postgres

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// entriesSQL defines a table named page with up to $6+1 threads of user $1, in the order of the
// list, whose last activity is not before $3. It also defines a table named stop with one row, if
// the list has threads.
//
// The table late has the threads whose entries in the list are being moved (see core.Relisting),
// with the minutes to which they are moved. The query takes these threads from late and all other
// threads from user_threads.
//
// An entry of user_threads has a minute instead of an exact time. So the query first reads the
// table listed, the entries after ($2, $7), a minute and a thread, down to the minute $4. For a
// cursor with a time, $2 is the minute after the cursor's minute, $5 is the time and $8 is the
// thread; for a cursor by id, $9 is the minute. The query then looks at the exact times of few of
// these entries: in a crowded minute (see core.MaxSortedMinute), at no more than the page shows. n
// is the index of an entry in listed. place is n in a crowded minute, and otherwise the index of
// the first entry of the minute. If the cursor has a time, any number of entries of its minute may
// be before the cursor, so the query looks at as many additional entries as this minute has.
//
// The table stop has the last entry that was looked at. Its column more says whether the list has
// entries after that one.
//
// Each LATERAL with a LIMIT makes the planner read rows of heads and members by their keys, one by
// one, even if it expects many rows.
//
// The column live has the thread's id, or NULL if the thread is deleted. The column here has the
// thread's id, or NULL if the thread is deleted or the user has left. since is the creation time of
// the oldest messages that the user may see. left_at is the last sequence that a user who has left
// may see, or NULL for a user who is in the thread.
var entriesSQL = fmt.Sprintf(`
WITH late AS MATERIALIZED (
	SELECT r.thread, h.minute FROM unnest(ARRAY(SELECT thread FROM relistings)) r (thread)
	CROSS JOIN LATERAL (SELECT FROM members WHERE thread = r.thread AND user_id = $1 AND left_on IS NULL LIMIT 1) m
	CROSS JOIN LATERAL (SELECT %[3]s AS minute FROM heads WHERE id = r.thread LIMIT 1) h
), listed AS MATERIALIZED (
	SELECT thread, minute, row_number() OVER (ORDER BY minute DESC, thread DESC) AS n,
		count(*) OVER (PARTITION BY minute) > %[1]d OR minute = $9 AS crowded
	FROM (
		SELECT * FROM (
			(SELECT thread, minute FROM user_threads
				WHERE user_id = $1 AND minute >= $4 AND (minute, thread) < ($2, $7::text COLLATE "C") AND thread NOT IN (SELECT thread FROM late)
				ORDER BY minute DESC, thread DESC LIMIT $6::bigint + %[1]d * (CASE WHEN $8::text = '' THEN 1 ELSE 2 END))
			UNION ALL
			SELECT thread, minute FROM late WHERE minute >= $4 AND (minute, thread) < ($2, $7::text COLLATE "C")
		) l
		ORDER BY minute DESC, thread DESC LIMIT $6::bigint + %[1]d * (CASE WHEN $8::text = '' THEN 1 ELSE 2 END)
	) l
), looked AS MATERIALIZED (
	SELECT * FROM (SELECT *, CASE WHEN crowded THEN n ELSE min(n) OVER (PARTITION BY minute) END AS place FROM listed) l
	WHERE place <= $6::bigint + (SELECT count(*) FROM listed WHERE minute = $2 - 1 AND NOT crowded AND $8::text <> '')
), stop AS (
	SELECT minute AS last_minute, thread AS last_thread, n < (SELECT max(n) FROM listed) AS more FROM looked ORDER BY n DESC LIMIT 1
), entries AS (
	SELECT l.minute, l.crowded, h.id, h.deleted_on AS ended_on,
		CASE WHEN m.left_on IS NULL THEN h.topic ELSE m.left_topic END AS topic,
		coalesce(m.left_on, h.last_message_on) AS active_on,
		CASE WHEN h.retention_days > 0 AND h.deleted_on = 0 THEN %[2]s ELSE 0 END AS expires_on,
		CASE WHEN h.deleted_on = 0 THEN h.id END AS live,
		CASE WHEN h.deleted_on = 0 AND m.left_on IS NULL THEN h.id END AS here,
		least(m.share_history, m.joined_on) AS since,
		CASE WHEN m.left_on IS NOT NULL THEN m.left_sequence END AS left_at
	FROM looked l
	CROSS JOIN LATERAL (SELECT * FROM heads WHERE id = l.thread LIMIT 1) h
	CROSS JOIN LATERAL (SELECT * FROM members WHERE thread = l.thread AND user_id = $1 LIMIT 1) m
), page AS (
	SELECT *, CASE WHEN crowded THEN 0 ELSE active_on END AS in_minute FROM entries
	WHERE active_on >= $3 AND (crowded OR (active_on, id) < ($5, $8::text COLLATE "C"))
	ORDER BY minute DESC, in_minute DESC, id DESC
	LIMIT $6::bigint + 1
)
SELECT stop.last_minute, stop.last_thread, stop.more, coalesce(page.minute, 0) AS minute, coalesce(page.crowded, false) AS crowded,
	coalesce(page.id, '') AS entry, coalesce(page.topic, '') AS topic, coalesce(page.ended_on, 0) AS ended_on,
	coalesce(page.active_on, 0) AS active_on, coalesce(page.expires_on, 0) AS expires_on`, core.MaxSortedMinute, expiresOn, minuteOf("last_message_on"))

// previewSQL is a table named message with the last message that the user of entriesSQL may see, or
// with no row; see core.ThreadEntry. The first SELECT is for a user who is in the thread. The other
// two are for a user who has left: the last one looks for a superseded version after the message
// that the second one finds.
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

// shortened returns the list of a message's columns for a preview. It leaves out metadata and
// fingerprint, and takes only the first core.MaxPreview characters of the content.
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
		sql, from := entriesSQL, "\nFROM stop LEFT JOIN page ON true"
		if e.LastMessage {
			for _, c := range threadMessages.columns { // if a thread has no last message, the columns of the message have zero values
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
		all[e] = sql + from + "\nORDER BY page.minute DESC, page.in_minute DESC, page.id DESC"
	}
	return all
}()

// Threads returns a page of a user's threads, the one with the latest activity first.
func (s *Store) Threads(ctx context.Context, q core.ThreadsQuery) (core.ThreadsPage, error) {
	var found []listed
	err := s.read(ctx, "threads of user "+q.User, func(b *pgx.Batch) {
		b.Queue(planningInOrder)
		b.Queue(threadsSQL[q.Expand], threadsArguments(q)...).Query(collect(&found, scanEntry))
	})
	if err != nil {
		return core.ThreadsPage{}, err
	}
	var page core.ThreadsPage
	more, next := false, core.ThreadsCursor{}
	for _, l := range found { // if the page is empty, the query returns one row with an empty entry
		if more = l.more || len(page.Threads) == q.Limit; len(page.Threads) == q.Limit {
			break
		}
		if next = core.CursorByID(l.lastMinute, l.lastThread); l.entry.Thread != "" {
			page.Threads = append(page.Threads, l.entry)
		}
		if len(page.Threads) == q.Limit && l.crowded {
			next = core.CursorByID(l.minute, l.entry.Thread)
		} else if len(page.Threads) == q.Limit {
			next = core.ThreadsCursor{On: l.entry.LastMessageOn, Thread: l.entry.Thread}
		}
	}
	if more {
		page.Next = next
	}
	// Sort only now, because page.Next was set to the cursor after the entry that the query
	// returned last.
	slices.SortFunc(page.Threads, core.NewestFirst)
	return page, nil
}

// threadsArguments returns the arguments of the queries of threadsSQL.
func threadsArguments(q core.ThreadsQuery) []any {
	const end = math.MaxInt64
	from, fromThread, on, thread, byID := int64(end), "", int64(end), "", int64(-1)
	if minute, ok := q.Before.ByID(); ok {
		from, fromThread, byID = minute, q.Before.Thread, minute
	} else if q.Before != (core.ThreadsCursor{}) {
		from, on, thread = core.MinuteOf(q.Before.On)+1, q.Before.On, q.Before.Thread
	}
	return []any{q.User, from, q.Since, core.MinuteOf(q.Since), on, q.Limit, fromThread, thread, byID}
}

// listed is a row of threadsSQL.
type listed struct {
	entry      core.ThreadEntry // the entry of the list; the zero value if the page is empty
	minute     int64
	crowded    bool   // true if the list has the threads of this minute in the order of ids
	lastMinute int64  // minute of the last entry that was looked at
	lastThread string // of the same entry
	more       bool   // the list has entries after it
}

// scanEntry decodes a row of threadsSQL.
func scanEntry(from pgx.CollectableRow) (l listed, err error) {
	e := &l.entry
	m, err := threadMessages.scan(from, extra{"entry", &e.Thread}, extra{"topic", &e.Topic}, extra{"ended_on", &e.DeletedOn},
		extra{"active_on", &e.LastMessageOn}, extra{"expires_on", &e.ExpiresOn}, extra{"unread", &e.Unread},
		extra{"minute", &l.minute}, extra{"crowded", &l.crowded},
		extra{"last_minute", &l.lastMinute}, extra{"last_thread", &l.lastThread}, extra{"more", &l.more})
	if m.Sequence != 0 {
		e.LastMessage = m.Preview()
	}
	return l, err
}

// ThreadsOf returns up to limit ids of threads in the user's list, in ascending order. It begins
// with the first id that is greater than the argument after.
func (s *Store) ThreadsOf(ctx context.Context, user, after string, limit int) ([]string, error) {
	const sql = `SELECT thread FROM user_threads WHERE user_id = $1 AND thread > $2::text COLLATE "C" ORDER BY thread LIMIT $3`
	return readAll(ctx, s, "threads of user "+user, pgx.RowTo[string], sql, user, after, limit)
}
