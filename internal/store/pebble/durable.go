package pebble

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// durable holds the snapshot of the store after the newest batch that is on the disk. All reads
// use this snapshot, because Pebble itself shows a batch to readers before its sync returns.
type durable struct {
	mu  sync.Mutex // guards now
	now *snapshot
}

// snapshot is the state of the store right after one batch. Several reads may share it; it is
// closed when the last of them releases it.
type snapshot struct {
	pebble.Reader // a *pebble.Snapshot, wrapped by Options.count if that is set

	batch    uint64 // number of the last batch in the snapshot, counted since the store was opened
	position uint64 // of the last event
	relisted bool   // there may be relistings
	uses     atomic.Int32
}

// publish makes s the snapshot that reads use. If they already use a newer one, publish
// releases s instead: batches become durable in order, so the newer one includes s.
func (d *durable) publish(s *snapshot) {
	s.uses.Store(1)
	d.mu.Lock()
	if d.now == nil || d.now.batch < s.batch {
		d.now, s = s, d.now
	}
	d.mu.Unlock()
	if s != nil {
		s.release() // release the older of the two snapshots, which s now is
	}
}

// acquire returns the snapshot that reads use. The caller must release it.
func (d *durable) acquire() *snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now.uses.Add(1)
	return d.now
}

// release ends one use of the snapshot, and closes the snapshot after its last use.
func (s *snapshot) release() {
	if s.uses.Add(-1) == 0 {
		s.Reader.Close()
	}
}

// logged is a batch that was appended to the write-ahead log and whose sync has not returned
// yet, with the snapshot to publish after the sync.
type logged struct {
	batch *pebble.Batch
	after *snapshot
}

// logBatch appends a batch to the write-ahead log without waiting for the disk. The caller must
// hold s.applying, so that snapshots are in the order of the log. The caller then unlocks
// s.applying and calls sync with the result.
func (s *Store) logBatch(b *pebble.Batch) (*logged, error) {
	if err := s.append(b); err != nil {
		s.fatal(err)
		return nil, err
	}
	return &logged{b, s.snapshot()}, nil
}

// append appends a batch to the write-ahead log. If Pebble cannot create the next log file, Pebble
// panics with an error; append returns that error.
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

// snapshot returns a new snapshot of the store that includes the last batch in the log. The
// caller must hold s.applying or be the only user of the store.
func (s *Store) snapshot() *snapshot {
	s.batches++
	return &snapshot{Reader: s.counted(s.db.NewSnapshot()), batch: s.batches, position: s.position, relisted: len(s.relistings) > 0}
}

// sync waits until the batch is on the disk, and publishes its snapshot to readers. After an
// error it calls s.fatal, because nobody can tell whether the batch is on the disk.
func (s *Store) sync(l *logged) error {
	if err := l.batch.SyncWait(); err != nil {
		s.fatal(err)
		return err
	}
	s.durable.publish(l.after)
	return l.batch.Close()
}

// commit writes a batch that does not come from Apply, and returns when it is durable.
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
