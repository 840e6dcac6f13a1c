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

// shownKeys is the JSON output of the command keys show.
type shownKeys struct {
	Since            string      `json:"since"` // time when the server started; from then on it counts the valid tokens of each key
	Keys             []admin.Key `json:"keys"`
	ConnectionString string      `json:"connectionString,omitempty"` // the connection string of a development server, empty for a production server
}

func newKeysShow() *cobra.Command {
	return clientOf(&cobra.Command{
		Use:   "show",
		Short: "Show the state of the access keys, but not the keys",
		Long: `Show the state of the access keys: the serial number, which grows with each
rotation, and the number of live tokens issued with the key. The keys are not
shown. The key of a development server is not secret, so its connection string
is shown.`,
		Example: examples("keys show"),
		Args:    noArgs,
	}, func(cmd *cobra.Command, _ []string, c *apiClient, asJSON bool) error {
		shown := shownKeys{Since: c.server.Started.Format("2006-01-02T15:04:05Z")}
		if err := c.operate(cmd.Context(), http.MethodGet, "keys", nil, &shown.Keys); err != nil {
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
		from := ""
		if k.Configured {
			from = "; it stands in the server's settings"
		}
		fmt.Fprintf(&b, "%-10s serial %d  %s%s\n", k.Name, k.Serial, liveTokens(k.LiveTokens), from)
	}
	if s.ConnectionString != "" {
		fmt.Fprintf(&b, "%-10s %s\n", "connect", s.ConnectionString)
	}
	return b.String()
}

// liveTokens returns a text with the number n of valid tokens that were issued with a key. The text
// says "at least", because a token that was issued before the server started counts only after a
// client has used it.
func liveTokens(n int) string {
	return "at least " + count(n, "live token", "live tokens") + ", since the server started"
}

func newKeysRotate() *cobra.Command {
	var yes bool
	cmd := clientOf(&cobra.Command{
		Use:   "rotate primary|secondary|both",
		Short: "Replace an access key, or both, by new ones",
		Long: `Replace the primary or the secondary access key, or both, by new random ones.
The old key and every token issued with it become invalid at once. The new
connection string is printed to stdout, with both the primary one first; it is
not shown again. If another server on the same database replaces the key at the
same time, one of the two commands fails and names the serial number of the key
that is valid now.

If a key has leaked, rotate both: whoever holds the one may have learned the
other where both were kept, and may have issued tokens.

To rotate the primary key without an interruption: let the services that issue
tokens use the secondary key, wait until no token issued with the primary key is
live (keys show; a day at most), rotate the primary key, and let the services use
the new one.`,
		Example: examples("keys rotate secondary", "keys rotate both --yes", "keys rotate primary --yes > connection-string.txt"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] != "primary" && args[0] != "secondary" && args[0] != admin.Both {
				return usage(cmd, "keys rotate needs the name of a key, primary or secondary, or both")
			}
			return nil
		},
	}, func(cmd *cobra.Command, args []string, c *apiClient, asJSON bool) error {
		return rotateKeys(cmd, c, args[0], yes, asJSON)
	}, true)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// newKey is the JSON output of the command keys rotate. The command prints a single newKey if it
// rotated one key, and a list if it rotated both keys.
type newKey struct {
	admin.RotatedKey
	ConnectionString string `json:"connectionString"`
}

func rotateKeys(cmd *cobra.Command, c *apiClient, name string, yes, asJSON bool) error {
	if !yes {
		var keys []admin.Key
		if err := c.operate(cmd.Context(), http.MethodGet, "keys", nil, &keys); err != nil {
			return err
		}
		if err := confirm(cmd, rotationQuestion(name, c.server.Endpoint, keys)); err != nil {
			return err
		}
	}
	var rotated admin.Rotation
	if err := c.operate(cmd.Context(), http.MethodPost, "keys/"+name+"/rotate", nil, &rotated); err != nil {
		return err
	}
	var keys []newKey
	var lines strings.Builder
	for _, k := range rotated.Keys {
		shown := newKey{k, c.server.withKey(k.AccessKey).ConnectionString}
		keys = append(keys, shown)
		fmt.Fprintln(&lines, shown.ConnectionString)
		fmt.Fprintf(cmd.ErrOrStderr(), "The %s key was replaced (serial %d); at least %s of the old one became invalid.\n", k.Name, k.Serial, count(k.Ended, "live token", "live tokens"))
	}
	var err error
	switch {
	case asJSON && name == admin.Both:
		err = printJSON(cmd.OutOrStdout(), keys)
	case asJSON && len(keys) == 1:
		err = printJSON(cmd.OutOrStdout(), keys[0])
	default:
		_, err = io.WriteString(cmd.OutOrStdout(), lines.String())
	}
	if err == nil && rotated.Failed != "" {
		err = &failure{what: rotated.Failed, next: "run: " + programName() + " keys show"}
	}
	return err
}

// rotationQuestion returns the text that asks the user to agree to the rotation of the named
// key, or of both keys. It says how many tokens become invalid.
func rotationQuestion(name, endpoint string, keys []admin.Key) string {
	if name == admin.Both {
		live := 0
		for _, k := range keys {
			live += k.LiveTokens
		}
		return fmt.Sprintf("Both keys of %s become invalid, and with them every token: %s.", endpoint, liveTokens(live))
	}
	var tokens string
	for _, k := range keys {
		if k.Name == name {
			tokens = ": " + liveTokens(k.LiveTokens)
		}
	}
	return fmt.Sprintf("The %s key of %s becomes invalid, and with it every token issued with it%s.", name, endpoint, tokens)
}
