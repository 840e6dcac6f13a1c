package pebble

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// upgradeBatch is the number of rows in each batch of an upgrade.
const upgradeBatch = 1024

// upgrade changes a store from schema from, which is older, to this binary's. Schema 2
// added the index of threads by expiry time. Later schemas only added row formats: no
// row is rewritten, but older binaries cannot read new rows and must refuse the store.
func (s *Store) upgrade(from uint64) error {
	if from < 2 {
		return s.addExpiries(from)
	}
	if err := s.db.Set(metaKey(metaSchema), schemaValue, pebble.Sync); err != nil {
		return err
	}
	s.log.Info("store: the layout was upgraded", "from", from, "to", schema)
	return nil
}

// addExpiries writes the index of threads by expiry time. The last batch has the new
// schema, and it is durable only if all batches before it are. If the process ends
// earlier, the next Open does the upgrade again.
func (s *Store) addExpiries(from uint64) error {
	began := time.Now()
	// Delete keys of an earlier upgrade that was interrupted: a binary of schema 1
	// may have run since and deleted their threads.
	w := writer{batch: s.db.NewBatch()}
	w.batch.DeleteRange([]byte{kindExpiry}, []byte{kindExpiry + 1}, nil)

	it, err := s.db.NewIter(kindRange(kindHead))
	if err != nil {
		return err
	}
	defer it.Close()
	threads, expiring := 0, 0
	for it.First(); it.Valid(); it.Next() {
		threads++
		h, err := heads.decode(it.Key(), it.Value())
		if err != nil {
			return s.damaged(fmt.Sprintf("row %q", it.Key()), err)
		}
		if h.ExpiresOn() == 0 {
			continue
		}
		w.expiry(0, &h)
		if expiring++; expiring%upgradeBatch == 0 {
			if err := s.commitUpgrade(&w, pebble.NoSync); err != nil {
				return err
			}
		}
	}
	if err := it.Error(); err != nil {
		return s.damaged("the heads of its threads", err)
	}
	w.batch.Set(metaKey(metaSchema), schemaValue, nil)
	if err := s.commitUpgrade(&w, pebble.Sync); err != nil {
		return err
	}
	s.log.Info("store: the layout was upgraded", "from", from, "to", schema, "threads", threads, "expiring", expiring, "took", time.Since(began))
	return nil
}

// commitUpgrade commits the batch of w and begins a new one. It fails with
// core.ErrStorageFull if too little disk space is free.
func (s *Store) commitUpgrade(w *writer, o *pebble.WriteOptions) error {
	if err := s.floor.check(time.Now()); err != nil {
		return err
	}
	if err := w.batch.Commit(o); err != nil {
		return fmt.Errorf("write the new rows: %w", err)
	}
	if err := w.batch.Close(); err != nil {
		return err
	}
	w.batch = s.db.NewBatch()
	return nil
}
