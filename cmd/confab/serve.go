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
	"runtime/debug"
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
		RunE:    func(cmd *cobra.Command, _ []string) error { return serve(cmd, nil) },
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

// serve runs the server until a signal or a failure ends it. disk is the file system of the
// embedded store; nil means the file system of the operating system.
func serve(cmd *cobra.Command, disk vfs.FS) error {
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
	signal.Notify(sigs, endSignals()...)
	defer signal.Stop(sigs)
	hangups, terminalGone := watchHangups()
	defer signal.Stop(hangups)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go tuneGC(ctx, debug.SetGCPercent)

	o := server.Options{Config: cfg, Version: buildVersion(), Command: clientCommand{in}.line, FS: disk}
	onTerminal := cfg.Dev && cfg.LogFormat == config.LogAuto && term.IsTerminal(int(os.Stdout.Fd()))
	var scr *screen
	if onTerminal {
		scr = newScreen(os.Stdout)
		o.Access, o.Failed = scr.access, scr.failed
	}
	output := newOutput(cfg, os.Stderr, onTerminal)
	defer output.Close()
	o.Logger, o.Audit, o.Dropped = newLogger(output), newAudit(output), output.Dropped
	if !cfg.Dev { // only a production server writes request lines with a delay: a developer sees each request at once
		o.Requests = slog.New(output.RequestHandler())
	}
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
		if onTerminal {
			scr.abandon()
		}
		return explainStart(errors.Join(err, closeWithin(srv, cfg.ShutdownTimeout)), cfg)
	}
	f := facts{Info: srv.Info(), cfg: cfg, version: o.Version, ready: time.Since(began), data: clientCommand{in}.dataFlag()}
	if onTerminal {
		scr.show(f)
	} else {
		f.log(o.Logger)
	}
	again := reloader{in: in, started: cfg, srv: srv, log: o.Logger, output: output, onTerminal: onTerminal}
	go again.upon(hangups, terminalGone, sigs)
	stopping := func(sig os.Signal) {
		o.Logger.Info("stopping", "signal", sig.String(), "delay", drainTime(sig, cfg))
	}
	if onTerminal {
		stopping = func(os.Signal) { scr.print("\nStopping. Press Ctrl-C again to stop at once.\n") }
	}
	err = serveUntil(srv, sigs, cfg, stopping)
	if err == nil {
		o.Logger.Info("stopped", "uptime", time.Since(began).Round(time.Millisecond))
	}
	return err
}

// startServer starts a server and returns it. If a signal arrives first, startServer ends the start
// and returns a nil server; the error is then nil, or the error of closing the server.
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
				return nil, closeWithin(r.srv, startPatience)
			}
		case <-sigs:
		case <-time.After(startPatience): // the disk may hang, so do not wait for the end of the start; the store survives a killed process
		}
		return nil, nil
	}
}

// closeWithin closes the server, and cuts off requests that last longer than the timeout.
func closeWithin(srv *server.Server, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return srv.Close(ctx)
}

// startPatience is the longest time that startServer waits, after a signal, until the start of the
// server has ended.
const startPatience = 3 * time.Second

// stuckTimeout is the time that requests get to finish after a signal if the store cannot write. It
// is short because such requests could wait for ever. When the time for requests has passed, the
// store gets the time stuckTimeout to close, even if it can write.
const stuckTimeout = 2 * time.Second

// serveUntil waits until the server fails or a signal arrives. If the server fails, it
// returns the error. Upon a signal it lets the server drain, calls stopping, and closes the
// server, which may take up to cfg.ShutdownTimeout. Upon a second signal it returns at once.
func serveUntil(srv *server.Server, sigs <-chan os.Signal, cfg config.Config, stopping func(os.Signal)) error {
	ended := make(chan error, 1)
	go func() { ended <- srv.Wait() }()
	select {
	case err := <-ended:
		return failed(err)
	case sig := <-sigs:
		srv.Drain()
		stopping(sig)
		select {
		case err := <-ended:
			return failed(err)
		case <-time.After(drainTime(sig, cfg)):
		case again := <-sigs:
			return stoppedAtOnce(again)
		}
	}
	timeout := cfg.ShutdownTimeout
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
	case again := <-sigs:
		return stoppedAtOnce(again)
	}
}

// drainTime returns how long the server keeps serving after the signal: cfg.ShutdownDelay for
// SIGTERM, which process managers send, and 0 for any other signal, because somebody who types
// Ctrl-C wants no delay.
func drainTime(sig os.Signal, cfg config.Config) time.Duration {
	if sig != syscall.SIGTERM {
		return 0
	}
	return cfg.ShutdownDelay
}

// failed returns the error for a server that stopped without a signal: err or, if err is nil, "the
// server stopped unexpectedly".
func failed(err error) error {
	if err == nil {
		return errors.New("the server stopped unexpectedly")
	}
	return err
}

// stoppedAtOnce returns the failure for a process that ends before the server is closed,
// because a second signal arrived.
func stoppedAtOnce(sig os.Signal) error {
	return &failure{what: "stopped at once by a second signal (" + sig.String() + ")", next: "acknowledged writes are on the disk"}
}

// newOutput returns an output for a server's logs, which the caller must close. The output writes
// to w with the level and the format of the settings, and no request waits for w. onTerminal is
// true if the terminal already shows the requests.
func newOutput(cfg config.Config, w io.Writer, onTerminal bool) *logs.Output {
	o := logs.NewBufferedOutput(w)
	o.Set(logLevel(cfg, onTerminal), cfg.LogFormat == config.LogJSON)
	return o
}

// logLevel returns the lowest level of messages that the server logs. If onTerminal is true, the
// terminal already shows the requests, so only warnings and errors are logged unless log-level
// is set.
func logLevel(cfg config.Config, onTerminal bool) slog.Level {
	if onTerminal && !cfg.Explicit("log-level") {
		return slog.LevelWarn
	}
	return cfg.LogLevel
}

// newLogger returns a logger that writes to the output and limits repeated warnings and errors.
func newLogger(o *logs.Output) *slog.Logger { return slog.New(logs.NewRepeats(o.Handler())) }

// newAudit returns a logger for the audit records of the operator's requests. It writes all audit
// records to the output, even if log-level is higher than info.
func newAudit(o *logs.Output) *slog.Logger { return slog.New(o.HandlerFrom(slog.LevelInfo)) }

// explainStart converts err, with which the start of a server failed, to a failure with a remedy
// for the user.
func explainStart(err error, cfg config.Config) error {
	var port *server.PortInUseError
	var data *server.DataInUseError
	var file *fs.PathError
	var listen *server.ListenError
	var mendable remedied
	switch {
	case errors.As(err, &mendable): // this case must precede the case of *fs.PathError, because an error with a remedy may wrap a *fs.PathError
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
	case errors.As(err, &listen):
		return cannotListen(listen)
	}
	return err
}

// cannotListen returns the failure for an address on which the server cannot listen.
func cannotListen(e *server.ListenError) error {
	host, port, _ := net.SplitHostPort(e.Address)
	flag := "--" + e.Setting
	f := &failure{what: oneLine(e), next: "choose another address for the listener with " + flag, cause: e}
	var name *net.DNSError
	switch {
	case errors.Is(e, fs.ErrPermission):
		f.what = fmt.Sprintf("%s: this user may not listen on port %s", e.Setting, port)
		f.next = "choose a port above 1023 with " + flag + ", or allow it: AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit"
	case errors.Is(e, syscall.EADDRNOTAVAIL):
		f.what = fmt.Sprintf("%s: this machine has no address %s", e.Setting, host)
		f.next = "choose an address that it has with " + flag + ", or 0.0.0.0 for all"
	case errors.As(e, &name):
		f.what = fmt.Sprintf("%s: the host %q is not found: %v", e.Setting, host, name)
		f.next = "choose an address of this machine with " + flag
	}
	return f
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

// oneLine returns the text of err with its lines joined by semicolons.
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

// otherServer returns the remedy for a port or a data folder that another Confab server uses.
func otherServer(cfg config.Config) string {
	if !cfg.Dev {
		return "Use that one, stop it, or choose another folder and other ports with --data and --listen"
	}
	// The other server probably uses the same ports. If the default port of --listen is in use,
	// the start fails, so suggest that flag. Suggest a flag for another port only if a setting
	// names the port, because otherwise the server takes a free port.
	flags := []string{"--listen localhost:0"}
	if cfg.Explicit("listen-http") && cfg.ListenHTTP != "" && !strings.HasSuffix(cfg.ListenHTTP, ":0") {
		flags = append(flags, "--listen-http localhost:0")
	}
	flags = append(flags, "--data memory:")
	return "Use that one, stop it, or choose another: " + programName() + " serve --dev " + strings.Join(flags, " ")
}
