package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/config"
)

func newToken() *cobra.Command {
	var t tokenRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Issue a token for a new or an existing user",
		Long: `Issue a token on the running server, for a new or an existing user. Only the
token is printed to stdout.`,
		Example: examples("token --new-user", "token --user 8:acs:... --expires 1h", "token --new-user --json"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.newUser == (t.user != "") {
				return usage(cmd, "token needs either --new-user or --user ID")
			}
			return printToken(cmd, t, asJSON)
		},
	}
	cmd.Flags().BoolVar(&t.newUser, "new-user", false, "create a user for the token")
	cmd.Flags().StringVar(&t.user, "user", "", "`id` of the user of the token")
	cmd.Flags().StringSliceVar(&t.scopes, "scope", []string{"chat"}, "`scopes` of the token: chat, chat.join, chat.join.limited, voip, voip.join")
	cmd.Flags().DurationVar(&t.expires, "expires", 24*time.Hour, "`duration` until the token expires, in whole minutes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print user, token and expiry as JSON")
	config.AddFlags(cmd.Flags(), "data")
	return cmd
}

// tokenRequest holds the values of the flags of the command token.
type tokenRequest struct {
	newUser bool
	user    string
	scopes  []string
	expires time.Duration
}

// issuedToken is the JSON output of the command token.
type issuedToken struct {
	User      string `json:"user"`
	Token     string `json:"token"`
	ExpiresOn string `json:"expiresOn"`
}

func printToken(cmd *cobra.Command, t tokenRequest, asJSON bool) error {
	if t.expires <= 0 || t.expires%time.Minute != 0 {
		return usage(cmd, fmt.Sprintf("--expires %v is not a number of whole minutes", t.expires))
	}
	c, err := newAPIClient(cmd)
	if err != nil {
		return err
	}
	issued, err := t.issue(cmd.Context(), c)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), issued)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "user %s, until %s\n", issued.User, issued.ExpiresOn)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), issued.Token)
	return err
}

// issue sends the request for the token to the server and returns the token.
func (t tokenRequest) issue(ctx context.Context, c *apiClient) (issuedToken, error) {
	minutes := int(t.expires / time.Minute)
	if !t.newUser {
		var token struct{ Token, ExpiresOn string }
		err := c.call(ctx, http.MethodPost, "/identities/"+url.PathEscape(t.user)+"/:issueAccessToken"+identityVersion,
			map[string]any{"scopes": t.scopes, "expiresInMinutes": minutes}, &token)
		return issuedToken{User: t.user, Token: token.Token, ExpiresOn: token.ExpiresOn}, err
	}
	var made struct {
		Identity    struct{ ID string }
		AccessToken struct{ Token, ExpiresOn string }
	}
	err := c.call(ctx, http.MethodPost, "/identities"+identityVersion,
		map[string]any{"createTokenWithScopes": t.scopes, "expiresInMinutes": minutes}, &made)
	return issuedToken{User: made.Identity.ID, Token: made.AccessToken.Token, ExpiresOn: made.AccessToken.ExpiresOn}, err
}
