package pebble

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// upgradeBatch is the number of rows in each batch of an upgrade.
const upgradeBatch = 1024

// upgrade brings a store of an older schema, number from, to the schema of this binary. Schema 2
// added the index of threads by expiry time. Later schemas only added row formats and kinds of
// rows: upgrade rewrites no row, but older binaries must refuse the store because they cannot read
// new rows.
//
// upgrade writes the number of the new schema last, so that this number is durable only if all
// other rows are. If the process ends earlier, the next Open repeats the upgrade.
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

// addExpiries writes the index of threads by expiry time from the heads, without waiting for
// the disk.
func (s *Store) addExpiries() error {
	// Delete the entries that an interrupted upgrade left: a binary of schema 1 may have run
	// since then and deleted their threads.
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

// commitNext commits the batch of w, and gives w a new one. Upgrades and imports use it. It
// fails with core.ErrStorageFull if too little disk space is free.
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
