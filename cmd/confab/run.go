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
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "run [flags] -- command [arguments]",
		DisableFlagsInUseLine: true,
		Short:                 "Run any program against a development server",
		Long: `Run any program with a server's address, key and certificates in its
environment. It is the development server that runs already or, when there is
none, one in memory that ends with the program; with --data memory: always the
latter. A production server is used only where --data names its folder. With
--database it is always a new one, on that PostgreSQL. The exit code is the
program's.

A test can move the server's clock and order faults, so that tokens expire and
requests fail in milliseconds: POST {"advance":"25h"} to
$CONFAB_ENDPOINT/dev/clock, {"operation":"send message","status":429} to
$CONFAB_ENDPOINT/dev/faults (docs/testing.md). On a database that clock ends
what is due for every server on it: give tests one of their own.`,
		Example: examples("run -- pytest", "run -- npm test", "run --data memory: -- go test ./..."),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, "run needs a command, for example: run -- python app.py")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd, args) },
	}
	cmd.Flags().SetInterspersed(false) // what follows the command is the command's
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
	// From here on signals are the program's, also those that come before it runs.
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

// serverFor finds the server to use or starts one for the program, which stop
// ends.
func serverFor(cmd *cobra.Command, in config.Input, sigs <-chan os.Signal) (client clientenv.Server, stop func(), err error) {
	data, err := clientCommand{in}.dataFolder()
	if err != nil {
		return client, nil, err
	}
	database := ""
	if f := cmd.Flags().Lookup("database"); f.Changed {
		database = f.Value.String()
	}
	if data != config.Memory && database == "" {
		// Nobody's tests should meet a production server because of the folder they run in.
		if r, ok := findRunning(data); ok && (r.Dev || cmd.Flags().Changed("data")) {
			fmt.Fprintf(cmd.ErrOrStderr(), "confab: using the server at %s (process %d)\n", r.Endpoint, r.PID)
			return r.client(), func() {}, nil
		}
		if cmd.Flags().Changed("data") { // somebody meant that very server
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

// startForProgram starts a development server on a free port that keeps nothing,
// or its chats in a database. It does not look at confab.yaml or the environment:
// tests get the same server everywhere.
func startForProgram(database string, sigs <-chan os.Signal) (*server.Server, error) {
	cfg, err := config.Load(config.Input{Defaults: map[string]string{
		"dev": "true", "data": config.Memory, "database": database, "listen": "localhost:0", "listen-http": "off", "listen-ops": "off",
	}})
	if err != nil {
		return nil, err
	}
	srv, err := startServer(server.Options{
		Config:  cfg,
		Version: shortVersion(),
		// The terminal belongs to the program: only trouble is worth a line.
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Access: func(rest.Record) {},
	}, sigs)
	if err == nil && srv == nil {
		err = exitCode(130) // a signal came first
	}
	return srv, err
}

func notStarted(name string, err error) error {
	code := cannotRun(err)
	f := &failure{what: fmt.Sprintf("the command %q was not found", name), next: "is it spelled right, installed, and on PATH?", code: code, cause: err}
	if code != 127 {
		f.what, f.next = fmt.Sprintf("the command %q cannot be started: %v", name, rootCause(err)), "is it a program that this user may run?"
	}
	return f
}

// rootCause is the innermost error, without the operation and path around it.
func rootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// where says what keeps the data of a server that was started for a program.
func where(i server.Info) string {
	if i.Database {
		return "on the database"
	}
	return "in memory"
}
