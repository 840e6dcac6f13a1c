package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// readTries is how often a read is begun anew after its connection was lost.
const readTries = 4

// read sends what queue queues in one round trip and one snapshot, so that a
// head and the rows under it are of the same moment. A read that loses its
// connection is begun anew, and queue with it. It takes no transaction id, and
// so holds back no position.
func (s *Store) read(ctx context.Context, what string, queue func(b *pgx.Batch)) error {
	return s.retry(ctx, "read "+what, func() error {
		var b pgx.Batch
		b.Queue(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`)
		queue(&b)
		b.Queue(`COMMIT`)
		return s.pool.SendBatch(ctx, &b).Close()
	})
}

// retry repeats what may be done twice.
func (s *Store) retry(ctx context.Context, what string, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		switch {
		case err == nil:
			return nil
		case !gone(ctx, err):
			return fmt.Errorf("%s: %w", what, err)
		case try == readTries:
			return fmt.Errorf("%s: %w: %w", what, core.ErrUnavailable, err)
		}
		if err := pause(ctx, try); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

// pause waits a little longer before each attempt: 20, 40, ... 640 ms.
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

// Thread returns the head and all members, or nil.
func (s *Store) Thread(ctx context.Context, id string) (*core.Thread, error) {
	var heads []core.Head
	var members []core.Member
	err := s.read(ctx, "thread "+id, func(b *pgx.Batch) {
		heads, members = nil, nil
		b.Queue(`SELECT `+headColumns+` FROM heads WHERE id = $1`, id).Query(all(&heads, func(row pgx.CollectableRow) (core.Head, error) {
			h, _, err := scanHead(row)
			return h, err
		}))
		b.Queue(`SELECT `+memberColumns+` FROM members WHERE thread = $1`, id).Query(all(&members, scanMember))
	})
	if err != nil || len(heads) == 0 {
		return nil, err
	}
	return core.NewThread(heads[0], members), nil
}

const headColumns = `id, revision, topic, created_by, created_on, deleted_on, metadata, retention_days,
	last_id, last_sequence, last_event, last_position, last_message_on, last_day`

// scanHead also returns the day of the thread's last event.
func scanHead(row pgx.CollectableRow) (h core.Head, day uint32, err error) {
	var metadata []byte
	err = row.Scan(&h.ID, &h.Revision, &h.Topic, &h.CreatedBy, &h.CreatedOn, &h.DeletedOn, &metadata, &h.RetentionDays,
		&h.LastID, &h.LastSequence, &h.LastEvent, &h.LastPosition, &h.LastMessageOn, &day)
	if err == nil {
		h.Metadata, err = decodeMap(metadata)
	}
	return h, day, err
}

const memberColumns = `user_id, display_name, share_history, joined_on, joining_order, intervals, metadata, left_on, left_sequence, left_topic`

func scanMember(row pgx.CollectableRow) (m core.Member, err error) {
	var intervals, metadata []byte
	var leftOn *int64
	var left core.Left
	err = row.Scan(&m.User, &m.DisplayName, &m.ShareHistory, &m.JoinedOn, &m.Order, &intervals, &metadata, &leftOn, &left.Sequence, &left.Topic)
	if err != nil {
		return m, err
	}
	if leftOn != nil {
		left.On = *leftOn
		m.Left = &left
	}
	var err2 error
	m.Intervals, err = decodeIntervals(intervals)
	m.Metadata, err2 = decodeMap(metadata)
	return m, errors.Join(err, err2)
}

const answerColumns = `thread, topic, created_by, created_on, metadata, retention_days, invalid`

type answer struct {
	thread string
	*core.CreateAnswer
}

func scanAnswer(row pgx.CollectableRow) (answer, error) {
	a := answer{CreateAnswer: &core.CreateAnswer{}}
	var metadata, invalid []byte
	err := row.Scan(&a.thread, &a.Topic, &a.CreatedBy, &a.CreatedOn, &metadata, &a.RetentionDays, &invalid)
	if err != nil {
		return a, err
	}
	var err2 error
	a.Metadata, err = decodeMap(metadata)
	a.Invalid, err2 = decodeInvalid(invalid)
	return a, errors.Join(err, err2)
}

// queueView queues the look at the head and the member that goes with a read.
func queueView(b *pgx.Batch, thread, member string, to *core.View) {
	*to = core.View{}
	b.Queue(`SELECT `+headColumns+` FROM heads WHERE id = $1`, thread).Query(each(func(row pgx.CollectableRow) (err error) {
		to.Head, _, err = scanHead(row)
		return err
	}))
	if member == "" {
		return
	}
	b.Queue(`SELECT `+memberColumns+` FROM members WHERE thread = $1 AND user_id = $2`, thread, member).Query(each(func(row pgx.CollectableRow) error {
		m, err := scanMember(row)
		to.Member = &m
		return err
	}))
}

// View returns a thread's head and the row of one of its members.
func (s *Store) View(ctx context.Context, thread, member string) (v core.View, err error) {
	err = s.read(ctx, "thread "+thread, func(b *pgx.Batch) { queueView(b, thread, member, &v) })
	return v, err
}

const messageColumns = `sequence, id, version, kind, created_on, edited_on, deleted_on, sender, sender_name, content, metadata, initiator, participants`

func scanMessage(row pgx.CollectableRow) (m core.Message, err error) {
	var metadata, participants []byte
	err = row.Scan(&m.Sequence, &m.ID, &m.Version, &m.Kind, &m.CreatedOn, &m.EditedOn, &m.DeletedOn,
		&m.Sender, &m.SenderDisplayName, &m.Content, &metadata, &m.Initiator, &participants)
	if err != nil {
		return m, err
	}
	var err2 error
	m.Metadata, err = decodeMap(metadata)
	m.Participants, err2 = decodeParticipants(participants)
	return m, errors.Join(err, err2)
}

// boundSQL narrows what is asked for ($2: before, $3: since) to the messages
// that the reader $4 sees.
const boundSQL = `WITH bound AS (
	SELECT least($2::bigint, min(CASE WHEN left_on IS NOT NULL THEN left_sequence + 1 END)) AS before,
		greatest($3::bigint, min(least(share_history, joined_on))) AS since
	FROM members WHERE thread = $1 AND user_id = $4
)`

// pageSQL reads a page of at most $5 rows. Versions rise with the sequence and
// never lie before the creation: all that stands before a message that is too old
// and was never edited is too old as well. Without that bound a search that finds
// little would read a thread to its beginning. The page ends with the row that
// exceeds $6 bytes of texts; found is how many rows there are without that bound.
const pageSQL = boundSQL + `, page AS (
	SELECT ` + messageColumns + `, octet_length(content) + coalesce(octet_length(metadata), 0) + coalesce(octet_length(participants), 0) AS bytes
	FROM messages
	WHERE thread = $1 AND sequence < (SELECT before FROM bound) AND created_on >= (SELECT since FROM bound)
		AND sequence > coalesce((SELECT sequence FROM messages
			WHERE thread = $1 AND id < (SELECT since FROM bound) AND version = id ORDER BY id DESC LIMIT 1), 0)
	ORDER BY sequence DESC LIMIT $5
)
SELECT found, ` + messageColumns + ` FROM (
	SELECT *, count(*) OVER () AS found, sum(bytes) OVER (ORDER BY sequence DESC) AS total FROM page
) p WHERE total <= $6 OR total = bytes ORDER BY sequence DESC`

const byIDSQL = boundSQL + ` SELECT ` + messageColumns + ` FROM messages
	WHERE thread = $1 AND id = ANY($5) AND sequence < (SELECT before FROM bound) AND created_on >= (SELECT since FROM bound)`

// Messages returns a page, newest first, or messages by id.
func (s *Store) Messages(ctx context.Context, q core.MessagesQuery) (core.MessagesPage, error) {
	var page core.MessagesPage
	before := int64(q.Before)
	if before == 0 {
		before = math.MaxInt64
	}
	var found int
	err := s.read(ctx, "messages of thread "+q.Thread, func(b *pgx.Batch) {
		page.Messages = nil
		queueView(b, q.Thread, q.Reader, &page.View)
		if q.IDs != nil {
			b.Queue(byIDSQL, q.Thread, before, q.Since, q.Reader, q.IDs).Query(all(&page.Messages, scanMessage))
			return
		}
		b.Queue(pageSQL, q.Thread, before, q.Since, q.Reader, q.Limit, cmp.Or(q.Bytes, core.PageBytes)).
			Query(all(&page.Messages, func(row pgx.CollectableRow) (core.Message, error) { return scanMessage(behind{row, &found}) }))
	})
	if n := len(page.Messages); n > 0 && (n == q.Limit || n < found) {
		page.Next = page.Messages[n-1].Sequence
	}
	return page, err
}

// Receipts returns a thread's receipts by time of reading.
func (s *Store) Receipts(ctx context.Context, thread, reader string) (core.ReceiptsPage, error) {
	var page core.ReceiptsPage
	err := s.read(ctx, "receipts of thread "+thread, func(b *pgx.Batch) {
		page.Receipts = nil
		queueView(b, thread, reader, &page.View)
		b.Queue(`SELECT user_id, message_id, read_on FROM receipts WHERE thread = $1 ORDER BY read_on, user_id`, thread).
			Query(all(&page.Receipts, pgx.RowToStructByPos[core.Receipt]))
	})
	return page, err
}

// Deleting returns the users whose deletion has begun and not ended.
func (s *Store) Deleting(ctx context.Context) ([]core.User, error) {
	var us []core.User
	err := s.read(ctx, "users in deletion", func(b *pgx.Batch) {
		us = nil
		b.Queue(`SELECT id, state, deleted_at, generation FROM users WHERE state = 2 ORDER BY id`).Query(all(&us, pgx.RowToStructByPos[core.User]))
	})
	return us, err
}

// Ending returns the threads that end first.
func (s *Store) Ending(ctx context.Context, limit int) ([]core.Ending, error) {
	var es []core.Ending
	err := s.read(ctx, "threads that end", func(b *pgx.Batch) {
		es = nil
		b.Queue(`SELECT id, created_on + retention_days::bigint * 86400000 FROM heads WHERE retention_days > 0 AND deleted_on = 0
			ORDER BY created_on + retention_days::bigint * 86400000, id LIMIT $1`, limit).Query(all(&es, pgx.RowToStructByPos[core.Ending]))
	})
	return es, err
}

// Users returns the rows of those of the ids that have one, in one query.
func (s *Store) Users(ctx context.Context, ids []string) ([]core.User, error) {
	var us []core.User
	err := s.read(ctx, fmt.Sprintf("%d users", len(ids)), func(b *pgx.Batch) {
		us = nil
		b.Queue(`SELECT id, state, deleted_at, generation FROM users WHERE id = ANY($1)`, ids).Query(all(&us, pgx.RowToStructByPos[core.User]))
	})
	return us, err
}

// Events returns a piece of the log: what lies below every transaction that was
// under way when it looked, so that nothing can appear behind it.
func (s *Store) Events(ctx context.Context, after uint64, limit int) (core.EventsPage, error) {
	page := core.EventsPage{Position: after}
	err := s.read(ctx, fmt.Sprintf("events after %d", after), func(b *pgx.Batch) {
		page.Events = nil
		b.Queue(`SELECT thread, day, number, position, kind, message_id, version, actor FROM events
			WHERE position > $1 AND position < pg_snapshot_xmin(pg_current_snapshot())::text::bigint << $3::int
			ORDER BY position LIMIT $2`, after, limit, indexBits).Query(all(&page.Events, pgx.RowToStructByPos[core.Event]))
	})
	if n := len(page.Events); n > 0 && err == nil {
		page.Position = page.Events[n-1].Position
	}
	return page, err
}

// all collects the rows of a queued query; none is a nil slice.
func all[T any](to *[]T, scan pgx.RowToFunc[T]) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		defer rows.Close()
		for rows.Next() {
			row, err := scan(rows)
			if err != nil {
				return err
			}
			*to = append(*to, row)
		}
		return rows.Err()
	}
}
