package pebble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
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

// TestSalvageOfAWholeStore salvages each golden store, and one without a manifest, and compares
// the records with the store's export.
func TestSalvageOfAWholeStore(t *testing.T) {
	for _, version := range goldenSchemas(t) {
		dir := t.TempDir()
		unpackGolden(t, filepath.Join("testdata", fmt.Sprintf("store-schema%d", version), "store.tar.gz"), dir)
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

// TestSalvageReadsAroundAHole flips a bit in the middle of a log, and one in the middle of a
// table. Salvage must return the records before and after the damage, and the rows of the
// table's other blocks.
func TestSalvageReadsAroundAHole(t *testing.T) {
	const some = 300
	base := t.TempDir()
	s := mustOpen(t, base, vfs.Default)
	putThreads(t, s, 0, some)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	putThreads(t, s, some, some)
	if err := s.close(); err != nil { // close does not flush the memtables, so the log still has rows
		t.Fatal(err)
	}
	trimLog(t, base)
	whole, _ := salvage(t, base)
	for _, pattern := range []string{"*.log", "*.sst"} {
		files, err := filepath.Glob(filepath.Join(base, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("files %q, %v", files, err)
		}
		name := filepath.Base(slices.Max(files))
		dir := linked(t, base, name)
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/3] ^= 4
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		records, report := salvage(t, dir)
		if len(report.Lost) != 1 || report.Lost[0].File != name || report.Lost[0].Bytes == 0 || report.Lost[0].Bytes > blockSize {
			t.Errorf("%s: lost %+v, want one part of at most %d bytes", name, report.Lost, blockSize)
		}
		// At most a quarter of the records may be missing: a block of 16 KiB holds many rows
		// only if they are small rows of an index, and these are no records.
		if missing := len(whole) - len(records); missing == 0 || missing > len(whole)/4 {
			t.Errorf("%s: %d of %d records are missing", name, missing, len(whole))
		}
		before, after := 0, 0
		for _, r := range records {
			if m, ok := r.(core.ThreadMessage); ok {
				if m.Thread < fmt.Sprintf("19:%05d", some/10) || m.Thread > fmt.Sprintf("19:%05d", some) && m.Thread < fmt.Sprintf("19:%05d", some+some/10) {
					before++
				} else if m.Thread > fmt.Sprintf("19:%05d", 2*some-some/10) || m.Thread < fmt.Sprintf("19:%05d", some) && m.Thread > fmt.Sprintf("19:%05d", some-some/10) {
					after++
				}
			}
		}
		if before < some/20 || after < some/20 {
			t.Errorf("%s: %d messages of the beginning and %d of the end", name, before, after)
		}
		to := mustOpen(t, "store", vfs.NewMem())
		if err := to.Import(t.Context(), storetest.Reading(records)); err != nil {
			t.Errorf("%s: import: %v", name, err)
		}
		if _, err := to.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		mustClose(t, to)
	}
}

// TestSalvageOnAFullDisk runs Salvage with a work folder in which no table can be created.
// Pebble would try again for ever; Salvage must fail instead. The test runs it in a child
// process, because the goroutines of such a salvage never end.
func TestSalvageOnAFullDisk(t *testing.T) {
	const child = "TEST_SALVAGE_WITHOUT_TABLES"
	if dir := os.Getenv(child); dir != "" {
		full := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate && isTable(op.Path) && strings.Contains(op.Path, "work/"+os.Getenv(child+"_IN")) {
				return syscall.ENOSPC
			}
			return nil
		}))
		var err error
		if os.Getenv(child+"_IN") == "store" {
			_, err = Salvage(context.Background(), dir, Options{}, full, "work", func(core.Record) error { return nil })
		} else { // write to the store in work/values directly, because Salvage writes tables there only if it finds many rows
			space := &workSpace{fs: full, dir: "work", failed: make(chan struct{})}
			err = space.run(context.Background(), nil, func(func(core.Record) error) error {
				raw, err := openRaw(full, "work/values", space)
				return errors.Join(err, raw.add([]byte("key"), nil, false, 1, 1), raw.commit(), raw.db.Flush())
			})
		}
		fmt.Printf("full %v: %v\n", errors.Is(err, core.ErrStorageFull), err)
		os.Exit(0)
	}
	dir := t.TempDir()
	s := mustOpen(t, dir, vfs.Default)
	for i := range 10 { // ten messages of 1 MiB fill several memtables, because the first memtables are small
		thread := fmt.Sprintf("19:%d@thread.v2", i)
		c := &core.Change{
			Key: thread, Thread: thread, Properties: &core.Properties{Topic: "t"},
			Messages: []core.Message{{Kind: core.Text, Content: strings.Repeat("x", 1<<20)}},
		}
		if _, err := s.Apply(t.Context(), core.Batch{At: 1, Changes: []*core.Change{c}}); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
	for _, store := range []string{"values", "store"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSalvageOnAFullDisk$")
		cmd.Env = append(os.Environ(), child+"="+dir, child+"_IN="+store)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "full true: ") || !strings.Contains(string(out), "bytes are free in the folder for the work work") {
			t.Errorf("no room for %s: %v, %s; want core.ErrStorageFull with the free bytes and the folder", store, err, out)
		}
	}
}
