package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/admin"
)

func newKeys() *cobra.Command {
	return group("keys", "Show and rotate the access keys", newKeysShow(), newKeysRotate())
}

// shownKeys is what keys show prints as JSON.
type shownKeys struct {
	Since            string      `json:"since"` // the start of the server; live tokens are counted from then
	Keys             []admin.Key `json:"keys"`
	ConnectionString string      `json:"connectionString,omitempty"` // of a development server
}

func newKeysShow() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:   "show",
		Short: "Tell of the access keys, and not the keys themselves",
		Long: `Tell of the access keys: how often each was rotated, and how many live tokens
hang on it. The keys themselves are not shown; of a development server, whose
key is no secret, the connection string is.`,
		Example: examples("keys show"),
		Args:    noArgs,
	}, func(cmd *cobra.Command, _ []string, c *apiClient, asJSON bool) error {
		shown := shownKeys{Since: c.server.Started.Format("2006-01-02T15:04:05Z")}
		if err := c.call(cmd.Context(), http.MethodGet, "/confab/keys", nil, &shown.Keys); err != nil {
			return err
		}
		if c.server.Dev {
			shown.ConnectionString = c.server.ConnectionString
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), shown)
		}
		_, err := io.WriteString(cmd.OutOrStdout(), shown.text())
		return err
	}, true)
}

func (s shownKeys) text() string {
	var b strings.Builder
	for _, k := range s.Keys {
		fmt.Fprintf(&b, "%-10s serial %d  %s\n", k.Name, k.Serial, liveTokens(k.LiveTokens))
	}
	if s.ConnectionString != "" {
		fmt.Fprintf(&b, "%-10s %s\n", "connect", s.ConnectionString)
	}
	return b.String()
}

// liveTokens says what is known of the tokens that hang on a key: those from
// before the server's start are known only once they are used.
func liveTokens(n int) string {
	return "at least " + count(n, "live token", "live tokens") + ", since the server started"
}

func newKeysRotate() *cobra.Command {
	var yes bool
	cmd := clientOf(&cobra.Command{
		Use:   "rotate primary|secondary",
		Short: "Put a new access key in place of one",
		Long: `Put a new access key in place of the primary or the secondary one. The old key
and every token that was made with it end at once. The new connection string
goes to stdout, this one time.

To rotate without a break: give the secondary key to whoever makes tokens, wait
until no live token hangs on the primary (keys show; a day at most), rotate the
primary, and give that one out.`,
		Example: examples("keys rotate secondary", "keys rotate primary --yes > connection-string.txt"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] != "primary" && args[0] != "secondary" {
				return usage(cmd, "keys rotate needs the name of a key, primary or secondary")
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string, c *apiClient, asJSON bool) error {
		return rotateKey(cmd, c, args[0], yes, asJSON)
	}, true)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// newKey is what keys rotate prints as JSON.
type newKey struct {
	admin.RotatedKey
	ConnectionString string `json:"connectionString"`
}

func rotateKey(cmd *cobra.Command, c *apiClient, name string, yes, asJSON bool) error {
	if !yes {
		var keys []admin.Key
		if err := c.call(cmd.Context(), http.MethodGet, "/confab/keys", nil, &keys); err != nil {
			return err
		}
		if err := confirm(cmd, rotationQuestion(name, c.server.Endpoint, keys)); err != nil {
			return err
		}
	}
	var k newKey
	if err := c.call(cmd.Context(), http.MethodPost, "/confab/keys/"+name+"/rotate", nil, &k.RotatedKey); err != nil {
		return err
	}
	k.ConnectionString = c.server.withKey(k.AccessKey).ConnectionString
	fmt.Fprintf(cmd.ErrOrStderr(), "The %s key is new (serial %d); at least %s ended with the old one.\n", name, k.Serial, count(k.Ended, "live token", "live tokens"))
	if asJSON {
		return printJSON(cmd.OutOrStdout(), k)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), k.ConnectionString)
	return err
}

func rotationQuestion(name, endpoint string, keys []admin.Key) string {
	var tokens string
	for _, k := range keys {
		if k.Name == name {
			tokens = ": " + liveTokens(k.LiveTokens)
		}
	}
	return fmt.Sprintf("The %s key of %s ends, and every token made with it%s.", name, endpoint, tokens)
}
