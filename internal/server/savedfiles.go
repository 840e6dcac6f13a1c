package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// savedFile describes a file of a backup, so that a later check finds out whether the file has
// changed.
type savedFile struct {
	Name   string `json:"name"` // path of the file in the backup, with slashes: store/000004.log
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// sumFiles returns the name, size and checksum of each file of the store and of the certificate
// authority in a backup.
func sumFiles(ctx context.Context, backup string) (all []savedFile, err error) {
	names, err := namesOf(backup)
	for _, name := range names {
		if err != nil {
			return nil, err
		}
		f := savedFile{Name: name}
		f.Size, f.SHA256, err = copyFile(ctx, filepath.Join(backup, filepath.FromSlash(name)), io.Discard)
		all = append(all, f)
	}
	return all, err
}

// namesOf returns the names of the regular files in a backup, in the form of savedFile.Name.
func namesOf(backup string) (names []string, err error) {
	for _, dir := range []string{storeName, tlsName} {
		entries, err := os.ReadDir(filepath.Join(backup, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && e.Name() != "LOCK" {
				names = append(names, path.Join(dir, e.Name()))
			}
		}
	}
	return names, nil
}

// copyFiles copies the files of a backup from one folder to another, and syncs the copies. It
// fails with *DamagedBackupError if a file does not have the size and the checksum in the
// backup's description. The description of a backup of format 1 lists no files; copyFiles then
// copies all files unchecked.
func (n *backupNote) copyFiles(ctx context.Context, from, to string) error {
	files := n.Files
	if n.Format < 2 {
		names, err := namesOf(from)
		if err != nil {
			return err
		}
		for _, name := range names {
			files = append(files, savedFile{Name: name})
		}
	}
	for _, f := range files {
		name := filepath.Join(to, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if info, err := os.Stat(filepath.Join(from, filepath.FromSlash(f.Name))); err == nil {
			mode = info.Mode().Perm()
		}
		err := createSynced(name, mode, func(w io.Writer) error { return f.copyTo(ctx, from, w) })
		if err != nil {
			return err
		}
	}
	return nil
}

// copyTo copies the file that f describes from a backup to the writer w. It fails with
// *DamagedBackupError if the file is missing or has another size or checksum than f says. If f has
// no checksum, copyTo does not check size and checksum.
func (f savedFile) copyTo(ctx context.Context, from string, w io.Writer) error {
	size, sum, err := copyFile(ctx, filepath.Join(from, filepath.FromSlash(f.Name)), w)
	what := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		what = "is missing"
	case err != nil:
		return err
	case f.SHA256 == "":
		return nil
	case size != f.Size:
		what = fmt.Sprintf("has %d bytes instead of %d", size, f.Size)
	case !strings.EqualFold(sum, f.SHA256):
		what = "has other bytes than it had: the SHA-256 differs"
	default:
		return nil
	}
	return &DamagedBackupError{Path: from, What: f.Name + " " + what}
}

// copyFile copies a file to w, and returns its size in bytes and its SHA-256. It stops when
// ctx is done.
func copyFile(ctx context.Context, name string, w io.Writer) (size int64, sum string, err error) {
	r, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer r.Close()
	h := sha256.New()
	to := io.MultiWriter(h, w)
	for err == nil && ctx.Err() == nil {
		var n int64
		n, err = io.CopyN(to, r, 1<<20)
		size += n
	}
	if err = cmp.Or(ctx.Err(), err); err != io.EOF {
		return size, "", err
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

// copyFiles copies the regular files of a folder and syncs the copies. It does nothing if the
// folder does not exist. It skips the file with the name leaveOut. It also skips files whose names
// begin with a dot, because such a file is still being written, or was left by a process that was
// killed.
func copyFiles(from, to, leaveOut string) error {
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
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") || filepath.Join(from, e.Name()) == leaveOut {
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

// writeSynced creates a file with this text and syncs it. It fails if the file exists.
func writeSynced(name string, text []byte, mode fs.FileMode) error {
	return createSynced(name, mode, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// createSynced creates a file, calls write to write the file's content, and syncs the file. It
// fails if the file exists. If writing fails, it removes the file.
func createSynced(name string, mode fs.FileMode, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(name)
	}
	return err
}
