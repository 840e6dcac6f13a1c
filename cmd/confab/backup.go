package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/localca"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/transfer"
)

func newBackup() *cobra.Command {
	var asJSON, verify, withoutCAKey bool
	cmd := &cobra.Command{
		Use:   "backup FOLDER",
		Short: "Copy the data folder, also while the server runs",
		Long: `Copy the data folder into a new or empty folder: the store with the access keys,
and the certificate authority. The server may run. On the same disk the store's
files are hard links and take no space at first; copy the backup to another
machine, because a link does not protect against a broken disk. A backup does
not hold confab.yaml or the files of tls-cert and tls-key. It is made in a new
folder beside FOLDER, which only you can read, and takes its place when it is
whole.

Who has a backup has all messages, the access keys and the key of the
certificate authority. With --without-ca-key it lacks the last one: keep ca.key,
which never changes while the authority lives, in another place.

The backup notes the checksum of each file, and the number and the sum of the
rows of each kind. With --verify, FOLDER is a backup, and the command compares
it with its note. It needs no server and changes nothing.`,
		Example: examples("backup /backup/today", "backup /backup/today --data /var/lib/confab", "backup --verify /backup/today"),
		Args:    oneArg("the folder to make"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if verify {
				return verifyBackup(cmd, args[0], asJSON)
			}
			return backUp(cmd, args[0], withoutCAKey, asJSON)
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "check the backup in FOLDER instead of making one")
	cmd.Flags().BoolVar(&withoutCAKey, "without-ca-key", false, "leave out the key of the local certificate authority")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	config.AddFlags(cmd.Flags(), "data")
	return cmd
}

// verifyBackup compares the files and rows of a backup with the description that the backup
// contains. The argument from is the backup's folder. verifyBackup prints the description as text
// or as JSON.
func verifyBackup(cmd *cobra.Command, from string, asJSON bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	b, err := server.VerifyBackup(ctx, from)
	if err != nil {
		return explainStoreError(ctx, err)
	}
	shown := transferResult{Backup: b.Folder, Made: b.Made, Rows: b.Rows}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), b)
	}
	_, err = io.WriteString(cmd.OutOrStdout(), shown.text())
	return err
}

func backUp(cmd *cobra.Command, to string, withoutCAKey, asJSON bool) error {
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
		return &failure{what: "a backup cannot be inside the data folder " + tilde(cfg.Data), next: "name a folder outside of it"}
	}
	b, err := orderBackup(ctx, cfg, to, "", withoutCAKey)
	if err != nil {
		return explainStoreError(ctx, err)
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), b)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), b.Folder)
	return err
}

// orderBackup writes a backup and returns the backup's description. The argument to is the folder
// for the backup. If a server runs on the data folder of cfg, orderBackup asks that server to write
// the backup, by a request with the given query string. Otherwise it opens the store itself.
func orderBackup(ctx context.Context, cfg config.Config, to, query string, withoutCAKey bool) (b admin.Backup, err error) {
	order, cancel, err := server.PrepareBackup(to)
	if err != nil {
		return b, err
	}
	order.WithoutCAKey = withoutCAKey
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	r, runs := findRunning(cfg.Data)
	if !runs {
		return server.OfflineBackup(ctx, cfg, order, buildVersion(), time.Now())
	}
	c, err := clientTo(r)
	if err != nil {
		return b, err
	}
	return b, c.operateLong(ctx, http.MethodPost, "backup"+query, order, &b)
}

func newRestore() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore FOLDER --data FOLDER",
		Short: "Fill an empty data folder from a backup",
		Long: `Fill a new or empty data folder from a backup, and compare all files and rows
with what the backup notes. Until that is done the folder has a file UNFINISHED,
and no server starts on it. If a restore was broken off, remove the folder and
begin again. Live clients are told that they have missed events. Changes after
the backup are lost, including revocations: a token that was revoked after the
backup is valid again until it expires, unless you rotate the access keys.`,
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
	if _, err := io.WriteString(cmd.OutOrStdout(), shown.text()); err != nil {
		return err
	}
	tls := server.TLSFolder(cfg.Data)
	if _, err := os.Stat(localca.CAFile(tls)); err != nil {
		return nil
	}
	if _, err := os.Stat(localca.CAKeyFile(tls)); errors.Is(err, fs.ErrNotExist) {
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "The backup was made without the key of the certificate authority.\nBefore you start the server, put the key back as %s, or remove %s to have a new authority made.\n",
			tilde(localca.CAKeyFile(tls)), tilde(localca.CAFile(tls)))
		return err
	}
	return nil
}

// dataSettings loads the settings that name the data folder. If dev is true, the default is
// the development server's folder; otherwise the flag --data must name a folder. It fails
// for --data memory:.
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
		err = &failure{what: "data in memory cannot be copied or restored", next: "name a folder with --data"}
	}
	return cfg, err
}

// storeSettings loads the settings that name a store. The store is the database if the settings
// name one, and otherwise the data folder that dataSettings returns.
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

// explainStoreError converts the error of a backup, restore, export or import to an error that
// tells the user the problem and a remedy. It returns exit code 130 if a signal ended ctx.
func explainStoreError(ctx context.Context, err error) error {
	var inUse *server.DataInUseError
	var none *server.NoDataError
	var full *server.NotEmptyError
	var damaged *server.DamagedBackupError
	var line *transfer.Error
	var known *failure
	var mendable remedied
	switch {
	case ctx.Err() != nil:
		return exitCode(130)
	case errors.As(err, &known), errors.As(err, &mendable):
		return err
	case explainFolder(err) != nil:
		return explainFolder(err)
	case errors.As(err, &damaged):
		return &failure{what: oneLine(err), next: "use another backup, or another copy of this one", cause: err}
	case errors.As(err, &inUse):
		return &failure{what: fmt.Sprintf("data folder %s is in use by another Confab", tilde(inUse.Path)), next: "stop that one first", cause: err}
	case errors.As(err, &none):
		return &failure{what: fmt.Sprintf("there is no store in %s", tilde(none.Path)), next: "name the data folder with --data", cause: err}
	case errors.As(err, &full):
		return &failure{what: fmt.Sprintf("folder %s is not empty", tilde(full.Path)), next: "name an empty or a new one", cause: err}
	case errors.As(err, &line):
		return &failure{what: oneLine(err), next: "nothing was imported; get an intact copy of the export", cause: err}
	}
	return errors.New(oneLine(err))
}

// explainFolder converts the error for a folder that must not be used as a data folder, such as the
// folder of a backup, to a failure with a remedy for the user. It returns nil for any other error.
func explainFolder(err error) error {
	var unfinished *server.UnfinishedError
	var backup *server.IsBackupError
	var notOurs *server.NotOursError
	var noParent *server.NoParentError
	switch {
	case errors.As(err, &unfinished):
		return &failure{
			what:  tilde(unfinished.Path) + " is unfinished: a restore, an import or a backup into it still runs or was broken off, so it does not hold everything",
			next:  "if none runs, remove the folder and begin again",
			cause: err,
		}
	case errors.As(err, &backup):
		return &failure{
			what:  tilde(backup.Path) + " is a backup, and a server would change it",
			next:  "restore it into a new folder: " + programName() + " restore " + shellWord(backup.Path) + " --data FOLDER",
			cause: err,
		}
	case errors.As(err, &notOurs):
		return &failure{
			what:  fmt.Sprintf("%s is not a data folder: it holds %s, and no server's data", tilde(notOurs.Path), strings.Join(notOurs.Has, ", ")),
			next:  "correct --data; for a new server name an empty folder or a new one, such as " + tilde(filepath.Join(notOurs.Path, "confab")),
			cause: err,
		}
	case errors.As(err, &noParent):
		return &failure{
			what:  fmt.Sprintf("the data folder %s is not made, because there is no folder %s", tilde(noParent.Path), tilde(filepath.Dir(noParent.Path))),
			next:  "correct --data or, for a new server, make that folder: mkdir -p " + shellWord(filepath.Dir(noParent.Path)),
			cause: err,
		}
	}
	return nil
}
