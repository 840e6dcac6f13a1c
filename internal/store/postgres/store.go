package postgres

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/confab-chat/confab/internal/core"
)

// lanes is how many batches may be in flight: while one waits for the disk or
// the network, the other gathers.
const lanes = 2

// leastPool is a connection for each lane, two to open the store with, and some
// for readers.
const leastPool = lanes + 4

// Options of Open; the zero value works.
type Options struct {
	// Initial is what a new store is given: the resource's GUID, the epoch and
	// the access keys. An existing store keeps its own.
	Initial core.Resource
	// PoolSize is the most connections that are held; 0 is 16.
	PoolSize int
	// Logger hears of lost connections and what became of them. Nil is silence.
	Logger *slog.Logger
	// Now is the clock by which partitions are made ahead. Nil is time.Now.
	Now func() time.Time
}

// ErrNewer means that a newer version of Confab has moved the tables on.
var ErrNewer = errors.New("written by a newer version of Confab")

// Store is the PostgreSQL engine. See core.Store for its promises.
type Store struct {
	pool     *pgxpool.Pool
	log      *slog.Logger
	now      func() time.Time
	writers  [lanes]writer
	timeouts timeouts

	mu   sync.Mutex // guards days
	days map[uint32]bool
}

var _ core.Shared = (*Store)(nil)

// Shared says that other processes write to the store as well.
func (s *Store) Shared() {}

// writer is a lane's name in the table of writers, and its last batch.
type writer struct {
	id    string
	batch int64
}

// timeouts of the phases of a batch; tests shorten them.
type timeouts struct {
	lock      time.Duration // of waiting for another writer's row
	statement time.Duration // of a statement before the COMMIT
	idle      time.Duration // after which a writer that stops in mid-transaction loses its locks
	patience  time.Duration // of trying a batch again that certainly was not committed
	unknown   time.Duration // of asking whether a batch was committed
	trip      time.Duration // after which a silent connection counts as lost
}

var defaultTimeouts = timeouts{
	lock: 3 * time.Second, statement: 10 * time.Second, idle: 5 * time.Second,
	patience: 15 * time.Second, unknown: time.Minute, trip: 30 * time.Second,
}

// Open connects, brings the tables up to date and gives a new store its first
// rows. The URL is PostgreSQL's own, with any setting that pgx knows.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("read the database's address: %w", err)
	}
	// Statements without a name: PgBouncer may give every transaction another
	// server connection, and older ones know no prepared statements.
	if !strings.Contains(url, "default_query_exec_mode") {
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	config.MaxConns = int32(max(cmp.Or(o.PoolSize, 16), leastPool))
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	s := &Store{pool: pool, log: o.Logger, now: o.Now, timeouts: defaultTimeouts, days: map[uint32]bool{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	name := rand.Text()
	for i := range s.writers {
		s.writers[i].id = fmt.Sprintf("%s/%d", name, i)
	}
	if err := s.start(ctx, o.Initial); err != nil {
		pool.Close()
		return nil, err
	}
	return s, nil
}

// startLock is the advisory lock under which tables and partitions are made.
const startLock = 0x636f6e666162 // "confab"

// start lets one process at a time migrate and write the first rows. The lock
// is held by a transaction of its own, because behind PgBouncer nothing else
// holds a lock from one statement to the next.
func (s *Store) start(ctx context.Context, initial core.Resource) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, startLock); err != nil {
			return fmt.Errorf("wait for the right to migrate: %w", err)
		}
		if err := migrate(ctx, s.pool); err != nil {
			return err
		}
		return writeFirstRows(ctx, tx, initial)
	})
	if err != nil {
		return fmt.Errorf("open the store in PostgreSQL: %w", err)
	}
	var fsync string
	if err := s.pool.QueryRow(ctx, `SELECT current_setting('fsync')`).Scan(&fsync); err != nil {
		return fmt.Errorf("open the store in PostgreSQL: %w", err)
	}
	if fsync == "off" {
		s.log.Warn("store: PostgreSQL runs with fsync = off: a power cut will lose acknowledged messages")
	}
	return s.prepareDay(ctx, core.DayOf(s.now().UnixMilli()))
}

func writeFirstRows(ctx context.Context, tx pgx.Tx, r core.Resource) error {
	var b pgx.Batch
	const meta = `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	b.Queue(meta, "resource", r.ID)
	b.Queue(meta, "epoch", r.Epoch)
	for i, k := range r.Keys {
		b.Queue(`INSERT INTO access_keys (index, serial, secret) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, i, k.Serial, k.Secret)
	}
	b.Queue(`DELETE FROM writers WHERE at < now() - interval '30 days'`) // of processes that were killed
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("write the first rows: %w", err)
	}
	return nil
}

// Lanes is how many batches the engine wants in flight.
func (s *Store) Lanes() int { return lanes }

// Resource returns the meta rows and the access keys.
func (s *Store) Resource(ctx context.Context) (core.Resource, error) {
	var r core.Resource
	err := s.read(ctx, "the resource", func(b *pgx.Batch) {
		r = core.Resource{}
		b.Queue(`SELECT (SELECT value FROM meta WHERE name = 'resource'), (SELECT value FROM meta WHERE name = 'epoch')`).QueryRow(func(row pgx.Row) error {
			return row.Scan(&r.ID, &r.Epoch)
		})
		b.Queue(`SELECT serial, secret FROM access_keys ORDER BY index`).Query(func(rows pgx.Rows) error {
			for i := 0; rows.Next() && i < len(r.Keys); i++ {
				if err := rows.Scan(&r.Keys[i].Serial, &r.Keys[i].Secret); err != nil {
					return err
				}
			}
			return rows.Err()
		})
	})
	return r, err
}

// SetKey replaces an access key, durably. Doing it twice does no harm, so a
// lost connection is no reason to give up.
func (s *Store) SetKey(ctx context.Context, index int, k core.AccessKeyRow) error {
	return s.retry(ctx, "write an access key", func() error {
		_, err := s.pool.Exec(ctx, `INSERT INTO access_keys (index, serial, secret) VALUES ($1, $2, $3)
			ON CONFLICT (index) DO UPDATE SET serial = excluded.serial, secret = excluded.secret`, index, k.Serial, k.Secret)
		return err
	})
}

// Close waits for what is under way and lets the connections go.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ids := make([]string, lanes)
	for i := range s.writers {
		ids[i] = s.writers[i].id
	}
	// If it fails, the rows stay for 30 days and disturb nobody.
	if _, err := s.pool.Exec(ctx, `DELETE FROM writers WHERE id = ANY($1)`, ids); err != nil {
		s.log.Warn("store: could not sign off", "error", err)
	}
	s.pool.Close()
	return nil
}
