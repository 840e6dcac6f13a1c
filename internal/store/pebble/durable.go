package pebble

import (
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// durable publishes the newest state of the store that is on the disk. Pebble
// shows a batch to readers before its sync returns, so reads use this snapshot
// and nothing else.
type durable struct {
	mu  sync.Mutex // guards now
	now *snapshot
}

// snapshot is the store right after one batch. Its readers share it, and the
// last one closes it.
type snapshot struct {
	*pebble.Snapshot
	batch    uint64 // the place of that batch in the log
	position uint64 // of the last event
	uses     atomic.Int32
}

// publish replaces the published snapshot, unless that one is newer: the log is
// durable in order, so a newer snapshot includes this one.
func (d *durable) publish(s *snapshot) {
	s.uses.Store(1)
	d.mu.Lock()
	old := s
	if d.now == nil || d.now.batch < s.batch {
		d.now, old = s, d.now
	}
	d.mu.Unlock()
	if old != nil {
		old.release()
	}
}

// acquire returns the published snapshot; the caller releases it.
func (d *durable) acquire() *snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now.uses.Add(1)
	return d.now
}

func (d *durable) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now != nil {
		d.now.release()
		d.now = nil
	}
}

func (s *snapshot) release() {
	if s.uses.Add(-1) == 0 {
		s.Snapshot.Close()
	}
}

// logged is a batch in the log whose sync has not returned yet, and the state
// of the store that is published when it has.
type logged struct {
	batch *pebble.Batch
	after *snapshot
}

// logBatch puts a batch into the log. The caller holds applying, so that the order
// of snapshots is the order of the log, and calls sync after it has let go.
func (s *Store) logBatch(b *pebble.Batch) (*logged, error) {
	if err := s.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		s.fatal(err)
		return nil, err
	}
	return &logged{b, s.snapshot()}, nil
}

// snapshot is the state of the store after the batch that was logged last. The
// caller holds applying.
func (s *Store) snapshot() *snapshot {
	s.batches++
	return &snapshot{Snapshot: s.db.NewSnapshot(), batch: s.batches, position: s.position}
}

// sync returns when the batch is on the disk and readers see it.
func (s *Store) sync(l *logged) error {
	if err := l.batch.SyncWait(); err != nil {
		s.fatal(err)
		return err
	}
	s.durable.publish(l.after)
	return l.batch.Close()
}

// commit writes rows that no change writes, durably.
func (s *Store) commit(b *pebble.Batch) error {
	s.applying.Lock()
	l, err := s.logBatch(b)
	s.applying.Unlock()
	if err != nil {
		return err
	}
	return s.sync(l)
}

// set is commit for one row.
func (s *Store) set(key, value []byte) error {
	b := s.db.NewBatch()
	b.Set(key, value, nil)
	return s.commit(b)
}
