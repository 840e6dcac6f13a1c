package storetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Damage is one way to damage a file of an embedded store while no process has the store open.
type Damage struct {
	Name string // "bit flipped at 20%"
	// Do damages the file at path. If Older is set, it replaces the file by the older copy at
	// the path older. It returns false if it cannot change the file: the file is empty, or the
	// older copy is missing or equal.
	Do    func(path, older string) (bool, error)
	Older bool
}

// Damages lists the ways to damage a file that tests use.
var Damages = []Damage{
	flipped(3), flipped(20), flipped(50), flipped(80), flipped(97),
	rewritten("cut", func(b []byte) []byte { return b[:len(b)/2] }),
	rewritten("cut by 10 bytes", func(b []byte) []byte { return b[:max(0, len(b)-10)] }),
	rewritten("zeroed", func(b []byte) []byte { return make([]byte, len(b)) }),
	rewritten("emptied", func([]byte) []byte { return nil }),
	{Name: "missing", Do: func(path, _ string) (bool, error) { return true, os.Remove(path) }},
	{Name: "an older copy", Older: true, Do: func(path, older string) (bool, error) {
		old, err := os.ReadFile(older)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return rewrite(path, func([]byte) []byte { return old })
	}},
}

// flipped returns the damage that flips one bit at a place given in percent of the file's
// length. Zeros at the end of the file do not count, because Pebble allocates logs before it
// writes them.
func flipped(percent int) Damage {
	return rewritten(fmt.Sprintf("bit flipped at %d%%", percent), func(b []byte) []byte {
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			b[n*percent/100] ^= 1 << (percent % 8)
		}
		return b
	})
}

func rewritten(name string, f func([]byte) []byte) Damage {
	return Damage{Name: name, Do: func(path, _ string) (bool, error) { return rewrite(path, f) }}
}

// rewrite replaces the content b of a file by f(b). It returns false if f(b) equals b.
func rewrite(path string, f func([]byte) []byte) (bool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	damaged := f(slices.Clone(b))
	if bytes.Equal(b, damaged) {
		return false, nil
	}
	return true, os.WriteFile(path, damaged, 0o600)
}

// FileKind is a kind of file in the folder of an embedded store.
type FileKind struct {
	Name     string
	Pattern  string // matches the names of the kind
	Swapped  bool   // true if a store must notice that an older copy has replaced the file
	Required bool   // true if every store with rows in tables and in the log has a file of this kind
}

// FileKinds lists the kinds of files that Pebble or the store keeps in the folder.
var FileKinds = []FileKind{
	{Name: "manifest", Pattern: "MANIFEST-*", Swapped: true, Required: true},
	{Name: "log", Pattern: "*.log", Swapped: true, Required: true},
	{Name: "table", Pattern: "*.sst", Required: true},
	{Name: "options", Pattern: "OPTIONS-*", Required: true},
	{Name: "marker of the manifest", Pattern: "marker.manifest.*", Required: true},
	{Name: "marker of the format", Pattern: "marker.format-version.*", Required: true},
	{Name: "mark", Pattern: "DURABLE", Required: true},
	{Name: "lock", Pattern: "LOCK"},
}

// Files returns the names of the files of this kind in dir, the newest file last.
func (k FileKind) Files(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, k.Pattern))
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	slices.Sort(names) // sorting names is enough, because their numbers have leading zeros
	return names, err
}

// CopyFolder copies the files of the folder from into the new folder to. A copy of a store that is
// open but idle has the data that a kill would leave: all written bytes, synced or not.
func CopyFolder(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(from))
}

// Sums returns a checksum of each file in dir and its subfolders, except LOCK, by file name.
func Sums(dir string) (map[string]string, error) {
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, dir)
		if err != nil || d.IsDir() || filepath.Base(path) == "LOCK" {
			return err
		}
		b, err := os.ReadFile(path)
		sums[name] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	return sums, err
}
