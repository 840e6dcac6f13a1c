// Package metrics defines the Prometheus metrics of a server. Each Metrics has its own
// registry, so a process can run several servers.
package metrics

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics holds the metrics of one server. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	answers  sync.Map // maps each answer to its *answerMetrics
	refusals *prometheus.CounterVec
	batches  prometheus.Histogram
	commits  prometheus.Histogram
}

// Storage holds the figures of the embedded store engine.
type Storage struct {
	DiskBytes    float64 // number of bytes on disk now, as du counts them, including reserved space
	FreeBytes    float64 // free on the disk now
	FloorBytes   float64 // number of bytes of free disk space below which writes are refused
	BelowFloor   float64 // 1 while writes are refused for lack of disk space, otherwise 0
	WrittenBytes float64 // number of bytes written to files since the start: log, flushes and compactions
	ReadAmp      float64 // the greatest number of files that one read may have to search
	LogSyncs     float64 // syncs of the log since the start
}

// New returns the metrics of a server of the given version. It calls storage at each
// scrape; storage is nil for a store without figures, such as PostgreSQL.
func New(version string, storage func() Storage) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "confab_requests_total", Help: "Requests answered, by operation and status.",
		}, []string{"operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "confab_request_seconds", Help: "Time to answer a request, by operation.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"operation"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "confab_batch_changes", Help: "Changes that were committed together.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "confab_commit_seconds", Help: "Time to make a batch durable.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}),
		refusals: newRefusals(),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "confab_build_info", Help: "Always 1; the version is its label.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	if storage != nil {
		m.registry.MustRegister(storageCollector(storage))
	}
	m.registry.MustRegister(m.requests, m.seconds, m.refusals, m.batches, m.commits, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Sweep holds the figures of one kind of background work on threads or users.
type Sweep struct {
	Kind                string
	Turns, Done, Failed uint64 // since the start
	Waiting             int    // threads or users whose work has failed and will be tried again
}

// Sweeps registers the metrics of background work. It calls sweeps at each scrape.
func (m *Metrics) Sweeps(sweeps func() []Sweep) { m.registry.MustRegister(sweepCollector(sweeps)) }

// Live holds the figures of the connections on which clients receive live events.
type Live struct {
	Sessions int               // open now
	Queued   int64             // bytes that wait for slow connections
	Behind   time.Duration     // how long the log has had events that the server has not passed to its connections yet
	Opened   map[string]uint64 // connections opened since the start, by protocol
	Events   map[string]uint64 // events written to clients since the start, by protocol
	Ended    map[string]uint64 // connections ended since the start, by reason
	Refused  map[string]uint64 // connections refused since the start, by reason
	Gaps     map[string]uint64 // gaps in the events of clients since the start, by reason
	Dropped  uint64            // queues dropped, because they were full
	CatchUps uint64            // times that connections read missed events from the store
	Waiting  int               // number of connections that wait for their turn to read missed events
}

// Live registers the metrics of the connections on which clients receive live events. It calls
// live at each scrape.
func (m *Metrics) Live(live func() Live) { m.registry.MustRegister(liveCollector(live)) }

// Connections holds the figures of the network connections of clients.
type Connections struct {
	Open, Most int
	Refused    uint64 // number of connections closed at once, because their address had too many
	Displaced  uint64 // number of connections closed while they waited for a request, to make room for others
	Pauses     uint64 // times that a listener stopped accepting
	Dropped    uint64 // number of connections closed because they held the most bytes of bodies, or abandoned too many requests
	Held       int64  // bytes of request bodies in memory
}

// Connections registers the metrics of the network connections of clients. It calls
// connections for each metric at each scrape.
func (m *Metrics) Connections(connections func() Connections) {
	for _, d := range []struct {
		name, help string
		counter    bool
		value      func(Connections) float64
	}{
		{"confab_connections", "Connections of clients that are open.", false, func(c Connections) float64 { return float64(c.Open) }},
		{"confab_connections_most", "Connections of clients that the limit of open files allows.", false, func(c Connections) float64 { return float64(c.Most) }},
		{"confab_connections_refused_total", "Connections closed at once because their address had too many.", true, func(c Connections) float64 { return float64(c.Refused) }},
		{"confab_connections_displaced_total", "Connections closed while they waited for a request, to make room for others.", true, func(c Connections) float64 { return float64(c.Displaced) }},
		{"confab_accept_pauses_total", "Times that a listener stopped accepting connections, because all were busy.", true, func(c Connections) float64 { return float64(c.Pauses) }},
		{"confab_connections_dropped_total", "Connections closed because they held the most bytes of unfinished requests, or abandoned too many requests.", true, func(c Connections) float64 { return float64(c.Dropped) }},
		{"confab_request_bytes_held", "Bytes of request bodies that are in memory.", false, func(c Connections) float64 { return float64(c.Held) }},
	} {
		value := func() float64 { return d.value(connections()) }
		if d.counter {
			m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: d.name, Help: d.help}, value))
		} else {
			m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: d.name, Help: d.help}, value))
		}
	}
}

// LogDropped registers the metric of lines that the log has dropped. It calls dropped at each
// scrape.
func (m *Metrics) LogDropped(dropped func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "confab_log_lines_dropped_total", Help: "Log lines dropped because they could not be written as fast as they came, or not at all.",
	}, func() float64 { return float64(dropped()) }))
}

// Failed registers the metric of connections that ended before their first request, for one
// kind of failure. It calls count at each scrape.
func (m *Metrics) Failed(kind string, count func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "confab_connections_failed_total", Help: "Connections that ended before their first request, by what went wrong.",
		ConstLabels: prometheus.Labels{"kind": kind},
	}, func() float64 { return float64(count()) }))
}

// Official holds the figures of the clients that receive live events by the official protocol.
type Official struct {
	Endpoints int    // number of endpoints in memory now
	Forgotten uint64 // number of sockets opened without knowing which events the client had acknowledged
	Unhandled uint64 // number of events for which a client had no handler
	Again     uint64 // number of events that were written twice to one socket
}

// Official registers the metrics of the official protocol for live events. It calls official
// for each metric at each scrape.
func (m *Metrics) Official(official func() Official) {
	counter := func(name, help string, value func(Official) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value(official())) })
	}
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "confab_live_endpoints", Help: "Browser tabs and devices of the official protocol in memory."},
			func() float64 { return float64(official().Endpoints) }),
		counter("confab_live_forgotten_total", "Sockets of which nobody knew what the client has answered: it may miss events.", func(o Official) uint64 { return o.Forgotten }),
		counter("confab_live_unhandled_total", "Events that a client of the official protocol had no handler for.", func(o Official) uint64 { return o.Unhandled }),
		counter("confab_live_written_again_total", "Events that were written twice to a socket, because the client was busy.", func(o Official) uint64 { return o.Again }),
	)
}

// Certificate is the name and the expiry of a certificate that clients of the server need.
type Certificate struct {
	Name string // "authority", "server"
	Ends time.Time
	Soon bool // true if the certificate has expired, or expires so soon that the server warns
}

// Certificates registers the metrics of certificates. It calls certificates at each scrape.
func (m *Metrics) Certificates(certificates func() []Certificate) {
	m.registry.MustRegister(certificateCollector(certificates))
}

// certificateCollector is a prometheus.Collector of the metrics of certificates. It calls the
// function once per scrape.
type certificateCollector func() []Certificate

var (
	certificateEnds = prometheus.NewDesc("confab_certificate_end_seconds", "Unix time at which a certificate ends.", []string{"certificate"}, nil)
	certificateSoon = prometheus.NewDesc("confab_certificate_ends_soon", "1 if a certificate ends within 30 days or has ended, else 0.", []string{"certificate"}, nil)
)

// Describe sends the descriptions of the metrics of certificates to c.
func (certificateCollector) Describe(c chan<- *prometheus.Desc) {
	c <- certificateEnds
	c <- certificateSoon
}

// Collect sends the current metrics of certificates to c.
func (f certificateCollector) Collect(c chan<- prometheus.Metric) {
	for _, cert := range f() {
		soon := 0.0
		if cert.Soon {
			soon = 1
		}
		c <- prometheus.MustNewConstMetric(certificateEnds, prometheus.GaugeValue, float64(cert.Ends.Unix()), cert.Name)
		c <- prometheus.MustNewConstMetric(certificateSoon, prometheus.GaugeValue, soon, cert.Name)
	}
}

// Request counts a request by operation and status, and records its duration. operation is
// empty for an unknown path.
func (m *Metrics) Request(operation string, status int, took time.Duration) {
	if operation == "" {
		operation = "none"
	}
	key := answer{operation, status}
	of, ok := m.answers.Load(key)
	if !ok {
		of, _ = m.answers.LoadOrStore(key, &answerMetrics{
			m.requests.WithLabelValues(operation, strconv.Itoa(status)), m.seconds.WithLabelValues(operation),
		})
	}
	found := of.(*answerMetrics)
	found.requests.Inc()
	found.seconds.Observe(took.Seconds())
}

// answer is an operation and the HTTP status of its response, the labels of a request metric.
type answer struct {
	operation string
	status    int
}

// answerMetrics holds the metrics of one answer, an operation with a status. A map finds them by
// the answer; finding them by their labels in the registry would take three times as long.
type answerMetrics struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
}

// Batch records one commit of the store: the number of changes in it and its duration.
func (m *Metrics) Batch(changes int, took time.Duration) {
	m.batches.Observe(float64(changes))
	m.commits.Observe(took.Seconds())
}

// Handler returns the HTTP handler that Prometheus scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// liveCollector is a prometheus.Collector of the metrics of live connections. It calls the
// function once per scrape.
type liveCollector func() Live

// The metrics of live connections. Where a metric has a label, the string label is the label's
// name.
var (
	liveSessions = desc("confab_live_sessions", "Live connections that are open.")
	liveQueued   = desc("confab_live_queued_bytes", "Bytes of events that wait for slow live connections.")
	liveBehind   = desc("confab_events_behind_seconds", "How far live events are behind the event log.")
	liveDropped  = desc("confab_live_dropped_queues_total", "Queues of live connections dropped because they were full; the events were read from the store again.")
	liveCatchUps = desc("confab_live_catch_ups_total", "Times that live connections read missed events from the store.")
	liveWaiting  = desc("confab_live_catch_ups_waiting", "Live connections that wait until they may read missed events from the store.")
	liveOpened   = prometheus.NewDesc("confab_live_opened_total", "Live connections opened, by protocol.", []string{"protocol"}, nil)
	liveEvents   = prometheus.NewDesc("confab_live_events_total", "Events written to live connections, by protocol.", []string{"protocol"}, nil)
	liveEnded    = prometheus.NewDesc("confab_live_ended_total", "Live connections ended, by reason.", []string{"reason"}, nil)
	liveRefused  = prometheus.NewDesc("confab_live_refused_total", "Live connections refused, by reason.", []string{"reason"}, nil)
	liveGaps     = prometheus.NewDesc("confab_live_gaps_total", "Gaps in the events of live connections, by reason.", []string{"reason"}, nil)
)

// Describe sends the descriptions of the live metrics to c.
func (liveCollector) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{liveSessions, liveQueued, liveBehind, liveDropped, liveCatchUps, liveWaiting, liveOpened, liveEvents, liveEnded, liveRefused, liveGaps} {
		c <- d
	}
}

// Collect sends the current live metrics to c.
func (f liveCollector) Collect(c chan<- prometheus.Metric) {
	l := f()
	gauge := func(d *prometheus.Desc, v float64) { c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(liveSessions, float64(l.Sessions))
	gauge(liveQueued, float64(l.Queued))
	gauge(liveBehind, l.Behind.Seconds())
	gauge(liveWaiting, float64(l.Waiting))
	counter(liveDropped, l.Dropped)
	counter(liveCatchUps, l.CatchUps)
	for _, byLabel := range []struct {
		desc   *prometheus.Desc
		values map[string]uint64
	}{{liveOpened, l.Opened}, {liveEvents, l.Events}, {liveEnded, l.Ended}, {liveRefused, l.Refused}, {liveGaps, l.Gaps}} {
		for label, v := range byLabel.values {
			counter(byLabel.desc, v, label)
		}
	}
}

// sweepCollector is a prometheus.Collector of the metrics of background work. It calls the
// function once per scrape.
type sweepCollector func() []Sweep

// The metrics of background work, by kind.
var (
	sweepTurns   = prometheus.NewDesc("confab_sweep_turns_total", "Turns of work in the background, by kind.", []string{"kind"}, nil)
	sweepDone    = prometheus.NewDesc("confab_sweep_done_total", "Threads ended, users erased, and turns of other kinds that ended well.", []string{"kind"}, nil)
	sweepFailed  = prometheus.NewDesc("confab_sweep_failed_total", "Attempts that failed, by kind; they are repeated after a pause that grows.", []string{"kind"}, nil)
	sweepWaiting = prometheus.NewDesc("confab_sweep_waiting", "Threads or users that have failed and wait until they are tried again.", []string{"kind"}, nil)
)

// Describe sends the descriptions of the metrics of background work to c.
func (sweepCollector) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{sweepTurns, sweepDone, sweepFailed, sweepWaiting} {
		c <- d
	}
}

// Collect sends the current metrics of background work to c.
func (f sweepCollector) Collect(c chan<- prometheus.Metric) {
	for _, s := range f() {
		c <- prometheus.MustNewConstMetric(sweepTurns, prometheus.CounterValue, float64(s.Turns), s.Kind)
		c <- prometheus.MustNewConstMetric(sweepDone, prometheus.CounterValue, float64(s.Done), s.Kind)
		c <- prometheus.MustNewConstMetric(sweepFailed, prometheus.CounterValue, float64(s.Failed), s.Kind)
		c <- prometheus.MustNewConstMetric(sweepWaiting, prometheus.GaugeValue, float64(s.Waiting), s.Kind)
	}
}

// storageCollector is a prometheus.Collector of the metrics of the embedded store. It calls
// the function once per scrape.
type storageCollector func() Storage

var storageDescs = []struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(Storage) float64
}{
	{desc("confab_storage_disk_bytes", "Bytes that the store takes on disk, as du counts them."), prometheus.GaugeValue, func(s Storage) float64 { return s.DiskBytes }},
	{desc("confab_storage_free_bytes", "Free bytes on the disk of the store."), prometheus.GaugeValue, func(s Storage) float64 { return s.FreeBytes }},
	{desc("confab_storage_floor_bytes", "Free bytes below which writes are refused."), prometheus.GaugeValue, func(s Storage) float64 { return s.FloorBytes }},
	{desc("confab_storage_below_floor", "1 while writes are refused for lack of space or because the store cannot write, else 0."), prometheus.GaugeValue, func(s Storage) float64 { return s.BelowFloor }},
	{desc("confab_storage_written_bytes_total", "Bytes written to files: log, flushes and compactions."), prometheus.CounterValue, func(s Storage) float64 { return s.WrittenBytes }},
	{desc("confab_storage_read_amplification", "Files that one read may have to look into."), prometheus.GaugeValue, func(s Storage) float64 { return s.ReadAmp }},
	{desc("confab_storage_log_syncs_total", "Syncs of the log."), prometheus.CounterValue, func(s Storage) float64 { return s.LogSyncs }},
}

func desc(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

// Describe sends the descriptions of the storage metrics to c.
func (storageCollector) Describe(c chan<- *prometheus.Desc) {
	for _, d := range storageDescs {
		c <- d.desc
	}
}

// Collect sends the current storage metrics to c.
func (f storageCollector) Collect(c chan<- prometheus.Metric) {
	s := f()
	for _, d := range storageDescs {
		c <- prometheus.MustNewConstMetric(d.desc, d.kind, d.of(s))
	}
}
