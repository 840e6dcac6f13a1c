package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/confab-chat/confab/internal/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape returns the lines of a scrape that contain confab_, the prefix of Confab's own
// metrics.
func scrape(t *testing.T, m *metrics.Metrics) (lines []string) {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("a scrape answers %d %s", w.Code, w.Body)
	}
	for line := range strings.Lines(w.Body.String()) {
		if strings.Contains(line, "confab_") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// TestNames checks the names and the types of all metrics, because dashboards of operators
// depend on them. It also checks that each metric has a help text.
func TestNames(t *testing.T) {
	m := metrics.New("v1", func() metrics.Storage { return metrics.Storage{} })
	m.Request("send message", 201, time.Millisecond)
	m.Certificates(func() []metrics.Certificate { return []metrics.Certificate{{Name: "server"}} })
	m.Database(func() metrics.Database { return metrics.Database{} })
	m.Refused("no token")
	m.InFlight(http.NotFoundHandler())
	m.Queue(func() metrics.Queue { return metrics.Queue{} })
	m.DataDisk(func() float64 { return 1 })
	m.Failed("untrusted", func() uint64 { return 1 })
	kinds, helped := map[string]string{}, map[string]bool{}
	for _, line := range scrape(t, m) {
		switch f := strings.SplitN(line, " ", 4); f[1] {
		case "HELP":
			helped[f[2]] = len(f) == 4 && strings.HasSuffix(f[3], ".")
		case "TYPE":
			kinds[f[2]] = f[3]
		}
	}
	want := map[string]string{
		"confab_requests_total": "counter", "confab_request_seconds": "histogram",
		"confab_batch_changes": "histogram", "confab_commit_seconds": "histogram", "confab_build_info": "gauge",
		"confab_storage_free_bytes": "gauge", "confab_storage_floor_bytes": "gauge", "confab_storage_below_floor": "gauge",
		"confab_storage_disk_bytes": "gauge", "confab_storage_written_bytes_total": "counter",
		"confab_refusals_total": "counter", "confab_requests_in_flight": "gauge",
		"confab_commit_queue_changes": "gauge", "confab_commit_queue_bytes": "gauge", "confab_data_free_bytes": "gauge",
		"confab_certificate_end_seconds": "gauge", "confab_certificate_ends_soon": "gauge",
		"confab_database_up": "gauge", "confab_database_connections": "gauge", "confab_database_connections_idle": "gauge",
		"confab_database_connections_in_use": "gauge", "confab_database_connections_most": "gauge",
		"confab_database_waits_total": "counter", "confab_database_wait_seconds_total": "counter",
		"confab_connections_failed_total":   "counter",
		"confab_storage_read_amplification": "gauge", "confab_storage_log_syncs_total": "counter",
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("metrics and their kinds (-want +got):\n%s", diff)
	}
	name := regexp.MustCompile(`^confab_[a-z]+(_[a-z]+)*$`)
	for n, kind := range kinds {
		if !helped[n] {
			t.Errorf("%s has no sentence of help", n)
		}
		if !name.MatchString(n) || (kind == "counter") != strings.HasSuffix(n, "_total") {
			t.Errorf("%s, a %s, is not named by the rules of Prometheus", n, kind)
		}
	}
}

func TestValues(t *testing.T) {
	asked := 0
	m := metrics.New("v1.2.3", func() metrics.Storage {
		asked++
		return metrics.Storage{DiskBytes: 1, WrittenBytes: 2, ReadAmp: 3, LogSyncs: 4, FreeBytes: 5, FloorBytes: 6, BelowFloor: 1}
	})
	m.Request("send message", 201, 3*time.Millisecond)
	m.Request("send message", 201, 30*time.Millisecond)
	m.Request("send message", 403, time.Millisecond)
	m.Request("", 404, time.Millisecond)
	m.Batch(3, 2*time.Millisecond)
	got := strings.Join(scrape(t, m), "\n") + "\n"
	for _, want := range []string{
		`confab_requests_total{operation="send message",status="201"} 2`,
		`confab_requests_total{operation="send message",status="403"} 1`,
		`confab_requests_total{operation="none",status="404"} 1`,
		`confab_request_seconds_count{operation="send message"} 3`,
		`confab_request_seconds_bucket{operation="send message",le="0.005"} 2`,
		`confab_batch_changes_sum 3`, `confab_batch_changes_bucket{le="2"} 0`, `confab_batch_changes_bucket{le="4"} 1`,
		`confab_commit_seconds_sum 0.002`,
		`confab_build_info{version="v1.2.3"} 1`,
		"confab_storage_disk_bytes 1", "confab_storage_written_bytes_total 2", "confab_storage_read_amplification 3", "confab_storage_log_syncs_total 4",
		"confab_storage_free_bytes 5", "confab_storage_floor_bytes 6", "confab_storage_below_floor 1",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if asked != 1 {
		t.Errorf("a scrape asked the engine %d times, want once", asked)
	}
	// A second server in the same process must have its own metrics.
	if other := strings.Join(scrape(t, metrics.New("v2", func() metrics.Storage { return metrics.Storage{} })), "\n"); strings.Contains(other, "send message") {
		t.Errorf("another server's metrics:\n%s", other)
	}
}
