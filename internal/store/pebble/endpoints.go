package pebble

import (
	"cmp"
	"context"
	"slices"

	"github.com/confab-chat/confab/internal/core"
)

// PutEndpoints writes all endpoints in one batch, with one sync; see core.Store. It
// returns core.ErrStorageFull if too little disk space is free.
func (s *Store) PutEndpoints(_ context.Context, es []core.Endpoint) (taken []core.Endpoint, err error) {
	if err := s.disk.check(0); err != nil || len(es) == 0 {
		return nil, err
	}
	w := writer{batch: s.db.NewBatch()}
	for i := range es {
		endpoints.put(&w, &es[i])
	}
	return nil, s.commit(w.batch)
}

// Endpoints returns the endpoints of a user, the one seen most recently first.
func (s *Store) Endpoints(_ context.Context, user string) (es []core.Endpoint, err error) {
	snap := s.durable.acquire()
	defer snap.release()
	err = endpoints.each(snap, part(user), func(e core.Endpoint) error {
		es = append(es, e)
		return nil
	})
	slices.SortStableFunc(es, func(a, b core.Endpoint) int { return cmp.Compare(b.Seen, a.Seen) })
	return es, err
}

// DropEndpoints deletes endpoints by their users and ids; see core.Store.
func (s *Store) DropEndpoints(_ context.Context, es []core.Endpoint) error {
	if len(es) == 0 {
		return nil
	}
	w := writer{batch: s.db.NewBatch()}
	for i := range es {
		endpoints.remove(&w, &es[i])
	}
	return s.commit(w.batch)
}

// expiryBatch is the greatest number of endpoints that ExpireEndpoints deletes each time it
// holds the lock of writers.
const expiryBatch = 1000

// ExpireEndpoints deletes the endpoints that were last seen before a time in epoch milliseconds. It
// reads all endpoints of the store.
func (s *Store) ExpireEndpoints(ctx context.Context, before int64) error {
	snap := s.durable.acquire()
	defer snap.release()
	var old []core.Endpoint
	err := s.scan(ctx, snap, kindEndpoint, func(key, value []byte) error {
		e, err := endpoints.decode(key, value)
		if err == nil && e.Seen < before {
			old = append(old, e)
		}
		return err
	})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(old, expiryBatch) {
		if err := s.expireSome(some, before); err != nil {
			return err
		}
	}
	return nil
}

// expireSome deletes each endpoint of es that is still last seen before a time in epoch
// milliseconds. It holds the lock of writers and reads each endpoint again, because PutEndpoints
// may have replaced it.
func (s *Store) expireSome(es []core.Endpoint, before int64) error {
	w := writer{batch: s.db.NewBatch()}
	s.applying.Lock()
	for _, e := range es {
		now, found, err := endpoints.get(s.db, core.Endpoint{User: e.User, ID: e.ID})
		if err != nil {
			s.applying.Unlock()
			return err
		}
		if found && now.Seen < before {
			endpoints.remove(&w, &now)
		}
	}
	if w.batch.Empty() {
		s.applying.Unlock()
		return w.batch.Close()
	}
	l, err := s.logBatch(w.batch)
	s.applying.Unlock()
	if err != nil {
		return err
	}
	return s.sync(l)
}
