package main

import (
	"fmt"
	"io"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
)

// checkResult is the result that the command check prints.
type checkResult struct {
	Data string `json:"data"`
	server.Checked
	Named []string `json:"named"` // descriptions of the faults
}

func newCheck() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [--data FOLDER]",
		Short: "Verify every row of a stopped server's data",
		Long: `Read every block of every file and every row of the embedded store, compare rows
that refer to each other, and print the number and a sum of the rows of each
kind. Two stores with the same rows have the same sums, also if one was imported
from an export of the other; only endpoints are never exported.

Nothing in the folder changes. No server may run on it: to check the data of a
running server, make a backup and check that. Each fault is named on stderr. The
exit code is 0 if there is none, and 1 otherwise.`,
		Example: examples("check --data /var/lib/confab", "check --data /backup/today --json"),
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return checkData(cmd, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	config.AddFlags(cmd.Flags(), "data", "dev")
	return cmd
}

func checkData(cmd *cobra.Command, asJSON bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	cfg, err := dataSettings(cmd, true)
	if err != nil {
		return err
	}
	shown := checkResult{Data: cfg.Data, Named: []string{}}
	shown.Checked, err = server.Check(ctx, cfg, func(fault string) {
		shown.Named = append(shown.Named, fault)
		fmt.Fprintf(cmd.ErrOrStderr(), "fault: %s\n", fault)
	})
	if err != nil && shown.Faults == 0 {
		return explainStoreError(ctx, err) // the check failed before it found any fault
	}
	if asJSON {
		if perr := printJSON(cmd.OutOrStdout(), shown); perr != nil {
			return perr
		}
	} else {
		shown.print(cmd.OutOrStdout())
	}
	if err != nil {
		return explainStoreError(ctx, err)
	}
	return nil
}

// print writes the result of the command check as text.
func (c checkResult) print(w io.Writer) {
	fmt.Fprintf(w, "%-18s %s\n", "Data", c.Data)
	for _, k := range c.Kinds {
		fmt.Fprintf(w, "%-18s %10d  %s\n", k.Kind, k.Rows, k.Sum)
	}
	if len(c.Kinds) > 0 {
		fmt.Fprintf(w, "%-18s %10d\n", "last position", c.Position)
	}
	how := "the server was stopped"
	if !c.Closed {
		how = fmt.Sprintf("the server was killed; %d bytes behind the last record", c.LeftOver)
	}
	fmt.Fprintf(w, "%-18s %10d  bytes read; %s\n", "log", c.Log, how)
	for _, name := range c.Strays {
		fmt.Fprintf(w, "%-18s %s\n", "not accounted for", name)
	}
	fmt.Fprintf(w, "%-18s %10d\n", "faults", c.Faults)
}
