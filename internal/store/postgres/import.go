package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// Import takes in the records of another store in one transaction; see
// core.Importer. So it is there whole or not at all.
func (s *Store) Import(ctx context.Context, next func() (core.Record, error)) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := mustBeEmpty(ctx, tx); err != nil {
			return err
		}
		im := &importer{tx: tx, next: next}
		return im.run(ctx)
	})
	if err != nil {
		return fmt.Errorf("import into PostgreSQL: %w", err)
	}
	return nil
}

func mustBeEmpty(ctx context.Context, tx pgx.Tx) error {
	var used bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM users) OR EXISTS (SELECT FROM heads) OR EXISTS (SELECT FROM events)`).Scan(&used)
	if err == nil && used {
		err = fmt.Errorf("the database is %w: an import needs an empty one", core.ErrNotEmpty)
	}
	return err
}

// importer copies runs of records of one kind, as they come.
type importer struct {
	tx       pgx.Tx
	next     func() (core.Record, error)
	record   core.Record // the next one; nil at the end
	position uint64
	day      uint32
	row      []any
	err      error
}

// run copies run after run: the end of one is the first record of another kind,
// or of another day of the log, whose partition has to be made first.
func (im *importer) run(ctx context.Context) error {
	im.advance()
	resource, ok := im.record.(core.Resource)
	if !ok || resource.ID == "" {
		return errors.Join(im.err, errors.New("the records name no resource"))
	}
	if err := im.resource(ctx, resource); err != nil {
		return err
	}
	for im.advance(); im.err == nil && im.record != nil; {
		table, columns, err := im.target(ctx)
		if err != nil {
			return err
		}
		run := &run{importer: im, kind: fmt.Sprintf("%T", im.record), day: im.day}
		_, err = im.tx.CopyFrom(ctx, pgx.Identifier{table}, columns, run)
		if im.err != nil {
			return im.err // the database only heard that the source had failed
		}
		if err != nil {
			return fmt.Errorf("copy into %s: %w", table, err)
		}
	}
	if im.err != nil {
		return im.err
	}
	return im.derive(ctx)
}

func (im *importer) advance() {
	if im.record, im.err = im.next(); errors.Is(im.err, io.EOF) {
		im.record, im.err = nil, nil
	}
	e, ok := im.record.(core.Event)
	if !ok || im.err != nil {
		return
	}
	if e.Position != im.position+1 {
		im.err = fmt.Errorf("event %d of thread %s has position %d in place of %d", e.Number, e.Thread, e.Position, im.position+1)
		return
	}
	// Days rise with positions: another engine's writers may have had other clocks.
	im.position, im.day = e.Position, max(im.day, e.Day)
	e.Day = im.day
	im.record = e
}

func (im *importer) resource(ctx context.Context, r core.Resource) error {
	if _, err := im.tx.Exec(ctx, `UPDATE meta SET value = $1 WHERE name = 'resource'`, r.ID); err != nil {
		return err
	}
	for i, k := range r.Keys {
		if len(k.Secret) == 0 {
			continue
		}
		if _, err := im.tx.Exec(ctx, `UPDATE access_keys SET serial = $2, secret = $3 WHERE index = $1`, i, k.Serial, k.Secret); err != nil {
			return err
		}
	}
	return nil
}

// target is the table of the next record, and for an event also the partition.
func (im *importer) target(ctx context.Context) (table string, columns []string, err error) {
	switch r := im.record.(type) {
	case core.User:
		return "users", []string{"id", "state", "deleted_at", "generation"}, nil
	case core.Head:
		return "heads", []string{"id", "revision", "topic", "created_by", "created_on", "deleted_on", "metadata", "retention_days",
			"last_id", "last_sequence", "last_event", "last_position", "last_message_on", "last_day"}, nil
	case core.ThreadMember:
		return "members", []string{"thread", "user_id", "display_name", "share_history", "joined_on", "joining_order", "intervals",
			"metadata", "left_on", "left_sequence", "left_topic"}, nil
	case core.ThreadMessage:
		return "messages", []string{"thread", "sequence", "id", "version", "kind", "created_on", "edited_on", "deleted_on", "sender",
			"sender_name", "content", "metadata", "initiator", "participants"}, nil
	case core.ThreadAnswer:
		return "answers", []string{"thread", "topic", "created_by", "created_on", "metadata", "retention_days", "invalid"}, nil
	case core.SentToken:
		return "sent", []string{"thread", "caller", "token", "message_id"}, nil
	case core.ThreadReceipt:
		return "receipts", []string{"thread", "user_id", "message_id", "read_on"}, nil
	case core.Event:
		_, err := im.tx.Exec(ctx, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %[1]s PARTITION OF events FOR VALUES FROM (%[2]d) TO (%[3]d)`, partition(r.Day), r.Day, r.Day+1))
		return "events", []string{"day", "thread", "number", "position", "kind", "message_id", "version", "actor"}, err
	}
	return "", nil, fmt.Errorf("records of type %T are not known", im.record)
}

// run is the records of one kind that follow one another, as COPY wants them.
type run struct {
	*importer
	kind  string
	day   uint32
	begun bool
}

// Next moves on. It ends at the first record of another kind, which stays.
func (r *run) Next() bool {
	if r.begun {
		r.advance()
	}
	r.begun = true
	if r.err != nil || r.record == nil || fmt.Sprintf("%T", r.record) != r.kind {
		return false
	}
	return r.kind != "core.Event" || r.record.(core.Event).Day == r.day
}

// Err is the error of the source.
func (r *run) Err() error { return r.importer.err }

// Values is the row of the record.
func (r *run) Values() ([]any, error) {
	switch v := r.record.(type) {
	case core.User:
		r.row = append(r.row[:0], v.ID, int16(v.State), v.DeletedAt, int64(v.Generation))
	case core.Head:
		r.row = append(r.row[:0], v.ID, int64(v.Revision), v.Topic, v.CreatedBy, v.CreatedOn, v.DeletedOn, encodeMap(v.Metadata), v.RetentionDays,
			v.LastID, int64(v.LastSequence), int64(v.LastEvent), int64(v.LastPosition), v.LastMessageOn, int32(0))
	case core.ThreadMember:
		var leftOn *int64
		var left core.Left
		if v.Left != nil {
			left, leftOn = *v.Left, &v.Left.On
		}
		r.row = append(r.row[:0], v.Thread, v.User, v.DisplayName, v.ShareHistory, v.JoinedOn, int64(v.Order), encodeIntervals(v.Intervals),
			encodeMap(v.Metadata), leftOn, int64(left.Sequence), left.Topic)
	case core.ThreadMessage:
		r.row = append(r.row[:0], v.Thread, int64(v.Sequence), v.ID, v.Version, int16(v.Kind), v.CreatedOn, v.EditedOn, v.DeletedOn, v.Sender,
			v.SenderDisplayName, v.Content, encodeMap(v.Metadata), v.Initiator, encodeParticipants(v.Participants))
	case core.ThreadAnswer:
		r.row = append(r.row[:0], v.Thread, v.Topic, v.CreatedBy, v.CreatedOn, encodeMap(v.Metadata), v.RetentionDays, encodeInvalid(v.Invalid))
	case core.SentToken:
		r.row = append(r.row[:0], v.Thread, v.Caller, v.Token, v.MessageID)
	case core.ThreadReceipt:
		r.row = append(r.row[:0], v.Thread, v.User, v.MessageID, v.ReadOn)
	case core.Event:
		r.row = append(r.row[:0], int32(v.Day), v.Thread, int64(v.Number), int64(v.Position), int16(v.Kind), v.MessageID, v.Version, v.Actor)
	}
	return r.row, nil
}

// derive makes what records leave out, and holds the counters against the rows.
func (im *importer) derive(ctx context.Context) error {
	for _, step := range []string{
		`UPDATE heads SET last_day = last.day FROM (SELECT thread, max(day) AS day FROM events GROUP BY thread) last WHERE last.thread = id`,
		`INSERT INTO user_threads (user_id, minute, thread)
			SELECT user_id, coalesce(left_on, last_message_on) / 60000, thread FROM members JOIN heads ON heads.id = thread`,
	} {
		if _, err := im.tx.Exec(ctx, step); err != nil {
			return err
		}
	}
	// Positions that come later are this cluster's transaction ids, shifted.
	var next int64
	if err := im.tx.QueryRow(ctx, `SELECT pg_current_xact_id()::text::bigint << $1::int`, indexBits).Scan(&next); err != nil {
		return err
	}
	if int64(im.position) >= next {
		return fmt.Errorf("the log has %d events, more than this young cluster can number before its own: use an older one", im.position)
	}
	var orphan string
	err := im.tx.QueryRow(ctx, `SELECT thread FROM (SELECT thread FROM members UNION SELECT thread FROM messages UNION SELECT thread FROM answers
		UNION SELECT thread FROM sent UNION SELECT thread FROM receipts UNION SELECT thread FROM events) rows
		WHERE NOT EXISTS (SELECT FROM heads WHERE heads.id = thread) LIMIT 1`).Scan(&orphan)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("thread %s has rows but no head", orphan)
	}
	return err
}
