package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Database holds the figures of the PostgreSQL database and of the connections to it.
type Database struct {
	Up                      bool // the database answers and accepts writes
	Open, Idle, InUse, Most int  // numbers of connections; Open includes those that are being opened
	Waits                   uint64
	Waited                  time.Duration
}

// Database registers the metrics of the database. It calls database for each metric at each
// scrape.
func (m *Metrics) Database(database func() Database) {
	gauge := func(name, help string, value func(Database) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(database()) })
	}
	counter := func(name, help string, value func(Database) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return value(database()) })
	}
	m.registry.MustRegister(
		gauge("confab_database_up", "1 if the database answers and takes writes, else 0, as /readyz says.", func(d Database) float64 {
			if d.Up {
				return 1
			}
			return 0
		}),
		gauge("confab_database_connections", "Connections to the database, with those that are being made.", func(d Database) float64 { return float64(d.Open) }),
		gauge("confab_database_connections_idle", "Connections to the database that nobody uses.", func(d Database) float64 { return float64(d.Idle) }),
		gauge("confab_database_connections_in_use", "Connections to the database that are in use.", func(d Database) float64 { return float64(d.InUse) }),
		gauge("confab_database_connections_most", "Connections to the database that this server makes at most.", func(d Database) float64 { return float64(d.Most) }),
		counter("confab_database_waits_total", "Times that work waited for a connection to the database, because none was idle.", func(d Database) float64 { return float64(d.Waits) }),
		counter("confab_database_wait_seconds_total", "Time for which work has waited for a connection to the database.", func(d Database) float64 { return d.Waited.Seconds() }),
	)
}
