package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/core"
)

var _ core.SharedEndpoints = (*Store)(nil)

// putEndpointsSQL inserts endpoints, or replaces existing ones if they have the same owner. It
// returns the keys of the endpoints that it wrote.
var putEndpointsSQL = endpoints.upsert() + ` WHERE endpoints.owner = excluded.owner RETURNING user_id, id`

// dropEndpointsSQL deletes endpoints by their keys. It first locks them in the order of keys.
// PutEndpoints locks in the same order, so the two cannot deadlock.
var dropEndpointsSQL = fmt.Sprintf(`DELETE FROM endpoints t USING (
		SELECT e.user_id, e.id FROM endpoints e JOIN %s USING (user_id, id) ORDER BY e.user_id, e.id FOR UPDATE OF e
	) n WHERE %s`, unnest(endpoints.columns[:len(endpoints.key)]), agree(endpoints.key))

// expireEndpointsSQL deletes the endpoints last seen before $1. It skips a locked endpoint,
// which another transaction is replacing or deleting.
var expireEndpointsSQL = fmt.Sprintf(`DELETE FROM endpoints t USING (
		SELECT user_id, id FROM endpoints WHERE seen < $1 FOR UPDATE SKIP LOCKED
	) n WHERE %s`, agree(endpoints.key))

// PutEndpoints writes all endpoints with one statement; see core.Store. It returns the endpoints
// that have another owner, which it does not write. After a lost connection it runs the statement
// again, which is harmless.
func (s *Store) PutEndpoints(ctx context.Context, es []core.Endpoint) (taken []core.Endpoint, err error) {
	var keys []endpointKey
	err = s.changeEndpoints(ctx, "write endpoints", putEndpointsSQL, len(endpoints.columns), es, func(q *pgx.QueuedQuery) {
		q.Query(collect(&keys, pgx.RowToStructByPos[endpointKey]))
	})
	if err != nil {
		return nil, err
	}
	put := make(map[endpointKey]bool, len(keys))
	for _, k := range keys {
		put[k] = true
	}
	for _, e := range es {
		if !put[endpointKey{e.User, e.ID}] {
			taken = append(taken, e)
		}
	}
	return taken, nil
}

// endpointKey is the key of an endpoint.
type endpointKey struct{ User, ID string }

// CallEndpoint asks the owner of an endpoint to give it up; see core.SharedEndpoints.
func (s *Store) CallEndpoint(ctx context.Context, user, id, owner string) error {
	return s.retry(ctx, "call an endpoint", func() error {
		return s.transact(ctx, s.timeouts, func(b *pgx.Batch) {
			b.Queue(`UPDATE endpoints SET called = true WHERE user_id = $1 AND id = $2 AND owner = $3 AND NOT called`, user, id, owner)
		})
	})
}

// EndpointCalled reports whether an endpoint is open and whether its owner was asked to give it
// up; see core.SharedEndpoints.
func (s *Store) EndpointCalled(ctx context.Context, user, id string) (open, called bool, err error) {
	all, err := readAll(ctx, s, "an endpoint of user "+user, pgx.RowToStructByPos[struct{ Open, Called bool }],
		`SELECT open, called FROM endpoints WHERE user_id = $1 AND id = $2`, user, id)
	if err != nil || len(all) == 0 {
		return false, false, err
	}
	return all[0].Open, all[0].Called, nil
}

// CalledEndpoints returns the endpoints that an owner was asked to give up, and clears the mark of
// this request; see core.SharedEndpoints. An index of the rows with this mark makes the call cheap
// when there are none.
func (s *Store) CalledEndpoints(ctx context.Context, owner string) (es []core.Endpoint, err error) {
	var keys []endpointKey
	err = s.retry(ctx, "look for called endpoints", func() error {
		return s.transact(ctx, s.timeouts, func(b *pgx.Batch) {
			// Skip a row that another statement has locked; the next call returns it. Otherwise
			// two statements that lock rows in different orders could deadlock.
			b.Queue(`UPDATE endpoints e SET called = false FROM (SELECT user_id, id FROM endpoints
				WHERE owner = $1 AND called ORDER BY user_id, id FOR UPDATE SKIP LOCKED) n
				WHERE e.user_id = n.user_id AND e.id = n.id RETURNING e.user_id, e.id`, owner).
				Query(collect(&keys, pgx.RowToStructByPos[endpointKey]))
		})
	})
	for _, k := range keys {
		es = append(es, core.Endpoint{User: k.User, ID: k.ID, Owner: owner})
	}
	return es, err
}

// TakeEndpoint makes a server the owner of an endpoint and returns the row as it was before;
// see core.SharedEndpoints. If it commits and the connection is lost, it runs again, and may
// return the row with the new owner. Nothing was stored in between, so the rest of the row is
// right.
func (s *Store) TakeEndpoint(ctx context.Context, user, id, owner string) (was core.Endpoint, found bool, err error) {
	var rows []core.Endpoint
	err = s.retry(ctx, "take an endpoint over", func() error {
		return s.transact(ctx, s.timeouts, func(b *pgx.Batch) {
			b.Queue(`SELECT `+endpoints.list+` FROM endpoints WHERE user_id = $1 AND id = $2 FOR UPDATE`, user, id).Query(collect(&rows, endpoints.rowTo))
			b.Queue(`UPDATE endpoints SET owner = $3, open = true, called = false WHERE user_id = $1 AND id = $2`, user, id, owner)
		})
	})
	if err != nil || len(rows) == 0 {
		return core.Endpoint{}, false, err
	}
	return rows[0], true, nil
}

// DropEndpoints deletes endpoints by their users and ids; see core.Store.
func (s *Store) DropEndpoints(ctx context.Context, es []core.Endpoint) error {
	return s.changeEndpoints(ctx, "delete endpoints", dropEndpointsSQL, len(endpoints.key), es, nil)
}

// changeEndpoints runs the statement sql in a durable transaction. The statement's parameters
// are arrays of the first n columns of the endpoints, sorted by key, with each key once. If
// read is not nil, it is called with the queued statement, to set the function that reads its
// rows.
func (s *Store) changeEndpoints(ctx context.Context, what, sql string, n int, es []core.Endpoint, read func(*pgx.QueuedQuery)) error {
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
		return s.transact(ctx, s.timeouts, func(b *pgx.Batch) {
			q := endpoints.queueColumns(b, sql, endpoints.columns[:n], sorted)
			if read != nil {
				read(q)
			}
		})
	})
}

// Endpoints returns the endpoints of a user, the one seen most recently first.
func (s *Store) Endpoints(ctx context.Context, user string) ([]core.Endpoint, error) {
	return readAll(ctx, s, "endpoints of user "+user, endpoints.rowTo,
		`SELECT `+endpoints.list+` FROM endpoints WHERE user_id = $1 ORDER BY seen DESC, id`, user)
}

// ExpireEndpoints deletes the endpoints that were last seen before a time in epoch milliseconds.
func (s *Store) ExpireEndpoints(ctx context.Context, before int64) error {
	return s.retry(ctx, "delete old endpoints", func() error {
		return s.transact(ctx, s.timeouts, func(b *pgx.Batch) { b.Queue(expireEndpointsSQL, before) })
	})
}
