package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// readTries is the maximum number of times that a read is tried if its connection is lost.
const readTries = 4

// read runs the statements that queue adds to the batch, in one round trip and one snapshot. If
// the connection is lost, it calls queue again and retries, for at most timeouts.read. It fails
// with core.ErrUnavailable if the database does not answer in that time or before ctx ends.
func (s *Store) read(ctx context.Context, what string, queue func(b *pgx.Batch)) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeouts.read)
	defer cancel()
	return s.retry(ctx, "read "+what, func() error {
		var b pgx.Batch
		b.Queue(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`)
		if s.modeChosen { // sessionSQL has not set it
			b.Queue(`SET LOCAL plan_cache_mode = force_custom_plan`)
		}
		queue(&b)
		b.Queue(`COMMIT`)
		return s.pool.SendBatch(ctx, &b).Close()
	})
}

// retry calls do up to readTries times, until it succeeds or fails with an error that would
// only repeat. do must be safe to call again. After the last try, or when the deadline of ctx
// has passed, the error wraps core.ErrUnavailable.
func (s *Store) retry(ctx context.Context, what string, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		s.heed(err)
		switch {
		case err == nil:
			return nil
		case try == readTries && retryable(ctx, err), errors.Is(ctx.Err(), context.DeadlineExceeded):
			return fmt.Errorf("%s: %w: %w", what, core.ErrUnavailable, err)
		case !retryable(ctx, err):
			return fmt.Errorf("%s: %w", what, err)
		}
		pause(ctx, try) // if ctx ends the pause early, the next try fails
	}
}

// pause waits before another try: 20 ms after the first, then twice as long each time, up to
// 640 ms. It returns early with an error if ctx ends.
func pause(ctx context.Context, try int) error {
	t := time.NewTimer(10 * time.Millisecond << min(try, 6))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Thread returns a thread's head and all its members, or nil if the thread does not exist.
func (s *Store) Thread(ctx context.Context, id string) (*core.Thread, error) {
	var hs []row.DatedHead
	var ms []core.Member
	err := s.read(ctx, "thread "+id, func(b *pgx.Batch) {
		b.Queue(planning)
		b.Queue(`SELECT `+heads.list+` FROM heads WHERE id = $1`, id).Query(collect(&hs, heads.rowTo))
		b.Queue(`SELECT `+threadMembers.list+` FROM members WHERE thread = $1`, id).Query(collect(&ms, threadMembers.rowTo))
	})
	if err != nil || len(hs) == 0 {
		return nil, err
	}
	return core.NewThread(hs[0].Head, ms), nil
}

// queueView queues the queries for a thread's head and one member, whose results are stored in
// to. If member is "", only the head is read.
func queueView(b *pgx.Batch, thread, member string, to *core.View) {
	*to = core.View{}
	b.Queue(`SELECT `+heads.list+` FROM heads WHERE id = $1`, thread).Query(heads.each(func(h row.DatedHead) { to.Head = h.Head }))
	if member != "" {
		b.Queue(`SELECT `+threadMembers.list+` FROM members WHERE thread = $1 AND user_id = $2`, thread, member).
			Query(threadMembers.each(func(m core.Member) { to.Member = &m }))
	}
}

// View returns a thread's head and the row of one member. The head is zero if the thread does
// not exist. The member is nil if the user has no row in the thread, or if member is "".
func (s *Store) View(ctx context.Context, thread, member string) (v core.View, err error) {
	err = s.read(ctx, "thread "+thread, func(b *pgx.Batch) {
		b.Queue(planning)
		queueView(b, thread, member, &v)
	})
	return v, err
}

// boundSQL defines a table named bound with one row: the limits of the messages of thread $1 that
// reader $4 may see. The sequences of these messages must be less than the column before, which is
// at most $2. Their creation times must not be less than the column since, which is at least $3. A
// reader who was never in the thread adds no limits. The column left_at is the last sequence that a
// reader who has left may see, or NULL. Such a reader sees the old versions of messages that were
// replaced after left_at.
const boundSQL = `WITH bound AS (
	SELECT least($2::bigint, min(CASE WHEN left_on IS NOT NULL THEN left_sequence + 1 END)) AS before,
		greatest($3::bigint, min(least(share_history, joined_on))) AS since,
		min(CASE WHEN left_on IS NOT NULL THEN left_sequence END) AS left_at
	FROM members WHERE thread = $1 AND user_id = $4
)`

// keptSQL is the condition for the rows of the table superseded that the reader of boundSQL may
// see.
const keptSQL = `thread = $1 AND sequence < (SELECT before FROM bound) AND until > (SELECT left_at FROM bound) AND created_on >= (SELECT since FROM bound) AND ` + notPurged

// keptList is the column list of threadMessages for a SELECT from the table superseded, which has
// no column fingerprint.
var keptList = strings.Replace(threadMessages.list, "fingerprint", "NULL::bytea AS fingerprint", 1)

// bytesSQL is a column for a SELECT: the number of bytes of a message's texts.
const bytesSQL = `, octet_length(content) + coalesce(octet_length(metadata), 0) + coalesce(octet_length(participants), 0) AS bytes`

// pageSQL selects a page of at most $5 messages and at most $6 bytes of texts, but at least one
// message. found is the number of messages before the limit of bytes is applied.
//
// Versions increase with the sequence and are never less than the creation time. So if a
// message was never edited and is too old, all messages before it are too old. The search ends
// at such a message, not at the beginning of the thread.
//
// A reader who has left also gets superseded messages, at their sequences. If the page is full,
// the query reads none below the last message of the page.
var pageSQL = boundSQL + `, floor AS (
	SELECT coalesce((SELECT sequence FROM messages
		WHERE thread = $1 AND id < (SELECT since FROM bound) AND version = id ORDER BY id DESC LIMIT 1), 0) AS sequence
), page AS (
	SELECT ` + threadMessages.list + bytesSQL + `
	FROM messages
	WHERE thread = $1 AND sequence < (SELECT before FROM bound) AND created_on >= (SELECT since FROM bound) AND ` + notPurged + `
		AND sequence > (SELECT sequence FROM floor)
	ORDER BY sequence DESC LIMIT $5
), versions AS (
	SELECT ` + keptList + bytesSQL + ` FROM superseded WHERE ` + keptSQL + `
		AND sequence > greatest((SELECT sequence FROM floor), (SELECT min(sequence) FROM page HAVING count(*) = $5))
	ORDER BY sequence DESC LIMIT $5
), merged AS (
	SELECT * FROM (SELECT * FROM page UNION ALL SELECT * FROM versions) m ORDER BY sequence DESC LIMIT $5
)
SELECT ` + threadMessages.list + `, found FROM (
	SELECT *, count(*) OVER () AS found, sum(bytes) OVER (ORDER BY sequence DESC) AS total FROM merged
) p WHERE total <= $6 OR total = bytes ORDER BY sequence DESC`

// byIDSQL selects the messages with the ids $5 that the reader may see. If a message was replaced
// after the reader had left, the reader gets the version that was current before.
var byIDSQL = boundSQL + ` SELECT ` + threadMessages.list + `, 0 AS found FROM messages
	WHERE thread = $1 AND id = ANY($5) AND sequence < (SELECT before FROM bound) AND created_on >= (SELECT since FROM bound) AND ` + notPurged + `
	UNION ALL SELECT ` + keptList + `, 0 AS found FROM superseded WHERE id = ANY($5) AND ` + keptSQL

// Messages returns a page of messages, the newest first, or the messages with the ids q.IDs.
func (s *Store) Messages(ctx context.Context, q core.MessagesQuery) (core.MessagesPage, error) {
	before := int64(q.Before)
	if before == 0 {
		before = math.MaxInt64
	}
	sql, args := pageSQL, []any{q.Thread, before, q.Since, q.Reader, q.Limit, cmp.Or(q.Bytes, core.PageBytes)}
	if q.IDs != nil {
		sql, args = byIDSQL, append(args[:4], q.IDs)
	}
	var page core.MessagesPage
	var found int
	err := s.read(ctx, "messages of thread "+q.Thread, func(b *pgx.Batch) {
		b.Queue(planningInOrder)
		queueView(b, q.Thread, q.Reader, &page.View)
		b.Queue(sql, args...).Query(collect(&page.Messages, func(from pgx.CollectableRow) (core.Message, error) {
			return threadMessages.scan(from, extra{"found", &found})
		}))
	})
	if q.Reader != "" && page.Member == nil { // the reader was never in the thread
		page.Messages = nil
	}
	if n := len(page.Messages); n > 0 && (n == q.Limit || n < found) {
		page.Next = page.Messages[n-1].Sequence
	}
	return page, err
}

// Receipts returns a thread's read receipts in the order of ReadOn, together with the thread's
// head and the member row of reader.
func (s *Store) Receipts(ctx context.Context, thread, reader string) (core.ReceiptsPage, error) {
	var page core.ReceiptsPage
	err := s.read(ctx, "receipts of thread "+thread, func(b *pgx.Batch) {
		queueView(b, thread, reader, &page.View)
		b.Queue(`SELECT `+threadReceipts.list+` FROM receipts WHERE thread = $1 AND `+notPurged+` ORDER BY read_on, user_id`, thread).
			Query(collect(&page.Receipts, threadReceipts.rowTo))
	})
	return page, err
}

// deletingSQL has the state as a literal, not as a parameter, because otherwise the partial
// index users_deleting could not be used.
var deletingSQL = fmt.Sprintf(`SELECT %s FROM users WHERE state = %d ORDER BY id`, users.list, core.UserDeleting)

// Deleting returns the users whose state is core.UserDeleting.
func (s *Store) Deleting(ctx context.Context) ([]core.User, error) {
	return readAll(ctx, s, "users in deletion", users.rowTo, deletingSQL)
}

var expiringSQL = fmt.Sprintf(`SELECT id AS thread, %[1]s AS "on" FROM heads WHERE retention_days > 0 AND deleted_on = 0
	ORDER BY %[1]s, id LIMIT $1`, expiresOn)

// Expiring returns up to limit live threads with a retention policy, the earliest
// expiry first.
func (s *Store) Expiring(ctx context.Context, limit int) ([]core.Expiry, error) {
	return readAll(ctx, s, "threads that expire", pgx.RowToStructByName[core.Expiry], expiringSQL, limit)
}

// Users returns the users with these ids that exist, in any order.
func (s *Store) Users(ctx context.Context, ids []string) ([]core.User, error) {
	return readAll(ctx, s, fmt.Sprintf("%d users", len(ids)), users.rowTo, `SELECT `+users.list+` FROM users WHERE id = ANY($1)`, ids)
}

// UserByCustomID returns the user who has a custom id, or the zero User if nobody has it.
func (s *Store) UserByCustomID(ctx context.Context, customID string) (u core.User, err error) {
	us, err := readAll(ctx, s, "a user by its custom id", users.rowTo,
		`SELECT `+users.list+` FROM users WHERE custom_id = $1 AND custom_id <> ''`, customID)
	if len(us) > 0 {
		u = us[0]
	}
	return u, err
}

// ListHeads returns up to limit heads of threads in ascending order of ids. It begins with the
// first id that is greater than the argument after.
func (s *Store) ListHeads(ctx context.Context, after string, limit int) (found []core.Head, err error) {
	var hs []row.DatedHead
	err = s.read(ctx, "threads after "+after, func(b *pgx.Batch) {
		b.Queue(`SELECT `+heads.list+` FROM heads WHERE id > $1 ORDER BY id LIMIT $2`, after, limit).Query(collect(&hs, heads.rowTo))
	})
	for i := range hs {
		found = append(found, hs[i].Head)
	}
	return found, err
}

// ListUsers returns up to limit users in ascending order of ids. It begins with the first id that
// is greater than the argument after.
func (s *Store) ListUsers(ctx context.Context, after string, limit int) ([]core.User, error) {
	return readAll(ctx, s, "the list of users", users.rowTo,
		`SELECT `+users.list+` FROM users WHERE id > $1::text COLLATE "C" ORDER BY id LIMIT $2`, after, limit)
}

// readAll runs one query and returns its rows, each converted by scan.
func readAll[T any](ctx context.Context, s *Store, what string, scan pgx.RowToFunc[T], sql string, args ...any) (all []T, err error) {
	err = s.read(ctx, what, func(b *pgx.Batch) {
		b.Queue(sql, args...).Query(collect(&all, scan))
	})
	return all, err
}

// collect returns a function that reads the rows of a queued query into *to.
func collect[T any](to *[]T, scan pgx.RowToFunc[T]) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*to, err = pgx.AppendRows([]T(nil), rows, scan)
		return err
	}
}
