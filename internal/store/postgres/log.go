package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
)

// mostPlaced is the maximum number of batches to which one call of the sequencer gives
// positions. It limits how long other servers must wait for their calls.
const mostPlaced = 5000

// placeSQL calls the sequencer, the function place_batches. It is one statement, so that a
// server that hangs cannot hold the sequencer's lock.
const placeSQL = `SELECT 0::bigint, batch, last, events, batch_check FROM place_batches($1, $2, $3)`

// placeUnusedSQL does the same as placeSQL. It also returns the greatest batch number that had a
// position before the call, even if no batch gets a position. It takes 1.6 times as long as
// placeSQL, mostly for its query plan.
const placeUnusedSQL = `SELECT coalesce((SELECT high FROM runs ORDER BY n DESC LIMIT 1), 0), coalesce(batch, 0), coalesce(last, 0), coalesce(events, 0), coalesce(batch_check, 0)
	FROM (VALUES (1)) always LEFT JOIN place_batches($1, $2, $3) ON true ORDER BY last`

// Sequence gives positions to the committed batches that have none, and returns these batches
// in the order of positions. If the connection is lost, some batches may get positions without
// being returned.
func (s *Store) Sequence(ctx context.Context) (all []core.Placed, err error) {
	if last, now := s.swept.Load(), time.Now().UnixMilli(); now-last >= core.MillisPerMinute && s.swept.CompareAndSwap(last, now) {
		if all, err = s.sweepLog(ctx); err != nil {
			s.log.Warn("store: could not look for batches that were committed late", "error", err)
		}
	}
	for {
		placed, err := s.place(ctx, mostPlaced, nil)
		all = append(all, placed...)
		if err != nil || len(placed) < mostPlaced {
			return all, err
		}
	}
}

// place calls the sequencer once. most is the maximum number of batches that get positions. also
// has the numbers of additional batches that the sequencer looks at. place tells the sequencer
// which numbers this process has drawn and will not use.
func (s *Store) place(ctx context.Context, most int, also []int64) (placed []core.Placed, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeouts.trip)
	defer cancel()
	var unused []int64
	var high int64
	err = s.retry(ctx, "give positions to events", func() error {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		placed, unused = nil, s.unused.all() // read the list of unused numbers after Acquire, because a new connection empties it
		sql := placeSQL
		if len(unused) > 0 {
			sql = placeUnusedSQL
		}
		rows, _ := conn.Query(ctx, sql, most, append([]int64{}, also...), append([]int64{}, unused...)) // rows returns its error too
		return each(func(from pgx.CollectableRow) error {
			var p core.Placed
			err := from.Scan(&high, &p.Batch, &p.Last, &p.Events, &p.Check)
			if p.Batch != 0 {
				placed = append(placed, p)
			}
			return err
		})(rows)
	})
	if err == nil {
		s.unused.forget(unused, high)
	}
	return placed, err
}

// sweptNumbers is how many batch numbers, counted back from the greatest one with a position,
// sweepLog searches for batches without a position.
const sweptNumbers = 200_000

// forgottenSQL selects the numbers of committed batches that have no position and that the
// sequencer does not look for any more.
const forgottenSQL = `SELECT b.number FROM (SELECT high, missing FROM runs ORDER BY n DESC LIMIT 1) run, batches b
	WHERE b.number <= run.high AND b.number > run.high - $1
		AND NOT EXISTS (SELECT FROM log l WHERE l.batch = b.number) AND NOT EXISTS (SELECT FROM unnest(run.missing) m WHERE m = b.number)
	ORDER BY b.number`

// sweepLog gives positions to batches that were committed more than ten minutes after their
// numbers were drawn, and returns them. Only a COMMIT that waits for a standby can be that
// late, because the timeouts of a batch are shorter. sweepLog logs these batches as an error:
// if a later batch of the same thread already has a position, the two are in the log in the
// wrong order. sweepLog also deletes old rows of the table runs and reads the database's clock.
func (s *Store) sweepLog(ctx context.Context) ([]core.Placed, error) {
	if err := s.readClock(ctx); err != nil {
		return nil, err
	}
	_, err := s.pool.Exec(ctx, `DELETE FROM runs WHERE n < (SELECT max(n) FROM runs)`)
	if err != nil {
		return nil, fmt.Errorf("delete old runs of the sequencer: %w", err)
	}
	var forgotten []int64
	err = s.readLog(ctx, "batches without a position", func(b *pgx.Batch) {
		b.Queue(forgottenSQL, sweptNumbers).Query(collect(&forgotten, pgx.RowTo[int64]))
	})
	if err != nil || len(forgotten) == 0 {
		return nil, err
	}
	s.log.Error("store: batches were committed very late; their events come late in the event log", "batches", forgotten)
	return s.place(ctx, mostPlaced, forgotten)
}

// errStandby means that the connection leads to a standby, a server that repeats the writes of
// another one. Its log may end earlier.
var errStandby = errors.New("this PostgreSQL server is a standby")

// readLog runs queries of the event log in one snapshot, as read does. It fails on a standby.
// It locks the table events before the snapshot is taken, so that no partition that the
// snapshot contains is dropped until the transaction ends. It turns off just-in-time
// compilation, because the planner greatly overestimates the cost of these queries: a page of
// the log took 5 ms without it and 400 ms with it.
func (s *Store) readLog(ctx context.Context, what string, queue func(b *pgx.Batch)) error {
	return s.read(ctx, what, func(b *pgx.Batch) {
		b.Queue(`SET LOCAL jit = off`)
		b.Queue(`LOCK TABLE ONLY events IN ACCESS SHARE MODE`)
		b.Queue(`SELECT pg_is_in_recovery()`).QueryRow(func(row pgx.Row) error {
			var standby bool
			if err := row.Scan(&standby); err != nil || !standby {
				return err
			}
			return errStandby
		})
		queue(b)
	})
}

// logEnds has the cursors at both ends of the log, and the check number of the event at one
// position.
type logEnds struct {
	floor, tip core.Cursor
	check      *int64 // check number of the event at the position; nil if the log has no event there
}

// endsSQL selects the epoch of the log, the position and the check number at both ends of the log
// (its floor and its tip), and the check number of the event at position $1.
const endsSQL = `SELECT (SELECT value FROM meta WHERE name = 'epoch'), f.position, f.batch_check,
		coalesce(t.last, f.position), coalesce(t.batch_check, f.batch_check),
		(SELECT batch_check FROM log WHERE last >= $1 ORDER BY last LIMIT 1)
	FROM log_floor f LEFT JOIN (SELECT last, batch_check FROM log ORDER BY last DESC LIMIT 1) t ON true`

// queueEnds queues a query that fills the fields of to. The field check is for the event at
// position.
func queueEnds(b *pgx.Batch, position int64, to *logEnds) {
	b.Queue(endsSQL, position).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&to.floor.Epoch, &to.floor.Position, &to.floor.Check, &to.tip.Position, &to.tip.Check, &to.check)
		to.tip.Epoch = to.floor.Epoch
		return err
	})
}

// gap returns why the log cannot continue after a cursor, or 0 if it can.
func (l *logEnds) gap(after core.Cursor) core.GapReason {
	switch {
	case after.Epoch != l.floor.Epoch:
		return core.GapEpoch
	case after.Position < l.floor.Position:
		return core.GapTrimmed
	case after.Position == l.floor.Position:
		if after.Check != l.floor.Check {
			return core.GapLost
		}
	case after.Position > l.tip.Position || l.check == nil || *l.check != int64(after.Check):
		return core.GapLost
	}
	return 0
}

// Tip returns the cursor after the last event that has a position in the log.
func (s *Store) Tip(ctx context.Context) (core.Cursor, error) {
	var l logEnds
	err := s.readLog(ctx, "the end of the log", func(b *pgx.Batch) { queueEnds(b, 0, &l) })
	return l.tip, err
}

// placedEvents returns a list of the columns of the table events, which the query must name e. It
// computes position from l, the row of the table log for the event's batch.
func placedEvents() string {
	list := "e." + strings.Join(events.names, ", e.")
	return replaceColumn(list, "e.position", fmt.Sprintf("l.last - l.events + (e.position & %d)", core.MaxBatchEvents))
}

// logSQL selects the events at positions $1 + 1 to $1 + $2. For each row of the table log it
// reads a range of one partition. OFFSET 0 keeps the planner from joining whole tables.
var logSQL = fmt.Sprintf(`SELECT * FROM (
		SELECT %s FROM (SELECT * FROM log WHERE last > $1::bigint ORDER BY last LIMIT $2::bigint) l
		CROSS JOIN LATERAL (SELECT * FROM events WHERE day = l.day AND position > l.batch << 20 AND position <= (l.batch << 20) + l.events OFFSET 0) e
		WHERE l.last - l.events < $1::bigint + $2::bigint
	) e WHERE position > $1::bigint ORDER BY position LIMIT $2::bigint`, placedEvents())

// Log returns up to limit events after a cursor, in the order of positions. If the events after the
// cursor are not in the log, the page instead says which kind of gap there is; see core.Store.
func (s *Store) Log(ctx context.Context, after core.Cursor, limit int) (page core.LogPage, err error) {
	var l logEnds
	var found []core.Event
	position := int64(min(after.Position, math.MaxInt64/2)) // no log has so many events
	err = s.readLog(ctx, "the log", func(b *pgx.Batch) {
		l = logEnds{}
		queueEnds(b, position, &l)
		b.Queue(logSQL, position, limit).Query(collect(&found, events.rowTo))
	})
	if err != nil {
		return page, err
	}
	page.Next, page.Tip, page.Gap = after, l.tip.Position, l.gap(after)
	for _, e := range found {
		if page.Gap != 0 || e.Position != page.Next.Position+1 {
			break // stop, because an event is missing: something else than Trim has dropped its partition
		}
		page.Events = append(page.Events, e)
		page.Next.Position, page.Next.Check = e.Position, e.Check
	}
	if page.Gap == 0 && len(page.Events) == 0 && limit > 0 && after.Position < l.tip.Position {
		page.Gap = core.GapTrimmed
	}
	if page.Gap != 0 {
		page.Next = l.tip
	}
	return page, nil
}

// logBeforeSQL selects the last $2 events at positions less than $1. For each row of the table
// log it reads a range of one partition.
var logBeforeSQL = fmt.Sprintf(`SELECT * FROM (
		SELECT %s FROM (SELECT * FROM log
			WHERE last <= coalesce((SELECT last FROM log WHERE last >= $1::bigint - 1 ORDER BY last LIMIT 1), $1::bigint) ORDER BY last DESC LIMIT $2::bigint) l
		CROSS JOIN LATERAL (SELECT * FROM events WHERE day = l.day AND position > l.batch << 20 AND position <= (l.batch << 20) + l.events OFFSET 0) e
	) e WHERE position < $1::bigint ORDER BY position DESC LIMIT $2::bigint`, placedEvents())

// LogBefore returns up to limit events whose positions are less than the argument before, the
// greatest position first; see core.Store.
func (s *Store) LogBefore(ctx context.Context, before uint64, limit int) (found []core.Event, err error) {
	if before == 0 || before > math.MaxInt64/2 {
		before = math.MaxInt64 / 2 // no log has so many events
	}
	err = s.readLog(ctx, "the end of the log", func(b *pgx.Batch) {
		found = nil
		b.Queue(logBeforeSQL, int64(before), limit).Query(collect(&found, events.rowTo))
	})
	return found, err
}

// newsSQL selects at most $3 threads of user $1 that have events after position $2. Its
// candidates are the threads of the user's list whose last event has a later position or none
// yet. A trimmed batch has no position either; it is told from a new one by its missing row in
// the table batches. If the log has at most 1,000 events after the position, and fewer than the
// list has threads, the threads of these events are selected instead, because a user can be in
// very many threads. OFFSET 0 keeps the planner from joining whole tables.
var newsSQL = fmt.Sprintf(`WITH few AS MATERIALIZED (
		SELECT n <= 1000 AND EXISTS (SELECT FROM user_threads WHERE user_id = $1 OFFSET greatest(n, 0)) AS events
		FROM (SELECT coalesce((SELECT last FROM log ORDER BY last DESC LIMIT 1), 0) - $2::bigint AS n OFFSET 0) after
	), candidate AS MATERIALIZED (
		SELECT u.thread, h.last_event FROM user_threads u JOIN heads h ON h.id = u.thread LEFT JOIN log l ON l.batch = h.last_position >> 20
		WHERE NOT (SELECT events FROM few) AND u.user_id = $1
			AND (l.last > $2::bigint OR l.last IS NULL AND EXISTS (SELECT FROM batches b WHERE b.number = h.last_position >> 20))
	), recent AS MATERIALIZED (
		SELECT e.thread, min(e.number) AS first FROM (SELECT * FROM log WHERE (SELECT events FROM few) AND last > $2::bigint ORDER BY last LIMIT 1000) l
		CROSS JOIN LATERAL (SELECT thread, number FROM events
			WHERE day = l.day AND position > (l.batch << 20) + greatest($2::bigint - l.last + l.events, 0) AND position <= (l.batch << 20) + l.events OFFSET 0) e
		WHERE e.thread <> '' GROUP BY e.thread
	), news AS MATERIALIZED (
		SELECT thread, first FROM (SELECT thread, first_event_after(thread, last_event, $2::bigint) AS first FROM candidate OFFSET 0) c WHERE first IS NOT NULL
		UNION ALL SELECT r.thread, r.first FROM recent r CROSS JOIN LATERAL (SELECT FROM members m WHERE m.thread = r.thread AND m.user_id = $1 OFFSET 0) mine
		LIMIT $3
	)
	SELECT n.first, h.%s, m.%s FROM news n CROSS JOIN LATERAL (SELECT * FROM heads WHERE id = n.thread OFFSET 0) h
		CROSS JOIN LATERAL (SELECT * FROM members WHERE thread = n.thread AND user_id = $1 OFFSET 0) m`,
	strings.Join(heads.names, ", h."), strings.Join(threadMembers.names, ", m."))

// News returns up to limit threads of a user's list that have events after a position; see
// core.Store.
func (s *Store) News(ctx context.Context, user string, after uint64, limit int) (news []core.News, err error) {
	err = s.readLog(ctx, "news of user "+user, func(b *pgx.Batch) {
		b.Queue(newsSQL, user, int64(min(after, math.MaxInt64/2)), limit).Query(collect(&news, scanNews))
	})
	return news, err
}

// scanNews reads one row of the result of newsSQL.
func scanNews(from pgx.CollectableRow) (core.News, error) {
	var h row.DatedHead
	n := core.News{View: core.View{Member: &core.Member{}}}
	targets := []any{&n.First}
	for _, c := range heads.columns {
		targets = append(targets, c.Target(&h))
	}
	for _, c := range threadMembers.columns {
		targets = append(targets, c.Target(n.Member))
	}
	err := from.Scan(targets...)
	n.Head = h.Head
	return n, err
}

var threadEventsSQL = fmt.Sprintf(`SELECT %s FROM events e JOIN log l ON l.batch = e.position >> 20
	WHERE e.thread = $1 AND e.number >= $2 ORDER BY e.number LIMIT $3`, placedEvents())

// ThreadEvents returns up to limit events of a thread that have a position, in the order of their
// numbers. It begins with the first event whose number is at least the argument from.
func (s *Store) ThreadEvents(ctx context.Context, thread string, from uint64, limit int) (found []core.Event, err error) {
	err = s.readLog(ctx, "events of thread "+thread, func(b *pgx.Batch) {
		b.Queue(threadEventsSQL, thread, int64(from), limit).Query(collect(&found, events.rowTo))
	})
	return found, err
}

// Tell returns each event together with the rows that it refers to; see core.Store.
func (s *Store) Tell(ctx context.Context, es []core.Event) ([]core.Happening, error) {
	threads, rosters, ids := map[string]bool{}, map[string]bool{}, map[core.MessageKey]bool{}
	for _, e := range es {
		if e.Thread == "" {
			continue
		}
		threads[e.Thread] = true
		if e.Kind.ChangesMembers() {
			rosters[e.Thread] = true
		}
		if id := e.MessageRow(); id != 0 {
			ids[core.MessageKey{Thread: e.Thread, ID: id}] = true
		}
	}
	var keys []core.ThreadMessage
	for k := range ids {
		keys = append(keys, core.ThreadMessage{Thread: k.Thread, Message: core.Message{ID: k.ID}})
	}
	var headOf map[string]core.Head
	var membersOf map[string][]core.Member
	var messageOf map[core.MessageKey]*core.Message
	err := s.readLog(ctx, fmt.Sprintf("what %d events refer to", len(es)), func(b *pgx.Batch) {
		headOf, membersOf, messageOf = map[string]core.Head{}, map[string][]core.Member{}, map[core.MessageKey]*core.Message{}
		b.Queue(`SELECT `+heads.list+` FROM heads WHERE id = ANY($1)`, slices.Collect(maps.Keys(threads))).
			Query(heads.each(func(h row.DatedHead) { headOf[h.ID] = h.Head }))
		if len(rosters) > 0 {
			b.Queue(`SELECT `+members.list+` FROM members WHERE thread = ANY($1)`, slices.Collect(maps.Keys(rosters))).
				Query(members.each(func(m core.ThreadMember) { membersOf[m.Thread] = append(membersOf[m.Thread], m.Member) }))
		}
		messages.find(b, keys, func(m core.ThreadMessage) { messageOf[core.MessageKey{Thread: m.Thread, ID: m.ID}] = &m.Message }, "thread", "id")
		if len(keys) > 0 {
			queuePurged(b, slices.Collect(maps.Keys(threads)), func(thread string) {
				maps.DeleteFunc(messageOf, func(k core.MessageKey, _ *core.Message) bool { return k.Thread == thread })
			})
		}
	})
	if err != nil {
		return nil, err
	}
	told := make([]core.Happening, len(es))
	for i, e := range es {
		told[i].Event = e
		if e.Thread != "" {
			told[i].Tell(headOf[e.Thread], membersOf[e.Thread], messageOf[core.MessageKey{Thread: e.Thread, ID: e.MessageRow()}])
		}
	}
	return told, nil
}

// RenewEpoch replaces the epoch of the event log, unless the present epoch differs from was. It
// returns when the new epoch is durable.
func (s *Store) RenewEpoch(ctx context.Context, was, epoch string) error {
	return s.retry(ctx, "renew the epoch", func() error {
		return s.transact(ctx, s.timeouts, func(b *pgx.Batch) {
			b.Queue(`UPDATE meta SET value = $2 WHERE name = 'epoch' AND value = $1`, was, epoch)
		})
	})
}

// transact runs the statements that queue adds to the batch, in one durable transaction and one
// round trip.
func (s *Store) transact(ctx context.Context, t timeouts, queue func(b *pgx.Batch)) error {
	ctx, cancel := context.WithTimeout(ctx, t.trip)
	defer cancel()
	var b pgx.Batch
	b.Queue(`BEGIN`)
	b.Queue(t.settings())
	queue(&b)
	b.Queue(`COMMIT`)
	return s.pool.SendBatch(ctx, &b).Close()
}
