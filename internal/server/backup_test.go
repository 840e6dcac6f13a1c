package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/server"
)

// savedStore makes a data folder with a thread of a thousand messages, and a backup of that
// folder. It returns the paths of both.
func savedStore(t *testing.T) (data, backup string) {
	t.Helper()
	dir := t.TempDir()
	data, backup = filepath.Join(dir, "data"), filepath.Join(dir, "backup")
	(&transfer{T: t}).fill(data, 1000)
	start(t, server.Options{Config: settings(t, "data", data, "events-kept", "3650")}).stop(t) // start a server once, because its start makes the certificates
	makeBackup(t, data, backup)
	return data, backup
}

// treeOf returns the content of each file below a folder, by the path of the file.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		files[strings.TrimPrefix(name, dir)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// edit replaces the content of a file in a backup by the result of change. It writes a new file,
// because the old one may be a hard link to a file of the store.
func edit(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err == nil {
		err = os.Remove(name)
	}
	if err == nil {
		err = os.WriteFile(name, change(slices.Clone(text)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// newest returns the path of the last file by name among the files of a backup whose names end in
// suffix.
func newest(t *testing.T, backup, suffix string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(backup, "store", "*"+suffix))
	if err != nil || len(names) == 0 {
		t.Fatalf("the backup has no %s: %v", suffix, err)
	}
	return names[len(names)-1]
}

// TestDamagedBackups damages a backup in many ways. It checks that verifying and restoring each
// damaged backup fail, that the errors name the damage, and that neither the backup nor the new
// data folder changes.
func TestDamagedBackups(t *testing.T) {
	_, backup := savedStore(t)
	was := treeOf(t, backup)
	if b, err := server.VerifyBackup(t.Context(), backup); err != nil || b.Rows.Messages != 1000 || b.Folder != backup {
		t.Fatalf("an intact backup: %+v, %v", b, err)
	}
	if diff := cmp.Diff(was, treeOf(t, backup)); diff != "" {
		t.Fatalf("the verification changed the backup:\n%s", diff)
	}
	note := func(change func(note map[string]any)) func(t *testing.T, backup string) {
		return func(t *testing.T, backup string) {
			edit(t, filepath.Join(backup, "confab-backup.json"), func(text []byte) []byte {
				var n map[string]any
				if err := json.Unmarshal(text, &n); err != nil {
					t.Fatal(err)
				}
				change(n)
				text, err := json.Marshal(n)
				if err != nil {
					t.Fatal(err)
				}
				return text
			})
		}
	}
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, backup string)
		says   string
	}{
		{"a log without its last 10 bytes", func(t *testing.T, backup string) {
			edit(t, newest(t, backup, ".log"), func(b []byte) []byte { return b[:len(b)-10] })
		}, ".log has "},
		{"an empty log", func(t *testing.T, backup string) {
			edit(t, newest(t, backup, ".log"), func([]byte) []byte { return nil })
		}, ".log has 0 bytes instead of "},
		{"a longer log", func(t *testing.T, backup string) {
			edit(t, newest(t, backup, ".log"), func(b []byte) []byte { return append(b, make([]byte, 70_000)...) })
		}, ".log has "},
		{"a bit in the log", func(t *testing.T, backup string) {
			edit(t, newest(t, backup, ".log"), func(b []byte) []byte { b[len(b)/2] ^= 4; return b })
		}, ".log has other bytes than it had"},
		{"a missing log", func(t *testing.T, backup string) { os.Remove(newest(t, backup, ".log")) }, ".log is missing"},
		{"a bit in a table", func(t *testing.T, backup string) {
			edit(t, newest(t, backup, ".sst"), func(b []byte) []byte { b[len(b)/3] ^= 1; return b })
		}, ".sst has other bytes than it had"},
		{"another authority", func(t *testing.T, backup string) {
			edit(t, filepath.Join(backup, "tls", "ca.key"), func(b []byte) []byte { b[60] ^= 1; return b })
		}, "tls/ca.key has other bytes than it had"},
		{"a note that was cut", func(t *testing.T, backup string) {
			edit(t, filepath.Join(backup, "confab-backup.json"), func(b []byte) []byte { return b[:len(b)-10] })
		}, "confab-backup.json is not the note of a backup"},
		{"a note without a file", note(func(n map[string]any) {
			n["files"] = slices.DeleteFunc(n["files"].([]any), func(f any) bool { return strings.HasSuffix(f.(map[string]any)["name"].(string), ".sst") })
		}), "its store cannot be read"},
		{"a note with another number of rows", note(func(n map[string]any) { n["rows"].(map[string]any)["messages"] = 999 }), "its store has the rows "},
		{"a note with another sum of rows", note(func(n map[string]any) {
			n["census"].(map[string]any)["kinds"].([]any)[3].(map[string]any)["sum"] = strings.Repeat("0", 32)
		}), "its store has other messages than it had"},
		{"a note with another position", note(func(n map[string]any) { n["position"] = 7 }), "its event log ends at "},
		{"a note with another epoch", note(func(n map[string]any) { n["epoch"] = "another" }), "in epoch another"},
		{"a note that names a file outside", note(func(n map[string]any) {
			n["files"] = append(n["files"].([]any), map[string]any{"name": "store/../../x", "size": 1, "sha256": ""})
		}), `names the file "store/../../x"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), "copied")
			if err := os.CopyFS(copied, os.DirFS(backup)); err != nil {
				t.Fatal(err)
			}
			tc.damage(t, copied)
			was, to := treeOf(t, copied), filepath.Join(t.TempDir(), "to")
			_, verr := server.VerifyBackup(t.Context(), copied)
			_, _, rerr := server.Restore(t.Context(), copied, config.Config{Data: to})
			for what, err := range map[string]error{"the verification": verr, "the restore": rerr} {
				var damaged *server.DamagedBackupError
				if tc.name == "a note without a file" && what == "the verification" {
					continue // skip the verification, which succeeds here because it checks only the files that the description lists
				}
				if !errors.As(err, &damaged) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("%s says %v, want a *DamagedBackupError with %q", what, err, tc.says)
				}
			}
			if diff := cmp.Diff(was, treeOf(t, copied)); diff != "" {
				t.Errorf("the backup was changed:\n%s", diff)
			}
			if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the restore left %v", slices.Collect(maps.Keys(treeOf(t, to))))
			}
		})
	}
}

// TestOlderBackup checks that a backup of format 1 can be restored. The description of such a
// backup has no list of files and no numbers of rows.
func TestOlderBackup(t *testing.T) {
	_, backup := savedStore(t)
	edit(t, filepath.Join(backup, "confab-backup.json"), func([]byte) []byte {
		return []byte(`{"confab": "backup", "format": 1, "folder": "/x", "made": "2026-11-20T00:00:00Z", "version": "old", "resource": "x"}`)
	})
	if _, err := server.VerifyBackup(t.Context(), backup); err == nil || !strings.Contains(err.Error(), "noted no checksums") {
		t.Errorf("the verification says %v", err)
	}
	to := filepath.Join(t.TempDir(), "to")
	if _, rows, err := server.Restore(t.Context(), backup, config.Config{Data: to}); err != nil || rows.Messages != 1000 {
		t.Errorf("the restore: %+v, %v", rows, err)
	}
}

// TestStoppedMoves starts a backup and a restore with a context that is already cancelled. Both
// must fail and leave no files.
func TestStoppedMoves(t *testing.T) {
	data, backup := savedStore(t)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	to := filepath.Join(t.TempDir(), "to")
	if _, _, err := server.Restore(stopped, backup, config.Config{Data: to}); !errors.Is(err, context.Canceled) {
		t.Errorf("the restore: %v", err)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the restore left %v", slices.Collect(maps.Keys(treeOf(t, to))))
	}
	order, cancel, err := server.PrepareBackup(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.OfflineBackup(stopped, config.Config{Data: data}, order, "test", time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("the backup: %v", err)
	}
	cancel()
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the backup left %v", slices.Collect(maps.Keys(treeOf(t, to))))
	}
}

// meddler is a context whose method Err removes the files that match a pattern. A backup calls Err
// often.
type meddler struct {
	context.Context
	pattern string
}

func (m meddler) Err() error {
	files, _ := filepath.Glob(m.pattern) // ignore the error, because the pattern is well-formed
	for _, f := range files {
		os.Remove(f)
	}
	return nil
}

// TestLateFailure makes a backup fail in its last step, after it has written its description: the
// test removes the file UNFINISHED, so the backup fails when it tries to remove that file. The
// test checks that the backup leaves no files.
func TestLateFailure(t *testing.T) {
	data, _ := savedStore(t)
	to := filepath.Join(t.TempDir(), "to")
	order, _, err := server.PrepareBackup(to)
	if err != nil {
		t.Fatal(err)
	}
	ctx := meddler{t.Context(), filepath.Join(filepath.Dir(to), ".confab-backup-*", "UNFINISHED")}
	if _, err := server.OfflineBackup(ctx, config.Config{Data: data}, order, "test", time.Now()); err == nil {
		t.Error("the backup did not fail")
	}
	if left := treeOf(t, filepath.Dir(to)); len(left) > 0 {
		t.Errorf("the failed backup left %v", slices.Collect(maps.Keys(left)))
	}
}

// readable returns the path of a file below dir that another user of the machine can read, or ""
// if there is none.
func readable(dir string) string {
	found := ""
	filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || found != "" {
			return nil // ignore the error, because the backup may have removed the file meanwhile
		}
		info, err := e.Info()
		switch {
		case err != nil:
		case e.IsDir() && info.Mode()&0o011 == 0:
			return fs.SkipDir
		case e.Type().IsRegular() && info.Mode()&0o044 != 0:
			found = name
		}
		return nil
	})
	return found
}

// TestNobodyElseReadsABackup makes backups in folders that every user of the machine may enter. It
// checks repeatedly, while a backup is being made, that no other user can read a file of the
// backup.
func TestNobodyElseReadsABackup(t *testing.T) {
	data, _ := savedStore(t)
	parent := t.TempDir()
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		make func(to string) error
	}{
		{"existing", func(to string) error { return os.Mkdir(to, 0o755) }},
		{"new", func(string) error { return nil }},
		{"link", func(to string) error { return errors.Join(os.Mkdir(to+"-target", 0o755), os.Symlink(to+"-target", to)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			to := filepath.Join(parent, tc.name)
			if err := tc.make(to); err != nil {
				t.Fatal(err)
			}
			done, seen := make(chan struct{}), make(chan string, 1)
			go func() {
				found := ""
				for found == "" {
					select {
					case <-done:
						seen <- readable(parent)
						return
					default:
						found = readable(parent)
					}
				}
				seen <- found
			}()
			makeBackup(t, data, to)
			close(done)
			if name := <-seen; name != "" {
				t.Errorf("another user can read %s", strings.TrimPrefix(name, parent))
			}
			if st, err := os.Stat(to); err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("the backup is a folder of mode %v, %v, want 0700", st.Mode(), err)
			}
			if _, err := server.VerifyBackup(t.Context(), to); err != nil {
				t.Error(err)
			}
			if hidden, err := filepath.Glob(filepath.Join(parent, ".*")); err != nil || len(hidden) > 0 {
				t.Errorf("beside the backup are %v, %v", hidden, err)
			}
		})
	}
}

// TestBackupWithoutTheAuthoritysKey makes a backup of a data folder that lacks ca.key, the key of
// the certificate authority. It checks that the backup is valid, and that a server on the restored
// folder asks for the key instead of making a new authority.
func TestBackupWithoutTheAuthoritysKey(t *testing.T) {
	data, whole := savedStore(t)
	dir := t.TempDir()
	to, restored := filepath.Join(dir, "b"), filepath.Join(dir, "r")
	order, _, err := server.PrepareBackup(to)
	if err != nil {
		t.Fatal(err)
	}
	order.WithoutCAKey = true
	if _, err := server.OfflineBackup(t.Context(), config.Config{Data: data}, order, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(whole, "tls", "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range treeOf(t, to) {
		if strings.HasSuffix(name, "ca.key") || strings.Contains(text, string(key)) {
			t.Errorf("the backup has the key, in %s", name)
		}
	}
	if _, err := server.VerifyBackup(t.Context(), to); err != nil {
		t.Error(err)
	}
	if _, _, err := server.Restore(t.Context(), to, config.Config{Data: restored}); err != nil {
		t.Fatal(err)
	}
	options := server.Options{Config: settings(t, "data", restored, "events-kept", "3650")}
	if s, err := server.Start(t.Context(), options); err == nil || !strings.Contains(err.Error(), "ca.key is missing") || !strings.Contains(err.Error(), "put the key back") {
		if err == nil {
			s.Close(context.Background())
		}
		t.Errorf("a start without the key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(restored, "tls", "ca.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, options)
	if s.NewCA {
		t.Error("the server has a new authority, though the key is back")
	}
	s.stop(t)
}

// TestMarkedFolders marks a data folder and a backup as unfinished. It checks that every function
// that opens such a folder refuses it with an error that names the folder, and changes nothing.
func TestMarkedFolders(t *testing.T) {
	data, backup := savedStore(t)
	file := filepath.Join(t.TempDir(), "export")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := export(config.Config{Data: backup}, out); err != nil {
		t.Fatalf("export a backup: %v", err)
	}
	out.Close()
	if _, err := server.VerifyBackup(t.Context(), backup); err != nil {
		t.Errorf("the export of a backup changed it: %v", err)
	}
	open := func(data string) map[string]error {
		_, _, restored := server.Restore(t.Context(), backup, config.Config{Data: data})
		in, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		_, _, imported := server.Import(t.Context(), config.Config{Data: data}, in, func() {})
		s, started := server.Start(t.Context(), server.Options{Config: settings(t, "data", data)})
		if started == nil {
			s.Close(context.Background())
		}
		return map[string]error{"restore": restored, "import": imported, "start": started, "backup": offlineBackup(data, filepath.Join(t.TempDir(), "b"))}
	}
	was := treeOf(t, backup)
	for what, err := range open(backup) {
		var is *server.IsBackupError
		var full *server.NotEmptyError
		if !errors.As(err, &is) && !(what == "restore" && errors.As(err, &full)) {
			t.Errorf("%s into a backup: %v", what, err)
		}
	}
	for _, dir := range []string{data, backup} {
		if err := os.WriteFile(filepath.Join(dir, "UNFINISHED"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		errs := open(dir)
		_, errs["export"] = export(config.Config{Data: dir}, io.Discard)
		_, errs["verify"] = server.VerifyBackup(t.Context(), dir)
		_, _, errs["restore from"] = server.Restore(t.Context(), dir, config.Config{Data: filepath.Join(t.TempDir(), "new")})
		for what, err := range errs {
			if !errors.Is(err, core.ErrUnfinished) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s of a marked folder: %v, want %v with its name", what, err, core.ErrUnfinished)
			}
		}
		os.Remove(filepath.Join(dir, "UNFINISHED"))
	}
	if diff := cmp.Diff(was, treeOf(t, backup)); diff != "" {
		t.Errorf("the backup was changed:\n%s", diff)
	}
	if _, err := export(config.Config{Data: data}, io.Discard); err != nil {
		t.Errorf("the data folder without the mark: %v", err)
	}
}
