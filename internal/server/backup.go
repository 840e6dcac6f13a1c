package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
)

// A backup is a folder with all that is needed to serve again as the same
// server: the store, the local certificate authority, and backupFile, which is
// written last, so that a folder without it is no backup. The owner's own
// certificate and settings are not in the data folder, nor in its backup.
const backupFile = "confab-backup.json"

// backupFormat is the version of a backup's layout.
const backupFormat = 1

// backupNote is what stands in backupFile.
type backupNote struct {
	Confab string `json:"confab"` // "backup"
	Format int    `json:"format"`
	Backup
}

// PrepareBackup makes the folder for a backup, which must not hold anything,
// and puts a proof into it that whoever orders the backup may write there.
// cancel takes both back.
func PrepareBackup(to string) (order BackupOrder, cancel func(), err error) {
	if order.To, err = filepath.Abs(to); err != nil {
		return order, nil, err
	}
	created, err := makeEmpty(order.To)
	if err != nil {
		return order, nil, err
	}
	proof := filepath.Join(order.To, admin.ProofFile)
	cancel = func() {
		os.Remove(proof) // it is gone once the server has seen it
		if created {
			os.Remove(order.To)
		}
	}
	order.Proof = rand.Text()
	if err := os.WriteFile(proof, []byte(order.Proof), 0o600); err != nil {
		cancel()
		return order, nil, err
	}
	return order, cancel, nil
}

// makeEmpty sees to it that the folder is there and empty.
func makeEmpty(dir string) (created bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, os.MkdirAll(dir, 0o700)
	case err != nil:
		return false, err
	case len(entries) > 0:
		return false, &NotEmptyError{Path: dir}
	}
	return false, nil
}

// OfflineBackup does what a running server does with the order.
func OfflineBackup(c config.Config, order BackupOrder, version string, now time.Time) (Backup, error) {
	s, err := openExisting(c)
	if err != nil {
		return Backup{}, err
	}
	b, err := makeBackup(s, c.Data, order, version, now)
	return b, errors.Join(err, s.Close())
}

// backup carries out the order of the routes below /confab/.
func (s *Server) backup(version string) func(context.Context, BackupOrder) (Backup, error) {
	return func(_ context.Context, order BackupOrder) (Backup, error) {
		embedded, ok := s.store.(*pebble.Store)
		switch {
		case !ok:
			return Backup{}, fmt.Errorf("%w: this server's chats are in PostgreSQL, which has its own backups; export takes --database", admin.ErrBackup)
		case s.info.Memory:
			return Backup{}, fmt.Errorf("%w: this server keeps its data in memory", admin.ErrBackup)
		}
		b, err := makeBackup(embedded, s.info.Data, order, version, s.now())
		if err != nil {
			err = fmt.Errorf("%w: %w", admin.ErrBackup, err)
		}
		return b, err
	}
}

func makeBackup(s *pebble.Store, data string, order BackupOrder, version string, now time.Time) (b Backup, err error) {
	if err := takeProof(order); err != nil {
		return b, err
	}
	store, tls := storeFolder(order.To), TLSFolder(order.To)
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(store), os.RemoveAll(tls))
		}
	}()
	if err := s.Checkpoint(store); err != nil {
		return b, err
	}
	if err := os.Chmod(store, 0o700); err != nil {
		return b, err
	}
	if err := copyFiles(TLSFolder(data), tls); err != nil {
		return b, fmt.Errorf("copy the certificate authority: %w", err)
	}
	r, err := s.Resource(context.Background())
	if err != nil {
		return b, err
	}
	if err := syncFolders(store, tls); err != nil {
		return b, err
	}
	b = Backup{Folder: order.To, Made: now.UTC().Format("2006-01-02T15:04:05Z"), Version: version, Resource: r.ID}
	text, err := json.MarshalIndent(backupNote{"backup", backupFormat, b}, "", "  ")
	if err != nil {
		return b, err
	}
	if err := writeSynced(filepath.Join(order.To, backupFile), append(text, '\n'), 0o600); err != nil {
		return b, err
	}
	return b, syncFolders(order.To)
}

// syncFolders puts the names of files on the disk. A folder that is not there
// has none, and Windows cannot flush one.
func syncFolders(dirs ...string) error {
	for _, dir := range dirs {
		d, err := os.Open(dir)
		if runtime.GOOS == "windows" || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	return nil
}

// takeProof looks for the proof in the folder, which holds nothing else.
func takeProof(order BackupOrder) error {
	if !filepath.IsAbs(order.To) {
		return fmt.Errorf("%q is not an absolute path", order.To)
	}
	proof := filepath.Join(order.To, admin.ProofFile)
	text, err := os.ReadFile(proof)
	if err != nil || order.Proof == "" || string(text) != order.Proof {
		return fmt.Errorf("the server does not find the proof in %s: the folder has to be one on the server's machine that the server may read", proof)
	}
	entries, err := os.ReadDir(order.To)
	if err != nil {
		return err
	}
	if len(entries) > 1 {
		return &NotEmptyError{Path: order.To}
	}
	return os.Remove(proof)
}

// Restore fills an empty data folder from a backup and reads all of it. The
// store gets a new epoch: it goes back in time, and so must not be taken for
// the one whose events clients have seen.
func Restore(ctx context.Context, from string, c config.Config) (b Backup, rows core.Counts, err error) {
	if b, err = readBackup(from); err != nil {
		return b, rows, err
	}
	created, err := makeEmpty(c.Data)
	if err != nil {
		return b, rows, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(storeFolder(c.Data)), os.RemoveAll(TLSFolder(c.Data)))
			if created {
				os.Remove(c.Data)
			}
		}
	}()
	if err := pebble.Restore(ctx, storeFolder(from), storeFolder(c.Data)); err != nil {
		return b, rows, err
	}
	if err := copyFiles(TLSFolder(from), TLSFolder(c.Data)); err != nil {
		return b, rows, fmt.Errorf("copy the certificate authority: %w", err)
	}
	s, err := openExisting(c)
	if err != nil {
		return b, rows, err
	}
	rows, err = s.Check(ctx)
	if err == nil {
		err = s.SetEpoch(newGUID())
	}
	return b, rows, errors.Join(err, s.Close())
}

func readBackup(from string) (Backup, error) {
	var note backupNote
	text, err := os.ReadFile(filepath.Join(from, backupFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return note.Backup, fmt.Errorf("%s is no backup, or one that was broken off: it has no %s", from, backupFile)
	case err != nil:
		return note.Backup, err
	}
	if err := json.Unmarshal(text, &note); err != nil || note.Confab != "backup" {
		return note.Backup, fmt.Errorf("%s is not the note of a backup", filepath.Join(from, backupFile))
	}
	if note.Format > backupFormat {
		return note.Backup, fmt.Errorf("%s was made by Confab %s, which is newer than this one", from, note.Version)
	}
	note.Folder = from
	return note.Backup, nil
}

// copyFiles copies the files of a folder, which may not be there, as they are.
func copyFiles(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = writeSynced(filepath.Join(to, e.Name()), text, info.Mode().Perm())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func writeSynced(name string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = cmp.Or(err, f.Sync())
	return cmp.Or(f.Close(), err)
}
