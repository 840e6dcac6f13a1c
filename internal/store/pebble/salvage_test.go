package pebble

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// salvage returns the records that Salvage finds in dir.
func salvage(t *testing.T, dir string) ([]core.Record, Salvaged) {
	t.Helper()
	was, err := storetest.Sums(dir)
	if err != nil {
		t.Fatal(err)
	}
	var records []core.Record
	report, err := Salvage(t.Context(), dir, Options{CacheSize: 1 << 20}, vfs.NewMem(), "work", func(r core.Record) error {
		records = append(records, r)
		return nil
	})
	if err != nil {
		t.Fatalf("salvage: %v", err)
	}
	is, err := storetest.Sums(dir)
	if diff := cmp.Diff(was, is); diff != "" || err != nil {
		t.Errorf("salvage changed the folder: %v (-was +is)\n%s", err, diff)
	}
	return records, report
}

// TestSalvageOfAWholeStore compares the records of a salvage of each golden store, and of
// one without a manifest, with those of its export.
func TestSalvageOfAWholeStore(t *testing.T) {
	for version := range int(schema) + 1 {
		dir := t.TempDir()
		if folder := filepath.Join("testdata", "store-schema"+string(rune('0'+version)), "store.tar.gz"); version == int(schema) {
			makeGolden(t, dir)
		} else if _, err := os.Stat(folder); err == nil {
			unpackGolden(t, folder, dir)
		} else {
			continue
		}
		salvaged, report := salvage(t, dir)
		if diff := cmp.Diff(Salvaged{}, report); diff != "" {
			t.Errorf("schema %d: the report says (-want +got)\n%s", version, diff)
		}
		manifests, err := filepath.Glob(filepath.Join(dir, "MANIFEST-*"))
		if err != nil || len(manifests) != 1 {
			t.Fatalf("manifests %q, %v", manifests, err)
		}
		if err := os.Rename(manifests[0], manifests[0]+".away"); err != nil {
			t.Fatal(err)
		}
		without, report := salvage(t, dir)
		if len(report.Lost) != 1 || !report.Older || len(report.Repairs) > 0 {
			t.Errorf("schema %d: without a manifest the report says %+v", version, report)
		}
		if err := os.Rename(manifests[0]+".away", manifests[0]); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, dir, vfs.Default)
		want := storetest.Records(t, s)
		mustClose(t, s)
		for name, got := range map[string][]core.Record{"with": salvaged, "without": without} {
			r := got[0].(core.Resource)
			r.Epoch = want[0].(core.Resource).Epoch
			got[0] = r
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("schema %d: records %s a manifest (-want +got)\n%s", version, name, diff)
			}
		}
	}
}
