package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/logs"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "run [flags] -- command [arguments]",
		DisableFlagsInUseLine: true,
		Short:                 "Run any program against a development server",
		Long: `Run any program with the endpoint, access key and certificates of a server in its
environment. run uses the development server if one runs; otherwise it starts
one in memory, which ends with the program. With --data memory: it always starts
one. It uses a production server only if --data names its folder. With
--database or --database-file it always starts a server, which stores its chats
in that PostgreSQL database. The exit code is that of the program.

A test can move the server's clock and inject faults, so that tokens expire and
requests fail within milliseconds: POST {"advance":"25h"} to
$CONFAB_ENDPOINT/dev/clock, or {"operation":"send message","status":429} to
$CONFAB_ENDPOINT/dev/faults (see docs/testing.md). With --database, moving the
clock also expires threads and erases deleted users for all other servers on the
database: give tests a database of their own.`,
		Example: examples("run -- pytest", "run -- npm test", "run --data memory: -- go test ./..."),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, "run needs a command, for example: run -- python app.py")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd, args) },
	}
	cmd.Flags().SetInterspersed(false) // flags after the command belong to it
	config.AddFlags(cmd.Flags(), "data", "database")
	return cmd
}

func run(cmd *cobra.Command, args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return notStarted(args[0], err)
	}
	in, err := input(cmd)
	if err != nil {
		return err
	}
	// Forward signals to the program from here on. Signals that arrive before the program
	// starts are kept in the channel.
	sigs := make(chan os.Signal, 16)
	signal.Notify(sigs, passedSignals()...)
	defer signal.Stop(sigs)

	client, stop, err := serverFor(cmd, in, sigs)
	if err != nil {
		return err
	}
	defer stop()

	child := exec.Command(path)
	child.Args = args
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.Env = clientenv.Merge(os.Environ(), client.Vars(os.Getenv))
	if err := child.Start(); err != nil {
		return notStarted(args[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for {
		select {
		case sig := <-sigs:
			passOn(child.Process, sig)
		case err := <-ended:
			if child.ProcessState == nil {
				return err
			}
			if code := codeOf(child.ProcessState); code != 0 {
				return code
			}
			return nil
		}
	}
}

// serverFor returns the server for the program of `confab run`. It finds a running server
// or starts a new one. The caller must call stop, which ends a new server and does nothing
// to one that was running before.
func serverFor(cmd *cobra.Command, in config.Input, sigs <-chan os.Signal) (client clientenv.Server, stop func(), err error) {
	data, err := clientCommand{in}.dataFolder()
	if err != nil {
		return client, nil, err
	}
	database := ""
	if cmd.Flags().Changed("database") || cmd.Flags().Changed("database-file") {
		only := config.Input{Flags: in.Flags, Dir: in.Dir, Only: []string{"database"}} // checked like that of serve, and without the variable
		cfg, err := config.Load(only)
		if err != nil {
			return client, nil, err
		}
		database = cfg.Database
	}
	if data != config.Memory && database == "" {
		// Use a production server only if --data names it, not because a confab.yaml or a
		// variable does: tests must not run against it by accident.
		if r, ok := findRunning(data); ok && (r.Dev || cmd.Flags().Changed("data")) {
			fmt.Fprintf(cmd.ErrOrStderr(), "confab: using the server at %s (process %d)\n", r.Endpoint, r.PID)
			return r.client(), func() {}, nil
		}
		if cmd.Flags().Changed("data") { // the named server does not run: an error
			_, err := findServer(clientCommand{in})
			return client, nil, err
		}
	}
	srv, err := startForProgram(database, sigs)
	if err != nil {
		return client, nil, err
	}
	info := srv.Info()
	client = clientenv.Server{Endpoint: info.Endpoint, AccessKey: info.AccessKey, CAFile: info.CAFile, BundleFile: info.BundleFile, TrustStoreFile: info.TrustStoreFile}
	fmt.Fprintf(cmd.ErrOrStderr(), "confab: started a server %s at %s\n", where(info), info.Endpoint)
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := srv.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			report(cmd.ErrOrStderr(), err)
		}
	}
	return client, stop, nil
}

// startForProgram starts a development server on a free port. It stores its data in memory
// or, if database is not empty, its chats in that database. It ignores confab.yaml and the
// environment, so that tests get the same server everywhere. If a signal comes before the
// server has started, the error is exit code 130.
func startForProgram(database string, sigs <-chan os.Signal) (*server.Server, error) {
	cfg, err := config.Load(config.Input{Defaults: map[string]string{
		"dev": "true", "data": config.Memory, "database": database, "listen": "localhost:0", "listen-http": "off", "listen-ops": "off", "listen-admin": "off",
	}})
	if err != nil {
		return nil, err
	}
	srv, err := startServer(server.Options{
		Config:  cfg,
		Version: shortVersion(),
		// Log only errors, because the terminal belongs to the program of `confab run`.
		Logger: slog.New(logs.NewRepeats(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))),
		Access: func(rest.Record) {},
	}, sigs)
	if err == nil && srv == nil {
		err = exitCode(130) // a signal came first
	}
	return srv, err
}

// notStarted returns the failure for a program that cannot be started. Its exit code is the
// one that a shell would use.
func notStarted(name string, err error) error {
	code := cannotRun(err)
	f := &failure{what: fmt.Sprintf("the command %q was not found", name), next: "is it spelled right, installed, and on PATH?", code: code, cause: err}
	if code != 127 {
		f.what, f.next = fmt.Sprintf("the command %q cannot be started: %v", name, rootCause(err)), "is it a program that this user may run?"
	}
	return f
}

// rootCause unwraps err to the innermost error, such as "permission denied" without the
// operation and the path.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// where returns a text that says where a server stores its chats.
func where(i server.Info) string {
	if i.Database {
		return "on the database"
	}
	return "in memory"
}
