package pebble

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The mark is a small file beside the logs. It says how far each log and manifest is
// durable, so that the next start can tell a file that lost its end from one whose last
// write broke off: Pebble takes either for the file's end.
//
// Each sync of a log that succeeds is noted in the mark before anyone who waits for it is
// answered. The note is written but not synced, so a send costs no second flush. If the
// process is killed, the note is in the memory of the operating system, and nothing is
// missing from it. If the power fails, the mark is as old as its last sync: markSync and
// the time that a sync takes. Syncs of a manifest are rare: the mark is synced with them.
//
// The mark never says more than is durable. An old mark is harmless.
const markName = "DURABLE"

// markSync is the time after a note in which the mark is synced.
const markSync = 500 * time.Millisecond

// The file has two slots, each in a disk sector of its own, which are written in turn: a
// write that breaks off spoils one of them. Numbers are little-endian.
//
//	magic(8) turn(8) closed(1) entries(1) { kind(1) number(8) length(8) }... 0... checksum(4)
const (
	markSlot    = 512
	markMagic   = "confmrk1"
	markHeader  = len(markMagic) + 8 + 2
	markEntry   = 17
	markEntries = (markSlot - markHeader - 4) / markEntry
)

// fileKind is a kind of file in the mark.
type fileKind byte

const (
	logFile fileKind = iota + 1
	manifestFile
)

// durableFile is a file in the mark.
type durableFile struct {
	kind   fileKind
	number uint64
	length int64 // bytes at the start of the file that are durable
}

// markState is the content of the mark.
type markState struct {
	turn   uint64 // number of times it was written
	closed bool   // the store was closed, so nothing was written after the last sync
	files  []durableFile
}

// length returns how many bytes of a file are durable; 0 if the mark does not say.
func (s markState) length(kind fileKind, number uint64) int64 {
	for _, f := range s.files {
		if f.kind == kind && f.number == number {
			return f.length
		}
	}
	return 0
}

func (s markState) encode() []byte {
	b := make([]byte, 0, markSlot)
	b = append(b, markMagic...)
	b = binary.LittleEndian.AppendUint64(b, s.turn)
	closed := byte(0)
	if s.closed {
		closed = 1
	}
	b = append(b, closed, byte(len(s.files)))
	for _, f := range s.files {
		b = append(b, byte(f.kind))
		b = binary.LittleEndian.AppendUint64(b, f.number)
		b = binary.LittleEndian.AppendUint64(b, uint64(f.length))
	}
	b = b[:markSlot-4]
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeMark reads one slot. It returns false unless the slot is whole.
func decodeMark(b []byte) (s markState, ok bool) {
	if len(b) < markSlot || string(b[:len(markMagic)]) != markMagic {
		return s, false
	}
	b = b[:markSlot]
	if crc32.Checksum(b[:markSlot-4], castagnoli) != binary.LittleEndian.Uint32(b[markSlot-4:]) {
		return s, false
	}
	s.turn = binary.LittleEndian.Uint64(b[len(markMagic):])
	s.closed = b[markHeader-2] != 0
	for n, b := int(b[markHeader-1]), b[markHeader:]; n > 0 && len(b) >= markEntry; n-- {
		s.files = append(s.files, durableFile{
			fileKind(b[0]), binary.LittleEndian.Uint64(b[1:]), int64(binary.LittleEndian.Uint64(b[9:])),
		})
		b = b[markEntry:]
	}
	return s, true
}

// readMark returns the newer slot of the mark in dir. found is false if there is no mark:
// the store is new, or an older Confab wrote it. readable is false if neither slot is whole.
func readMark(fs vfs.FS, dir string) (s markState, found, readable bool, err error) {
	f, err := fs.Open(fs.PathJoin(dir, markName))
	if errors.Is(err, os.ErrNotExist) {
		return s, false, true, nil
	}
	if err != nil {
		return s, true, false, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 2*markSlot))
	if err != nil {
		return s, true, false, err
	}
	for ; len(b) >= markSlot; b = b[markSlot:] {
		if t, ok := decodeMark(b); ok && (!readable || t.turn > s.turn) {
			s, readable = t, true
		}
	}
	return s, true, readable, nil
}

// mark keeps the mark of an open store.
type mark struct {
	fs   vfs.FS
	dir  string
	log  *slog.Logger
	file vfs.File

	mu     sync.Mutex // guards the fields below
	state  markState
	failed bool           // a write failed, which was logged
	done   bool           // the mark is closed: what is synced later is not noted
	timer  *time.Timer    // syncs the mark; nil if all notes are synced
	timers sync.WaitGroup // the timer that runs
}

// openMark opens or creates the mark and starts it with files, which an earlier mark vouched
// for. It syncs nothing, so that a start does not wait: until the first sync the mark says
// what it said before, or is missing, which is harmless. Pebble syncs the folder before it
// writes to the first log.
func openMark(fs vfs.FS, dir string, log *slog.Logger, turn uint64, files []durableFile) (*mark, error) {
	m := &mark{fs: fs, dir: dir, log: log, state: markState{turn: turn, files: files}}
	f, err := fs.OpenReadWrite(fs.PathJoin(dir, markName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("open the mark of the log: %w", err)
	}
	m.file = f
	for range 2 { // both slots, so that no older one counts if the newer one breaks off
		if err == nil {
			err = m.write()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write the mark of the log: %w", errors.Join(err, f.Close()))
	}
	return m, nil
}

// write writes the state into the next slot. The caller holds m.mu or is the only user.
func (m *mark) write() error {
	m.state.turn++
	_, err := m.file.WriteAt(m.state.encode(), int64(m.state.turn%2)*markSlot)
	return err
}

// note says that the first length bytes of a file are durable.
func (m *mark) note(kind fileKind, number uint64, length int64) {
	m.mu.Lock()
	if m.done {
		m.mu.Unlock()
		return
	}
	i := slices.IndexFunc(m.state.files, func(f durableFile) bool { return f.kind == kind && f.number == number })
	if i < 0 {
		m.room()
		i = len(m.state.files)
		m.state.files = append(m.state.files, durableFile{kind: kind, number: number})
	}
	if m.state.files[i].length < length {
		m.state.files[i].length = length
		m.report(m.write())
	}
	if kind == logFile && m.timer == nil {
		m.timers.Add(1)
		m.timer = time.AfterFunc(markSync, m.elapsed)
	}
	m.mu.Unlock()
	if kind == manifestFile {
		m.flush()
	}
}

// room makes room for one more file. Only logs that are needed no more are ever so many: at
// most memTables logs are needed, and two manifests. So the oldest log goes first; a manifest
// that is written seldom can have a lower number than any log.
func (m *mark) room() {
	for len(m.state.files) >= markEntries {
		oldest := slices.MinFunc(m.state.files, func(a, b durableFile) int {
			return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.number, b.number)) // logFile is the lower kind
		})
		m.state.files = slices.DeleteFunc(m.state.files, func(f durableFile) bool { return f == oldest })
	}
}

// elapsed is called when the timer fires.
func (m *mark) elapsed() {
	defer m.timers.Done()
	m.mu.Lock()
	m.timer = nil
	m.mu.Unlock()
	m.flush()
}

// flush syncs the mark. It does not hold m.mu meanwhile, so that no send waits for it.
func (m *mark) flush() {
	err := m.file.SyncData()
	m.mu.Lock()
	m.report(err)
	m.mu.Unlock()
}

// report logs the first error: without a mark, less damage is noticed, but nothing is
// lost. The caller holds m.mu.
func (m *mark) report(err error) {
	if err == nil || m.failed || m.done {
		return
	}
	m.failed = true
	m.log.Error("store: the mark that says how far the log is durable could not be written; damage of the log's end may go unnoticed", "file", m.fs.PathJoin(m.dir, markName), "error", err)
}

// forget removes a file that Pebble deletes or reuses.
func (m *mark) forget(kind fileKind, number uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.files = slices.DeleteFunc(m.state.files, func(f durableFile) bool { return f.kind == kind && f.number == number })
}

// close notes that the store was closed, durably if it was: ok is false after an error.
func (m *mark) close(ok bool) error {
	m.mu.Lock()
	if m.timer != nil && m.timer.Stop() {
		m.timers.Done()
	}
	m.timer = nil
	m.mu.Unlock()
	m.timers.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.closed, m.done = ok, true
	return errors.Join(m.write(), m.file.Sync(), m.file.Close())
}

// watchedFS is the file system that Pebble writes to. It notes in the mark which logs and
// manifests are durable, and up to where.
type watchedFS struct {
	vfs.FS
	mark *mark
}

// kindOf returns kind and number of a log or a manifest in the store's folder. Pebble
// also writes logs and manifests into the folders of backups.
func (w *watchedFS) kindOf(path string) (fileKind, uint64, bool) {
	name := w.PathBase(path)
	if w.PathJoin(w.mark.dir, name) != path {
		return 0, 0, false
	}
	if n, ok := fileNumber(name, "", logSuffix); ok {
		return logFile, n, true
	}
	n, ok := fileNumber(name, manifestPrefix, "")
	return manifestFile, n, ok
}

// Unwrap returns the file system below.
func (w *watchedFS) Unwrap() vfs.FS { return w.FS }

// Create creates a file and watches it if it is a log or a manifest.
func (w *watchedFS) Create(path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(path, c)
	return w.watch(path, f, err)
}

// ReuseForWrite turns an old log into a new one and watches it.
func (w *watchedFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	w.forget(from)
	f, err := w.FS.ReuseForWrite(from, to, c)
	return w.watch(to, f, err)
}

// Remove removes a file.
func (w *watchedFS) Remove(path string) error {
	w.forget(path)
	return w.FS.Remove(path)
}

func (w *watchedFS) forget(path string) {
	if kind, number, ok := w.kindOf(path); ok {
		w.mark.forget(kind, number)
	}
}

func (w *watchedFS) watch(path string, f vfs.File, err error) (vfs.File, error) {
	kind, number, ok := w.kindOf(path)
	if err != nil || !ok {
		return f, err
	}
	return &watchedFile{File: f, mark: w.mark, kind: kind, number: number}, nil
}

// watchedFile is a log or a manifest that is written from its start.
type watchedFile struct {
	vfs.File
	mark    *mark
	kind    fileKind
	number  uint64
	written atomic.Int64
}

// Write appends to what was written before.
func (f *watchedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.written.Add(int64(n))
	return n, err
}

// Sync makes the file durable and notes it.
func (f *watchedFile) Sync() error { return f.noted(f.File.Sync) }

// SyncData makes the file's content durable and notes it.
func (f *watchedFile) SyncData() error { return f.noted(f.File.SyncData) }

func (f *watchedFile) noted(sync func() error) error {
	n := f.written.Load()
	err := sync()
	if err == nil && n > 0 {
		f.mark.note(f.kind, f.number, n)
	}
	return err
}
