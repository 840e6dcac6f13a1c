package pebble

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/block/blockkind"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// reader reads the files of a damaged store. It adds the rows that it finds to raw, and the
// parts of files that it cannot read to report.
type reader struct {
	ctx    context.Context
	fs     vfs.FS
	dir    string
	opts   *pebble.Options
	raw    *values
	report *Salvaged
}

// readAll reads the rows of all tables and logs. If the manifest can be read, it skips the
// files that the manifest says are no longer needed.
func (r *reader) readAll() error {
	in := &inspection{fs: r.fs, dir: r.dir}
	var err error
	if in.names, err = r.fs.List(r.dir); err != nil {
		return fmt.Errorf("list the store's folder: %w", err)
	}
	_, err = inspect(r.fs, r.dir, r.opts)
	if d := (*Damage)(nil); errors.As(err, &d) {
		r.report.Refused = d.Error()
	} else if err != nil {
		return err
	}
	if in.mark, in.hasMark, _, err = readMark(r.fs, r.dir); err != nil {
		r.report.lose(markName, 0, -1, "%v", err)
	}
	r.readManifest(in)
	if err := r.readTables(in); err != nil {
		return err
	}
	return r.readLogs(in)
}

// readManifest reads the current manifest into in. If the manifest cannot be read, it reports that
// and leaves in.manifest empty, so that all files are read.
func (r *reader) readManifest(in *inspection) {
	name, err := in.marker("manifest")
	if err == nil && name == "" {
		err = in.damaged("marker.manifest.*", nil, "it is missing")
	}
	if err == nil {
		err = in.readManifest(name)
	}
	if err == nil {
		return
	}
	if d := (*Damage)(nil); errors.As(err, &d) {
		r.report.lose(d.File, 0, -1, "%s; all tables and logs in the folder were read", d.What)
	} else {
		r.report.lose(name, 0, -1, "%v; all tables and logs in the folder were read", err)
	}
	in.manifest, in.vouched = manifest{}, false
}

// readTables reads the tables. It skips a table that the manifest removed. A table that the
// manifest does not mention may have been added by a lost record, so it is read too, unless the
// mark says that no record is lost.
func (r *reader) readTables(in *inspection) error {
	missing := map[uint64]bool{}
	for number := range in.manifest.tables {
		missing[number] = true
	}
	for _, name := range in.names {
		number, ok := fileNumber(name, "", tableSuffix)
		if !ok {
			continue
		}
		live := missing[number]
		delete(missing, number)
		if !live && (in.manifest.dropped[number] || in.vouched) {
			continue
		}
		if err := r.readTable(name, number); err != nil {
			return err
		}
	}
	for _, number := range slices.Sorted(maps.Keys(missing)) {
		r.report.lose(fileName("", number, tableSuffix), max(0, in.manifest.tables[number]), -1, "it is missing")
	}
	return r.readAside(in)
}

// readAside reads the tables that earlier starts moved to the folder unaccounted. A lost record
// of the manifest may have added them, but they may also hold old values of rows.
func (r *reader) readAside(in *inspection) error {
	names, err := in.aside()
	if err != nil {
		r.report.lose(unaccounted, 0, -1, "%v", err)
	}
	for _, name := range names {
		base, _, _ := strings.Cut(r.fs.PathBase(name), tableSuffix) // the second table with the same name has a suffix such as .1 in this folder
		number, ok := fileNumber(base+tableSuffix, "", tableSuffix)
		if !ok || !strings.Contains(name, tableSuffix) {
			continue
		}
		r.report.Older = true
		if err := r.readTable(name, number); err != nil {
			return err
		}
	}
	return nil
}

// readTable reads the blocks of a table and reports each block that cannot be read.
func (r *reader) readTable(name string, number uint64) (err error) {
	path := r.fs.PathJoin(r.dir, name)
	size := int64(0)
	if info, err := r.fs.Stat(path); err == nil {
		size = info.Size()
	}
	t, err := openTable(r.fs, path, r.opts)
	if err != nil {
		r.report.lose(name, size, -1, "%s", firstLine(err))
		return nil
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	layout, err := t.Layout()
	if err != nil {
		r.report.lose(name, size, -1, "%s", firstLine(err))
		return nil
	}
	rows, known := int64(-1), int64(0) // -1: not known
	if p, err := t.ReadPropertiesBlock(r.ctx, nil); err == nil {
		known = int64(p.NumEntries - p.NumRangeDeletions)
	}
	var lost, read int64
	var why error
	for _, b := range layout.Data {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		n, err := r.readBlock(t, b.Handle, number)
		if read += n; errors.Is(err, errWork) {
			return err
		}
		if err != nil {
			lost += int64(b.Length) + block.TrailerLen
			why = cmp.Or(why, err)
		}
	}
	if why != nil {
		if known > 0 {
			rows = max(0, known-read)
		}
		r.report.lose(name, lost, rows, "%s", firstLine(why))
	} else if err := t.ValidateBlockChecksums(); err != nil {
		r.report.lose(name, 0, 0, "a part without rows is damaged: %s", firstLine(err))
	}
	if err := r.readRanges(t); err != nil {
		r.report.lose(name, int64(layout.RangeDel.Length), -1, "its deletions of whole threads cannot be read: %s", firstLine(err))
	}
	return nil
}

// errWork marks an error of the temporary store to which salvaged rows are written. An error
// without this mark comes from a damaged file.
var errWork = errors.New("write the rows that were read")

// readBlock adds the rows of a table's block to r.raw, and returns the number of rows added.
func (r *reader) readBlock(t *sstable.Reader, at block.Handle, file uint64) (n int64, err error) {
	defer func() {
		if p := recover(); p != nil { // Pebble panics if the checksum of a block is right but its content is not
			err = fmt.Errorf("the block at byte %d cannot be read: %v", at.Offset, p)
		}
	}()
	schema := r.opts.KeySchemas[r.opts.KeySchema]
	h, err := t.BlockReader().Read(r.ctx, block.ReadEnv{}, nil, at, blockkind.SSTableData, func(m *block.Metadata, b []byte) error {
		return colblk.InitDataBlockMetadata(schema, m, b)
	})
	if err != nil {
		return 0, err
	}
	var it colblk.DataBlockIter
	it.InitOnce(schema, r.opts.Comparer, nil)
	if err := it.InitHandle(r.opts.Comparer, h, block.IterTransforms{}); err != nil {
		return 0, err
	}
	defer it.Close()
	for kv := it.First(); kv != nil; kv = it.Next() {
		deleted := false
		switch kv.Kind() {
		case pebble.InternalKeyKindSet, pebble.InternalKeyKindSetWithDelete:
		case pebble.InternalKeyKindDelete, pebble.InternalKeyKindSingleDelete, pebble.InternalKeyKindDeleteSized:
			deleted = true
		default:
			return n, fmt.Errorf("the block at byte %d has a row of kind %v", at.Offset, kv.Kind())
		}
		var value []byte
		if !deleted {
			value = kv.InPlaceValue()
		}
		if err := r.raw.add(kv.K.UserKey, value, deleted, uint64(kv.SeqNum()), file); err != nil {
			return n, fmt.Errorf("%w: %w", errWork, err)
		}
		n++
	}
	return n, nil
}

// readRanges adds the range deletions of a table to r.raw.
func (r *reader) readRanges(t *sstable.Reader) error {
	it, err := t.NewRawRangeDelIter(r.ctx, block.NoFragmentTransforms, sstable.ReadEnv{})
	if err != nil || it == nil {
		return err
	}
	defer it.Close()
	for {
		s, err := it.Next()
		if err != nil || s == nil {
			return err
		}
		for _, k := range s.Keys {
			r.raw.addRange(s.Start, s.End, uint64(k.SeqNum()))
		}
	}
}

// readLogs reads the logs that the manifest says are needed, or all if the manifest is lost.
func (r *reader) readLogs(in *inspection) error {
	for _, f := range in.mark.files {
		name := fileName("", f.number, logSuffix)
		if f.kind == logFile && f.number >= in.manifest.firstLog && !slices.Contains(in.names, name) {
			r.report.lose(name, f.length, -1, "it is missing")
		}
	}
	for _, name := range in.names {
		if number, ok := fileNumber(name, "", logSuffix); ok && number >= in.manifest.firstLog {
			if err := r.readLog(name, number, in.mark.length(logFile, number)); err != nil {
				return err
			}
		}
	}
	return nil
}

// readLog reads the records of a log, including the records behind a damaged part. durable is the
// number of bytes that were durable, or 0 if it is not known.
func (r *reader) readLog(name string, number uint64, durable int64) error {
	f, err := r.fs.Open(r.fs.PathJoin(r.dir, name))
	if err != nil {
		r.report.lose(name, 0, -1, "%v", err)
		return nil
	}
	defer f.Close()
	l := logReader{name: name, number: number, reader: r}
	buf := make([]byte, blockSize)
	for err == nil {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		var n int
		n, err = io.ReadFull(f, buf)
		if n > 0 {
			if err := l.block(buf[:n]); err != nil {
				return err
			}
		}
		l.at += int64(n)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		r.report.lose(name, 0, -1, "%v", errors.Unwrap(err))
	}
	switch {
	case l.lost > 0:
		r.report.lose(name, l.lost, -1, "the bytes from %d on are no records", l.hole)
	case l.end < durable:
		r.report.lose(name, durable-l.end, -1, "it ends at byte %d; %d bytes of it were durable", l.end, durable)
	}
	return nil
}

// logReader is the state of reading one log. Bytes that are not part of a record count as lost
// only if a record follows. Behind the last record there may be an interrupted write, or parts
// of an older log that this one overwrites.
type logReader struct {
	*reader
	name    string
	number  uint64
	at      int64  // offset of the block
	record  []byte // the parts of a record read so far
	open    bool   // record is not complete
	lost    int64  // number of bytes that are no records, before the last record
	hole    int64  // offset of the first lost byte
	pending int64  // number of bytes that are no records, behind the last record
	end     int64  // end of the last record
}

// broken drops the parts of an incomplete record and counts their bytes as pending.
func (l *logReader) broken() {
	if l.open {
		l.pending += int64(len(l.record))
	}
	l.record, l.open = l.record[:0], false
}

// complete notes that a record ends at the offset end. Pending bytes before the record now
// count as lost.
func (l *logReader) complete(end int64) {
	if l.pending > 0 && l.lost == 0 {
		l.hole = l.end
	}
	l.lost, l.pending = l.lost+l.pending, 0
	l.end = end
}

// block reads the chunks of one block. Behind bytes that are no chunk, it looks for the next
// chunk at every byte.
func (l *logReader) block(b []byte) error {
	for i := 0; i < len(b); {
		c, n, err := parseChunk(b[i:], uint32(l.number))
		if errors.Is(err, errClosed) {
			l.broken()
			l.complete(l.at + int64(i) + logHeader)
			return nil
		}
		if err != nil {
			l.broken()
			n = l.skip(b[i:])
			if bad := (*badChunk)(nil); !errors.As(err, &bad) || !bad.old {
				l.pending += int64(len(bytes.TrimRight(b[i:i+n], "\x00")))
			}
			i += n
			continue
		}
		i += n
		if c.part == whole || c.part == first {
			l.broken()
		} else if !l.open { // count the chunk as unreadable: the first part of its record is lost
			l.pending += int64(n)
			continue
		}
		l.record = append(l.record, c.payload...)
		if l.open = c.part == first || c.part == middle; l.open {
			continue
		}
		l.complete(l.at + int64(i))
		if err := l.batch(l.record); err != nil {
			return err
		}
		l.record = l.record[:0]
	}
	return nil
}

// skip returns the offset in b of the next readable chunk of this log, or len(b) if there is none.
// b starts with bytes that are not a chunk.
func (l *logReader) skip(b []byte) int {
	for i := 1; i < len(b); i++ {
		if _, _, err := parseChunk(b[i:], uint32(l.number)); err == nil || errors.Is(err, errClosed) {
			return i
		}
	}
	return len(b)
}

// batch adds the rows in a record of the log to l.raw. It counts bytes that cannot be decoded as
// lost.
func (l *logReader) batch(record []byte) error {
	h, ok := batchrepr.ReadHeader(record)
	if !ok {
		l.lost += int64(len(record))
		return nil
	}
	sequence := uint64(h.SeqNum)
	for b := batchrepr.Read(record); len(b) > 0; {
		kind, key, value, ok, err := b.Next()
		if err != nil || !ok {
			l.lost += int64(len(b))
			return nil
		}
		switch kind {
		case pebble.InternalKeyKindLogData:
			continue // skip log data: such an entry has no sequence number
		case pebble.InternalKeyKindSet:
			err = l.raw.add(key, value, false, sequence, l.number)
		case pebble.InternalKeyKindDelete, pebble.InternalKeyKindSingleDelete, pebble.InternalKeyKindDeleteSized:
			err = l.raw.add(key, nil, true, sequence, l.number)
		case pebble.InternalKeyKindRangeDelete:
			l.raw.addRange(key, value, sequence)
		default:
			l.lost += int64(len(key) + len(value))
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errWork, err)
		}
		sequence++
	}
	return nil
}
