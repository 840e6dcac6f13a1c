package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/localca"
	"github.com/confab-chat/confab/internal/store/pebble"
)

// backupFile is the name of the file that describes a backup. A backup is a folder with this
// file and copies of the store and of the local certificate authority. It does not contain the
// settings, or a certificate that the settings name. Until the backup is complete, the folder
// also has the mark unfinishedFile.
const backupFile = "confab-backup.json"

// backupFormat is the version of a backup's layout. Format 2 added the list of files with their
// checksums and the numbers of rows.
const backupFormat = 2

// backupNote is the content of the file backupFile, a backup's description.
type backupNote struct {
	Confab string `json:"confab"` // "backup"
	Format int    `json:"format"`
	admin.Backup
	content
	Files []savedFile `json:"files"`
}

// content is the part of a backup's description that shows a later check whether rows are missing
// or were changed.
type content struct {
	Check  uint32        `json:"check"`  // the checksum of the event at the last position of the event log
	Census pebble.Census `json:"census"` // numbers and sums of rows
}

// DamagedBackupError means that a file or a row of a backup is missing or has changed since the
// backup was made.
type DamagedBackupError struct {
	Path string // the folder of the backup
	What string // text that says what is wrong and names the file
}

// Error returns a message that names the backup and says what is wrong with it.
func (e *DamagedBackupError) Error() string {
	return fmt.Sprintf("the backup %s is damaged: %s", e.Path, e.What)
}

// PrepareBackup creates a folder for a backup and writes a file with a random proof into the
// folder. By reading the proof the server checks that the client can write to the folder.
// PrepareBackup fails with *NotEmptyError if the folder exists and is not empty. The function
// cancel removes the proof, and also the folder if PrepareBackup created it and it is empty.
func PrepareBackup(to string) (req admin.BackupRequest, cancel func(), err error) {
	if req.To, err = filepath.Abs(to); err != nil {
		return req, nil, err
	}
	created, err := emptyFolder(req.To)
	if err != nil {
		return req, nil, err
	}
	proof := filepath.Join(req.To, admin.ProofFile)
	cancel = func() {
		os.Remove(proof) // ignore the error, because the server removes the proof too
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

// OfflineBackup makes a backup of the embedded store while no server is running. It fails with
// *NoDataError if there is no store, and with *DataInUseError if a server uses it.
func OfflineBackup(ctx context.Context, c config.Config, req admin.BackupRequest, version string, now time.Time) (admin.Backup, error) {
	s, err := openExisting(c)
	if err != nil {
		return admin.Backup{}, err
	}
	b, err := makeBackup(ctx, s, c.Data, req, version, now)
	return b, errors.Join(err, s.Close())
}

// backup returns a function that makes a backup of the running server, for the operator's API. The
// errors of the returned function wrap admin.ErrBackup or admin.ErrExport.
func (s *Server) backup(version string) func(context.Context, admin.BackupRequest) (admin.Backup, error) {
	return func(ctx context.Context, req admin.BackupRequest) (admin.Backup, error) {
		failed := admin.ErrBackup
		if req.Export {
			failed = admin.ErrExport
		}
		embedded, ok := s.store.(*pebble.Store)
		switch {
		case !ok && req.Export:
			return admin.Backup{}, fmt.Errorf("%w: this server's chats are in PostgreSQL: name it with --database", failed)
		case !ok:
			return admin.Backup{}, fmt.Errorf("%w: this server's chats are in PostgreSQL, which has its own backups; export takes --database", failed)
		case s.info.Memory:
			return admin.Backup{}, fmt.Errorf("%w: this server keeps its data in memory", failed)
		}
		b, err := makeBackup(ctx, embedded, s.info.Data, req, version, s.now())
		if err != nil {
			err = fmt.Errorf("%w: %w", failed, err)
		}
		return b, err
	}
}

// workPrefix begins the name of the temporary folder in which a backup is made. If the backup is
// the first step of an export, the name begins with exportPrefix instead. If the process is
// killed, the folder remains, marked as unfinished.
const (
	workPrefix   = ".confab-backup-"
	exportPrefix = ".confab-copy-"
)

// makeBackup writes a backup of the store s and of the certificate authority in the folder data.
// It reads the copies again, and writes their checksums and numbers of rows into the backup's
// description.
//
// It makes the backup in a new folder beside req.To, which only the server's user can read, and
// then renames that folder to req.To. It does not write into req.To, because other users may be
// able to read that folder, and Pebble makes files that everybody may read. If makeBackup fails
// or ctx is done, it removes what it wrote, beginning with backupFile.
func makeBackup(ctx context.Context, s *pebble.Store, data string, req admin.BackupRequest, version string, now time.Time) (b admin.Backup, err error) {
	if err := checkProof(req); err != nil {
		return b, err
	}
	to, err := filepath.EvalSymlinks(req.To)
	if err != nil {
		return b, err
	}
	prefix := workPrefix
	if req.Export {
		prefix = exportPrefix
	}
	work, err := os.MkdirTemp(filepath.Dir(to), prefix) // made with 0700
	if err != nil {
		return b, fmt.Errorf("make a folder for the copy beside %s: %w", to, err)
	}
	defer func() {
		if err != nil {
			os.Remove(filepath.Join(to, admin.ProofFile)) // ignore the error, because the client removes the proof too
			os.Remove(filepath.Join(work, backupFile))
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	if err := markUnfinished(work); err != nil {
		return b, err
	}
	if b, err = fillBackup(ctx, s, data, work, req, version, now); err != nil {
		return b, err
	}
	if err := markFinished(work); err != nil {
		return b, err
	}
	if err := os.Remove(filepath.Join(to, admin.ProofFile)); err != nil {
		return b, err
	}
	err = os.Remove(to) // remove the empty folder, because os.Rename would fail if the folder existed
	if err == nil {
		err = os.Rename(work, to)
	}
	if err != nil {
		return b, fmt.Errorf("put the copy in the place of %s, which must be empty and no mount point: %w", to, err)
	}
	return b, SyncFolders(filepath.Dir(to))
}

// fillBackup writes all files of a backup into the folder work.
func fillBackup(ctx context.Context, s *pebble.Store, data, work string, req admin.BackupRequest, version string, now time.Time) (b admin.Backup, err error) {
	store, tls := storeFolder(work), TLSFolder(work)
	note := backupNote{Confab: "backup", Format: backupFormat}
	if note.Backup, note.content, err = copyStore(ctx, s, work); err != nil {
		return b, err
	}
	leaveOut := ""
	if req.WithoutCAKey {
		leaveOut = localca.CAKeyFile(TLSFolder(data))
	}
	if err := copyFiles(TLSFolder(data), tls, leaveOut); err != nil {
		return b, fmt.Errorf("copy the certificate authority: %w", err)
	}
	if err := SyncFolders(store, tls); err != nil {
		return b, err
	}
	if note.Files, err = sumFiles(ctx, work); err != nil {
		return b, err
	}
	note.Folder, note.Made, note.Version = req.To, now.UTC().Format("2006-01-02T15:04:05Z"), version
	text, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return b, err
	}
	return note.Backup, writeSynced(filepath.Join(work, backupFile), append(text, '\n'), 0o600)
}

// copyStore copies a store into a backup, and returns the number of rows and the checksums of the
// copy.
//
// Pebble copies its log and its manifest while it is writing to them. The copy of a log that
// overwrites an older one can end in the middle of a record, and soon after a start the manifest
// may have no record yet. So if the copy cannot be read, copyStore makes a second copy while
// writers wait.
func copyStore(ctx context.Context, s *pebble.Store, backup string) (b admin.Backup, held content, err error) {
	store := storeFolder(backup)
	for _, copyTo := range []func(string) error{s.Checkpoint, s.CheckpointQuietly} {
		if err = os.RemoveAll(store); err != nil {
			return b, held, err
		}
		if err = copyTo(store); err != nil {
			return b, held, err
		}
		if err = errors.Join(os.Chmod(store, 0o700), SyncFolders(store)); err != nil {
			return b, held, err
		}
		b, held, err = inspectFolder(ctx, backup)
		if !errors.Is(err, pebble.ErrDamaged) {
			break
		}
	}
	if err != nil {
		err = fmt.Errorf("read the copy of the store: %w", err)
	}
	return b, held, err
}

// checkProof fails unless the folder req.To contains the proof file with the text req.Proof, and
// nothing else.
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
	return nil
}

// Restore copies a backup into the data folder, which must be empty or not exist. It compares the
// copied files and all rows with the backup's description. It returns that description and the
// number of rows. The store gets a new epoch (a random name of its event log), because clients may
// have received events that were written after the backup. The folder is marked as unfinished
// until Restore has succeeded. If Restore fails, it removes the copies. The error is a
// *DamagedBackupError if the backup was changed after it was made.
func Restore(ctx context.Context, from string, c config.Config) (b admin.Backup, rows core.Counts, err error) {
	note, err := readBackup(from)
	if err != nil {
		return b, rows, err
	}
	created, err := emptyFolder(c.Data)
	if err != nil {
		return b, rows, err
	}
	if err := markUnfinished(c.Data); err != nil {
		if created {
			os.Remove(c.Data)
		}
		return b, rows, err
	}
	rows, err = note.restore(ctx, from, c)
	if err == nil {
		return note.Backup, rows, markFinished(c.Data)
	}
	err = errors.Join(err, discard(c.Data, storeName, tlsName))
	if created {
		os.Remove(c.Data)
	}
	return note.Backup, rows, err
}

// restore copies a backup from one folder into the data folder, as Restore documents, but does not
// mark the data folder as unfinished. If it succeeds, the data folder is complete and durable.
func (n *backupNote) restore(ctx context.Context, from string, c config.Config) (rows core.Counts, err error) {
	if err := n.copyFiles(ctx, from, c.Data); err != nil {
		return rows, err
	}
	s, err := openEmbedded(c, core.Resource{}, storeOptions{})
	if err != nil {
		return rows, unreadable(from, err)
	}
	is, held, err := inspect(ctx, s)
	err = unreadable(from, err)
	if err == nil && n.Format >= 2 {
		err = n.compare(from, is, held)
	}
	if err == nil {
		err = s.SetEpoch(newGUID())
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return rows, err
	}
	return is.Rows, SyncFolders(storeFolder(c.Data), TLSFolder(c.Data))
}

// VerifyBackup compares the files of a backup and all rows in them with the backup's
// description, and returns the description. It changes nothing. It fails with
// *DamagedBackupError if they differ. It also fails for a backup of format 1, which has no
// checksums.
func VerifyBackup(ctx context.Context, from string) (admin.Backup, error) {
	note, err := readBackup(from)
	if err != nil {
		return admin.Backup{}, err
	}
	if note.Format < 2 {
		return admin.Backup{}, fmt.Errorf("the backup %s was made by Confab %s, which noted no checksums: restore it to check its rows", from, note.Version)
	}
	for _, f := range note.Files {
		if err := f.copyTo(ctx, from, io.Discard); err != nil {
			return admin.Backup{}, err
		}
	}
	is, held, err := inspectFolder(ctx, from)
	if err = unreadable(from, err); err == nil {
		err = note.compare(from, is, held)
	}
	return note.Backup, err
}

// readBackup reads the file backupFile, the description of a backup. It fails if the folder is not
// a complete backup, or if a newer version of Confab made the backup in a format that this version
// does not know.
func readBackup(from string) (*backupNote, error) {
	if err := CheckFinished(from); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(from, backupFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is no backup, or one that was broken off: it has no %s", from, backupFile)
	case err != nil:
		return nil, err
	}
	var note backupNote
	if err := json.Unmarshal(text, &note); err != nil || note.Confab != "backup" || note.Format < 1 {
		return nil, &DamagedBackupError{Path: from, What: backupFile + " is not the note of a backup"}
	}
	if note.Format > backupFormat {
		return nil, fmt.Errorf("%s was made by Confab %s, which is newer than this one", from, note.Version)
	}
	for _, f := range note.Files {
		if folder, name, ok := strings.Cut(f.Name, "/"); !ok || folder != storeName && folder != tlsName || name != filepath.Base(name) || !filepath.IsLocal(name) {
			return nil, &DamagedBackupError{Path: from, What: fmt.Sprintf("%s names the file %q", backupFile, f.Name)}
		}
	}
	note.Folder = from
	return &note, nil
}

// inspectFolder opens the store in a backup for reading only, and returns the result of inspect
// for that store.
func inspectFolder(ctx context.Context, backup string) (b admin.Backup, held content, err error) {
	s, err := openEmbedded(config.Config{Data: backup}, core.Resource{}, forExport)
	if err != nil {
		return b, held, err
	}
	b, held, err = inspect(ctx, s)
	return b, held, errors.Join(err, s.Close())
}

// inspect reads and checks all rows of a store. It returns the numbers and checksums of the rows
// and the last position of the event log, which are parts of a backup's description.
func inspect(ctx context.Context, s *pebble.Store) (b admin.Backup, held content, err error) {
	if b.Rows, err = s.Check(ctx); err != nil {
		return b, held, err
	}
	if held.Census, err = s.Census(ctx); err != nil {
		return b, held, err
	}
	r, err := s.Resource(ctx)
	if err != nil {
		return b, held, err
	}
	tip, err := s.Tip(ctx)
	b.Resource, b.Epoch, b.Position, held.Check = r.ID, tip.Epoch, tip.Position, tip.Check
	return b, held, err
}

// unreadable converts an error that says that the store of a backup is damaged to a
// *DamagedBackupError. It returns other errors unchanged.
func unreadable(from string, err error) error {
	if errors.Is(err, pebble.ErrDamaged) {
		return &DamagedBackupError{Path: from, What: "its store cannot be read: " + err.Error()}
	}
	return err
}

// compare fails with *DamagedBackupError unless the store of a backup has the rows and the end
// of the event log that the description n lists.
func (n *backupNote) compare(from string, is admin.Backup, held content) error {
	damaged := func(format string, a ...any) error {
		return &DamagedBackupError{Path: from, What: fmt.Sprintf(format, a...)}
	}
	for _, was := range n.Census.Kinds {
		i := slices.IndexFunc(held.Census.Kinds, func(k pebble.KindCensus) bool { return k.Kind == was.Kind })
		switch {
		case i < 0:
			return damaged("%s counts %q, which do not exist", backupFile, was.Kind)
		case held.Census.Kinds[i].Rows != was.Rows:
			return damaged("its store has %d %s instead of %d", held.Census.Kinds[i].Rows, was.Kind, was.Rows)
		case held.Census.Kinds[i].Sum != was.Sum:
			return damaged("its store has other %s than it had", was.Kind)
		}
	}
	switch {
	case is.Rows != n.Rows:
		return damaged("its store has the rows %+v instead of %+v", is.Rows, n.Rows)
	case is.Resource != n.Resource:
		return damaged("its store is of resource %s instead of %s", is.Resource, n.Resource)
	case is.Epoch != n.Epoch || is.Position != n.Position || held.Check != n.Check:
		return damaged("its event log ends at %d in epoch %s instead of %d in epoch %s", is.Position, is.Epoch, n.Position, n.Epoch)
	}
	return nil
}
