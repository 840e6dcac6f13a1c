package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/tty"
)

func newThread() *cobra.Command {
	return group("thread", "Show threads and their messages", newThreadList(), newThreadShow(), newThreadMessages())
}

func newThreadList() *cobra.Command {
	var user, search string
	cmd := clientOf(&cobra.Command{
		Use:   "list",
		Short: "List threads",
		Long: `List the threads that were active last, one a line, with id, time of the last
message and topic. With --user, they are those of a user, as with user threads ID.
With --search, they are those whose topic has a text, in the order of their ids:
the server then looks at all threads.`,
		Example: examples("thread list", "thread list --user 8:acs:...", "thread list --search lunch --json"),
		Args: func(cmd *cobra.Command, args []string) error {
			if user != "" && search != "" {
				return usage(cmd, "thread list takes --user or --search, not both")
			}
			return noArgs(cmd, args)
		},
	}, func(cmd *cobra.Command, _ []string, c *apiClient, asJSON bool) error {
		if user != "" {
			return listThreads(cmd, c, userThreads(user), url.Values{}, asJSON)
		}
		query := url.Values{}
		if search != "" {
			query.Set("search", search)
		}
		return listThreads(cmd, c, "threads", query, asJSON)
	}, true)
	cmd.Flags().StringVar(&user, "user", "", "`id` of the user whose threads to list")
	cmd.Flags().StringVar(&search, "search", "", "`text` that the topics have, without regard to capitals")
	return cmd
}

// mostThreads is the maximum number of threads that the commands user and thread list.
const mostThreads = 100

// userThreads returns the path, in the operator's API, of the list of a user's threads.
func userThreads(id string) string { return "users/" + url.PathEscape(id) + "/threads" }

// listThreads requests a list of threads from the operator's API and prints a line for each thread.
func listThreads(cmd *cobra.Command, c *apiClient, path string, query url.Values, asJSON bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), stopSignals()...)
	defer stop()
	found, more, err := listed(ctx, c, path, query, "threads", mostThreads)
	switch {
	case ctx.Err() != nil:
		return exitCode(130)
	case err != nil:
		return err
	}
	if more {
		fmt.Fprintf(cmd.ErrOrStderr(), "only the first %d are shown\n", len(found))
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), map[string]any{"threads": found})
	}
	if len(found) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "no threads")
		return nil
	}
	var rows table
	for _, raw := range found {
		var t admin.ThreadEntry
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		what := tty.Quote(t.Topic)
		if t.DeletedOn != "" {
			what = "(deleted) " + what
		}
		rows.row(t.ID, t.LastMessageOn, what)
	}
	return rows.print(cmd.OutOrStdout())
}

func newThreadShow() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:     "show ID",
		Short:   "Show a thread and its members",
		Long:    "Show a thread as stored, with former members, without messages; see thread messages.",
		Example: examples("thread show 19:...@thread.v2"),
		Args:    oneArg("the id of a thread"),
	}, func(cmd *cobra.Command, args []string, c *apiClient, asJSON bool) error {
		var t admin.Thread
		if err := c.operate(cmd.Context(), http.MethodGet, "threads/"+url.PathEscape(args[0]), nil, &t); err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), t)
		}
		return showThread(cmd.OutOrStdout(), t)
	}, true)
}

func showThread(w io.Writer, t admin.Thread) error {
	var b strings.Builder
	field(&b, "Thread", t.ID)
	field(&b, "Topic", tty.Quote(t.Topic))
	field(&b, "Created", t.CreatedOn+" by "+t.CreatedBy)
	field(&b, "Deleted", t.DeletedOn)
	for _, name := range slices.Sorted(maps.Keys(t.Metadata)) {
		field(&b, "Metadata", tty.Quote(name)+" = "+tty.Quote(t.Metadata[name]))
	}
	field(&b, "Sequence", fmt.Sprint(t.LastSequence))
	for _, m := range t.Members {
		what := m.ID + "  joined " + m.JoinedOn
		if m.Left {
			what = m.ID + "  left"
		}
		if m.DisplayName != "" {
			what += "  " + tty.Quote(m.DisplayName)
		}
		field(&b, "Member", what)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
