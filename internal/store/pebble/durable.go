package pebble

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// durable holds the newest snapshot of the store that is on the disk. Pebble shows a
// batch to readers before its sync returns, so all reads use this snapshot.
type durable struct {
	mu  sync.Mutex // guards now
	now *snapshot
}

// snapshot is the state of the store right after one batch. Its users share it, and
// the last release closes it.
type snapshot struct {
	*pebble.Snapshot
	batch    uint64 // the number of that batch since the store was opened
	position uint64 // of the last event
	uses     atomic.Int32
}

// publish makes s the published snapshot. If the published one is newer, publish
// releases s instead: batches become durable in order, so the newer one includes s.
func (d *durable) publish(s *snapshot) {
	s.uses.Store(1)
	d.mu.Lock()
	if d.now == nil || d.now.batch < s.batch {
		d.now, s = s, d.now
	}
	d.mu.Unlock()
	if s != nil {
		s.release() // the older of the two
	}
}

// acquire returns the published snapshot; the caller releases it.
func (d *durable) acquire() *snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now.uses.Add(1)
	return d.now
}

// release ends one use of the snapshot. After the last use it closes the snapshot.
func (s *snapshot) release() {
	if s.uses.Add(-1) == 0 {
		s.Snapshot.Close()
	}
}

// logged is a batch in the write-ahead log whose sync has not returned yet, and the
// snapshot to publish when it has.
type logged struct {
	batch *pebble.Batch
	after *snapshot
}

// logBatch appends a batch to the write-ahead log without waiting for the disk. The
// caller holds s.applying, so that snapshots have the order of the log; it unlocks
// s.applying before it calls sync with the result.
func (s *Store) logBatch(b *pebble.Batch) (*logged, error) {
	if err := s.append(b); err != nil {
		s.fatal(err)
		return nil, err
	}
	return &logged{b, s.snapshot()}, nil
}

// append appends a batch to the write-ahead log. Pebble panics if it cannot begin the next
// file of the log; append returns that error.
func (s *Store) append(b *pebble.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			var number syscall.Errno
			if e, ok := r.(error); !ok || !errors.As(e, &number) {
				panic(r)
			}
			err = r.(error)
		}
	}()
	return s.db.ApplyNoSyncWait(b, pebble.Sync)
}

// snapshot returns a new snapshot of the store after the batch that was logged last.
// The caller holds s.applying or is the only user of the store.
func (s *Store) snapshot() *snapshot {
	s.batches++
	return &snapshot{Snapshot: s.db.NewSnapshot(), batch: s.batches, position: s.position}
}

// sync waits until the batch is on the disk, and publishes it to readers. After an
// error it calls s.fatal: nobody can tell if the batch is on the disk.
func (s *Store) sync(l *logged) error {
	if err := l.batch.SyncWait(); err != nil {
		s.fatal(err)
		return err
	}
	s.durable.publish(l.after)
	return l.batch.Close()
}

// commit writes a batch outside of Apply, and returns when it is durable.
func (s *Store) commit(b *pebble.Batch) error {
	s.applying.Lock()
	l, err := s.logBatch(b)
	s.applying.Unlock()
	if err != nil {
		return err
	}
	return s.sync(l)
}

// set writes one row, and returns when it is durable.
func (s *Store) set(key, value []byte) error {
	b := s.db.NewBatch()
	b.Set(key, value, nil)
	return s.commit(b)
}
