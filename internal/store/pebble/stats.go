package pebble

import (
	dto "github.com/prometheus/client_model/go"
)

// Stats are the figures that operators and benchmarks want of the store.
type Stats struct {
	Disk    uint64 // bytes on disk now
	Tables  uint64 // of these, bytes in tables: without the log
	Logged  uint64 // bytes that batches put into the log
	Written uint64 // bytes written to files: the log, flushes and compactions
	ReadAmp int    // files that one read may have to look into
	Syncs   uint64 // of the log
}

// Stats reads Pebble's own metrics.
func (s *Store) Stats() Stats {
	m := s.db.Metrics()
	st := Stats{Disk: m.DiskSpaceUsage(), Logged: m.WAL.BytesIn, Written: m.WAL.BytesWritten, ReadAmp: m.ReadAmp()}
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
