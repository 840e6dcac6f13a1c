package postgres

import (
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
		b.Queue(`SELECT user_id, display_name, share_history, joined_on, joining_order, intervals, metadata, left_on, left_sequence, left_topic
			FROM members WHERE thread = $1 ORDER BY joining_order, user_id`, id).Query(all(&members, scanMember))
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

// CreateAnswer returns the stored first answer of a create, or nil.
func (s *Store) CreateAnswer(ctx context.Context, thread string) (*core.CreateAnswer, error) {
	var found []answer
	err := s.read(ctx, "the first answer of thread "+thread, func(b *pgx.Batch) {
		found = nil
		b.Queue(`SELECT `+answerColumns+` FROM answers WHERE thread = $1`, thread).Query(all(&found, scanAnswer))
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0].CreateAnswer, nil
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

// revision queues the look at the head that goes with every read.
func revision(b *pgx.Batch, thread string, to *uint64) {
	*to = 0
	b.Queue(`SELECT revision FROM heads WHERE id = $1`, thread).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := rows.Scan(to); err != nil {
				return err
			}
		}
		return rows.Err()
	})
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

// Message returns a message by its id, with the head's revision.
func (s *Store) Message(ctx context.Context, thread string, id int64) (core.Message, uint64, error) {
	var ms []core.Message
	var r uint64
	err := s.read(ctx, fmt.Sprintf("message %d of thread %s", id, thread), func(b *pgx.Batch) {
		ms = nil
		revision(b, thread, &r)
		b.Queue(`SELECT `+messageColumns+` FROM messages WHERE thread = $1 AND id = $2`, thread, id).Query(all(&ms, scanMessage))
	})
	if err != nil || len(ms) == 0 {
		return core.Message{}, r, err
	}
	return ms[0], r, nil
}

// sinceSQL bounds a search by time. Versions rise with the sequence and never
// lie before the creation: whatever stands before a message that is too old and
// was never edited is too old as well. Without it a search that finds little
// would read a thread to its beginning.
const sinceSQL = `AND created_on >= $4 AND sequence > coalesce((SELECT sequence FROM messages
	WHERE thread = $1 AND id < $4 AND version = id ORDER BY id DESC LIMIT 1), 0)`

// Messages returns a page, newest first.
func (s *Store) Messages(ctx context.Context, q core.MessagesQuery) (core.MessagesPage, error) {
	var page core.MessagesPage
	before, since := int64(q.Before), ""
	if before == 0 {
		before = math.MaxInt64
	}
	args := []any{q.Thread, before, q.Limit}
	if q.Since > 0 {
		since, args = sinceSQL, append(args, q.Since)
	}
	err := s.read(ctx, "messages of thread "+q.Thread, func(b *pgx.Batch) {
		page.Messages = nil
		revision(b, q.Thread, &page.Revision)
		if q.Limit > 0 {
			b.Queue(`SELECT `+messageColumns+` FROM messages WHERE thread = $1 AND sequence < $2 `+since+`
				ORDER BY sequence DESC LIMIT $3`, args...).Query(all(&page.Messages, scanMessage))
		}
	})
	return page, err
}

// Receipts returns a thread's receipts by time of reading.
func (s *Store) Receipts(ctx context.Context, thread string) ([]core.Receipt, uint64, error) {
	var rs []core.Receipt
	var r uint64
	err := s.read(ctx, "receipts of thread "+thread, func(b *pgx.Batch) {
		rs = nil
		revision(b, thread, &r)
		b.Queue(`SELECT user_id, message_id, read_on FROM receipts WHERE thread = $1 ORDER BY read_on, user_id`, thread).
			Query(all(&rs, pgx.RowToStructByPos[core.Receipt]))
	})
	return rs, r, err
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

// User returns a user's row.
func (s *Store) User(ctx context.Context, id string) (core.User, error) {
	var us []core.User
	err := s.read(ctx, "user "+id, func(b *pgx.Batch) {
		us = nil
		b.Queue(`SELECT id, state, deleted_at, generation FROM users WHERE id = $1`, id).Query(all(&us, pgx.RowToStructByPos[core.User]))
	})
	if err != nil || len(us) == 0 {
		return core.User{ID: id}, err
	}
	return us[0], nil
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
