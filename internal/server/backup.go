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

// backupFile is the name of the file that is written last into a backup: a folder
// without it is not a complete backup. A backup is a folder with this file and copies
// of the store and of the local certificate authority. It does not have the settings or
// a certificate that the settings name.
const backupFile = "confab-backup.json"

// backupFormat is the version of a backup's layout.
const backupFormat = 1

// backupNote is the content of backupFile.
type backupNote struct {
	Confab string `json:"confab"` // "backup"
	Format int    `json:"format"`
	admin.Backup
}

// PrepareBackup creates the folder for a backup and writes a file with a random proof
// into it. The server reads the proof to see that the client can write to the folder.
// It fails with *NotEmptyError if the folder exists and is not empty. cancel removes
// the proof, and the folder if it is new and empty.
func PrepareBackup(to string) (req admin.BackupRequest, cancel func(), err error) {
	if req.To, err = filepath.Abs(to); err != nil {
		return req, nil, err
	}
	created, err := ensureEmpty(req.To)
	if err != nil {
		return req, nil, err
	}
	proof := filepath.Join(req.To, admin.ProofFile)
	cancel = func() {
		os.Remove(proof) // the server removes it too
		if created {
			os.Remove(req.To)
		}
	}
	req.Proof = rand.Text()
	if err := os.WriteFile(proof, []byte(req.Proof), 0o600); err != nil {
		cancel()
		return req, nil, err
	}
	return req, cancel, nil
}

// ensureEmpty creates the folder if it does not exist. It fails with *NotEmptyError if the
// folder is not empty.
func ensureEmpty(dir string) (created bool, err error) {
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

// OfflineBackup makes a backup of the embedded store while no server uses it. It fails
// with *NoDataError if no store exists and *DataInUseError if a server runs.
func OfflineBackup(c config.Config, req admin.BackupRequest, version string, now time.Time) (admin.Backup, error) {
	s, err := openExisting(c)
	if err != nil {
		return admin.Backup{}, err
	}
	b, err := makeBackup(s, c.Data, req, version, now)
	return b, errors.Join(err, s.Close())
}

// backup returns the function with which the admin API makes a backup of the running
// server. The function's errors wrap admin.ErrBackup.
func (s *Server) backup(version string) func(context.Context, admin.BackupRequest) (admin.Backup, error) {
	return func(_ context.Context, req admin.BackupRequest) (admin.Backup, error) {
		embedded, ok := s.store.(*pebble.Store)
		switch {
		case !ok:
			return admin.Backup{}, fmt.Errorf("%w: this server's chats are in PostgreSQL, which has its own backups; export takes --database", admin.ErrBackup)
		case s.info.Memory:
			return admin.Backup{}, fmt.Errorf("%w: this server keeps its data in memory", admin.ErrBackup)
		}
		b, err := makeBackup(embedded, s.info.Data, req, version, s.now())
		if err != nil {
			err = fmt.Errorf("%w: %w", admin.ErrBackup, err)
		}
		return b, err
	}
}

// makeBackup writes a backup of the store and of the certificate authority in the folder
// data. It removes what it wrote if it fails.
func makeBackup(s *pebble.Store, data string, req admin.BackupRequest, version string, now time.Time) (b admin.Backup, err error) {
	if err := checkProof(req); err != nil {
		return b, err
	}
	store, tls := storeFolder(req.To), TLSFolder(req.To)
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
	b = admin.Backup{Folder: req.To, Made: now.UTC().Format("2006-01-02T15:04:05Z"), Version: version, Resource: r.ID}
	text, err := json.MarshalIndent(backupNote{"backup", backupFormat, b}, "", "  ")
	if err != nil {
		return b, err
	}
	if err := writeSynced(filepath.Join(req.To, backupFile), append(text, '\n'), 0o600); err != nil {
		return b, err
	}
	return b, syncFolders(req.To)
}

// syncFolders calls fsync on the folders, which makes the names of their files durable. It
// skips folders that do not exist, and does nothing on Windows, which cannot sync folders.
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

// checkProof removes the proof file from the folder of the request. It fails if that file
// does not contain the request's proof or the folder contains anything else.
func checkProof(req admin.BackupRequest) error {
	if !filepath.IsAbs(req.To) {
		return fmt.Errorf("%q is not an absolute path", req.To)
	}
	proof := filepath.Join(req.To, admin.ProofFile)
	text, err := os.ReadFile(proof)
	if err != nil || req.Proof == "" || string(text) != req.Proof {
		return fmt.Errorf("the server does not find the proof in %s: the folder has to be one on the server's machine that the server may read", proof)
	}
	entries, err := os.ReadDir(req.To)
	if err != nil {
		return err
	}
	if len(entries) > 1 {
		return &NotEmptyError{Path: req.To}
	}
	return os.Remove(proof)
}

// Restore copies a backup into the data folder, which must be empty or not exist, and
// checks all rows. It returns the backup's description and the number of rows. The
// store gets a new epoch (a random name of its event log), because clients may have
// seen later events of the old one. If Restore fails, it removes what it copied.
func Restore(ctx context.Context, from string, c config.Config) (b admin.Backup, rows core.Counts, err error) {
	if b, err = readBackup(from); err != nil {
		return b, rows, err
	}
	created, err := ensureEmpty(c.Data)
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

// readBackup reads the backupFile of a backup. It fails if the folder is not a complete
// backup or was made by a newer format.
func readBackup(from string) (admin.Backup, error) {
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

// copyFiles copies the regular files of a folder and syncs the copies. It does nothing if
// the folder does not exist.
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

// writeSynced creates a file, which must not exist, and syncs it.
func writeSynced(name string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = cmp.Or(err, f.Sync())
	return cmp.Or(f.Close(), err)
}
