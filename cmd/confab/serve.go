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
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/logs"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/sdk/communication"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:        "serve",
		SuggestFor: []string{"start", "server"},
		Short:      "Start the server",
		Long: `Start the server.

Every setting can be a flag, a variable CONFAB_ plus the flag's name in capitals
(CONFAB_LISTEN_HTTP), or a line in confab.yaml. A flag overrides a variable, and
a variable overrides the file.`,
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
	o.Logger, o.Audit = newLogger(cfg, os.Stderr, onTerminal), newAudit(cfg, os.Stderr)
	var notice announcement
	defer notice.withdraw()
	o.PrimaryKey = func(key communication.AccessKey) {
		if err := notice.rotated(key); err != nil {
			o.Logger.Error("cannot write the new access key for the commands on this machine; start the server again", "error", err)
		}
	}

	srv, err := startServer(o, sigs)
	if err != nil || srv == nil {
		return explainStart(err, cfg)
	}
	if err := notice.publish(newRunning(srv.Info(), began)); err != nil {
		return explainStart(errors.Join(err, srv.Close(context.Background())), cfg)
	}
	f := facts{Info: srv.Info(), cfg: cfg, version: o.Version, ready: time.Since(began), data: clientCommand{in}.dataFlag()}
	if onTerminal {
		scr.show(f)
	} else {
		f.log(o.Logger)
	}
	stopping := func(sig os.Signal) { o.Logger.Info("stopping", "signal", sig.String()) }
	if onTerminal {
		stopping = func(os.Signal) { scr.print("\nStopping. Press Ctrl-C again to stop at once.\n") }
	}
	return serveUntil(srv, sigs, cfg.ShutdownTimeout, stopping)
}

// startServer starts the server and returns it. If a signal arrives before the server has
// started, it returns nil and no error.
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
		// Do not cancel the context, because the server uses it until Close.
		_ = cancel
		return r.srv, r.err
	case <-sigs:
		cancel()
		select {
		case r := <-started:
			if r.srv != nil {
				return nil, r.srv.Close(context.Background())
			}
		case <-sigs:
		case <-time.After(startPatience): // the disk hangs; a process may end at any moment
		}
		return nil, nil
	}
}

// startPatience is the time after a signal in which a start may end by itself.
const startPatience = 3 * time.Second

// stuckTimeout is the time that requests and the store get after a signal while the store
// cannot write, so that requests may wait for ever. It is also the time that the store gets
// in any case, beyond --shutdown-timeout.
const stuckTimeout = 2 * time.Second

// serveUntil waits until the server fails or a signal arrives. If the server fails, it
// returns the error. Upon a signal it calls stopping and closes the server, which may take
// up to timeout. Upon a second signal it returns at once.
func serveUntil(srv *server.Server, sigs <-chan os.Signal, timeout time.Duration, stopping func(os.Signal)) error {
	ended := make(chan error, 1)
	go func() { ended <- srv.Wait() }()
	select {
	case err := <-ended:
		if err == nil {
			err = errors.New("the server stopped unexpectedly")
		}
		return err
	case sig := <-sigs:
		stopping(sig)
	}
	if srv.StoreFails() {
		timeout = min(timeout, stuckTimeout)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- srv.Close(ctx) }()
	select {
	case err := <-closed:
		if errors.Is(err, context.DeadlineExceeded) {
			return &failure{what: fmt.Sprintf("requests were still in progress after %v and were cut off", timeout), next: "give them more time with --shutdown-timeout", cause: err}
		}
		return err
	case <-time.After(timeout + stuckTimeout):
		return &failure{what: fmt.Sprintf("the store did not close within %v", timeout+stuckTimeout), next: "acknowledged writes are on the disk"}
	case sig := <-sigs:
		return &failure{what: "stopped at once by a second signal (" + sig.String() + ")", next: "acknowledged writes are on the disk"}
	}
}

// newLogger returns a logger that writes to w in the format of the settings. If onTerminal
// is true, the terminal shows the requests, and the logger logs only warnings and errors
// unless log-level is set.
func newLogger(cfg config.Config, w io.Writer, onTerminal bool) *slog.Logger {
	level := cfg.LogLevel
	if onTerminal && !cfg.Explicit("log-level") {
		level = slog.LevelWarn
	}
	return slog.New(logs.NewRepeats(logHandler(cfg, w, level)))
}

// newAudit returns a logger for the records of the operator's requests. It writes each of them
// to w, whatever log-level is, in the format of the settings.
func newAudit(cfg config.Config, w io.Writer) *slog.Logger {
	return slog.New(logHandler(cfg, w, slog.LevelInfo))
}

// logHandler returns a handler that writes lines from a level on to w, in the format of the
// settings.
func logHandler(cfg config.Config, w io.Writer, level slog.Level) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == config.LogJSON {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}

// explainStart returns the error of a server that did not start as a failure for the user.
func explainStart(err error, cfg config.Config) error {
	var port *server.PortInUseError
	var data *server.DataInUseError
	var file *fs.PathError
	var network *net.OpError
	var mendable remedied
	switch {
	case errors.As(err, &mendable): // its cause may be a *fs.PathError
		return err
	case explainFolder(err) != nil:
		return explainFolder(err)
	case errors.As(err, &port):
		return portInUse(port, cfg)
	case errors.As(err, &data):
		who := "another Confab"
		if r, ok := findRunning(data.Path); ok {
			who = fmt.Sprintf("another Confab (process %d, %s)", r.PID, r.Endpoint)
		}
		return &failure{what: fmt.Sprintf("data folder %s is in use by %s", tilde(data.Path), who), next: otherServer(cfg), cause: err}
	case errors.Is(err, core.ErrStorageFull), errors.Is(err, syscall.ENOSPC):
		return noSpace(err, cfg)
	case errors.As(err, &file) && strings.HasPrefix(file.Path, cfg.Data):
		return &failure{what: oneLine(err), next: "make the data folder one that this user may write to, or choose another with --data", cause: err}
	case errors.As(err, &network):
		return &failure{what: oneLine(err), next: "choose another address for the listener", cause: err}
	}
	return err
}

// noSpace returns the failure for a server that does not start because its disk is full. It
// names the free bytes and the folder.
func noSpace(err error, cfg config.Config) error {
	what := oneLine(err)
	if usage, uerr := vfs.Default.GetDiskUsage(existing(cfg.Data)); uerr == nil && !strings.Contains(what, "bytes are free") {
		what += fmt.Sprintf(": %d bytes are free in %s", usage.AvailBytes, cfg.Data)
	}
	return &failure{what: what, next: "free some space and start again; until then, " + programName() + " export FILE on another disk still reads everything", cause: err}
}

// oneLine returns the lines of an error's text as one.
func oneLine(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}

// portInUse returns the failure for a port that is in use. If a development server has the
// port, the failure names that server.
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

// otherServer returns the remedy if another Confab server uses the port or the data folder.
func otherServer(cfg config.Config) string {
	if !cfg.Dev {
		return "Use that one, stop it, or choose another folder and other ports with --data and --listen"
	}
	// The other server probably uses the default ports too, so the remedy changes all of
	// them.
	flags := []string{"--listen localhost:0"}
	if cfg.ListenHTTP != "" && !strings.HasSuffix(cfg.ListenHTTP, ":0") {
		flags = append(flags, "--listen-http localhost:0")
	}
	flags = append(flags, "--data memory:")
	return "Use that one, stop it, or choose another: " + programName() + " serve --dev " + strings.Join(flags, " ")
}
