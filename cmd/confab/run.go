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

// runOptions holds the flags of `confab run` that configure the server that it starts. If one of
// these flags is given, run always starts a new server instead of using a running one.
type runOptions struct {
	database, limits, record string // values of the settings database, limits and record; empty if not given
	log                      string // path of the log file of the server; empty if not given
}

func newRun() *cobra.Command {
	var logFile string
	cmd := &cobra.Command{
		Use:                   "run [flags] -- command [arguments]",
		DisableFlagsInUseLine: true,
		Short:                 "Run any program against a development server",
		Long: `Run any program with the endpoint, access key and certificates of a server in its
environment. run uses the development server if one runs; otherwise it starts
one in memory, which ends with the program. With --data memory: it always starts
one. It uses a production server only if --data names its folder. The exit code is
that of the program.

With --limits, --log, --record, --database or --database-file it always starts a
server. Its log has a line for each request and the reason of each refusal. With
--record it writes each request and its answer to a file of its own, for a bug
report: without tokens and keys, but with what users wrote. With a database the
server stores its chats there, in PostgreSQL.

A test can move the server's clock and inject faults, so that tokens expire and
requests fail within milliseconds: POST {"advance":"25h"} to
$CONFAB_ENDPOINT/dev/clock, or {"operation":"send message","status":429} to
$CONFAB_ENDPOINT/dev/faults (see docs/testing.md). With --database, moving the
clock also expires threads and erases deleted users for all other servers on the
database: give tests a database of their own.`,
		Example: examples("run -- pytest", "run -- npm test", "run --data memory: -- go test ./...", "run --limits azure --log server.log -- pytest"),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, "run needs a command, for example: run -- python app.py")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd, args, logFile) },
	}
	cmd.Flags().SetInterspersed(false) // flags after the program's name belong to the program
	cmd.Flags().StringVar(&logFile, "log", "", "`file` for the log of the server that is started; it is replaced if it exists")
	config.AddFlags(cmd.Flags(), "data", "database", "limits", "record")
	return cmd
}

func run(cmd *cobra.Command, args []string, logFile string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return notStarted(args[0], err)
	}
	in, err := input(cmd)
	if err != nil {
		return err
	}
	o, err := runOptionsOf(cmd, in, logFile)
	if err != nil {
		return err
	}
	// Forward signals to the program from here on. Signals that arrive before the program
	// starts are kept in the channel.
	sigs := make(chan os.Signal, 16)
	signal.Notify(sigs, passedSignals()...)
	defer signal.Stop(sigs)

	client, stop, err := serverFor(cmd, in, o, sigs)
	if err != nil {
		return err
	}
	defer stop()
	var roots tempFolder
	defer roots.remove()
	if client, err = withUserRoots(cmd, client, roots.make); err != nil {
		return err
	}

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

// runOptionsOf reads the flags of `confab run` that configure the server that it starts. It fails
// if one of these flags is given together with --data FOLDER, which names a running server.
func runOptionsOf(cmd *cobra.Command, in config.Input, logFile string) (runOptions, error) {
	var only, given []string
	for _, name := range []string{"database", "limits", "record"} {
		for _, flag := range []string{name, name + "-file"} {
			if cmd.Flags().Changed(flag) {
				only, given = append(only, name), append(given, flag)
			}
		}
	}
	if logFile != "" {
		given = append(given, "log")
	}
	if data := in.Flags.Lookup("data"); len(given) > 0 && data.Changed && data.Value.String() != config.Memory {
		return runOptions{}, usage(cmd, fmt.Sprintf("--%s is for a server that run starts, and --data %s names one that runs", given[0], data.Value))
	}
	o := runOptions{log: logFile}
	if len(only) == 0 {
		return o, nil
	}
	cfg, err := config.Load(config.Input{Flags: in.Flags, Dir: in.Dir, Only: only}) // read no environment variables; Load checks the flags as serve does
	if err != nil {
		return o, err
	}
	o.database, o.record = cfg.Database, cfg.Record
	if cmd.Flags().Changed("limits") {
		o.limits = cfg.Limits.String()
	}
	return o, nil
}

// serverFor returns the server for the program of `confab run`. It finds a running server or starts
// a new one. The caller must call stop. stop ends a server that serverFor has started, and does
// nothing to a server that ran before.
func serverFor(cmd *cobra.Command, in config.Input, o runOptions, sigs <-chan os.Signal) (client clientenv.Server, stop func(), err error) {
	data, err := clientCommand{in}.dataFolder()
	if err != nil {
		return client, nil, err
	}
	if data != config.Memory && o == (runOptions{}) {
		// Use a production server only if the flag --data names its folder. If a confab.yaml or a
		// variable names the folder, use no production server, so that tests do not run against it
		// by accident.
		if r, ok := findRunning(data); ok && (r.Dev || cmd.Flags().Changed("data")) {
			fmt.Fprintf(cmd.ErrOrStderr(), "confab: using the server at %s (process %d)\n", r.Endpoint, r.PID)
			return r.client(), func() {}, nil
		}
		if cmd.Flags().Changed("data") { // fail, because the flag --data names the folder of a server that does not run
			_, err := findServer(clientCommand{in})
			return client, nil, err
		}
	}
	srv, err := startForProgram(o, sigs)
	if err != nil {
		return client, nil, err
	}
	info := srv.Info()
	client = clientenv.Server{Endpoint: info.Endpoint, AccessKey: info.AccessKey, CAFile: info.CAFile, BundleFile: info.BundleFile, TrustStoreFile: info.TrustStoreFile}
	fmt.Fprintf(cmd.ErrOrStderr(), "confab: started a server %s at %s\n", where(info), info.Endpoint)
	if info.Record != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "confab: recording each request and its answer to %s\n", info.Record)
	}
	stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := srv.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			report(cmd.ErrOrStderr(), err)
		}
	}
	return client, stop, nil
}

// startForProgram starts a development server on a free port for the program of `confab run`.
// The server keeps its data in memory or, if o names a database, its chats in the database. It
// ignores confab.yaml and the environment, so that tests get the same server everywhere. If a
// signal arrives before the server has started, the error is exit code 130.
func startForProgram(o runOptions, sigs <-chan os.Signal) (*server.Server, error) {
	settings := map[string]string{
		"dev": "true", "data": config.Memory, "database": o.database, "record": o.record, "listen": "localhost:0", "listen-http": "off", "listen-ops": "off", "listen-admin": "off",
	}
	if o.limits != "" {
		settings["limits"] = o.limits
	}
	cfg, err := config.Load(config.Input{Defaults: settings})
	if err != nil {
		return nil, err
	}
	// Log only errors, because the terminal belongs to the program of `confab run`.
	var handler slog.Handler = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})
	access := func(rest.Record) {}
	if o.log != "" {
		file, err := os.OpenFile(o.log, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, &failure{what: "the log cannot be written to " + o.log + ": " + rootCause(err).Error(), next: "name another file with --log", cause: err}
		}
		// Do not close the file: the server logs to it until this process ends.
		handler, access = slog.NewMultiHandler(handler, logs.NewOutput(file).Handler()), nil
	}
	srv, err := startServer(server.Options{
		Config: cfg, Version: buildVersion(), Logger: slog.New(logs.NewRepeats(handler)), Access: access,
	}, sigs)
	if err == nil && srv == nil {
		err = exitCode(130) // a signal arrived before the server had started
	}
	return srv, err
}

// tempFolder is a temporary folder that is created at the first call of make. The zero value is
// ready to use.
type tempFolder struct{ path string }

// make creates the folder at the first call and returns its path.
func (t *tempFolder) make() (path string, err error) {
	if t.path == "" {
		t.path, err = os.MkdirTemp("", "confab-roots-")
	}
	return t.path, err
}

// remove removes the folder, if make has created it.
func (t *tempFolder) remove() {
	if t.path != "" {
		os.RemoveAll(t.path)
	}
}

// notStarted returns the failure for a program that cannot be started. The exit code is the same as
// in a shell: 127 if the program was not found, and otherwise 126.
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

// where returns a text about the place where the server stores its chats: "on the database" or "in
// memory".
func where(i server.Info) string {
	if i.Database {
		return "on the database"
	}
	return "in memory"
}
