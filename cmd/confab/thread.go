package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
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
	var user string
	cmd := clientOf(&cobra.Command{
		Use:     "list --user ID",
		Short:   "List a user's threads",
		Long:    "List a user's threads. This is the same as user threads ID.",
		Example: examples("thread list --user 8:acs:..."),
		Args: func(cmd *cobra.Command, args []string) error {
			if user == "" {
				return usage(cmd, "thread list needs --user ID: threads are listed by user")
			}
			return noArgs(cmd, args)
		},
	}, func(cmd *cobra.Command, _ []string, c *apiClient, asJSON bool) error {
		return listThreads(cmd, c, user, asJSON)
	}, true)
	cmd.Flags().StringVar(&user, "user", "", "`id` of the user whose threads to list")
	return cmd
}

// listThreads prints a line for each thread of a user.
func listThreads(cmd *cobra.Command, c *apiClient, user string, asJSON bool) error {
	var list admin.Threads
	if err := c.operate(cmd.Context(), http.MethodGet, "users/"+url.PathEscape(user)+"/threads", nil, &list); err != nil {
		return err
	}
	if list.Next != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "only the newest %d are shown\n", len(list.Threads))
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), list)
	}
	if len(list.Threads) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "no threads")
		return nil
	}
	var rows table
	for _, t := range list.Threads {
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
