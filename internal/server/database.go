package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/metrics"
	"github.com/confab-chat/confab/internal/store/postgres"
)

const (
	// watchInterval is the time between two checks of a shared store.
	watchInterval = time.Second
	// awayAfter is the number of checks in a row that must fail before the store counts as
	// away: one may fail because the server is busy.
	awayAfter = 2
	// silentAfter is the time without a successful check after which the store counts as away
	// too, because checks of a database that says nothing take long.
	silentAfter = 6 * time.Second
)

// watched is what the checks of a shared store have found. It is safe for concurrent use.
type watched struct {
	mu     sync.Mutex // guards the fields below
	good   time.Time  // end of the last check that succeeded
	failed int        // checks that have failed since then
	why    string     // the last one failed
}

// newWatched returns the state after a successful check, such as the opening of the store.
func newWatched(now time.Time) *watched { return &watched{good: now} }

// away returns why requests cannot be carried out, or "" if they can.
func (w *watched) away(now time.Time) (why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.failed >= awayAfter:
		return w.why
	case now.Sub(w.good) >= silentAfter:
		return "it does not answer"
	}
	return ""
}

// note notes the result of a check that has just ended, and logs if the store was lost or is
// back. It reports whether it was lost with this check.
func (w *watched) note(err error, now time.Time, log *slog.Logger) (lost bool) {
	was := w.away(now)
	w.mu.Lock()
	if err == nil {
		w.good, w.failed, w.why = now, 0, ""
	} else {
		w.failed++
		w.why = postgres.Reason(err)
	}
	lost = err != nil && w.failed == awayAfter
	w.mu.Unlock()
	switch {
	case lost:
		log.Error("the database is away: requests wait, then are refused with 503, and /readyz fails", "why", postgres.Reason(err), "error", err.Error())
	case err == nil && was != "":
		log.Info("the database is back")
	}
	return lost
}

// watchDatabase checks the shared store every watchInterval until ctx is done.
func (s *Server) watchDatabase(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.checkDatabase(ctx)
		if ctx.Err() != nil {
			return
		}
		lost := s.db.note(err, time.Now(), s.log)
		if store, ok := s.store.(*postgres.Store); ok && lost {
			store.Renew()
		}
	}
}

// checkDatabase fails if the shared store cannot be read, or takes no writes. It also adopts
// the access keys that other servers have rotated.
func (s *Server) checkDatabase(ctx context.Context) error {
	if _, err := s.keys.reload(ctx); err != nil {
		return err
	}
	db, ok := s.store.(*postgres.Store)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	return db.Writable(ctx)
}

// InspectDatabase connects to the database of the settings. It returns what a start would find
// there, in words, and what is dangerous about it and how to mend that, or "". It changes
// nothing. It fails as a start would.
func InspectDatabase(ctx context.Context, c config.Config) (found, warning string, err error) {
	i, err := postgres.Inspect(ctx, c.Database)
	if err != nil {
		return "", "", err
	}
	version, _, _ := strings.Cut(i.Version, " ") // without the name of a package
	found = fmt.Sprintf("PostgreSQL %s at %s, database %q: ", version, i.Host, i.Database)
	switch {
	case i.Tables == 0:
		found += "no tables yet, the first start makes them"
	case i.Tables < i.Known:
		found += fmt.Sprintf("tables of version %d, the next start brings them to %d", i.Tables, i.Known)
	default:
		found += fmt.Sprintf("tables of version %d", i.Tables)
	}
	if !i.Fsync {
		warning = "it runs with fsync = off, so that a power cut will lose acknowledged messages: turn fsync on"
	}
	return found, warning, nil
}

// databaseMetrics returns the figures of the database for the metrics.
func (s *Server) databaseMetrics(db *postgres.Store) metrics.Database {
	p := db.Pool()
	return metrics.Database{
		Up: s.db.away(time.Now()) == "", Open: p.Open, Idle: p.Idle, InUse: p.InUse, Most: p.Most, Waits: p.Waits, Waited: p.Waited,
	}
}
