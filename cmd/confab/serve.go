package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/sdk/communication"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Start the server",
		Long: `Start the server.

A setting is its flag, the variable CONFAB_ plus the flag's name in capitals
(CONFAB_LISTEN_HTTP), or a line in confab.yaml, in this order.`,
		Example: examples("serve --dev", "serve --data /var/lib/confab --listen 0.0.0.0:8443 --tls-names chat.lan"),
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return serve(cmd) },
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

func serve(cmd *cobra.Command) error {
	began := time.Now()
	in, err := input(cmd)
	if err != nil {
		return err
	}
	cfg, err := config.Load(in)
	if err != nil {
		return err
	}
	sigs := make(chan os.Signal, 2)
	signal.Notify(sigs, stopSignals()...)
	defer signal.Stop(sigs)

	o := server.Options{Config: cfg, Version: shortVersion()}
	onTerminal := cfg.Dev && cfg.LogFormat == config.LogAuto && term.IsTerminal(int(os.Stdout.Fd()))
	var scr *screen
	if onTerminal {
		scr = newScreen(os.Stdout, colour())
		o.Access = scr.access
	}
	o.Logger = newLogger(cfg, os.Stderr, onTerminal)
	var notice announcement
	defer notice.withdraw()
	o.PrimaryKey = func(key communication.AccessKey) {
		if err := notice.rotated(key); err != nil {
			o.Logger.Error("the commands on this machine do not learn of the new access key; start the server again", "error", err)
		}
	}

	srv, err := startServer(o, sigs)
	if err != nil || srv == nil {
		return explainStart(err, cfg)
	}
	if err := notice.publish(newRunning(srv.Info(), began)); err != nil {
		return errors.Join(err, srv.Close(context.Background()))
	}
	f := facts{Info: srv.Info(), cfg: cfg, version: o.Version, ready: time.Since(began), data: clientCommand{in}.dataFlag()}
	if onTerminal {
		scr.show(f)
	} else {
		f.log(o.Logger)
	}
	stopping := func(sig os.Signal) { o.Logger.Info("stopping", "signal", sig.String()) }
	if onTerminal {
		stopping = func(os.Signal) { scr.print("\nStopping. Ctrl-C again stops it at once.\n") }
	}
	return serveUntil(srv, sigs, cfg.ShutdownTimeout, stopping)
}

// startServer starts the server unless a signal to stop comes before; then it
// returns neither a server nor an error.
func startServer(o server.Options, sigs <-chan os.Signal) (*server.Server, error) {
	type result struct {
		srv *server.Server
		err error
	}
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan result, 1)
	go func() {
		srv, err := server.Start(ctx, o)
		started <- result{srv, err}
	}()
	select {
	case r := <-started:
		// The context stays alive: it is the server's, and Close ends that.
		_ = cancel
		return r.srv, r.err
	case <-sigs:
		cancel()
		if r := <-started; r.srv != nil {
			return nil, r.srv.Close(context.Background())
		}
		return nil, nil
	}
}

// serveUntil waits for the server's end or for a signal, and stops it in
// order. A second signal stops it at once.
func serveUntil(srv *server.Server, sigs <-chan os.Signal, patience time.Duration, stopping func(os.Signal)) error {
	ended := make(chan error, 1)
	go func() { ended <- srv.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			err = errors.New("the server stopped by itself")
		}
		return err
	case sig := <-sigs:
		stopping(sig)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- srv.Close(ctx) }()
	select {
	case err := <-closed:
		if errors.Is(err, context.DeadlineExceeded) {
			return &failure{what: fmt.Sprintf("requests were still in progress after %v and were cut off", patience), next: "give them more time with --shutdown-timeout", cause: err}
		}
		return err
	case sig := <-sigs:
		return &failure{what: "stopped at once by a second signal (" + sig.String() + ")", next: "what was acknowledged is on the disk"}
	}
}

// newLogger writes for machines; on a terminal the screen says what is worth
// knowing, so that only trouble is left to log there.
func newLogger(cfg config.Config, w io.Writer, onTerminal bool) *slog.Logger {
	level := cfg.LogLevel
	if onTerminal && !cfg.Explicit("log-level") {
		level = slog.LevelWarn
	}
	o := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// explainStart words why the server did not start.
func explainStart(err error, cfg config.Config) error {
	var port *server.PortInUseError
	var data *server.DataInUseError
	var file *fs.PathError
	var network *net.OpError
	switch {
	case errors.As(err, &port):
		return portInUse(port, cfg)
	case errors.As(err, &data):
		who := "another Confab"
		if r, ok := findRunning(data.Path); ok {
			who = fmt.Sprintf("another Confab (process %d, %s)", r.PID, r.Endpoint)
		}
		return &failure{what: fmt.Sprintf("data folder %s is in use by %s", tilde(data.Path), who), next: otherServer(cfg), cause: err}
	case errors.As(err, &file) && strings.HasPrefix(file.Path, cfg.Data):
		return &failure{what: oneLine(err), next: "make the data folder one that this user may write to, or choose another with --data", cause: err}
	case errors.As(err, &network):
		return &failure{what: oneLine(err), next: "choose another address for the listener", cause: err}
	}
	return err
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func portInUse(e *server.PortInUseError, cfg config.Config) error {
	_, port, err := net.SplitHostPort(e.Address)
	if err != nil {
		port = e.Address
	}
	if n, ok := whoHas(e.Address); ok {
		return &failure{
			what:  fmt.Sprintf("port %s is in use by another Confab (process %d, data %s)", port, n.PID, tilde(n.Data)),
			next:  otherServer(cfg),
			cause: e,
		}
	}
	f := &failure{what: fmt.Sprintf("port %s is in use by another program", port), cause: e}
	if cfg.Dev {
		f.next = fmt.Sprintf("Stop that one, or choose another port: %s serve --dev --%s localhost:0", programName(), e.Setting)
	} else {
		f.next = fmt.Sprintf("Stop that one, or choose another port with --%s", e.Setting)
	}
	return f
}

// otherServer is what to do when another Confab is in the way.
func otherServer(cfg config.Config) string {
	if !cfg.Dev {
		return "Use that one, stop it, or choose another folder and other ports with --data and --listen"
	}
	// A second server meets the first one's other ports too, where they are fixed.
	flags := []string{"--listen localhost:0"}
	if cfg.ListenHTTP != "" && !strings.HasSuffix(cfg.ListenHTTP, ":0") {
		flags = append(flags, "--listen-http localhost:0")
	}
	flags = append(flags, "--data memory:")
	return "Use that one, stop it, or choose another: " + programName() + " serve --dev " + strings.Join(flags, " ")
}
