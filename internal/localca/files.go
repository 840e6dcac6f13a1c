package localca

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// writeFile replaces a file in the folder atomically: a reader, or a start after a power
// cut, finds the old content or the new. Unless a.sync is false, the file is on disk when
// it returns.
func (a *Authority) writeFile(name string, data []byte, mode os.FileMode) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", a.path(name), err)
		}
	}()
	f, err := os.CreateTemp(a.dir, "."+name+"-*") // made with 0600
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

func (a *Authority) syncDir() error {
	if !a.sync || runtime.GOOS == "windows" { // Windows cannot flush a folder
		return nil
	}
	d, err := os.Open(a.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
