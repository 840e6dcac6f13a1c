package pebble

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/confab-chat/confab/internal/bus/local"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/row"
	"github.com/confab-chat/confab/internal/store/storetest"
)

// asSchema1 turns a store into one of schema 1, which has no index of expiry times, and closes
// it. It adds two wrong entries to that index: an interrupted upgrade may leave entries, and a
// program of schema 1 that runs afterwards does not update them.
func asSchema1(t *testing.T, s *Store) {
	t.Helper()
	b := s.db.NewBatch()
	b.DeleteRange([]byte{kindExpiry}, []byte{kindExpiry + 1}, nil)
	b.Set(expiryKey(1, threadID(0)), encodeEntry(nil), nil)
	b.Set(expiryKey(2, threadID(99)), encodeEntry(nil), nil)
	b.Set(metaKey(metaSchema), encodeNumber(nil, 1), nil)
	if err := b.Commit(pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
}

// onDisk returns the schema of a store and the number of entries in its index of expiry times.
// It does not upgrade the store.
func onDisk(t *testing.T, disk vfs.FS) (version uint64, expiries int) {
	t.Helper()
	db, err := pebble.Open("store", &pebble.Options{FS: disk, Logger: logger{log: discard}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if version, _, err = value(db, metaKey(metaSchema), row.Number); err != nil {
		t.Fatal(err)
	}
	it, err := db.NewIter(kindRange(kindExpiry))
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		expiries++
	}
	return version, expiries
}

// TestUpgradeFindsThreadsThatEnd opens a store of schema 1, which has no index of expiry times.
// After the upgrade, the sweep must delete the threads that have expired.
func TestUpgradeFindsThreadsThatEnd(t *testing.T) {
	const made, day = 1_700_000_000_000, 86_400_000
	mem := vfs.NewMem()
	s := mustOpen(t, "store", mem)
	fillThreads(t, s, 6, 3)
	want := []core.Expiry{{Thread: threadID(2), On: made + 30*day}, {Thread: threadID(5), On: made + 30*day}}
	asSchema1(t, s)

	for _, when := range []string{"at the upgrade", "afterwards"} {
		s = mustOpen(t, "store", mem)
		if _, err := s.Check(t.Context()); err != nil {
			t.Errorf("check %s: %v", when, err)
		}
		if got, err := s.Expiring(t.Context(), 100); err != nil || !slices.Equal(got, want) {
			t.Errorf("threads that expire %s: %+v, %v; want %+v", when, got, err, want)
		}
		mustClose(t, s)
		if version, expiries := onDisk(t, mem); version != schema || expiries != len(want) {
			t.Errorf("%s: schema %d with %d expiry keys, want %d with %d", when, version, expiries, schema, len(want))
		}
	}

	s = mustOpen(t, "store", mem)
	defer mustClose(t, s)
	service, err := core.New(t.Context(), s, new(local.Bus), core.Options{Now: func() time.Time { return time.UnixMilli(made + 31*day) }})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	if next, err := service.Sweep(t.Context()); err != nil || !next.IsZero() {
		t.Errorf("the sweep: next %v, %v", next, err)
	}
	for n := range 6 {
		th, err := s.Thread(t.Context(), threadID(n))
		if err != nil || (th.DeletedOn != 0) != (n%3 == 2) {
			t.Errorf("thread %d after the sweep: %+v, %v", n, th, err)
		}
	}
}

// TestUpgradeIsCutOff cuts the power before each write of an upgrade. The next Open must
// complete the upgrade.
func TestUpgradeIsCutOff(t *testing.T) {
	const threads = 3*upgradeBatch + 1
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "store", mem)
	b := s.db.NewBatch()
	for n := range threads {
		h := core.Head{ID: threadID(n), Revision: 1, Properties: core.Properties{CreatedOn: int64(n), RetentionDays: 30}}
		b.Set(headKey(nil, h.ID), encodeHead(nil, &h), nil)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		t.Fatal(err)
	}
	asSchema1(t, s)

	var mu sync.Mutex // guards disks and random
	var disks []vfs.FS
	random := rand.New(rand.NewPCG(1, 2))
	watched := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasSuffix(op.Path, ".log") {
			mu.Lock()
			defer mu.Unlock()
			disks = append(disks, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(2) * 100, RNG: random}))
		}
		return nil
	}))
	s = mustOpen(t, "store", watched)
	disks = append(disks, mem.CrashClone(vfs.CrashCloneCfg{}))
	mustClose(t, s)

	half := 0
	for i, disk := range disks {
		version, expiries := onDisk(t, disk)
		if version == 1 && expiries > 2 {
			half++
		}
		if i == len(disks)-1 && version != schema {
			t.Errorf("Open returned before the upgrade was durable: schema %d", version)
		}
		s := mustOpen(t, "store", disk)
		counts, err := s.Check(t.Context())
		if err != nil || counts.Threads != threads {
			t.Errorf("a power cut before write %d of %d: %d threads, %v", i, len(disks), counts.Threads, err)
		}
		if got, err := s.Expiring(t.Context(), 2*threads); err != nil || len(got) != threads {
			t.Errorf("a power cut before write %d of %d: %d threads expire, %v", i, len(disks), len(got), err)
		}
		mustClose(t, s)
	}
	if half == 0 {
		t.Errorf("none of %d power cuts was in the middle of the upgrade", len(disks))
	}
}

// TestUpgradeNeedsRoomAndGoodHeads upgrades a store on a full disk, and a store in
// which the head row of a thread is damaged. Open must fail each time with an error
// that names the cause.
func TestUpgradeNeedsRoomAndGoodHeads(t *testing.T) {
	for _, tc := range []struct {
		name    string
		options Options
		head    []byte
		want    error
		says    string
	}{
		{"no room", Options{MinFree: 1 << 62}, nil, core.ErrStorageFull, "store"},
		{"a head that cannot be read", Options{}, []byte{9}, ErrDamaged, fmt.Sprintf("%q", headKey(nil, threadID(50)))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, dir, nil)
			fillThreads(t, s, 3, 1)
			if tc.head != nil {
				if err := s.db.Set(headKey(nil, threadID(50)), tc.head, pebble.Sync); err != nil {
					t.Fatal(err)
				}
			}
			asSchema1(t, s)
			for range 2 {
				s, err := Open(dir, tc.options)
				if err == nil {
					mustClose(t, s)
				}
				if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("open: %v; want %v that says %s", err, tc.want, tc.says)
				}
			}
		})
	}
}

// TestNewStoreHasThisSchema creates a store and imports its rows into another one. Both must
// have the current schema and the index of expiry times.
func TestNewStoreHasThisSchema(t *testing.T) {
	mem, copied := vfs.NewMem(), vfs.NewMem()
	s := mustOpen(t, "store", mem)
	fillThreads(t, s, 3, 1)
	records := storetest.Records(t, s)
	mustClose(t, s)
	s = mustOpen(t, "store", copied)
	if err := s.Import(t.Context(), storetest.Reading(records)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	for _, disk := range []vfs.FS{mem, copied} {
		if version, expiries := onDisk(t, disk); version != schema || expiries != 1 {
			t.Errorf("schema %d with %d expiry keys, want %d with 1", version, expiries, schema)
		}
	}
}
