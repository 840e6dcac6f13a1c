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
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/sdk/communication"
)

// lanes is the number of batches that may be in progress at the same time.
const lanes = 2

// minPool is the minimum size of the connection pool: one connection for each lane, and four for
// readers. Open itself needs two connections at once.
const minPool = lanes + 4

// Options are the options of Open. The zero value is valid.
type Options struct {
	// Initial is the resource's GUID, the epoch and the access keys of a new store. It is
	// ignored if the store exists.
	Initial core.Resource
	// PoolSize is the maximum number of connections. 0 means 16; values less than 6 mean 6.
	PoolSize int
	// Logger logs lost connections and failed batches. If it is nil, nothing is logged.
	Logger *slog.Logger
	// Now returns the current time; Open creates the partitions of its day. Nil means time.Now.
	Now func() time.Time
}

// ErrNewer means that a newer version of Confab has migrated the tables.
var ErrNewer = errors.New("written by a newer version of Confab")

// Store is the PostgreSQL engine. It implements core.Store.
type Store struct {
	pool     *pgxpool.Pool
	log      *slog.Logger
	now      func() time.Time
	wall     func() time.Time // always the real clock, time.Now; a development server and tests of core replace only the field now
	shift    atomic.Int64     // the database's clock minus this process's clock (wall), in milliseconds; see readClock
	writers  [lanes]writer
	timeouts timeouts
	days     sync.Map     // the keys are the days for which prepareDay has succeeded
	swept    atomic.Int64 // epoch milliseconds of the last sweepLog
	unused   unusedNumbers
	purging  purging
	links    atomic.Int64 // the number of connections made and lost; see writer.recall
	pooler   atomic.Bool  // true if connections must not prepare statements; see execMode

	modeChosen bool // true if the URL says how connections run statements

	relistings atomic.Int64 // number of rows of the table relistings when Relist last counted them, plus the rows that this process has added since
	relisting  sync.Mutex   // guards relisted
	relisted   string       // id of the thread that Relist has worked on last
}

var _ core.Shared = (*Store)(nil)

// Shared does nothing. The method marks the store as one to which other processes may also
// write; see core.Shared.
func (s *Store) Shared() {}

// writer identifies one lane of this process in the table writers.
type writer struct {
	id     string // a random name of the process, and the number of the lane
	batch  int64  // number of the last attempt to commit a batch
	recent *core.Recent
	links  int64 // Store.links when recent was empty
}

// timeouts has the timeouts of the phases of a batch and of reads. Tests use shorter ones.
type timeouts struct {
	lock      time.Duration // how long a statement waits for a lock
	statement time.Duration // how long a statement before the COMMIT may take
	idle      time.Duration // how long a transaction may idle until the server closes its connection
	patience  time.Duration // how long a batch that was not committed is tried again
	unknown   time.Duration // how long Apply asks whether a batch was committed
	begin     time.Duration // how long the first round trip of a batch and its connection may take
	trip      time.Duration // how long another round trip may take until its connection counts as lost
	read      time.Duration // how long a read may take, with all its tries
}

// defaultTimeouts apply to batches whose callers set no Batch.Until, such as the batches of Sweep.
// A batch with Batch.Until has less time: see schedule.
var defaultTimeouts = timeouts{
	lock: 3 * time.Second, statement: 10 * time.Second, idle: 5 * time.Second,
	patience: 15 * time.Second, unknown: time.Minute, begin: 7 * time.Second, trip: 30 * time.Second, read: 8 * time.Second,
}

// connectTime is the timeout for making a connection if the URL has no connect_timeout. The pool
// makes connections in the background, and each attempt counts as one of its connections.
const connectTime = 5 * time.Second

// pingTime is how long an idle connection may take to answer a ping before the pool uses
// another one.
const pingTime = 2 * time.Second

// Open connects to a database, migrates its tables and writes the first rows of a new store.
// The url is a PostgreSQL connection URL with any settings that pgx knows. Open fails with a
// *StartError if an operator can solve the problem, and with ErrNewer if a newer version has
// migrated the tables.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("read the database's address: %w", err)
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTime
	}
	config.PingTimeout = cmp.Or(config.PingTimeout, pingTime)
	config.MaxConns = int32(max(cmp.Or(o.PoolSize, 16), minPool))
	s := &Store{log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), now: o.Now, wall: time.Now, timeouts: defaultTimeouts}
	s.modeChosen = strings.Contains(url, "default_query_exec_mode")
	s.pooler.Store(config.ConnConfig.StatementCacheCapacity == 0) // statement_cache_capacity=0 in the URL
	if !s.modeChosen {
		config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			c.DefaultQueryExecMode = s.execMode()
			return nil
		}
		config.PrepareConn = s.usable
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		s.unused.clear()
		s.links.Add(1)
		return s.checkPooler(ctx, conn)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	s.pool = pool
	if s.now == nil {
		s.now = time.Now
	}
	name := rand.Text()
	for i := range s.writers {
		s.writers[i] = writer{id: fmt.Sprintf("%s/%d", name, i), recent: core.NewRecent()}
	}
	if err := s.start(ctx, o.Initial); err != nil {
		pool.Close()
		return nil, explain(config.ConnConfig, err)
	}
	return s, nil
}

// startLock is the key of the advisory lock that is held while tables and partitions are
// created.
const startLock = 0x636f6e666162 // "confab"

// start migrates the tables and writes the first rows, under an advisory lock that only one
// process can hold. A transaction holds the lock: behind PgBouncer, the lock of a session may
// end between two statements.
func (s *Store) start(ctx context.Context, initial core.Resource) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := checkServer(tx.Conn().PgConn()); err != nil {
			return err
		}
		if err := checkWritable(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, startLock); err != nil {
			return fmt.Errorf("wait for the right to migrate: %w", err)
		}
		if err := migrate(ctx, s.pool); err != nil {
			return err
		}
		if err := checkNumbers(ctx, tx); err != nil {
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
	if err := s.readClock(ctx); err != nil {
		return err
	}
	return s.prepareDay(ctx, core.DayOf(s.now().UnixMilli()+s.shift.Load()))
}

// writeFirstRows inserts the resource, the epoch and the access keys if they do not exist. It
// deletes the rows of the table writers that were not used for 30 days.
func writeFirstRows(ctx context.Context, tx pgx.Tx, r core.Resource) error {
	var b pgx.Batch
	const meta = `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	if r.Cloud != communication.CloudPublic { // the public cloud has no row, because stores that older versions made have none
		b.Queue(`INSERT INTO meta (name, value) SELECT 'cloud', $1 WHERE NOT EXISTS (SELECT FROM meta WHERE name = 'resource') ON CONFLICT DO NOTHING`, r.Cloud.String())
	}
	b.Queue(meta, "resource", r.ID)
	b.Queue(meta, "epoch", r.Epoch)
	for i, k := range r.Keys {
		b.Queue(`INSERT INTO access_keys (index, serial, secret) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, i, k.Serial, k.Secret)
	}
	b.Queue(`DELETE FROM writers WHERE at < now() - interval '30 days'`) // these rows were left by processes that were killed
	if err := tx.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("write the first rows: %w", err)
	}
	return nil
}

// Lanes returns the number of Apply calls that the caller should run at the same time.
func (s *Store) Lanes() int { return lanes }

// Resource returns the resource's GUID and cloud, the epoch of the event log and the access
// keys.
func (s *Store) Resource(ctx context.Context) (core.Resource, error) {
	var r core.Resource
	err := s.read(ctx, "the resource", func(b *pgx.Batch) {
		r = core.Resource{}
		b.Queue(`SELECT (SELECT value FROM meta WHERE name = 'resource'), (SELECT value FROM meta WHERE name = 'epoch'), COALESCE((SELECT value FROM meta WHERE name = 'cloud'), 'public')`).QueryRow(func(row pgx.Row) error {
			var cloud string
			if err := row.Scan(&r.ID, &r.Epoch, &cloud); err != nil {
				return err
			}
			var err error
			r.Cloud, err = communication.ParseCloud(cloud)
			return err
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

// updateKey replaces the access key $1 by a key with serial $2 and secret $3. It does so only if
// the stored key's serial is $2 - 1.
const updateKey = `UPDATE access_keys SET serial = $2::bigint, secret = $3 WHERE index = $1 AND serial = $2::bigint - 1`

// SetKey replaces the access key at index, 0 or 1, if the stored key's serial is k.Serial - 1.
// It returns the key that is stored afterwards, when it is durable. After a lost connection it
// tries again; if the first try was committed, the second one finds k stored. The error wraps
// core.ErrUnknown if no try was answered and one may have reached the database. It writes the audit
// rows in the same transaction, if k is stored.
func (s *Store) SetKey(ctx context.Context, index int, k core.AccessKeyRow, audit ...core.Audit) (stored core.AccessKeyRow, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeouts.patience)
	defer cancel()
	sent := false
	err = s.retry(ctx, "write an access key", func() error {
		err := s.transact(ctx, s.timeouts, func(b *pgx.Batch) {
			b.Queue(updateKey, index, int64(k.Serial), k.Secret)
			queueKeyAudit(b, index, k, audit)
			b.Queue(`SELECT serial, secret FROM access_keys WHERE index = $1`, index).QueryRow(func(row pgx.Row) error {
				return row.Scan(&stored.Serial, &stored.Secret)
			})
			b.Queue(`SELECT set_config('statement_timeout', '0', true)`) // for the COMMIT, as in write
		})
		sent = sent || err != nil && classify(err) == lost && !pgconn.SafeToRetry(err)
		return err
	})
	if err != nil && sent {
		err = fmt.Errorf("%w: %w", core.ErrUnknown, err)
	}
	return stored, err
}

// Close deletes this process's rows from the table writers, waits for running calls, and closes
// all connections. It always returns nil.
func (s *Store) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	ids := make([]string, lanes)
	for i := range s.writers {
		ids[i] = s.writers[i].id
	}
	// If this statement fails, another process deletes the rows after 30 days.
	if _, err := s.pool.Exec(ctx, `DELETE FROM writers WHERE id = ANY($1)`, ids); err != nil {
		s.log.Warn("store: could not sign off", "error", err)
	}
	s.pool.Close()
	return nil
}
