package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/tty"
)

// newAuditRows and newLimits return the commands audit and limits, which show the operator's audit
// records and the server's limits.

func newAuditRows() *cobra.Command {
	var last int
	filters := map[string]*string{"operation": new(string), "who": new(string), "target": new(string), "outcome": new(string)}
	cmd := clientOf(&cobra.Command{
		Use:   "audit",
		Short: "Show who changed what",
		Long: `Show the changes that operators have made and their refused attempts, the newest
first: the time, who, the operation, its target, and the outcome, which is "done"
or the reason of the refusal. Each reading of messages is there too.`,
		Example: examples("audit", "audit --operation rotateKey --json", "audit --target 8:acs:... --last 20"),
		Args:    noArgs,
	}, func(cmd *cobra.Command, _ []string, c *apiClient, asJSON bool) error {
		if last < 1 {
			return usage(cmd, "--last is a number from 1 up")
		}
		query := url.Values{}
		for name, value := range filters {
			if *value != "" {
				query.Set(name, *value)
			}
		}
		return showAudit(cmd, c, query, last, asJSON)
	}, true)
	f := cmd.Flags()
	f.IntVar(&last, "last", 100, "`number` of rows to show")
	f.StringVar(filters["operation"], "operation", "", "only this `operation`, such as rotateKey")
	f.StringVar(filters["who"], "who", "", "only of this `caller`, such as 'uid 1000'")
	f.StringVar(filters["target"], "target", "", "only with this `target`, such as the id of a user")
	f.StringVar(filters["outcome"], "outcome", "", "only with this `outcome`: done, or the reason of a refusal")
	return cmd
}

func showAudit(cmd *cobra.Command, c *apiClient, query url.Values, last int, asJSON bool) error {
	found, more, err := listed(cmd.Context(), c, "audit", query, "rows", last)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), map[string]any{"rows": found})
	}
	if len(found) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "no rows")
		return nil
	}
	var rows table
	for _, raw := range found {
		var r struct{ Time, Who, Kind, Operation, Target, Outcome string }
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		if r.Who == "" {
			r.Who = r.Kind
		}
		rows.row(r.Time, r.Who, r.Operation, r.Outcome, r.Target)
	}
	if err := rows.print(cmd.OutOrStdout()); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(cmd.ErrOrStderr(), "only the newest %d are shown\n", len(found))
	}
	return nil
}

// limits is the response of the operator's API to a request for the server's limits and their use.
type limits struct {
	Profile string
	Limits  []struct {
		Name, Scope string
		Value       int64
		Unit        string
		Window      int // length in seconds of the time window to which the limit Value applies; 0: the limit applies at any time
	}
	Users []struct {
		User, Thread, Limit string
		Used, Of            int64
		Over                bool
		Resets              string
	}
}

func newLimits() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:   "limits",
		Short: "Show the limits, and who is near or over one",
		Long: `Show the server's limits of sizes and rates, and below them the users and threads
that are near or over one, the nearest first.`,
		Example: examples("limits", "limits --json"),
		Args:    noArgs,
	}, func(cmd *cobra.Command, _ []string, c *apiClient, asJSON bool) error {
		var raw json.RawMessage
		if err := c.operate(cmd.Context(), http.MethodGet, "limits", nil, &raw); err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), raw)
		}
		var l limits
		if err := json.Unmarshal(raw, &l); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		_, err := io.WriteString(cmd.OutOrStdout(), l.text(tty.Of(cmd.OutOrStdout())))
		return err
	}, true)
}

// text formats the server's limits and their use for a person to read.
func (l limits) text(on tty.Screen) string {
	var b strings.Builder
	field(&b, "Profile", l.Profile)
	var rows table
	for _, r := range l.Limits {
		window := "at any time"
		if r.Window > 0 {
			window = fmt.Sprintf("in %d s", r.Window)
		}
		rows.row(r.Name, fmt.Sprintf("%d %s", r.Value, r.Unit), window, r.Scope)
	}
	if len(rows.rows) > 0 {
		b.WriteString("\n" + on.Table(rows.rows))
	}
	rows = table{}
	for _, u := range l.Users {
		note := "free again at " + u.Resets
		if u.Over {
			note = "over; " + note
		}
		who := u.User
		if who == "" {
			who = u.Thread
		}
		rows.row(fmt.Sprintf("%d of %d", u.Used, u.Of), u.Limit, who, note)
	}
	if len(rows.rows) > 0 {
		b.WriteString("\n" + on.Table(rows.rows))
	} else {
		b.WriteString("\nNobody is near a limit.\n")
	}
	return b.String()
}
