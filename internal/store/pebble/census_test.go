package pebble

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/store/storetest"
)

// TestCensus compares the census of a store with the census of a store that imported its export.
// Then it deletes one row of each kind in turn, and puts the row back. While a row is missing, only
// the entry of its kind may differ.
func TestCensus(t *testing.T) {
	dir := t.TempDir()
	makeGolden(t, dir)
	from := mustOpen(t, dir, vfs.Default)
	defer mustClose(t, from)
	census := func(s *Store) Census {
		t.Helper()
		c, err := s.Census(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	was := census(from)
	for _, k := range was.Kinds {
		if k.Rows == 0 && k.Kind != "endpoints" && k.Kind != "relistings" {
			t.Errorf("the store has no %s", k.Kind)
		}
	}
	tip, err := from.Tip(t.Context())
	if err != nil || was.Position != tip.Position {
		t.Errorf("the last position is %d, want %d (%v)", was.Position, tip.Position, err)
	}

	to := mustOpen(t, "store", vfs.NewMem())
	defer mustClose(t, to)
	if err := to.Import(t.Context(), storetest.Reading(storetest.Records(t, from))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(was, census(to)); diff != "" {
		t.Errorf("the census of an import (-want +got):\n%s", diff)
	}

	for i, k := range newTallies(0).kinds {
		it, err := from.db.NewIter(kindRange(k.letter))
		if err != nil {
			t.Fatal(err)
		}
		if !it.First() {
			it.Close()
			continue
		}
		key := append([]byte{}, it.Key()...)
		value := append([]byte{}, it.Value()...)
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		set := func(change func(b *pebble.Batch) error) {
			b := from.db.NewBatch()
			if err := change(b); err != nil {
				t.Fatal(err)
			}
			if err := from.commit(b); err != nil {
				t.Fatal(err)
			}
		}
		set(func(b *pebble.Batch) error { return b.Delete(key, nil) })
		is := census(from)
		for j := range is.Kinds {
			if same := is.Kinds[j] == was.Kinds[j]; same != (i != j) {
				t.Errorf("without row %q: %+v, before %+v", key, is.Kinds[j], was.Kinds[j])
			}
		}
		set(func(b *pebble.Batch) error { return b.Set(key, value, nil) })
		if diff := cmp.Diff(was, census(from)); diff != "" {
			t.Errorf("with row %q again (-want +got):\n%s", key, diff)
		}
	}
}
