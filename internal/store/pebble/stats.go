package pebble

import (
	dto "github.com/prometheus/client_model/go"
)

// Stats are measurements of a store, for operators and benchmarks. Logged, Written
// and Syncs count from the opening of the store. "Log" is the write-ahead log.
type Stats struct {
	Disk    uint64 // bytes on disk now
	Tables  uint64 // bytes of Disk that are in tables, so without the log
	Logged  uint64 // bytes of the batches appended to the log
	Written uint64 // bytes written to files by the log, by flushes and by compactions
	ReadAmp int    // read amplification: the number of tables that one read may have to search
	Syncs   uint64 // number of syncs of the log
}

// Stats returns the current measurements, from Pebble's metrics.
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
