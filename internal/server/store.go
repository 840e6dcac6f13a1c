package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/metrics"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/store/postgres"
)

// The names of the folders in a data folder and in a backup.
const (
	storeName = "store" // the embedded store
	tlsName   = "tls"   // the local certificate authority
)

// storeFolder returns the folder of the embedded store in a data folder.
func storeFolder(data string) string { return filepath.Join(data, storeName) }

// hasStore reports whether the data folder of the settings has an embedded store.
func hasStore(c config.Config) bool {
	if c.InMemory() {
		return false
	}
	_, err := os.Stat(storeFolder(c.Data))
	return !errors.Is(err, os.ErrNotExist)
}

// storeOptions holds the options of openStore. The zero value of each field is valid.
type storeOptions struct {
	logger *slog.Logger
	fatal  func(error) // called when the disk of the store has failed; nil: print the error and end the process
	now    func() time.Time
	// cache and memTable limit the memory of the embedded engine, in bytes; 0 means the engine's
	// default.
	cache    int64
	memTable uint64
	// fs is the file system of the embedded store, unless that store is in memory; nil means the file
	// system of the operating system.
	fs vfs.FS
	// readOnly opens the embedded store without writing to it.
	readOnly bool
}

// minFree returns the number of bytes that the embedded store must leave free on its disk. The
// result is the setting min-free-space, but at most a sixteenth of the disk unless the user has
// set it.
func minFree(c config.Config) uint64 {
	least := uint64(c.MinFreeSpace)
	if c.InMemory() || c.Explicit("min-free-space") {
		return least
	}
	usage, err := vfs.Default.GetDiskUsage(existing(c.Data))
	if err != nil {
		return least
	}
	return min(least, usage.TotalBytes/16)
}

// Floor returns the number of free bytes on the disk of the data folder below which a server with
// these settings refuses writes. It is the sum of the space that must stay free and the space that
// the store may use before it checks again. It fails if the system does not report the free space.
func Floor(c config.Config) (uint64, error) { return pebble.Floor(existing(c.Data), minFree(c)) }

// existing returns dir if dir is a folder, and otherwise the nearest parent folder of dir that
// exists.
func existing(dir string) string {
	for {
		up := filepath.Dir(dir)
		if st, err := os.Stat(dir); err == nil && st.IsDir() || up == dir {
			return dir
		}
		dir = up
	}
}

// openStore opens or creates the store of the settings: PostgreSQL if they name a database, and
// the embedded store otherwise. It fails with *DataInUseError if another process has the
// embedded store open.
func openStore(ctx context.Context, c config.Config, o storeOptions) (core.Store, error) {
	initial := core.Resource{ID: cmp.Or(c.ResourceID, newGUID()), Cloud: c.Cloud, Epoch: newGUID(), Keys: initialKeys(c)}
	if c.Database != "" {
		if warning := DatabaseWarning(c); warning != "" && o.logger != nil {
			o.logger.Warn(warning)
		}
		s, err := postgres.Open(ctx, c.Database, postgres.Options{Initial: initial, Logger: o.logger, Now: o.now})
		if err != nil {
			return nil, err // return a nil interface, because an interface with a nil *postgres.Store would not be nil
		}
		return s, nil
	}
	s, err := openEmbedded(c, initial, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// DatabaseWarning returns a warning if the connection to the database of the settings does not
// check the certificate of the database server, so that it may reach another server. Otherwise, or
// if no database is set, it returns "". The warning contains no secret.
func DatabaseWarning(c config.Config) string {
	if c.Database == "" {
		return ""
	}
	hosts := postgres.Unverified(c.Database)
	if len(hosts) == 0 {
		return ""
	}
	return "the database's certificate is not checked, so whoever answers in the place of " + strings.Join(hosts, ", ") +
		" gets the password and the chats: put sslmode=verify-full into the address"
}

// openEmbedded opens or creates the embedded store, in the data folder or in memory.
func openEmbedded(c config.Config, initial core.Resource, o storeOptions) (*pebble.Store, error) {
	if o.fatal == nil {
		o.fatal = endProcess
	}
	po := pebble.Options{FS: o.fs, Initial: initial, MinFree: minFree(c), ReadOnly: o.readOnly, Logger: o.logger, Fatal: o.fatal, CacheSize: o.cache, MemTableSize: o.memTable, MaxOpenFiles: filesOfStore(openFiles())}
	dir := storeFolder(c.Data)
	if c.InMemory() {
		po.FS, dir = pebble.NewMem(), "store"
	} else if !o.readOnly {
		if err := makeFolder(c.Data); err != nil {
			return nil, fmt.Errorf("make the data folder: %w", err)
		}
	}
	s, err := pebble.Open(dir, po)
	if errors.Is(err, pebble.ErrInUse) {
		return nil, &DataInUseError{Path: c.Data, Err: err}
	}
	return s, err
}

// endProcess ends the process after the disk of the store has failed, because it is then unknown
// which writes are durable. Commands other than serve use it.
func endProcess(err error) {
	text, _, _ := strings.Cut(err.Error(), "\n")
	fmt.Fprintf(os.Stderr, "confab: the store failed: %s.\n", text)
	os.Exit(1)
}

// openExisting opens the embedded store in the data folder. It fails with *NoDataError if the
// folder has no store, and with the errors of checkData.
func openExisting(c config.Config) (*pebble.Store, error) {
	if err := checkData(c); err != nil {
		return nil, err
	}
	if !hasStore(c) {
		return nil, &NoDataError{Path: c.Data}
	}
	return openEmbedded(c, core.Resource{}, storeOptions{})
}

// NoDataError means that a data folder contains no store.
type NoDataError struct{ Path string }

// Error returns a message that names the folder.
func (e *NoDataError) Error() string { return fmt.Sprintf("there is no store in %s", e.Path) }

// IsBackupError means that a folder named as the data folder is a backup.
type IsBackupError struct{ Path string }

// Error returns a message that names the folder.
func (e *IsBackupError) Error() string {
	return fmt.Sprintf("%s is a backup, which a server would change: restore it into another folder", e.Path)
}

// NotEmptyError means that a folder that should be empty is not.
type NotEmptyError struct{ Path string }

// Error returns a message that names the folder.
func (e *NotEmptyError) Error() string { return fmt.Sprintf("%s is not empty", e.Path) }

// storageOf returns a function that reads the metrics of the store s. It returns nil unless s is
// an embedded store.
func storageOf(s core.Store) func() metrics.Storage {
	embedded, ok := s.(*pebble.Store)
	if !ok {
		return nil
	}
	return func() metrics.Storage {
		st, sp := embedded.Stats(), embedded.Space()
		low := 0.0
		if sp.Low {
			low = 1
		}
		return metrics.Storage{
			DiskBytes: float64(sp.Used), FreeBytes: float64(sp.Free), FloorBytes: float64(sp.Floor), BelowFloor: low, WrittenBytes: float64(st.Written),
			ReadAmp: float64(st.ReadAmp), LogSyncs: float64(st.Syncs),
		}
	}
}

// freeBytes returns the free bytes on the disk of a data folder, or 0 if the system does not
// report them.
func freeBytes(data string) float64 {
	usage, err := vfs.Default.GetDiskUsage(existing(data))
	if err != nil {
		return 0
	}
	return float64(usage.AvailBytes)
}
