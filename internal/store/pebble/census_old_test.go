package pebble

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestCensusOfAnOlderBackup checks that a store has the checksums that a binary of schema 7 has
// computed for it. Descriptions of backups have such checksums, and "confab backup --verify"
// compares them with the checksums that the present binary computes.
func TestCensusOfAnOlderBackup(t *testing.T) {
	folder := filepath.Join("testdata", "store-schema7")
	b, err := os.ReadFile(filepath.Join(folder, "census.json"))
	if err != nil {
		t.Fatal(err)
	}
	var was Census
	if err := json.Unmarshal(b, &was); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	unpackGolden(t, filepath.Join(folder, "store.tar.gz"), dir)
	s, err := Open(dir, Options{CacheSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	is, err := s.Census(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range was.Kinds {
		if !slices.Contains(is.Kinds, k) {
			t.Errorf("the older binary counted %+v, now the census is %+v", k, is.Kinds)
		}
	}
}
