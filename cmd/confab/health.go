package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/config"
)

// healthPatience is less than what container runtimes give a check.
const healthPatience = 5 * time.Second

func newHealth() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Say whether the server is ready",
		Long: `Say whether the server that runs on the data folder is ready: exit code 0 if it
is, and 1 if not. It is for container health checks, which then need no curl:

  HEALTHCHECK CMD ["confab", "health"]`,
		Example: examples("health --data /var/lib/confab"),
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return health(cmd) },
	}
	config.AddFlags(cmd.Flags(), "data")
	return cmd
}

func health(cmd *cobra.Command) error {
	in, err := input(cmd)
	if err != nil {
		return err
	}
	r, err := findServer(clientCommand{in})
	if err != nil {
		return err
	}
	if err := r.ready(cmd.Context()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "ready")
	return err
}

// ready asks the server whether it takes requests: by its port for operators
// or, where that is off, by any answer of the endpoint.
func (r running) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	address, client := r.Ops+"/readyz", &http.Client{Transport: &http.Transport{}}
	if r.Ops == "" {
		var err error
		if client, err = r.httpClient(); err != nil {
			return err
		}
		address = r.LocalEndpoint + "/"
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", userAgent())
	res, err := client.Do(req)
	if err != nil {
		return &failure{what: fmt.Sprintf("the server does not answer at %s: %v", address, rootCause(err)), next: "its log says more", cause: err}
	}
	defer res.Body.Close()
	// Without the port for operators there is no page of this kind: 404 is an answer too.
	if res.StatusCode == http.StatusOK || r.Ops == "" && res.StatusCode < 500 {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
	return &failure{what: fmt.Sprintf("the server is not ready: %s (%d)", printable(strings.TrimSpace(string(text)), 100), res.StatusCode)}
}
