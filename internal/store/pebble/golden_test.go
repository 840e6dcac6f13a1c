package pebble

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/storetest"
	"github.com/confab-chat/confab/internal/transfer"
)

// TestGoldenStore opens stores of each schema, the current one included, that earlier revisions
// wrote. The records must equal those that the earlier revision exported, and Open must rewrite
// no row.
func TestGoldenStore(t *testing.T) {
	for _, version := range goldenSchemas(t) {
		t.Run(fmt.Sprintf("schema %d", version), func(t *testing.T) {
			folder := filepath.Join("testdata", fmt.Sprintf("store-schema%d", version))
			dir := t.TempDir()
			unpackGolden(t, filepath.Join(folder, "store.tar.gz"), dir)
			want := readExport(t, filepath.Join(folder, "export.jsonl"))
			tables, rows := tablesIn(t, dir), rowsIn(t, dir)
			if got := rows[string(metaKey(metaSchema))]; got != string(encodeNumber(nil, version)) {
				t.Errorf("the golden store's schema is %q, want %d", got, version)
			}

			openGolden(t, dir, want)
			now := tablesIn(t, dir)
			for name, table := range tables {
				if !bytes.Equal(now[name], table) {
					t.Errorf("table %s was rewritten", name)
				}
			}
			// Open the store again: this flushes the rows in the write-ahead log, and may compact
			// tables.
			openGolden(t, dir, want)

			after := rowsIn(t, dir)
			rows[string(metaKey(metaSchema))] = string(encodeNumber(nil, schema))
			if version < 2 {
				for _, r := range want {
					if h, ok := r.(core.Head); ok && h.ExpiresOn() != 0 {
						rows[string(expiryKey(h.ExpiresOn(), h.ID))] = string(encodeEntry(nil))
					}
				}
			}
			if diff := gocmp.Diff(rows, after); diff != "" {
				t.Errorf("rows after the upgrade; want those before it with the new schema (-want +got):\n%s", diff)
			}
		})
	}
}

// goldenSchemas returns the schemas of the golden stores in ascending order. The last one must be the
// current one. A schema has no store if no revision on the main branch has written it.
func goldenSchemas(t *testing.T) (all []uint64) {
	t.Helper()
	for version := uint64(1); version <= schema; version++ {
		if _, err := os.Stat(filepath.Join("testdata", fmt.Sprintf("store-schema%d", version))); err == nil {
			all = append(all, version)
		} else if version <= 10 || version == schema {
			t.Errorf("schema %d has no golden store: %v", version, err)
		}
	}
	return all
}

// openGolden opens the store in dir, compares it with the records and closes it.
func openGolden(t *testing.T, dir string, want []core.Record) {
	t.Helper()
	s, err := Open(dir, Options{CacheSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, s, want)
	mustClose(t, s)
}

// checkGolden calls all read methods of a store and compares the results with the records of
// its export.
func checkGolden(t *testing.T, s *Store, want []core.Record) {
	t.Helper()
	var counts core.Counts
	for _, r := range want {
		counts.Add(r)
	}
	got, err := s.Check(t.Context())
	equalGolden(t, "counts of the check", got, counts, err)
	records := storetest.Records(t, s)
	for i, r := range records {
		if r, ok := r.(core.Resource); ok {
			if r.Epoch != "golden-epoch" {
				t.Errorf("epoch %q", r.Epoch)
			}
			r.Epoch = "" // the export does not have it
			records[i] = r
		}
	}
	equalGolden(t, "records", records, want, nil)

	var events []core.Event
	for _, r := range want {
		switch r := r.(type) {
		case core.User:
			checkGoldenUser(t, s, r, want)
		case core.Head:
			checkGoldenThread(t, s, r, want)
		case core.Event:
			events = append(events, r)
		}
	}
	log, err := storetest.Events(t.Context(), s)
	for i := range log {
		log[i].Check = 0 // the export does not have it
	}
	equalGolden(t, "events", log, events, err)
}

func checkGoldenUser(t *testing.T, s *Store, u core.User, want []core.Record) {
	t.Helper()
	users, err := s.Users(t.Context(), []string{u.ID})
	equalGolden(t, "users", users, []core.User{u}, err)
	deleting, err := s.Deleting(t.Context())
	if is := slices.Contains(deleting, u); err != nil || is != (u.State == core.UserDeleting) {
		t.Errorf("users in deletion: %+v, %v; user %+v", deleting, err, u)
	}
	var threads []string
	for _, r := range want {
		if m, ok := r.(core.ThreadMember); ok && m.User == u.ID {
			threads = append(threads, m.Thread)
		}
	}
	ids, err := s.ThreadsOf(t.Context(), u.ID, "", 100)
	equalGolden(t, "ids of threads of "+u.ID, ids, threads, err)
	var listed []string
	for q := (core.ThreadsQuery{User: u.ID, Limit: 2}); ; {
		page, err := s.Threads(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Threads {
			listed = append(listed, e.Thread)
		}
		if q.Before = page.Next; q.Before == (core.ThreadsCursor{}) {
			break
		}
	}
	slices.Sort(listed)
	equalGolden(t, "threads of "+u.ID, listed, threads, nil)
}

func checkGoldenThread(t *testing.T, s *Store, h core.Head, want []core.Record) {
	t.Helper()
	var members []*core.Member
	var messages []core.Message
	var receipts []core.Receipt
	for _, r := range want {
		switch r := r.(type) {
		case core.ThreadMember:
			if r.Thread == h.ID {
				members = append(members, &r.Member)
			}
		case core.ThreadMessage:
			if r.Thread == h.ID {
				messages = append(messages, r.Message)
			}
		case core.ThreadReceipt:
			if r.Thread == h.ID {
				receipts = append(receipts, r.Receipt)
			}
		}
	}
	th, err := s.Thread(t.Context(), h.ID)
	if err != nil || th == nil {
		t.Fatalf("thread %s: %+v, %v", h.ID, th, err)
	}
	got := th.Members()
	slices.SortFunc(got, func(a, b *core.Member) int { return cmp.Compare(a.User, b.User) })
	equalGolden(t, "head", th.Head, h, nil)
	equalGolden(t, "members of "+h.ID, got, members, nil)

	ending, err := s.Expiring(t.Context(), 100)
	if is := slices.Contains(ending, core.Expiry{Thread: h.ID, On: h.ExpiresOn()}); err != nil || is != (h.ExpiresOn() != 0) {
		t.Errorf("threads that expire: %+v, %v; thread %s expires on %d", ending, err, h.ID, h.ExpiresOn())
	}
	page, err := s.Receipts(t.Context(), h.ID, "")
	slices.SortFunc(receipts, func(a, b core.Receipt) int { return cmp.Compare(a.ReadOn, b.ReadOn) })
	equalGolden(t, "receipts of "+h.ID, page.Receipts, receipts, err)

	slices.Reverse(messages)
	var listed []core.Message
	for q := (core.MessagesQuery{Thread: h.ID, Limit: 3}); ; {
		page, err := s.Messages(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, page.Messages...)
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	equalGolden(t, "messages of "+h.ID, listed, messages, nil)
	for _, m := range messages {
		page, err := s.Messages(t.Context(), core.MessagesQuery{Thread: h.ID, IDs: []int64{m.ID}})
		equalGolden(t, "message by id", page.Messages, []core.Message{m}, err)
	}
}

func equalGolden(t *testing.T, name string, got, want any, err error) {
	t.Helper()
	if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
	}
}

// unpackGolden unpacks an archive of files into a folder.
func unpackGolden(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(unzipped); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, h.Name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// readExport returns the records of an export file.
func readExport(t *testing.T, name string) (records []core.Record) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := transfer.NewReader(f); ; {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return records
		}
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
}

// tablesIn returns the contents of a store's table files by name.
func tablesIn(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	tables := map[string][]byte{}
	for _, name := range matches(t, dir, "*.sst") {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tables[filepath.Base(name)] = content
	}
	return tables
}

// rowsIn returns all keys and values of a store, without upgrading it.
func rowsIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{ReadOnly: true, Logger: logger{log: discard}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	rows := map[string]string{}
	for it.First(); it.Valid(); it.Next() {
		rows[string(it.Key())] = string(it.Value())
	}
	if err := it.Error(); err != nil {
		t.Fatal(err)
	}
	return rows
}
