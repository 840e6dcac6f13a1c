package pebble

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// upgradeBatch is the number of rows in each batch of an upgrade.
const upgradeBatch = 1024

// upgrade changes a store from schema from, which is older, to this binary's. Schema 2
// added the index of threads by expiry time. Later schemas only added row formats: no
// row is rewritten, but older binaries cannot read new rows and must refuse the store.
//
// The new schema is written last, and it is durable only if all rows before it are. If
// the process ends earlier, the next Open does the upgrade again.
func (s *Store) upgrade(from uint64) error {
	began := time.Now()
	if from < 2 {
		if err := s.addExpiries(); err != nil {
			return err
		}
	}
	if err := s.db.Set(metaKey(metaSchema), schemaValue, pebble.Sync); err != nil {
		return err
	}
	s.log.Info("store: the layout was upgraded", "from", from, "to", schema, "took", time.Since(began))
	return nil
}

// addExpiries writes the index of threads by expiry time, without waiting for the disk.
func (s *Store) addExpiries() error {
	// Delete keys of an earlier upgrade that was interrupted: a binary of schema 1
	// may have run since and deleted their threads.
	w := writer{batch: s.db.NewBatch()}
	w.batch.DeleteRange([]byte{kindExpiry}, []byte{kindExpiry + 1}, nil)
	err := s.scan(context.Background(), s.db, kindHead, func(key, value []byte) error {
		h, err := heads.decode(key, value)
		if err != nil {
			return s.damaged(fmt.Sprintf("row %q", key), err)
		}
		w.expiry(0, &h)
		if w.batch.Count() < upgradeBatch {
			return nil
		}
		return s.commitNext(&w, pebble.NoSync)
	})
	if err != nil {
		return err
	}
	return s.commitNext(&w, pebble.NoSync)
}

// commitNext commits the batch of w, which an upgrade or an import fills, and begins a
// new one. It fails with core.ErrStorageFull if too little disk space is free.
func (s *Store) commitNext(w *writer, o *pebble.WriteOptions) error {
	if err := s.disk.check(uint64(w.batch.Len())); err != nil {
		return err
	}
	if err := w.batch.Commit(o); err != nil {
		return fmt.Errorf("write the new rows: %w", err)
	}
	w.batch.Close()
	w.batch = s.db.NewBatch()
	return nil
}
