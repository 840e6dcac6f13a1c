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

// The mark is a small file beside the logs. It says how many bytes of each log and manifest are
// durable. With it, the next start can tell a file that lost its end from one whose last write
// was interrupted; Pebble itself takes both for the normal end of the file.
//
// After each successful sync of a log, the new length is written to the mark, before anyone who
// waits for the sync is answered. That write is not synced, so a send costs no second flush of the
// disk. If the process is killed, the operating system still has the write. If the power fails, the
// mark on the disk may be too old, by up to markSync and the time of one sync. After a sync of a
// manifest, which is rare, the mark is synced at once.
//
// The mark never claims more durable bytes than there are. An old mark is harmless: less damage is
// noticed.
const markName = "DURABLE"

// markSync is the longest time that a write to the mark (the file DURABLE) waits for a sync. A
// timer of this length starts at the first write after each sync.
const markSync = 500 * time.Millisecond

// The mark (the file DURABLE) has two slots, each in its own disk sector. They are written in turn,
// so that an interrupted write spoils only one of them. Numbers are little-endian. A slot is
//
//	magic(8) turn(8) closed(1) entries(1) { kind(1) number(8) length(8) }... 0... checksum(4)
const (
	markSlot    = 512
	markMagic   = "confmrk1"
	markHeader  = len(markMagic) + 8 + 2
	markEntry   = 17
	markEntries = (markSlot - markHeader - 4) / markEntry
)

// fileKind tells logs from manifests in the entries of the mark.
type fileKind byte

const (
	logFile fileKind = iota + 1
	manifestFile
)

// durableFile is an entry of the mark: a log or a manifest, and its durable length.
type durableFile struct {
	kind   fileKind
	number uint64
	length int64 // number of bytes at the start of the file that are durable
}

// markState is the decoded content of one slot of the mark.
type markState struct {
	turn   uint64 // number of times the mark was written
	closed bool   // true if the store was closed: nothing was written after the last sync
	files  []durableFile
}

// length returns how many bytes of a file are durable, or 0 if the mark has no entry for it.
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

// decodeMark decodes one slot of the mark. ok is false if the slot is too short or its checksum
// is wrong.
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

// readMark returns the newer readable slot of the mark (the file DURABLE) in dir. found is false if
// there is no mark: the store is new, or an older Confab wrote it. readable is false if neither
// slot can be decoded.
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

// mark writes the mark of an open store: a file that says how many bytes of each log and manifest
// are durable.
type mark struct {
	fs   vfs.FS
	dir  string
	log  *slog.Logger
	file vfs.File

	mu     sync.Mutex // guards the fields below
	state  markState
	failed bool           // a write failed, which was logged
	done   bool           // true if the mark is closed: later syncs of logs are not noted in it
	timer  *time.Timer    // timer that syncs the mark; nil if everything written to the mark is synced
	timers sync.WaitGroup // counts the timer while it runs
}

// openMark opens or creates the mark and writes files, the entries of the earlier mark, to it. It
// does not sync the mark, so that a start does not wait for the disk. A power cut before the first
// sync may leave the earlier mark or none, which is harmless. Pebble syncs the folder before it
// writes to the first log.
func openMark(fs vfs.FS, dir string, log *slog.Logger, turn uint64, files []durableFile) (*mark, error) {
	m := &mark{fs: fs, dir: dir, log: log, state: markState{turn: turn, files: files}}
	f, err := fs.OpenReadWrite(fs.PathJoin(dir, markName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("open the mark of the log: %w", err)
	}
	m.file = f
	for range 2 { // write both slots, so that neither has the state of an earlier mark
		if err == nil {
			err = m.write()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write the mark of the log: %w", errors.Join(err, f.Close()))
	}
	return m, nil
}

// write writes m.state into the older of the two slots of the mark. The caller must hold m.mu or be
// the only user.
func (m *mark) write() error {
	m.state.turn++
	_, err := m.file.WriteAt(m.state.encode(), int64(m.state.turn%2)*markSlot)
	return err
}

// note writes to the mark that the first length bytes of a file are durable. It does nothing
// after close.
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

// room removes entries from the mark until it has space for one more file. It removes the log with
// the lowest number first, because the store no longer needs it: at most memTables logs and two
// manifests are needed. It keeps manifests, since a manifest that is rarely written can have a
// lower number than every log.
func (m *mark) room() {
	for len(m.state.files) >= markEntries {
		oldest := slices.MinFunc(m.state.files, func(a, b durableFile) int {
			return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.number, b.number)) // the kind logFile is less than manifestFile, so logs come first
		})
		m.state.files = slices.DeleteFunc(m.state.files, func(f durableFile) bool { return f == oldest })
	}
}

// elapsed is called when the timer fires, and syncs the mark.
func (m *mark) elapsed() {
	defer m.timers.Done()
	m.mu.Lock()
	m.timer = nil
	m.mu.Unlock()
	m.flush()
}

// flush syncs the mark. It does not hold m.mu while it waits for the disk, so no send waits.
func (m *mark) flush() {
	err := m.file.SyncData()
	m.mu.Lock()
	m.report(err)
	m.mu.Unlock()
}

// report logs err if it is the first error of the mark. The error is not fatal: without a mark,
// less damage is noticed, but nothing is lost. The caller must hold m.mu.
func (m *mark) report(err error) {
	if err == nil || m.failed || m.done {
		return
	}
	m.failed = true
	m.log.Error("store: the mark that says how far the log is durable could not be written; damage of the log's end may go unnoticed", "file", m.fs.PathJoin(m.dir, markName), "error", err)
}

// forget removes the entry of a file from m.state, because Pebble deletes or reuses the file.
func (m *mark) forget(kind fileKind, number uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.files = slices.DeleteFunc(m.state.files, func(f durableFile) bool { return f.kind == kind && f.number == number })
}

// close writes ok to the mark, which says whether the store was closed without an error. It then
// syncs and closes the mark.
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

// watchedFS is the file system that Pebble writes to. After each sync of a log or a manifest it
// writes the file's durable length to the mark.
type watchedFS struct {
	vfs.FS
	mark *mark
}

// kindOf returns the kind and the number of a log or a manifest in the store's folder. The bool is
// false for all other files, such as the logs and manifests in the folder of a backup.
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

// Unwrap returns the wrapped file system.
func (w *watchedFS) Unwrap() vfs.FS { return w.FS }

// Create creates a file. If it is a log or a manifest, its syncs are noted in the mark.
func (w *watchedFS) Create(path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(path, c)
	return w.watch(path, f, err)
}

// ReuseForWrite renames an old log to the name of a new one and opens it. The syncs of the new log
// are noted in the mark.
func (w *watchedFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	w.forget(from)
	f, err := w.FS.ReuseForWrite(from, to, c)
	return w.watch(to, f, err)
}

// Remove removes a file, and its entry from the mark.
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

// watchedFile is a log or a manifest that is written from its start and whose syncs are noted in
// the mark.
type watchedFile struct {
	vfs.File
	mark    *mark
	kind    fileKind
	number  uint64
	written atomic.Int64
}

// Write appends p to the file and counts the bytes.
func (f *watchedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.written.Add(int64(n))
	return n, err
}

// Sync syncs the file and notes in the mark how many bytes are durable.
func (f *watchedFile) Sync() error { return f.noted(f.File.Sync) }

// SyncData syncs the file's content and notes in the mark how many bytes are durable.
func (f *watchedFile) SyncData() error { return f.noted(f.File.SyncData) }

func (f *watchedFile) noted(sync func() error) error {
	n := f.written.Load()
	err := sync()
	if err == nil && n > 0 {
		f.mark.note(f.kind, f.number, n)
	}
	return err
}
