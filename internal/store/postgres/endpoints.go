package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

var upsertEndpoints = endpoints.upsert()

// dropEndpointsSQL deletes rows by their keys. It locks them in the order of the keys,
// in which PutEndpoints writes them, so that neither waits for the other in a circle.
var dropEndpointsSQL = fmt.Sprintf(`DELETE FROM endpoints t USING (
		SELECT e.user_id, e.id FROM endpoints e JOIN %s USING (user_id, id) ORDER BY e.user_id, e.id FOR UPDATE OF e
	) n WHERE %s`, unnest(endpoints.columns[:len(endpoints.key)]), agree(endpoints.key))

// expireEndpointsSQL deletes the rows last seen before $1. It skips a locked row, which
// is being replaced or deleted.
var expireEndpointsSQL = fmt.Sprintf(`DELETE FROM endpoints t USING (
		SELECT user_id, id FROM endpoints WHERE seen < $1 FOR UPDATE SKIP LOCKED
	) n WHERE %s`, agree(endpoints.key))

// PutEndpoints writes all endpoints with one statement; see core.Store. After a lost
// connection it tries again, since the statement may be repeated.
func (s *Store) PutEndpoints(ctx context.Context, es []core.Endpoint) error {
	return s.changeEndpoints(ctx, "write endpoints", upsertEndpoints, len(endpoints.columns), es)
}

// DropEndpoints deletes endpoints by their users and ids; see core.Store.
func (s *Store) DropEndpoints(ctx context.Context, es []core.Endpoint) error {
	return s.changeEndpoints(ctx, "delete endpoints", dropEndpointsSQL, len(endpoints.key), es)
}

// changeEndpoints runs a statement in a durable transaction. Its parameters are the first
// n columns of the endpoints as arrays, in the order of the keys and each key once.
func (s *Store) changeEndpoints(ctx context.Context, what, sql string, n int, es []core.Endpoint) error {
	if len(es) == 0 {
		return nil
	}
	last := map[[2]string]core.Endpoint{}
	for _, e := range es {
		last[[2]string{e.User, e.ID}] = e
	}
	var sorted []core.Endpoint
	for _, e := range last {
		sorted = append(sorted, e)
	}
	slices.SortFunc(sorted, func(a, b core.Endpoint) int { return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.ID, b.ID)) })
	return s.retry(ctx, what, func() error {
		return s.transact(ctx, s.timeouts, func(b *pgx.Batch) { endpoints.queueColumns(b, sql, endpoints.columns[:n], sorted) })
	})
}

// Endpoints returns the endpoints of a user, the one that was seen last first.
func (s *Store) Endpoints(ctx context.Context, user string) ([]core.Endpoint, error) {
	return readAll(ctx, s, "endpoints of user "+user, endpoints.rowTo,
		`SELECT `+endpoints.list+` FROM endpoints WHERE user_id = $1 ORDER BY seen DESC, id`, user)
}

// ExpireEndpoints deletes the endpoints that were last seen before this time, in epoch
// milliseconds.
func (s *Store) ExpireEndpoints(ctx context.Context, before int64) error {
	return s.retry(ctx, "delete old endpoints", func() error {
		return s.transact(ctx, s.timeouts, func(b *pgx.Batch) { b.Queue(expireEndpointsSQL, before) })
	})
}
