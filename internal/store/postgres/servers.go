package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a server that uses the database.
type Server struct {
	ID      string // a random name of the process
	Version string // of Confab
	Started time.Time
	Seen    time.Time // when the server last called Beat, by the database's clock
}

// forgetServer is the time after which the row of a server that has not called Beat is deleted.
const forgetServer = time.Hour

// nowSQL is the database's clock in epoch milliseconds.
const nowSQL = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// Beat writes that a server is alive, and deletes the rows of servers that were not seen for an
// hour. It ignores Server.Seen. The row need not survive a crash of the database, so Beat does
// not wait until it is on disk.
func (s *Store) Beat(ctx context.Context, v Server) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeouts.trip)
	defer cancel()
	var b pgx.Batch
	b.Queue(`BEGIN`)
	b.Queue(`SET LOCAL synchronous_commit = off`)
	b.Queue(`INSERT INTO servers (id, version, started, seen) VALUES ($1, $2, $3, `+nowSQL+`)
		ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, version = excluded.version`, v.ID, v.Version, v.Started.UnixMilli())
	b.Queue(`DELETE FROM servers WHERE seen < `+nowSQL+` - $1`, forgetServer.Milliseconds())
	b.Queue(`COMMIT`)
	if err := s.pool.SendBatch(ctx, &b).Close(); err != nil {
		return fmt.Errorf("note that this server is alive: %w", err)
	}
	return nil
}

// Leave deletes the row of a server that stops.
func (s *Store) Leave(ctx context.Context, id string) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM servers WHERE id = $1`, id)
	return err
}

// Servers returns the servers that have called Beat within the last hour, the oldest first.
func (s *Store) Servers(ctx context.Context) (all []Server, err error) {
	err = s.read(ctx, "the servers", func(b *pgx.Batch) {
		b.Queue(`SELECT id, version, started, seen FROM servers ORDER BY started, id`).Query(collect(&all, func(from pgx.CollectableRow) (v Server, err error) {
			var started, seen int64
			err = from.Scan(&v.ID, &v.Version, &started, &seen)
			v.Started, v.Seen = time.UnixMilli(started), time.UnixMilli(seen)
			return v, err
		}))
	})
	return all, err
}
