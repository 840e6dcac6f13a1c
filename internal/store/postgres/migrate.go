package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// Released migrations must not be changed; a test checks the first one.
//
//go:embed migrations/*.sql
var migrations embed.FS

// versions is the name of the table in which goose records the migrations that were applied.
const versions = "schema_versions"

// lockNotAvailable is PostgreSQL's error code for a statement that lock_timeout has ended.
const lockNotAvailable = "55P03"

// migrate applies the migrations that are missing. It fails with ErrNewer if the tables have a
// later version than the last embedded migration.
func migrate(ctx context.Context, pool *pgxpool.Pool) (err error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	table, err := database.NewStore(database.DialectPostgres, versions)
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider("", db, files, goose.WithStore(table), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	current, newest, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the version of the tables: %w", err)
	}
	if current > newest {
		return newer(current, newest)
	}
	_, err = p.Up(ctx)
	if locked := new(pgconn.PgError); errors.As(err, &locked) && locked.Code == lockNotAvailable {
		return fmt.Errorf("migrate the tables from version %d to %d: another session, such as pg_dump, has kept a lock on them for 10 seconds: start again when it has ended: %w", current, newest, err)
	}
	if err != nil {
		return fmt.Errorf("migrate the tables from version %d to %d: %w", current, newest, err)
	}
	return nil
}
