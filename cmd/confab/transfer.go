package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/transfer"
)

// transferResult is the result that the commands restore, export and import print.
type transferResult struct {
	File     string      `json:"file,omitempty"`
	Backup   string      `json:"backup,omitempty"`
	Data     string      `json:"data"`
	Made     string      `json:"made,omitempty"` // time at which the restored backup was made
	Rows     core.Counts `json:"rows"`
	Checksum string      `json:"sha256,omitempty"`
	Keys     *bool       `json:"keys,omitempty"` // whether the export contains the access keys
	// Salvaged reports what an export with --salvage could not read and what it repaired.
	Salvaged *server.Salvaged `json:"salvaged,omitempty"`
}

func (m transferResult) text() string {
	var b strings.Builder
	field(&b, "File", m.File)
	field(&b, "Backup", m.Backup)
	field(&b, "Data", m.Data)
	field(&b, "Made", m.Made)
	fmt.Fprintf(&b, "%-10s %d\n%-10s %d\n%-10s %d\n", "Threads", m.Rows.Threads, "Messages", m.Rows.Messages, "Users", m.Rows.Users)
	fmt.Fprintf(&b, "%-10s %d\n", "Rows", m.Rows.Rows())
	field(&b, "Checksum", m.Checksum)
	return b.String()
}

func newExport() *cobra.Command {
	var asJSON, keys, damaged bool
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write all data as text, for another store",
		Long: `Write all rows of the store to a file as lines of JSON, or to stdout if FILE is -.
The file is compressed if its name ends in .gz. The server may run. Access keys
are left out unless --with-keys is given; a store that imports the file without
them makes new ones. The file holds all other data, so protect it like the data
folder.

With --salvage, no server may run. Every row of a damaged store that can still be
read is written, and stderr lists what could not be read and what was dropped or
rebuilt because it refers to that. The data folder does not change. Older values of
rows may return, deleted messages among them: the list says so. The folder of FILE
(for -, the folder for temporary files) needs room for two copies of the store.`,
		Example: examples("export chat.jsonl.gz", "export - --data /var/lib/confab | gzip > chat.jsonl.gz", "export chat.jsonl.gz --salvage --data /var/lib/confab"),
		Args:    oneArg("the file to write, or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "-" && asJSON {
				return usage(cmd, "--json cannot be used with an export to stdout")
			}
			return exportTo(cmd, args[0], keys, damaged, asJSON)
		},
	}
	cmd.Flags().BoolVar(&keys, "with-keys", false, "write the access keys too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.Flags().BoolVar(&damaged, "salvage", false, "save what can still be read of a damaged data folder")
	config.AddFlags(cmd.Flags(), "data", "database")
	return cmd
}

func exportTo(cmd *cobra.Command, file string, keys, damaged, asJSON bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	cfg, err := storeSettings(cmd, true)
	if err != nil {
		return err
	}
	if damaged && cfg.Database != "" {
		return usage(cmd, "--salvage is for the data folder, not for a database")
	}
	shown := transferResult{Data: cfg.Data, File: file, Keys: &keys}
	p := newProgress(cmd.ErrOrStderr(), "exported")
	write := func(out io.Writer) error {
		o := server.ExportOptions{Keys: keys, Now: time.Now(), Row: p.row}
		m, err := transfer.Summary{}, error(nil)
		if damaged {
			m, shown.Salvaged, err = salvageStore(ctx, cfg, out, file, o)
		} else {
			m, err = exportStore(ctx, cfg, out, o)
		}
		p.end()
		if shown.Salvaged != nil {
			printSalvaged(cmd.ErrOrStderr(), *shown.Salvaged)
		}
		shown.Rows, shown.Checksum = m.Rows, m.Checksum
		return err
	}
	if file == "-" {
		if err := write(cmd.OutOrStdout()); err != nil {
			return explainStoreError(ctx, err)
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "exported %d rows: %s, %s, %s\n", shown.Rows.Rows(), count(shown.Rows.Threads, "thread", "threads"),
			count(shown.Rows.Messages, "message", "messages"), count(shown.Rows.Users, "user", "users"))
		return nil
	}
	if err := writeNew(file, write); err != nil {
		return explainStoreError(ctx, err)
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), shown)
	}
	_, err = io.WriteString(cmd.OutOrStdout(), shown.text())
	return err
}

// salvageStore writes an export of everything that can be read from a damaged store to out. It
// works in a temporary folder beside file, and removes that folder at the end.
func salvageStore(ctx context.Context, cfg config.Config, out io.Writer, file string, o server.ExportOptions) (m transfer.Summary, s *server.Salvaged, err error) {
	in := ""
	if file != "-" {
		in = filepath.Dir(file)
	}
	work, err := os.MkdirTemp(in, ".confab-salvage-")
	if err != nil {
		return m, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	m, report, err := server.Salvage(ctx, cfg, out, work, o)
	if err != nil {
		return m, nil, err
	}
	return m, &report, nil
}

// printSalvaged prints which parts of a damaged store a salvage could not read, and what it
// repaired.
func printSalvaged(w io.Writer, s server.Salvaged) {
	if s.Refused != "" {
		fmt.Fprintf(w, "A start is refused: %s\n", s.Refused)
	}
	for _, l := range s.Lost {
		fmt.Fprintf(w, "lost: %s\n", l)
	}
	for _, r := range s.Repairs {
		fmt.Fprintf(w, "repaired: %s\n", r)
	}
	switch {
	case s.Older:
		fmt.Fprintln(w, "Older values of rows may have returned, deleted messages among them: the lost parts may have held newer ones.")
	case len(s.Lost)+len(s.Repairs) == 0:
		fmt.Fprintln(w, "Nothing is lost: every row was read.")
	}
}

// exportStore writes an export of the store to out. If a running server has the embedded store
// open, exportStore asks the server for a temporary copy of the store, exports the copy and removes
// it.
func exportStore(ctx context.Context, cfg config.Config, out io.Writer, o server.ExportOptions) (m transfer.Summary, err error) {
	if _, runs := findRunning(cfg.Data); runs && cfg.Database == "" {
		removeStaleExports(cfg.Data)
		// Use a folder on the disk of the store, so that the copy links to the store's tables
		// instead of copying them.
		folder, err := os.MkdirTemp(cfg.Data, fmt.Sprintf("%s%d-", exportPrefix, os.Getpid()))
		if err != nil {
			return m, err
		}
		defer os.RemoveAll(folder)
		copied := filepath.Join(folder, "copy") // this folder must not exist, because the server creates it
		if _, err := orderBackup(ctx, cfg, copied, admin.ExportQuery, true); err != nil {
			return m, err
		}
		cfg.Data = copied
	}
	return server.Export(ctx, cfg, out, o)
}

// exportPrefix is the beginning of the names of temporary folders to which an export copies the
// store of a running server. The process id of the export follows the prefix.
const exportPrefix = ".export-"

// removeStaleExports removes the temporary folders that killed exports left in the data folder.
func removeStaleExports(data string) {
	folders, _ := filepath.Glob(filepath.Join(data, exportPrefix+"*")) // ignore the error: Glob fails only for an invalid pattern, and then folders is empty
	for _, folder := range folders {
		id, _, ok := strings.Cut(strings.TrimPrefix(filepath.Base(folder), exportPrefix), "-")
		if pid, err := strconv.Atoi(id); ok && err == nil && !alive(pid) {
			os.RemoveAll(folder)
		}
	}
}

// writeNew creates a file with the content that the function write writes. Only the user may read
// the file. The content is compressed if the name ends in .gz. The file has a temporary name until
// it is complete and on disk. writeNew fails if the file exists.
func writeNew(name string, write func(io.Writer) error) error {
	if _, err := os.Lstat(name); err == nil {
		return &failure{what: name + " exists already", next: "name another file"}
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".confab-*") // CreateTemp makes a file that only the user may read
	if err != nil {
		return err
	}
	if strings.HasSuffix(name, ".gz") {
		z := gzip.NewWriter(f)
		err = errors.Join(write(z), z.Close())
	} else {
		err = write(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return server.SyncFolders(filepath.Dir(name))
}

func newImport() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "import FILE --data FOLDER",
		Short: "Fill an empty store from an export",
		Long: `Fill a new or empty store from an export, compressed or not, or from stdin if
FILE is -. Ids and times do not change. If the export was cut or altered, import
names the wrong line and imports nothing. No server may run on the folder. Until
all rows are imported and checked the folder has a file UNFINISHED, and no server
starts on it. If an import was broken off, remove the folder and begin again; a
database is then still empty.`,
		Example: examples("import chat.jsonl.gz --data /var/lib/confab"),
		Args:    oneArg("the file to read, or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return importFrom(cmd, args[0], asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	config.AddFlags(cmd.Flags(), "data", "database", "dev")
	return cmd
}

func importFrom(cmd *cobra.Command, file string, asJSON bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	cfg, err := storeSettings(cmd, false)
	if err != nil {
		return err
	}
	in := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	if in, err = unzipped(in); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	p := newProgress(cmd.ErrOrStderr(), "imported")
	m, keys, err := server.Import(ctx, cfg, in, p.row)
	p.end()
	if err != nil {
		var line *transfer.Error
		if errors.As(err, &line) {
			err = fmt.Errorf("%s: %w", file, err)
		}
		return explainStoreError(ctx, err)
	}
	shown := transferResult{Data: cfg.Data, Rows: m.Rows, Checksum: m.Checksum, Keys: &keys}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), shown)
	}
	if !keys {
		fmt.Fprintf(cmd.ErrOrStderr(), "The export has no access keys, so the store made new ones. To print them while its server runs: %s env --data %s\n", programName(), shellWord(cfg.Data))
	}
	_, err = io.WriteString(cmd.OutOrStdout(), shown.text())
	return err
}

// unzipped returns a reader of the content of in. If in begins like a gzip file, the reader
// decompresses the content.
func unzipped(in io.Reader) (io.Reader, error) {
	b := bufio.NewReader(in)
	if magic, _ := b.Peek(2); string(magic) != "\x1f\x8b" {
		return b, nil
	}
	return gzip.NewReader(b)
}
