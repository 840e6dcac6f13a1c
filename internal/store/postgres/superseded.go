package postgres

import (
	"context"

	"github.com/confab-chat/confab/internal/core"
)

// supersededSQL selects up to $4 superseded messages after the key $1, $2, $3, but none of a
// deleted thread that has rows left.
var supersededSQL = `SELECT ` + kept.list + ` FROM superseded WHERE (thread, id, sequence) > ($1, $2, $3)
	AND NOT EXISTS (SELECT FROM purges WHERE purges.thread = superseded.thread) ORDER BY thread, id, sequence LIMIT $4`

// Superseded returns up to limit superseded messages after a key; see core.Store.
func (s *Store) Superseded(ctx context.Context, after core.SupersededKey, limit int) ([]core.ThreadSuperseded, error) {
	return readAll(ctx, s, "superseded messages", kept.rowTo, supersededSQL, after.Thread, after.ID, int64(after.Sequence), limit)
}
