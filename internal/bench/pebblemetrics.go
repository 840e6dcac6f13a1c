package bench

import (
	"github.com/cockroachdb/pebble/v2"
	dto "github.com/prometheus/client_model/go"
)

// written is what Pebble has written to files so far: the log, flushes and
// compactions.
func written(m *pebble.Metrics) uint64 {
	total := m.WAL.BytesWritten
	for _, l := range m.Levels {
		total += l.TableBytesFlushed + l.TableBytesCompacted + l.BlobBytesFlushed + l.BlobBytesCompacted
	}
	return total
}

// syncs is how often the log was synced so far.
func syncs(m *pebble.Metrics) uint64 {
	var h dto.Metric
	if err := m.LogWriter.FsyncLatency.Write(&h); err != nil {
		return 0
	}
	return h.GetHistogram().GetSampleCount()
}
