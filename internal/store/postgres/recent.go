package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// recentSQL selects, for each thread of $1, the messages with fingerprints among the newest
// core.MaxRecentSends that have sequences above $2 and were created at $3 or later. It begins behind
// the newest message that is too old and was never edited: versions increase with the sequence, so
// all messages before it are too old (see pageSQL).
var recentSQL = fmt.Sprintf(`SELECT q.thread, m.id, m.created_on, m.fingerprint
	FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS q (thread, after, since), LATERAL (
		SELECT id, created_on, fingerprint FROM messages
		WHERE thread = q.thread AND sequence > greatest(q.after, (SELECT sequence FROM messages
			WHERE thread = q.thread AND id < q.since AND version = id ORDER BY id DESC LIMIT 1))
		ORDER BY sequence DESC LIMIT %d
	) m WHERE m.fingerprint IS NOT NULL AND m.created_on >= q.since`, core.MaxRecentSends)

// foundRecent has the messages that each query has found.
type foundRecent map[core.RecentQuery][]core.RecentSend

// queryRecent queues the queries, if there are any, and returns where their results are stored. The
// heads of the threads must be locked before they run.
func queryRecent(b *pgx.Batch, queries []core.RecentQuery) foundRecent {
	if len(queries) == 0 {
		return nil
	}
	found := foundRecent{}
	threads, after, since := make([]string, len(queries)), make([]int64, len(queries)), make([]int64, len(queries))
	of := map[string]core.RecentQuery{}
	for i, q := range queries {
		threads[i], after[i], since[i] = q.Thread, int64(q.After), q.Since
		found[q], of[q.Thread] = nil, q
	}
	b.Queue(recentSQL, threads, after, since).Query(each(func(row pgx.CollectableRow) error {
		var thread string
		var fingerprint []byte
		var m core.RecentSend
		if err := row.Scan(&thread, &m.ID, &m.CreatedOn, &fingerprint); err != nil {
			return err
		}
		copy(m.Fingerprint[:], fingerprint)
		q := of[thread]
		found[q] = append(found[q], m)
		return nil
	}))
	return found
}

// recall empties w.recent if a connection was made or lost since w.recent was last emptied. A new
// connection may lead to a database server that took over without the last commits of the earlier
// one. recall is called after the batch has got its connection.
func (s *Store) recall(w *writer) {
	if links := s.links.Load(); w.links != links {
		w.recent, w.links = core.NewRecent(), links
	}
}

// loadRecent puts the recent sends of the batch's threads into the state. known has the results of
// the queries that were sent together with the queries for the heads. loadRecent sends the other
// queries, if there are any, in another round trip.
func (tx *transaction) loadRecent(ctx context.Context, recent *core.Recent, known foundRecent, at int64) error {
	var more []core.RecentQuery
	for _, q := range recent.Load(tx.state, at) {
		if found, ok := known[q]; ok {
			recent.Learn(tx.state, q, found, at)
		} else {
			more = append(more, q)
		}
	}
	if len(more) == 0 {
		return nil
	}
	var b pgx.Batch
	found := queryRecent(&b, more)
	if err := tx.conn.SendBatch(ctx, &b).Close(); err != nil {
		return err
	}
	for _, q := range more {
		recent.Learn(tx.state, q, found[q], at)
	}
	return nil
}
