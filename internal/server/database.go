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
	// awayAfter is the number of checks that must fail one after the other before the server
	// considers the store unreachable. A single check may fail because the server is busy.
	awayAfter = 2
	// silentAfter is the time without a successful check after which the server considers the store
	// unreachable. It applies even if no check has failed, because a check of a database that does
	// not answer takes long.
	silentAfter = 6 * time.Second
)

// watched holds the results of the checks of a store that several servers share. It is safe for
// concurrent use.
type watched struct {
	mu     sync.Mutex // guards the fields below
	good   time.Time  // when the last successful check ended
	failed int        // number of checks that have failed since the last successful one
	why    string     // error text of the last check that failed
}

// newWatched returns the state after a check that succeeded at the time now. The opening of the
// store counts as such a check.
func newWatched(now time.Time) *watched { return &watched{good: now} }

// away returns the reason for which the store is considered unreachable, or "" if the store can be
// used.
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

// note records the result of a check that has just ended. It logs when the store becomes
// unreachable, and when the store can be reached again. It returns true if the store has become
// unreachable with this check.
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

// watchDatabase checks the shared store every watchInterval until ctx is done, and records the
// results in s.db.
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

// checkDatabase fails if the shared store cannot be read or does not accept writes. It also reads
// the access keys that other servers have replaced.
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

// InspectDatabase connects to the database of the settings and changes nothing. It returns found,
// a description of the version and the tables of the database, and warning. The warning says which
// setting of the database is dangerous and how to correct it, or is "". InspectDatabase fails if a
// server could not start on the database.
func InspectDatabase(ctx context.Context, c config.Config) (found, warning string, err error) {
	i, err := postgres.Inspect(ctx, c.Database)
	if err != nil {
		return "", "", err
	}
	version, _, _ := strings.Cut(i.Version, " ") // leave out the name of the PostgreSQL package, which follows the number
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

// databaseMetrics returns the state of the database and of its connections for the metrics.
func (s *Server) databaseMetrics(db *postgres.Store) metrics.Database {
	p := db.Pool()
	return metrics.Database{
		Up: s.db.away(time.Now()) == "", Open: p.Open, Idle: p.Idle, InUse: p.InUse, Most: p.Most, Waits: p.Waits, Waited: p.Waited,
	}
}
