package pebble

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A manifest is Pebble's list of the files that the store consists of. Each record is an edit
// of that list: a sequence of fields, each with a tag and values. These constants are the tags;
// they equal those of Pebble's internal package manifest.
const (
	tagComparator     = 1
	tagLogNumber      = 2
	tagNextFileNumber = 3
	tagLastSequence   = 4
	tagCompactPointer = 5
	tagDeletedTable   = 6
	tagNewTable       = 7
	tagPrevLogNumber  = 9
	tagNewTable2      = 100
	tagNewTable3      = 102
	tagNewTable4      = 103
	tagNewTable5      = 104 // a table with range keys
	tagCreatedBacking = 105
	tagRemovedBacking = 106
	tagNewBlobFile    = 107
	tagDeletedBlob    = 108

	// These tags stand within the records tagNewTable4 and tagNewTable5 of Pebble's manifest file, which
	// describe a new table file.
	tableEnd            = 1
	tableVirtual        = 66
	tableSyntheticStart = 67
	tableSyntheticEnd   = 68
	tableBlobReferences = 69
	tableMustKnow       = 64 // a reader must fail at an unknown tag that has this value or a greater one
)

// manifest is the list of files after all edits of a manifest have been applied.
type manifest struct {
	tables   map[uint64]int64 // for the number of each table file, the size of the file in bytes; -1 if the manifest does not say
	blobs    map[uint64]int64 // for the number of each blob file, the size of the file in bytes
	dropped  map[uint64]bool  // numbers of the tables and blob files that an edit removed
	firstLog uint64           // rows of logs with lower numbers are in tables, so these logs are not needed
	edits    int
	end      int64  // end of the last complete record
	tail     string // describes the bytes after the last complete record; "" if there are none
	torn     bool   // an interrupted write may have left the bytes after the last complete record

	at      map[tablePlace]placed
	backing map[uint64]int64 // sizes of files behind virtual tables
}

// tablePlace is a table together with its level. A table can move from one level to another.
type tablePlace struct{ level, table uint64 }

// placed is the file that holds a table.
type placed struct {
	file uint64
	size int64
}

// badEdit is the error for a complete record of a manifest that cannot be decoded as an edit.
type badEdit struct{ error }

// readManifest reads a manifest up to its last complete record. It fails if the file cannot be
// read, and with *badEdit if a complete record is not an edit.
func readManifest(r io.Reader) (*manifest, error) {
	m := &manifest{
		dropped: map[uint64]bool{}, blobs: map[uint64]int64{},
		at: map[tablePlace]placed{}, backing: map[uint64]int64{},
	}
	chunks := newChunkReader(r, 0)
	var record []byte
	for {
		c, err := chunks.next()
		var bad *badChunk
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errClosed):
			m.finish()
			return m, nil
		case errors.As(err, &bad):
			m.tail, m.torn = fmt.Sprintf("at byte %d: %s", chunks.offset(), bad.what), bad.torn
			if bad.zero {
				t, err := chunks.tail()
				if err != nil {
					return nil, err
				}
				m.torn = t.bytes == 0
			}
			m.finish()
			return m, nil
		case err != nil:
			return nil, err
		}
		record = append(record, c.payload...)
		if chunks.open {
			continue
		}
		if err := m.edit(record); err != nil {
			return nil, &badEdit{fmt.Errorf("the record that ends at byte %d: %w", chunks.offset(), err)}
		}
		record = record[:0]
		m.edits++
		m.end = chunks.offset()
	}
}

// finish fills m.tables, the files of the tables, after all edits were applied.
func (m *manifest) finish() {
	m.tables = map[uint64]int64{}
	for _, t := range m.at {
		m.tables[t.file] = t.size
	}
	for file, size := range m.backing {
		m.tables[file] = size
	}
}

// fields decodes the fields of an edit, one after another.
type fields struct {
	b   []byte
	err error
}

func (f *fields) number() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.fail("a number is cut off")
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) bytes() []byte {
	n := f.number()
	if n > uint64(len(f.b)) {
		f.fail("a text is cut off")
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
	f.b = nil
}

// edit applies one record of the manifest, which removes tables from levels and adds others. It
// first applies all removals: a record that moves a table to another level may list the addition
// before the removal, and the table must stay.
func (m *manifest) edit(record []byte) error {
	f := &fields{b: record}
	var added []tablePlace
	var files []placed
	var removed []tablePlace
	for len(f.b) > 0 {
		switch tag := f.number(); tag {
		case tagComparator:
			f.bytes()
		case tagLogNumber:
			m.firstLog = f.number()
		case tagNextFileNumber, tagLastSequence, tagPrevLogNumber:
			f.number()
		case tagCompactPointer:
			f.number()
			f.bytes()
		case tagDeletedTable:
			removed = append(removed, tablePlace{f.number(), f.number()})
		case tagNewTable, tagNewTable2, tagNewTable3, tagNewTable4, tagNewTable5:
			place, file := f.table(tag)
			added, files = append(added, place), append(files, file)
		case tagCreatedBacking:
			file := f.number()
			m.backing[file] = int64(f.number())
		case tagRemovedBacking:
			file := f.number()
			delete(m.backing, file)
			m.dropped[file] = true
		case tagNewBlobFile:
			f.number() // its id
			file, size := f.number(), f.number()
			f.number() // size of the values
			f.number() // time of creation
			m.blobs[file] = int64(size)
		case tagDeletedBlob:
			f.number() // its id
			file := f.number()
			delete(m.blobs, file)
			m.dropped[file] = true
		default:
			f.fail("it has a field of the unknown kind %d", tag)
		}
	}
	for _, place := range removed {
		t, ok := m.at[place]
		if !ok && f.err == nil {
			f.fail("it removes table %d from level %d, where it is not", place.table, place.level)
		}
		delete(m.at, place)
		m.dropped[t.file] = true
	}
	for i, place := range added {
		m.at[place] = files[i]
		delete(m.dropped, files[i].file)
	}
	return f.err
}

// table decodes the fields of a table that an edit adds.
func (f *fields) table(tag uint64) (tablePlace, placed) {
	place := tablePlace{f.number(), f.number()}
	if tag == tagNewTable3 {
		f.number() // its path
	}
	file := placed{place.table, int64(f.number())}
	bounds := 1
	if tag == tagNewTable5 {
		marker := f.number()
		if marker&1 != 0 {
			bounds = 2
		}
	}
	for range bounds {
		f.bytes() // the smallest key
		f.bytes() // the largest key
	}
	if tag != tagNewTable {
		f.number() // the smallest sequence number
		f.number() // the largest sequence number
	}
	if tag != tagNewTable4 && tag != tagNewTable5 {
		return place, file
	}
	for f.err == nil {
		switch custom := f.number(); custom {
		case tableEnd:
			return place, file
		case tableVirtual:
			file = placed{f.number(), -1} // a part of this file
		case tableSyntheticStart, tableSyntheticEnd:
			f.bytes()
		case tableBlobReferences:
			f.number() // their depth
			for n := f.number(); n > 0 && f.err == nil; n-- {
				f.number() // the blob file
				f.number() // the size of the values
			}
		default:
			if custom >= tableMustKnow {
				f.fail("table %d has a field of the unknown kind %d", place.table, custom)
			}
			f.bytes()
		}
	}
	return place, file
}

// These constants are the prefixes and suffixes of Pebble's file names. Between them is a
// number, padded with zeros to six digits.
const (
	tableSuffix    = ".sst"
	blobSuffix     = ".blob"
	logSuffix      = ".log"
	manifestPrefix = "MANIFEST-"
	optionsPrefix  = "OPTIONS-"
)

// fileNumber returns the number in a file name with this prefix and suffix. The bool is false
// if the name has another form.
func fileNumber(name, prefix, suffix string) (uint64, bool) {
	name, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	if name, ok = strings.CutSuffix(name, suffix); !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 10, 64)
	return n, err == nil
}

// fileName returns the file name with this prefix, number and suffix. It is the inverse of
// fileNumber.
func fileName(prefix string, number uint64, suffix string) string {
	return fmt.Sprintf("%s%06d%s", prefix, number, suffix)
}
