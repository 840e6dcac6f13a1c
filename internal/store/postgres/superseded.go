package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

// supersededSQL selects up to $4 superseded messages of thread $1 after the key $1, $2, $3. It
// selects none if the thread was deleted and still has rows.
var supersededSQL = `SELECT ` + kept.list + ` FROM superseded WHERE thread = $1 AND (id, sequence) > ($2, $3)
	AND ` + notPurged + ` ORDER BY id, sequence LIMIT $4`

// supersededThreadsSQL selects up to $2 ids of threads with superseded messages, in ascending
// order, that are greater than $1. It leaves out deleted threads that still have rows. It looks up
// one row of each thread, in the order of the primary key.
const supersededThreadsSQL = `WITH RECURSIVE found AS (
	(SELECT thread FROM superseded WHERE thread > $1 ORDER BY thread LIMIT 1)
	UNION ALL
	SELECT (SELECT thread FROM superseded WHERE thread > found.thread ORDER BY thread LIMIT 1) FROM found WHERE thread IS NOT NULL
) SELECT thread FROM found WHERE thread IS NOT NULL AND NOT EXISTS (SELECT FROM purges WHERE purges.thread = found.thread) LIMIT $2`

// Superseded returns up to limit superseded messages of a thread after a key; see core.Store.
func (s *Store) Superseded(ctx context.Context, after core.SupersededKey, limit int) ([]core.ThreadSuperseded, error) {
	return readAll(ctx, s, "superseded messages", kept.rowTo, supersededSQL, after.Thread, after.ID, int64(after.Sequence), limit)
}

// SupersededThreads returns up to limit ids of threads with superseded messages, in ascending
// order; see core.Store. It begins with the first id that is greater than the argument after.
func (s *Store) SupersededThreads(ctx context.Context, after string, limit int) ([]string, error) {
	return readAll(ctx, s, "threads with superseded messages", pgx.RowTo[string], supersededThreadsSQL, after, limit)
}
