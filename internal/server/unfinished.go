package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
)

// unfinishedFile is the name of a file that marks a data folder or a backup as unfinished. A
// restore, an import and a backup create this file before any other file, and remove it after all
// other files are checked and durable. So a folder without this file is complete, even if the
// process or the machine stopped at a bad moment.
const unfinishedFile = "UNFINISHED"

const unfinishedText = "A restore, an import or a backup fills this folder, or was broken off in it.\nIf none runs any more, remove the folder and begin again.\n"

// UnfinishedError means that a folder is incomplete: a restore, an import or a backup is still
// filling it, or was interrupted. It wraps core.ErrUnfinished.
type UnfinishedError struct{ Path string }

// Error returns a message that names the folder and says what to do.
func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("%s is unfinished: a restore, an import or a backup into it runs or was broken off, so that it does not hold everything; if none runs, remove it and begin again", e.Path)
}

// Unwrap returns core.ErrUnfinished.
func (e *UnfinishedError) Unwrap() error { return core.ErrUnfinished }

// CheckFinished fails with *UnfinishedError if the folder dir is marked as unfinished, or if a
// backup into dir has just begun. It fails with the error of the file system if it cannot look for
// these marks. It returns nil if the folder does not exist.
func CheckFinished(dir string) error {
	for _, name := range []string{unfinishedFile, admin.ProofFile} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if err == nil {
			return &UnfinishedError{Path: dir}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// checkData fails if the data folder of the settings must not be used: with *UnfinishedError if
// it is unfinished, with *IsBackupError if it is a backup, and with *NotOursError if it contains
// files that are not a server's.
func checkData(c config.Config) error {
	if c.InMemory() || c.Data == "" {
		return nil
	}
	if err := CheckFinished(c.Data); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(c.Data, backupFile)); err == nil {
		return &IsBackupError{Path: c.Data}
	}
	strange, err := foreign(c)
	if err != nil {
		return err
	}
	if len(strange) > 0 {
		return &NotOursError{Path: c.Data, Has: strange}
	}
	return nil
}

// markUnfinished creates the file unfinishedFile in the folder dir and syncs it. It fails with
// *UnfinishedError if the file exists.
func markUnfinished(dir string) error {
	name := filepath.Join(dir, unfinishedFile)
	err := writeSynced(name, []byte(unfinishedText), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &UnfinishedError{Path: dir}
	}
	if err == nil {
		if err = SyncFolders(dir); err != nil {
			os.Remove(name)
		}
	}
	if err != nil {
		return fmt.Errorf("mark %s as unfinished: %w", dir, err)
	}
	return nil
}

// markFinished removes the file unfinishedFile from the folder dir and makes the removal durable.
// Before that it makes the names of the other files in dir durable.
func markFinished(dir string) error {
	err := SyncFolders(dir)
	if err == nil {
		err = os.Remove(filepath.Join(dir, unfinishedFile))
	}
	if err == nil {
		err = SyncFolders(dir)
	}
	if err != nil {
		return fmt.Errorf("mark %s as finished: %w", dir, err)
	}
	return nil
}

// discard removes the named files and folders from the folder dir, in this order, and then the
// file that marks dir as unfinished. If it cannot remove one of them, it leaves that mark.
func discard(dir string, names ...string) error {
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return markFinished(dir)
}

// emptyFolder creates the folder dir, durably, if it does not exist. If the folder is not empty,
// it fails with *UnfinishedError if the folder is marked as unfinished, and otherwise with
// *NotEmptyError. It ignores the lost+found of a file system.
func emptyFolder(dir string) (created bool, err error) {
	entries, err := os.ReadDir(dir)
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == lostFound })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, makeFolder(dir)
	case err != nil:
		return false, err
	case len(entries) > 0:
		if err := CheckFinished(dir); err != nil {
			return false, err
		}
		return false, &NotEmptyError{Path: dir}
	}
	return false, nil
}

// makeFolder creates the folder dir and its missing parents, which only this user may enter.
// Their names are durable when it returns. It does nothing if dir exists.
func makeFolder(dir string) error {
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	made := []string{}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		made = append(made, filepath.Dir(at))
		if _, err := os.Stat(filepath.Dir(at)); err == nil || at == filepath.Dir(at) {
			break
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return SyncFolders(made...)
}

// SyncFolders calls fsync on the folders, which makes the names of their files durable. It
// skips folders that do not exist or that this user may not read. It does nothing on
// Windows, which cannot sync folders.
func SyncFolders(dirs ...string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	for _, dir := range dirs {
		d, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
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
