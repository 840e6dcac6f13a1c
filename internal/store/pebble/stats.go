package pebble

import (
	"io/fs"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	dto "github.com/prometheus/client_model/go"
)

// Stats are measurements of a store, for operators and benchmarks. Logged, Written and Syncs
// are counted since the store was opened. In the comments, "log" is the write-ahead log.
type Stats struct {
	Disk    uint64 // bytes of the files on disk now, without space that is only reserved
	Tables  uint64 // bytes of Disk that are in tables, so without the log
	Logged  uint64 // bytes of the batches appended to the log
	Written uint64 // bytes written to files by the log, by flushes and by compactions
	ReadAmp int    // read amplification: the number of tables that one read may have to search
	Syncs   uint64 // number of syncs of the log
	Working int64  // flushes and compactions in progress now
}

// Space says how full the disk of a store is.
type Space struct {
	Used  uint64 // bytes that the store's files take on the disk, as du counts them: reserved space is included
	Free  uint64 // bytes of free space; 0 if the file system cannot tell
	Floor uint64 // bytes of free space below which writes are refused
	Low   bool   // true if writes are refused now, for lack of space or because a table cannot be written
}

// Space measures how full the disk of the store is. It reads the size of each of the store's
// files.
func (s *Store) Space() Space {
	free, _ := s.disk.free()
	sp := Space{Free: free, Floor: s.disk.floor, Low: s.disk.check(0) != nil}
	if vfs.Root(s.fs) != vfs.Default {
		sp.Used = s.db.Metrics().DiskSpaceUsage()
		return sp
	}
	filepath.WalkDir(s.dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // the file was deleted meanwhile
		}
		if info, err := e.Info(); err == nil {
			sp.Used += allocated(info)
		}
		return nil
	})
	return sp
}

// MemoryBounds has the maximum size, in bytes, of each kind of data that a store keeps in memory.
type MemoryBounds struct {
	Blocks    int64 // blocks of tables that were read, together with the memtables
	MemTables int64 // rows that are not in a table yet
	Heads     int64 // heads of the threads that were changed last
}

// MemoryBounds returns the bounds that follow from the options and the size of the disk.
func (s *Store) MemoryBounds() MemoryBounds { return s.memory }

// Failing reports whether writes are refused because flushes or compactions fail. Batches in
// progress may then never return.
func (s *Store) Failing() bool { return s.disk.failure() != nil }

// Stats returns the current measurements, from Pebble's metrics.
func (s *Store) Stats() Stats {
	m := s.db.Metrics()
	st := Stats{Disk: m.DiskSpaceUsage(), Logged: m.WAL.BytesIn, Written: m.WAL.BytesWritten, ReadAmp: m.ReadAmp(), Working: m.Flush.NumInProgress + m.Compact.NumInProgress}
	for _, l := range m.Levels {
		st.Tables += uint64(l.TablesSize)
		st.Written += l.TableBytesFlushed + l.TableBytesCompacted + l.BlobBytesFlushed + l.BlobBytesCompacted
	}
	var h dto.Metric
	if err := m.LogWriter.FsyncLatency.Write(&h); err == nil {
		st.Syncs = h.GetHistogram().GetSampleCount()
	}
	return st
}
