package localca

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// writeFile replaces a file in the folder atomically: after a crash or a power cut the file
// has the old content or the new one. Unless a.sync is false, the content is on disk when
// writeFile returns.
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
