package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/transfer"
)

func newBackup() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup FOLDER",
		Short: "Copy the data folder as it is now, while the server runs",
		Long: `Copy the data folder as it is now into a folder that is not there or empty:
the store, with the access keys, and the certificate authority. The server may
run. On the same disk the tables are links and take no space at first; copy the
folder to another machine before you count on it. Settings, and a certificate of
your own, are yours to keep.`,
		Example: examples("backup /backup/today", "backup /backup/today --data /var/lib/confab"),
		Args:    oneArg("the folder to make"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return backUp(cmd, args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	config.AddFlags(cmd.Flags(), "data")
	return cmd
}

func backUp(cmd *cobra.Command, to string, asJSON bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	cfg, err := dataSettings(cmd, true)
	if err != nil {
		return err
	}
	if to, err = filepath.Abs(to); err != nil {
		return err
	}
	if rel, err := filepath.Rel(cfg.Data, to); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return &failure{what: "a backup does not belong into the data folder " + tilde(cfg.Data), next: "name a folder outside"}
	}
	b, err := orderBackup(ctx, cfg, to)
	if err != nil {
		return explainStoreError(ctx, err)
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), b)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), b.Folder)
	return err
}

// orderBackup has the running server make a backup, or makes it where none runs.
func orderBackup(ctx context.Context, cfg config.Config, to string) (b admin.Backup, err error) {
	order, cancel, err := server.PrepareBackup(to)
	if err != nil {
		return b, err
	}
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	r, runs := findRunning(cfg.Data)
	if !runs {
		return server.OfflineBackup(cfg, order, shortVersion(), time.Now())
	}
	c, err := clientTo(r)
	if err != nil {
		return b, err
	}
	return b, c.wait(ctx, http.MethodPost, "/confab/backup", order, &b)
}

func newRestore() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore FOLDER --data FOLDER",
		Short: "Fill an empty data folder from a backup",
		Long: `Fill a data folder that is not there or empty from a backup, and read every row
of it. What happened after the backup is gone: tokens that were revoked since
are good again until they expire, unless you rotate the access keys.`,
		Example: examples("restore /backup/today --data /var/lib/confab"),
		Args:    oneArg("the folder of a backup"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return restore(cmd, args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	config.AddFlags(cmd.Flags(), "data", "dev")
	return cmd
}

func restore(cmd *cobra.Command, from string, asJSON bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	cfg, err := dataSettings(cmd, false)
	if err != nil {
		return err
	}
	b, rows, err := server.Restore(ctx, from, cfg)
	if err != nil {
		return explainStoreError(ctx, err)
	}
	shown := transferResult{Data: cfg.Data, Made: b.Made, Rows: rows}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), shown)
	}
	_, err = io.WriteString(cmd.OutOrStdout(), shown.text())
	return err
}

// dataSettings are those that name a data folder on a disk. A command that
// looks for data takes the development server's by default; one that makes
// data wants to be told where.
func dataSettings(cmd *cobra.Command, dev bool) (config.Config, error) {
	in, err := input(cmd)
	if err != nil {
		return config.Config{}, err
	}
	if dev {
		in.Defaults = map[string]string{"dev": "true"}
	}
	in.Only = []string{"dev", "data"}
	cfg, err := config.Load(in)
	if err == nil && cfg.InMemory() {
		err = &failure{what: "a server that keeps its data in memory has none to copy, and takes none", next: "name a folder with --data"}
	}
	return cfg, err
}

// storeSettings are those that name a store: a database, or else a data folder.
func storeSettings(cmd *cobra.Command, dev bool) (config.Config, error) {
	in, err := input(cmd)
	if err != nil {
		return config.Config{}, err
	}
	in.Only = []string{"dev", "database"}
	if cfg, err := config.Load(in); err != nil || cfg.Database != "" {
		return cfg, err
	}
	return dataSettings(cmd, dev)
}

// explainStoreError words why a backup, a restore, an export or an import failed.
func explainStoreError(ctx context.Context, err error) error {
	var inUse *server.DataInUseError
	var none *server.NoDataError
	var full *server.NotEmptyError
	var line *transfer.Error
	var known *failure
	switch {
	case ctx.Err() != nil:
		return exitCode(130)
	case errors.As(err, &known):
		return err
	case errors.As(err, &inUse):
		return &failure{what: fmt.Sprintf("data folder %s is in use by another Confab", tilde(inUse.Path)), next: "stop that one first", cause: err}
	case errors.As(err, &none):
		return &failure{what: fmt.Sprintf("there is no store in %s", tilde(none.Path)), next: "name the data folder with --data", cause: err}
	case errors.As(err, &full):
		return &failure{what: fmt.Sprintf("folder %s is not empty", tilde(full.Path)), next: "name one that is empty or not there", cause: err}
	case errors.As(err, &line):
		return &failure{what: oneLine(err), next: "nothing of it was kept; get a whole copy of the export", cause: err}
	}
	return errors.New(oneLine(err))
}
