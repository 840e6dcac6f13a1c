package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
)

func newUser() *cobra.Command {
	return group("user", "Make, show, revoke and delete users",
		newUserCreate(), newUserShow(), newUserThreads(), newUserRevoke(), newUserDelete())
}

func newUserCreate() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:   "create",
		Short: "Make a user",
		Long: `Make a user on the running server. Its id alone goes to stdout. For a user and
a token in one step there is token --new-user.`,
		Example: examples("user create", "user create --json"),
		Args:    noArgs,
	}, func(cmd *cobra.Command, _ []string, c *apiClient, asJSON bool) error {
		var made struct{ Identity struct{ ID string } }
		if err := c.call(cmd.Context(), http.MethodPost, "/identities"+identityVersion, struct{}{}, &made); err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), map[string]string{"user": made.Identity.ID})
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), made.Identity.ID)
		return err
	}, true)
}

func newUserShow() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:     "show ID",
		Short:   "Show a user",
		Example: examples("user show 8:acs:..."),
		Args:    oneArg("the id of a user"),
	}, func(cmd *cobra.Command, args []string, c *apiClient, asJSON bool) error {
		var u admin.User
		if err := c.call(cmd.Context(), http.MethodGet, "/confab/users/"+url.PathEscape(args[0]), nil, &u); err != nil {
			return err
		}
		if u.State == "unknown" {
			return &failure{what: fmt.Sprintf("the server has no user %q", args[0])}
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), u)
		}
		return showUser(cmd.OutOrStdout(), u)
	}, true)
}

func showUser(w io.Writer, u admin.User) error {
	var b strings.Builder
	field(&b, "User", u.ID)
	field(&b, "State", u.State)
	field(&b, "Deleted", u.DeletedAt)
	if u.Revoked > 0 {
		field(&b, "Revoked", count(u.Revoked, "time", "times"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func newUserThreads() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:   "threads ID",
		Short: "List a user's threads",
		Long: `List a user's threads, those with the newest messages first: id, time of the
last message and topic, a line each.`,
		Example: examples("user threads 8:acs:..."),
		Args:    oneArg("the id of a user"),
	}, func(cmd *cobra.Command, args []string, c *apiClient, asJSON bool) error {
		return listThreads(cmd, c, args[0], asJSON)
	}, true)
}

func newUserRevoke() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:     "revoke ID",
		Short:   "End every token of a user",
		Long:    "End every token that was issued to a user so far. New ones may be issued.",
		Example: examples("user revoke 8:acs:..."),
		Args:    oneArg("the id of a user"),
	}, func(cmd *cobra.Command, args []string, c *apiClient, _ bool) error {
		path := "/identities/" + url.PathEscape(args[0]) + "/:revokeAccessTokens" + identityVersion
		if err := c.call(cmd.Context(), http.MethodPost, path, nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "every token of %s has ended\n", args[0])
		return nil
	}, false)
}

func newUserDelete() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:   "delete ID",
		Short: "Delete a user, and what it wrote",
		Long: `Delete a user for good. Its tokens end, but for deleting threads and leaving
them during the server's deletion-grace; then the content of its messages goes,
and so do its names and receipts, and it leaves its threads.`,
		Example: examples("user delete 8:acs:..."),
		Args:    oneArg("the id of a user"),
	}, func(cmd *cobra.Command, args []string, c *apiClient, _ bool) error {
		if err := c.call(cmd.Context(), http.MethodDelete, "/identities/"+url.PathEscape(args[0])+identityVersion, nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "deleted %s; what it wrote goes once the grace is over\n", args[0])
		return nil
	}, false)
}

// clientOf makes a command that talks to a running server.
func clientOf(cmd *cobra.Command, do func(cmd *cobra.Command, args []string, c *apiClient, asJSON bool) error, hasJSON bool) *cobra.Command {
	var asJSON bool
	cmd.DisableFlagsInUseLine = true
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newAPIClient(cmd)
		if err != nil {
			return err
		}
		return do(cmd, args, c, asJSON)
	}
	if hasJSON {
		cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	}
	config.AddFlags(cmd.Flags(), "data")
	return cmd
}

// field writes a line of a result, unless the value is empty. Values may be what
// clients sent.
func field(b *strings.Builder, name, value string) {
	if value != "" {
		fmt.Fprintf(b, "%-10s %s\n", name, printable(value, 2000))
	}
}

// count is a number of things in words.
func count[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
