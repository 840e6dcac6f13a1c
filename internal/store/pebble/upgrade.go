package pebble

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// upgradeBatch is how many rows an upgrade writes at a time.
const upgradeBatch = 1024

// upgrade moves a store of an older schema to this one. Schema 2 came with the
// keys of the threads that expire. Later ones came with formats of rows, which an
// older binary must not open; they rewrite none.
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

// addExpiries writes the keys of the threads that expire. The new schema is in the
// last batch: until that one is on the disk, and with it all before, the next
// start begins anew.
func (s *Store) addExpiries(from uint64) error {
	began := time.Now()
	// A binary of schema 1 knows nothing of these keys: those that are there may
	// be of threads that it has deleted since.
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

// commitUpgrade puts the batch into the log and begins the next one.
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
