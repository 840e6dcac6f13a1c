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
	"github.com/confab-chat/confab/internal/server"
)

// healthTimeout is the time limit of the command health. It is shorter than the limits that
// container runtimes set for such a check.
const healthTimeout = 5 * time.Second

func newHealth() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Check whether the server is ready",
		Long: `Check whether the server on the data folder is ready. The exit code is 0 if it
is, and 1 if not: it is stopping, or its database does not answer, for example.
Container health checks can use it and need no curl:

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

// ready returns nil if the server accepts requests, and an error otherwise. It requests /readyz on
// the port for operators or, if that port is off, on the operator's socket.
func (r running) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	address, client := r.Ops+server.ReadyPath, &http.Client{Transport: &http.Transport{}}
	if r.Ops == "" && r.AdminSocket != "" {
		address, client = "http://localhost"+server.ReadyPath, r.operatorClient()
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", userAgent())
	res, err := client.Do(req)
	if err != nil {
		where := address
		if r.Ops == "" {
			where = r.AdminSocket
		}
		return &failure{what: fmt.Sprintf("the server does not answer at %s: %v", where, rootCause(err)), next: "its log says more", cause: err}
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
	return &failure{what: fmt.Sprintf("the server is not ready: %s (%d)", printable(strings.TrimSpace(string(text)), 300), res.StatusCode)}
}
