package load

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// FreshDatabase creates an empty database on the server of a postgres:// URL. It returns
// the URL of the database and a function that drops the database.
func FreshDatabase(ctx context.Context, server, name string) (address string, drop func() error, err error) {
	u, err := url.Parse(server)
	if err != nil {
		// do not return the error of url.Parse, because its text contains the password
		return "", nil, errors.New("the address of the database server is not a URL")
	}
	u.Path = fmt.Sprintf("confab_bench_%d_%s", os.Getpid(), strings.ToLower(name))
	database := pgx.Identifier{u.Path}.Sanitize()
	execute := func(ctx context.Context, sql string) error {
		conn, err := pgx.Connect(ctx, server)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		_, err = conn.Exec(ctx, sql)
		return err
	}
	if err := execute(ctx, "CREATE DATABASE "+database); err != nil {
		return "", nil, err
	}
	return u.String(), func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return execute(ctx, "DROP DATABASE "+database+" WITH (FORCE)")
	}, nil
}
