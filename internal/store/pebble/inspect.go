package pebble

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"github.com/confab-chat/confab/internal/core"
)

// inspection has the facts about a store that were read from its files before Pebble opens them.
type inspection struct {
	fs    vfs.FS
	dir   string
	names []string // names of all files in the folder

	mark     markState
	hasMark  bool
	vouched  bool     // the mark (the file DURABLE) has the length of the current manifest
	current  uint64   // number of the current manifest
	manifest manifest // zero for a new store

	logs     []uint64 // numbers of the logs that are needed, in order
	logBytes int64    // number of bytes read from the logs
	records  int      // number of records, or parts of records, read from the logs
	leftOver int64    // bytes behind the last record of the newest log
	holes    int      // number of records behind the first unreadable bytes
}

// inspect reads the files that Pebble reads at a start, but more strictly. Pebble takes the
// first record that it cannot read for the end of the file, ignores the rest, and deletes files
// that no record names. inspect changes nothing.
//
// It fails with *Damage if a file is missing, too short or unreadable. It fails with
// core.ErrUnfinished if an import or a restore into the folder did not finish, and with
// ErrNewer if Pebble's format is newer than this binary.
func inspect(fs vfs.FS, dir string, opts *pebble.Options) (*inspection, error) {
	in := &inspection{fs: fs, dir: dir}
	var err error
	if in.names, err = fs.List(dir); err != nil {
		return nil, fmt.Errorf("list the store's folder: %w", err)
	}
	if slices.Contains(in.names, unfinished) {
		return nil, fmt.Errorf("store %s is %w: an import or a restore was broken off in it, so that it does not hold everything; remove it and begin again", dir, core.ErrUnfinished)
	}
	readable := false
	if in.mark, in.hasMark, readable, err = readMark(fs, dir); err != nil {
		return nil, in.failed(markName, err)
	}
	if !readable {
		// The mark (the file DURABLE) cannot be read. The logs and the manifest may still be whole,
		// so read them as if there were no mark.
		in.hasMark = false
	}
	format, err := in.marker("format-version")
	if err != nil {
		return nil, err
	}
	if err := in.checkFormat(format); err != nil {
		return nil, err
	}
	name, err := in.marker("manifest")
	if err != nil {
		return nil, err
	}
	if name == "" {
		return in, in.checkNew()
	}
	if err := in.readManifest(name); err != nil {
		return nil, err
	}
	if err := in.checkTables(opts); err != nil {
		return nil, err
	}
	if err := in.checkLogs(); err != nil {
		return nil, err
	}
	// The marker of Pebble's format is the last file that a new store gets, so it may be missing if
	// the store is empty: no tables, and no record in the log.
	if format == "" && (len(in.manifest.tables) > 0 || in.records > 0) {
		return nil, in.damaged("marker.format-version.*", nil, "it is missing")
	}
	return in, in.checkOptions(opts)
}

// damaged returns a *Damage that names the file; cause may be nil.
func (in *inspection) damaged(file string, cause error, format string, args ...any) error {
	return &Damage{Dir: in.dir, File: file, What: fmt.Sprintf(format, args...), Err: cause}
}

// failed returns the error for a file that cannot be opened or read: a *Damage if the file is
// missing or the disk cannot read it, or else an error that wraps err.
func (in *inspection) failed(file string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return in.damaged(file, err, "it is missing")
	case errors.Is(err, syscall.EIO):
		return in.damaged(file, err, "it cannot be read: %v", syscall.EIO)
	}
	return fmt.Errorf("read %s of store %s: %w", file, in.dir, err)
}

// marker returns the value of the marker with this name, or "" if there is none. A marker is an
// empty file of Pebble's whose file name holds the value.
func (in *inspection) marker(name string) (string, error) {
	value, err := atomicfs.ReadMarker(in.fs, in.dir, name)
	if err != nil {
		return "", in.damaged("marker."+name+".*", err, "%v", err)
	}
	return value, nil
}

// checkFormat fails with ErrNewer if the version of Pebble's format is newer than this binary
// knows.
func (in *inspection) checkFormat(format string) error {
	if format == "" {
		return nil
	}
	v, err := strconv.ParseUint(format, 10, 64)
	if err != nil {
		return in.damaged("marker.format-version.*", err, "it names the version %q", format)
	}
	if v > uint64(pebble.FormatNewest) {
		return newer(in.dir, "its files have format %d, this version knows up to %d", v, pebble.FormatNewest)
	}
	return nil
}

// checkNew fails if a folder without a current manifest has data: Pebble would create a new
// store there and delete the data. A new store's first manifest may exist: Pebble creates it
// before the marker that names it, and before all logs and tables.
func (in *inspection) checkNew() error {
	for _, name := range in.names {
		if strings.HasSuffix(name, tableSuffix) || strings.HasSuffix(name, blobSuffix) || strings.HasSuffix(name, logSuffix) ||
			strings.HasPrefix(name, "marker.format-version.") || strings.HasPrefix(name, optionsPrefix) {
			return in.damaged("marker.manifest.*", nil, "it is missing")
		}
	}
	for _, f := range in.mark.files {
		if f.kind == logFile {
			return in.damaged(fileName("", f.number, logSuffix), nil, "it is missing")
		}
	}
	return nil
}

// readManifest reads the current manifest. The manifest must be whole up to its durable length,
// which the mark (the file DURABLE) gives. Damage behind that length is harmless: Pebble syncs each
// record, and then the mark, before it deletes the files that the record removes. Without a mark,
// only the last record may be incomplete, and only in the way that an interrupted write leaves it.
func (in *inspection) readManifest(name string) error {
	number, ok := fileNumber(name, manifestPrefix, "")
	if !ok {
		return in.damaged("marker.manifest.*", nil, "it names %q, which is no manifest", name)
	}
	in.current = number
	f, err := in.fs.Open(in.fs.PathJoin(in.dir, name))
	if err != nil {
		return in.failed(name, err)
	}
	defer f.Close()
	m, err := readManifest(f)
	if bad := (*badEdit)(nil); errors.As(err, &bad) {
		return in.damaged(name, err, "%v", err)
	}
	if err != nil {
		return in.failed(name, err)
	}
	in.manifest = *m
	length := in.mark.length(manifestFile, number)
	in.vouched = length > 0
	switch {
	case m.end < length && m.tail != "":
		return in.damaged(name, nil, "%s; %d bytes of it were durable", m.tail, length)
	case m.end < length:
		return in.damaged(name, nil, "it ends after %d bytes, but %d bytes of it were durable", m.end, length)
	case m.edits == 0:
		return in.damaged(name, nil, "it holds no complete record")
	case m.tail != "" && !in.vouched && !m.torn:
		return in.damaged(name, nil, "%s", m.tail)
	}
	return nil
}

// checkTables fails unless each table in the manifest exists, has the size that the manifest
// says, and has a footer and properties that can be read.
func (in *inspection) checkTables(opts *pebble.Options) error {
	for _, number := range sorted(in.manifest.tables) {
		name := fileName("", number, tableSuffix)
		err := in.checkFile(name, in.manifest.tables[number], func(r objstorage.Readable) error {
			t, err := newTableReader(r, opts)
			if err != nil {
				return err
			}
			return t.Close()
		})
		if err != nil {
			return err
		}
	}
	for _, number := range sorted(in.manifest.blobs) {
		name := fileName("", number, blobSuffix)
		err := in.checkFile(name, in.manifest.blobs[number], func(r objstorage.Readable) error {
			b, err := newBlobReader(r, opts)
			if err != nil {
				return err
			}
			return b.Close()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (in *inspection) checkFile(name string, size int64, read func(objstorage.Readable) error) error {
	f, err := in.fs.Open(in.fs.PathJoin(in.dir, name))
	if err != nil {
		return in.failed(name, err)
	}
	r, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return in.failed(name, errors.Join(err, f.Close()))
	}
	if size >= 0 && r.Size() != size {
		f.Close()
		return in.damaged(name, nil, "it has %d bytes instead of %d", r.Size(), size)
	}
	if err := read(r); err != nil {
		r.Close()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			return in.failed(name, err)
		}
		return in.damaged(name, err, "%v", err)
	}
	return nil
}

// checkLogs reads the logs that are needed. A log must be whole up to its durable length, which the
// mark (the file DURABLE) gives, and up to the durable length that later records of the log give.
// Each log but the newest was closed, so it must be whole to its end.
func (in *inspection) checkLogs() error {
	for _, name := range in.names {
		if number, ok := fileNumber(name, "", logSuffix); ok && number >= in.manifest.firstLog {
			in.logs = append(in.logs, number)
		}
	}
	slices.Sort(in.logs)
	for _, f := range in.mark.files {
		if f.kind == logFile && f.number >= in.manifest.firstLog && !slices.Contains(in.logs, f.number) {
			return in.damaged(fileName("", f.number, logSuffix), nil, "it is missing; %d bytes of it were durable", f.length)
		}
	}
	for i, number := range in.logs {
		if err := in.checkLog(number, i == len(in.logs)-1); err != nil {
			return err
		}
	}
	return nil
}

func (in *inspection) checkLog(number uint64, newest bool) error {
	name := fileName("", number, logSuffix)
	f, err := in.fs.Open(in.fs.PathJoin(in.dir, name))
	if err != nil {
		return in.failed(name, err)
	}
	defer f.Close()
	chunks := newChunkReader(f, number)
	for err == nil {
		if _, err = chunks.next(); err == nil {
			in.records++
		}
	}
	end, length := chunks.offset(), in.mark.length(logFile, number)
	in.logBytes += end
	if end != length || !errors.Is(err, errClosed) {
		// The mark (the file DURABLE) is from an earlier stop, which closed the store. Then the
		// store was started again, and the power failed before the new mark was synced.
		in.mark.closed = false
	}
	var bad *badChunk
	broken := errors.As(err, &bad)
	if !broken && !errors.Is(err, io.EOF) && !errors.Is(err, errClosed) {
		return in.failed(name, err)
	}
	what := "it ends"
	if broken {
		what = bad.what
	}
	if end < length {
		return in.damaged(name, nil, "%s at byte %d; %d bytes of it were durable", what, end, length)
	}
	if broken && !newest {
		return in.damaged(name, nil, "%s at byte %d, though a newer log follows", what, end)
	}
	rest, err := chunks.tail()
	if err != nil {
		return in.failed(name, err)
	}
	if broken && rest.promised > end {
		return in.damaged(name, nil, "%s at byte %d; a later record says that %d bytes were durable", what, end, rest.promised)
	}
	in.leftOver += rest.bytes
	in.holes += rest.chunks
	return nil
}

// checkOptions fails if Pebble's newest file of options cannot be read, or is not compatible
// with opts.
func (in *inspection) checkOptions(opts *pebble.Options) error {
	newest, name := uint64(0), ""
	for _, n := range in.names {
		if number, ok := fileNumber(n, optionsPrefix, ""); ok && number >= newest {
			newest, name = number, n
		}
	}
	if name == "" {
		return nil
	}
	f, err := in.fs.Open(in.fs.PathJoin(in.dir, name))
	if err != nil {
		return in.failed(name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return in.failed(name, err)
	}
	if err := opts.CheckCompatibility(in.dir, string(b)); err != nil {
		return in.damaged(name, err, "%v", err)
	}
	return nil
}

// unaccounted is the name of the folder, in the store's folder, for tables that Pebble would
// delete although no record says that they are not needed.
const unaccounted = "unaccounted"

// strays returns the names of the tables that no record of the manifest names, neither as part of
// the store nor as removed. After a kill, such a table is the output of an unfinished flush or
// compaction, and Pebble may delete it, provided that no record of the manifest is lost. If the
// mark (the file DURABLE) says that no record is lost, strays returns nothing.
//
// Logs with numbers below the manifest's first log are not strays: a record of the manifest
// says that their rows are in tables. Neither are older manifests: the current one replaced
// them.
func (in *inspection) strays() (names []string) {
	if in.vouched {
		return nil
	}
	for _, name := range in.names {
		number, ok := fileNumber(name, "", tableSuffix)
		known := in.manifest.tables
		if !ok {
			number, ok = fileNumber(name, "", blobSuffix)
			known = in.manifest.blobs
		}
		if _, live := known[number]; ok && !live && !in.manifest.dropped[number] {
			names = append(names, name)
		}
	}
	return names
}

// aside returns the names of the files that earlier starts moved to the folder unaccounted,
// relative to the store's folder.
func (in *inspection) aside() ([]string, error) {
	if !slices.Contains(in.names, unaccounted) {
		return nil, nil
	}
	names, err := in.fs.List(in.fs.PathJoin(in.dir, unaccounted))
	if err != nil {
		return nil, fmt.Errorf("list the folder for files that are not accounted for: %w", err)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = in.fs.PathJoin(unaccounted, name)
	}
	return names, nil
}

// prepare moves the strays, tables that no record of the manifest names, to the folder unaccounted.
// It then opens the mark (the file DURABLE), and returns the file system for Pebble, which writes
// to the mark after each sync.
func (in *inspection) prepare(log *slog.Logger) (*watchedFS, error) {
	if err := in.moveStrays(log); err != nil {
		return nil, err
	}
	in.report(log)
	var files []durableFile
	for _, f := range in.mark.files {
		if f.kind == manifestFile && f.number == in.current || f.kind == logFile && f.number >= in.manifest.firstLog {
			files = append(files, f)
		}
	}
	m, err := openMark(in.fs, in.dir, log, in.mark.turn, files)
	if err != nil {
		return nil, err
	}
	return &watchedFS{FS: in.fs, mark: m}, nil
}

// moveStrays durably moves the tables that no record of the manifest names to the folder
// unaccounted, and logs how many files that folder has.
func (in *inspection) moveStrays(log *slog.Logger) error {
	fs, dir := in.fs, in.fs.PathJoin(in.dir, unaccounted)
	strays := in.strays()
	if len(strays) > 0 {
		if err := fs.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the folder for files that are not accounted for: %w", err)
		}
		for _, name := range strays {
			to := fs.PathJoin(dir, name)
			for n := 1; ; n++ {
				if _, err := fs.Stat(to); errors.Is(err, os.ErrNotExist) {
					break
				}
				to = fs.PathJoin(dir, name+"."+strconv.Itoa(n))
			}
			if err := fs.Rename(fs.PathJoin(in.dir, name), to); err != nil {
				return fmt.Errorf("move a file that is not accounted for: %w", err)
			}
			log.Warn("store: a table that no record names was moved; it may hold rows of a lost record, or of work that a kill broke off", "file", name, "to", to)
		}
		if err := errors.Join(syncFolder(fs, dir), syncFolder(fs, in.dir)); err != nil {
			return fmt.Errorf("move files that are not accounted for: %w", err)
		}
	}
	if !slices.Contains(in.names, unaccounted) {
		return nil
	}
	names, err := fs.List(dir)
	if err != nil || len(names) == 0 {
		return err
	}
	bytes := int64(0)
	for _, name := range names {
		if info, err := fs.Stat(fs.PathJoin(dir, name)); err == nil {
			bytes += info.Size()
		}
	}
	log.Warn("store: a folder has files that are not accounted for; remove it when no message is missed", "folder", dir, "files", len(names), "bytes", bytes)
	return nil
}

// report logs what the inspection found. It logs nothing for a new store and for one that was
// closed.
func (in *inspection) report(log *slog.Logger) {
	switch {
	case in.manifest.edits == 0 || in.hasMark && in.mark.closed && in.leftOver == 0:
		return
	case !in.hasMark && slices.Contains(in.names, markName):
		log.Warn("store: the mark that says how far the log is durable cannot be read, so damage of the log's end would go unnoticed", "file", in.fs.PathJoin(in.dir, markName))
	}
	log.Info("store: its log was read", "closed", in.mark.closed, "bytes", in.logBytes, "left_over_bytes", in.leftOver, "records_behind", in.holes)
	if in.manifest.tail != "" {
		log.Warn("store: the last record of the manifest was not complete and not durable, so it was left out", "at", in.manifest.end, "found", in.manifest.tail)
	}
}

func sorted(m map[uint64]int64) []uint64 {
	return slices.Sorted(maps.Keys(m))
}
