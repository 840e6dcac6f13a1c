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
	return group("user", "Create, list, show, revoke and delete users",
		newUserCreate(), newUserList(), newUserShow(), newUserThreads(), newUserRevoke(), newUserDelete())
}

func newUserCreate() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:   "create",
		Short: "Create a user",
		Long: `Create a user on the running server. Only the id is printed to stdout. To create
a user with a token, use token --new-user.`,
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

func newUserList() *cobra.Command {
	var all bool
	cmd := clientOf(&cobra.Command{
		Use:   "list",
		Short: "List the users",
		Long: `List the users by id, one a line, with their state and how often their tokens were
revoked. Users whose deletion is complete are left out, unless --all is given.`,
		Example: examples("user list", "user list --all --json"),
		Args:    noArgs,
	}, func(cmd *cobra.Command, _ []string, c *apiClient, asJSON bool) error {
		return listUsers(cmd, c, all, asJSON)
	}, true)
	cmd.Flags().BoolVar(&all, "all", false, "list deleted users too")
	return cmd
}

// listUsers prints a line for each user, page by page.
func listUsers(cmd *cobra.Command, c *apiClient, all, asJSON bool) error {
	listed := []admin.User{} // users to print: the users of all pages if asJSON is true, and otherwise the users of one page
	printed := false
	for after := ""; ; {
		var page admin.Users
		path := "users?limit=1000"
		if after != "" {
			path += "&next=" + url.QueryEscape(after)
		}
		if err := c.operate(cmd.Context(), http.MethodGet, path, nil, &page); err != nil {
			return err
		}
		for _, u := range page.Users {
			if all || u.State != "deleted" {
				listed = append(listed, u)
			}
		}
		if !asJSON {
			if err := printUsers(cmd.OutOrStdout(), listed); err != nil {
				return err
			}
			printed, listed = printed || len(listed) > 0, nil
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), admin.Users{Users: listed})
	}
	if !printed {
		fmt.Fprintln(cmd.ErrOrStderr(), "no users")
	}
	return nil
}

// printUsers prints a line for each user.
func printUsers(w io.Writer, users []admin.User) error {
	var rows table
	for _, u := range users {
		note := ""
		if u.DeletedAt != "" {
			note = "deleted " + u.DeletedAt
		} else if u.Revoked > 0 {
			note = "tokens revoked " + count(u.Revoked, "time", "times")
		}
		rows.row(u.ID, u.State, note)
	}
	return rows.print(w)
}

func newUserShow() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:     "show ID",
		Short:   "Show a user",
		Example: examples("user show 8:acs:..."),
		Args:    oneArg("the id of a user"),
	}, func(cmd *cobra.Command, args []string, c *apiClient, asJSON bool) error {
		u, err := knownUser(cmd, c, args[0])
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), u)
		}
		return showUser(cmd.OutOrStdout(), u)
	}, true)
}

// knownUser requests the user with the id from the server. It fails if the server has no such
// user.
func knownUser(cmd *cobra.Command, c *apiClient, id string) (u admin.User, err error) {
	if err := c.operate(cmd.Context(), http.MethodGet, "users/"+url.PathEscape(id), nil, &u); err != nil {
		if !isRefused(err, "unknown-user") {
			return u, err
		}
		return u, &failure{what: fmt.Sprintf("the server has no user %q", id), next: "list them: " + programName() + " user list"}
	}
	return u, nil
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
		Long: `List a user's threads, one a line, with id, time of the last message and topic.
Threads with the newest messages come first.`,
		Example: examples("user threads 8:acs:..."),
		Args:    oneArg("the id of a user"),
	}, func(cmd *cobra.Command, args []string, c *apiClient, asJSON bool) error {
		return listThreads(cmd, c, userThreads(args[0]), url.Values{}, asJSON)
	}, true)
}

func newUserRevoke() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:     "revoke ID",
		Short:   "Revoke all tokens of a user",
		Long:    "Revoke all tokens that were issued to a user so far. New ones can be issued.",
		Example: examples("user revoke 8:acs:..."),
		Args:    oneArg("the id of a user"),
	}, func(cmd *cobra.Command, args []string, c *apiClient, _ bool) error {
		path := "/identities/" + url.PathEscape(args[0]) + "/:revokeAccessTokens" + identityVersion
		if err := c.call(cmd.Context(), http.MethodPost, path, nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "all tokens of %s were revoked\n", args[0])
		return nil
	}, false)
}

func newUserDelete() *cobra.Command {
	var yes bool
	cmd := clientOf(&cobra.Command{
		Use:   "delete ID",
		Short: "Delete a user and erase the user's messages",
		Long: `Delete a user permanently. The user's tokens become invalid, except that they can
leave threads, and delete those that the user created or is alone in, for the
time of the server's setting deletion-grace. After that time the server erases
the content of the user's messages, display names and read receipts, and removes
the user from all threads.`,
		Example: examples("user delete 8:acs:...", "user delete 8:acs:... --yes"),
		Args:    oneArg("the id of a user"),
	}, func(cmd *cobra.Command, args []string, c *apiClient, _ bool) error {
		if !yes {
			u, err := knownUser(cmd, c, args[0])
			if err != nil {
				return err
			}
			if u.State != "live" {
				return &failure{what: fmt.Sprintf("user %s was deleted already, on %s", u.ID, u.DeletedAt)}
			}
			if err := confirm(cmd, deletionQuestion(u.ID, c.server.Endpoint)); err != nil {
				return err
			}
		}
		if err := c.call(cmd.Context(), http.MethodDelete, "/identities/"+url.PathEscape(args[0])+identityVersion, nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "deleted %s; the user's messages are erased after the grace period\n", args[0])
		return nil
	}, false)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// deletionQuestion returns the text that asks the operator to agree to the deletion of a chat user.
func deletionQuestion(id, endpoint string) string {
	return fmt.Sprintf("User %s of %s becomes invalid for good, and what it wrote is erased from all threads. Nothing brings it back.", id, endpoint)
}

// clientOf makes cmd find a running server and call do with a client of that server. It gives cmd
// the flag --data and, if hasJSON is true, the flag --json.
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

// field writes a line with a name and a value, unless the value is empty. It replaces
// unprintable characters, since the value may come from a client.
func field(b *strings.Builder, name, value string) {
	if value != "" {
		fmt.Fprintf(b, "%-10s %s\n", name, printable(value, 2000))
	}
}

// count returns n with the singular or the plural of a noun: "1 token", "2 tokens".
func count[N int | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
