package localca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// writeFile replaces a file in the folder atomically: after a crash or a power cut, the file
// has either the old or the new content. The content is on disk when writeFile returns, unless
// a.sync is false.
func (a *Authority) writeFile(name string, data []byte, mode os.FileMode) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", a.path(name), err)
		}
	}()
	f, err := os.CreateTemp(a.dir, "."+name+"-*") // CreateTemp lets only this user read the file
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil && mode != 0o600 {
		err = f.Chmod(mode)
	}
	if err == nil && a.sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), a.path(name)); err != nil {
		return err
	}
	return a.syncDir()
}

// Only reports whether the folder dir contains no files except those that an authority writes,
// including temporary files, whose names begin with a dot. It fails if the folder cannot be read.
func Only(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !slices.Contains(ownFiles, e.Name()) && !strings.HasPrefix(e.Name(), ".") {
			return false, nil
		}
	}
	return err == nil, err
}

// tidy removes temporary files that a process has left because it was killed during writeFile. They
// may hold keys. tidy also flushes the folder's parent, so that the folder survives a power cut.
func (a *Authority) tidy() error {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return err
	}
	for _, name := range ownFiles {
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "."+name+"-") {
				continue
			}
			if err := os.Remove(a.path(e.Name())); err != nil {
				return fmt.Errorf("remove a file that was not completed: %w", err)
			}
		}
	}
	return a.syncFolder(filepath.Dir(a.dir))
}

func (a *Authority) syncDir() error { return a.syncFolder(a.dir) }

// syncFolder flushes the entries of a folder to disk. It does nothing for a folder that the
// user may not read.
func (a *Authority) syncFolder(dir string) error {
	if !a.sync || runtime.GOOS == "windows" { // Windows cannot flush a folder
		return nil
	}
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
