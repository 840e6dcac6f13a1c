package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newRefusals returns the counter that Metrics.Refused increments.
func newRefusals() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "confab_refusals_total", Help: "Requests that were refused or got no answer, by reason.",
	}, []string{"reason"})
}

// Refused counts a request that was refused or got no answer. reason must be one of a fixed set of
// words, because Prometheus keeps a time series for each reason.
func (m *Metrics) Refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

// InFlight registers a gauge of the requests that are being handled, and returns a handler
// that calls next and keeps the gauge up to date. Call it only once.
func (m *Metrics) InFlight(next http.Handler) http.Handler {
	running := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "confab_requests_in_flight", Help: "Requests of clients that are being handled, long polls and event streams over HTTP/2 among them.",
	})
	m.registry.MustRegister(running)
	return promhttp.InstrumentHandlerInFlight(running, next)
}

// Queue holds the number and the size of the changes that wait to be committed.
type Queue struct{ Changes, Bytes int }

// Queue registers the metrics of the changes that wait to be committed. It calls queue for
// each metric at each scrape.
func (m *Metrics) Queue(queue func() Queue) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "confab_commit_queue_changes", Help: "Changes that wait to be committed."},
			func() float64 { return float64(queue().Changes) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "confab_commit_queue_bytes", Help: "Memory of the changes that wait to be committed."},
			func() float64 { return float64(queue().Bytes) }),
	)
}

// DataDisk registers the metric of the free bytes on the disk of the data folder. It calls
// free, which returns them, at each scrape.
func (m *Metrics) DataDisk(free func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "confab_data_free_bytes", Help: "Free bytes on the disk of the data folder, which has the certificates also with a database.",
	}, free))
}
