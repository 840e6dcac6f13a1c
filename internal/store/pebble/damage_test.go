package pebble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// damageable has folders with copies of one store, whose rows are in tables and in the log.
type damageable struct {
	closed, killed          string      // folders with the store after a clean stop, and as a kill leaves the store
	olderManifest, olderLog string      // folders with an older copy of the manifest, and of the log
	want                    core.Counts // the number of rows in each of the stores
}

// putThreads creates n threads with one message each, one batch after another.
func putThreads(t *testing.T, s *Store, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		id := fmt.Sprintf("19:%05d@thread.v2", i)
		c := &core.Change{
			Key: id, Thread: id, Properties: &core.Properties{Topic: "t"},
			Messages: []core.Message{{Kind: core.Text, Content: strings.Repeat(fmt.Sprint(i, " "), 100)}},
		}
		if _, err := s.Apply(context.Background(), core.Batch{At: 1, Changes: []*core.Change{c}}); err != nil {
			t.Fatal(err)
		}
	}
}

func newDamageable(t *testing.T) *damageable {
	t.Helper()
	root := t.TempDir()
	d := &damageable{
		closed: filepath.Join(root, "closed"), killed: filepath.Join(root, "killed"),
		olderManifest: filepath.Join(root, "older-manifest"), olderLog: filepath.Join(root, "older-log"),
	}
	open := func() *Store {
		s, err := Open(d.closed, Options{Initial: storetest.Initial})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	put := func(s *Store, threads int) {
		t.Helper()
		putThreads(t, s, n, threads)
		n += threads
	}
	s := open()
	put(s, 60)
	must(s.db.Flush())
	must(s.Close())
	s = open()
	put(s, 200)
	must(s.db.Flush()) // this flush starts a new manifest, and Pebble will later write a new log over the file of this log
	must(storetest.CopyFolder(d.closed, d.olderManifest))
	put(s, 50)
	must(s.db.Flush())
	put(s, 50)
	must(storetest.CopyFolder(d.closed, d.olderLog))
	put(s, 55)
	must(storetest.CopyFolder(d.closed, d.killed))
	var err error
	d.want, err = s.Check(t.Context())
	must(err)
	must(s.close()) // close does not flush the memtables, so the log still has rows
	return d
}

// TestDamage damages one file of a store after another, in all ways, after a clean stop and
// after a kill. Open must find all rows, or fail with an error that names the file and change
// nothing on the disk. If it succeeds although a table is damaged, later reads must fail with an
// error that names the table.
func TestDamage(t *testing.T) {
	d := newDamageable(t)
	var mu sync.Mutex
	outcomes := map[string]int{}
	t.Run("table", func(t *testing.T) {
		for stop, base := range map[string]string{"closed": d.closed, "killed": d.killed} {
			for _, kind := range storetest.FileKinds {
				names, err := kind.Files(base)
				if err != nil || kind.Required && len(names) == 0 {
					t.Fatalf("%s: no file is called %s (%v)", stop, kind.Pattern, err)
				}
				for _, damage := range storetest.Damages {
					if len(names) == 0 || damage.Older && !kind.Swapped {
						continue
					}
					t.Run(fmt.Sprint(stop, "/", kind.Name, "/", damage.Name), func(t *testing.T) {
						t.Parallel()
						outcome := damageOne(t, d, base, kind, names[len(names)-1], damage)
						mu.Lock()
						outcomes[kind.Name+": "+outcome]++
						mu.Unlock()
					})
				}
			}
		}
	})
	for _, o := range slices.Sorted(maps.Keys(outcomes)) {
		t.Logf("%s: %d", o, outcomes[o])
	}
}

// damageOne applies one damage to a file in a copy of base, opens the copy, and returns the
// outcome as a phrase.
func damageOne(t *testing.T, d *damageable, base string, kind storetest.FileKind, name string, damage storetest.Damage) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	if err := storetest.CopyFolder(base, dir); err != nil {
		t.Fatal(err)
	}
	older := d.olderManifest
	if kind.Name == "log" {
		older = d.olderLog
	}
	applies, err := damage.Do(filepath.Join(dir, name), filepath.Join(older, name))
	if err != nil {
		t.Fatal(err)
	}
	if !applies {
		if damage.Older {
			t.Fatalf("%s has no older copy", name)
		}
		return "does not apply"
	}
	before, err := storetest.Sums(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, Options{})
	if err != nil {
		refusedByName(t, dir, name, before, err)
		return "refused"
	}
	defer s.Close()
	counts, err := s.Check(t.Context())
	switch {
	case err == nil && counts == d.want:
		return "whole"
	case err == nil:
		t.Errorf("opened with %+v, want %+v", counts, d.want)
	case kind.Name != "table":
		t.Errorf("opened, and then: %v", err)
	default:
		names(t, dir, name, err)
		readsName(t, s, filepath.Join(dir, name), int(d.want.Threads))
	}
	return "rows of a table fail"
}

// readsName reads all heads and messages. It fails the test if the error of a read does not
// name the damaged file.
func readsName(t *testing.T, s *Store, path string, threads int) {
	t.Helper()
	for i := range threads {
		id := fmt.Sprintf("19:%05d@thread.v2", i)
		_, head := s.Thread(t.Context(), id)
		_, messages := s.Messages(t.Context(), core.MessagesQuery{Thread: id, Limit: 10})
		for _, err := range []error{head, messages} {
			if err != nil && (!strings.Contains(err.Error(), path) || strings.ContainsAny(err.Error(), "<\n")) {
				t.Fatalf("read %s: %q, want one line with %s", id, err, path)
			}
		}
	}
}

// refusedByName fails the test unless err names the folder and the damaged file, and no file of
// the folder has changed.
func refusedByName(t *testing.T, dir, name string, before map[string]string, err error) {
	t.Helper()
	names(t, dir, name, err)
	after, err := storetest.Sums(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(before, after) {
		t.Errorf("the refused start changed files: %v, before %v", after, before)
	}
}

// names fails the test unless err is one line that names the folder, the file and what is
// wrong, and says what to do.
func names(t *testing.T, dir, name string, err error) {
	t.Helper()
	var damage *Damage
	if !errors.Is(err, ErrDamaged) || !errors.As(err, &damage) {
		t.Fatalf("error %v, want *Damage", err)
	}
	if match, _ := filepath.Match(damage.File, name); !match || damage.Dir != dir || damage.What == "" {
		t.Errorf("error %+v, want one for folder %s and file %s that says what is wrong", damage, dir, name)
	}
	if text := damage.Error(); !strings.Contains(text, dir) || strings.Contains(text, "\n") || strings.Contains(text, "<") {
		t.Errorf("the message is %q, want one line with the folder and no tags", text)
	}
	if !strings.Contains(damage.Remedy(), "confab restore") || !strings.Contains(damage.Remedy(), "confab export --salvage") {
		t.Errorf("the remedy is %q", damage.Remedy())
	}
}
