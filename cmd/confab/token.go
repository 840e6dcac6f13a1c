package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/sdk/communication"
)

// identityVersion is the api-version that token speaks.
const identityVersion = "2023-10-01"

func newToken() *cobra.Command {
	var t tokenRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a user and a token, or a token for a user",
		Long: `Make a token on the running server, for a new user or one that exists. The
token alone goes to stdout.`,
		Example: examples("token --new-user", "token --user 8:acs:... --expires 1h", "token --new-user --json"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.newUser == (t.user != "") {
				return usage(cmd, "token needs either --new-user or --user ID")
			}
			return printToken(cmd, t, asJSON)
		},
	}
	cmd.Flags().BoolVar(&t.newUser, "new-user", false, "make a user for the token")
	cmd.Flags().StringVar(&t.user, "user", "", "`id` of the user to make a token for")
	cmd.Flags().StringSliceVar(&t.scopes, "scope", []string{"chat"}, "`scopes` of the token: chat, chat.join, chat.join.limited, voip, voip.join")
	cmd.Flags().DurationVar(&t.expires, "expires", 24*time.Hour, "`duration` until the token ends, in whole minutes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print user, token and end as JSON")
	config.AddFlags(cmd.Flags(), "data")
	return cmd
}

// tokenRequest is what the flags ask for.
type tokenRequest struct {
	newUser bool
	user    string
	scopes  []string
	expires time.Duration
}

// issuedToken is the result, as --json prints it.
type issuedToken struct {
	User      string `json:"user"`
	Token     string `json:"token"`
	ExpiresOn string `json:"expiresOn"`
}

func printToken(cmd *cobra.Command, t tokenRequest, asJSON bool) error {
	if t.expires <= 0 || t.expires%time.Minute != 0 {
		return usage(cmd, fmt.Sprintf("--expires %v is not a number of whole minutes", t.expires))
	}
	in, err := input(cmd)
	if err != nil {
		return err
	}
	r, err := findServer(clientCommand{in})
	if err != nil {
		return err
	}
	issued, err := t.issue(cmd.Context(), r)
	if err != nil {
		return err
	}
	if asJSON {
		text, err := json.MarshalIndent(issued, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", text)
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "user %s, until %s\n", issued.User, issued.ExpiresOn)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), issued.Token)
	return err
}

// issue asks the server for the token, as any SDK would.
func (t tokenRequest) issue(ctx context.Context, r running) (issuedToken, error) {
	key, err := communication.NewAccessKey(r.AccessKey)
	if err != nil {
		return issuedToken{}, err
	}
	minutes := int(t.expires / time.Minute)
	if !t.newUser {
		var token struct{ Token, ExpiresOn string }
		err := post(ctx, r, key, "/identities/"+url.PathEscape(t.user)+"/:issueAccessToken",
			map[string]any{"scopes": t.scopes, "expiresInMinutes": minutes}, &token)
		return issuedToken{User: t.user, Token: token.Token, ExpiresOn: token.ExpiresOn}, err
	}
	var made struct {
		Identity    struct{ ID string }
		AccessToken struct{ Token, ExpiresOn string }
	}
	err = post(ctx, r, key, "/identities", map[string]any{"createTokenWithScopes": t.scopes, "expiresInMinutes": minutes}, &made)
	return issuedToken{User: made.Identity.ID, Token: made.AccessToken.Token, ExpiresOn: made.AccessToken.ExpiresOn}, err
}

// post sends a signed request to the server and reads its answer.
func post(ctx context.Context, r running, key communication.AccessKey, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.Endpoint+path+"?api-version="+identityVersion, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "confab-cli/"+shortVersion())
	if err := key.Sign(req, time.Now()); err != nil {
		return err
	}
	client, err := httpClient(r.CAFile)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return &failure{what: "the server at " + r.Endpoint + " does not answer: " + rootCause(err).Error(), next: "does it still run?", cause: err}
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return refusal(res)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(answer); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// refusal is the server's error in its own words.
func refusal(res *http.Response) error {
	var body struct {
		Error struct{ Code, Message string }
	}
	json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&body) // without a body there is still the status
	if body.Error.Message == "" {
		body.Error.Message = http.StatusText(res.StatusCode)
	}
	return &failure{what: fmt.Sprintf("the server refused: %s (%d %s)", body.Error.Message, res.StatusCode, body.Error.Code)}
}

// httpClient trusts the server's own authority, or the system's roots when it has none.
func httpClient(caFile string) (*http.Client, error) {
	roots := (*x509.CertPool)(nil)
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, errors.New(caFile + " holds no certificate")
		}
	}
	return &http.Client{Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}}, nil
}
