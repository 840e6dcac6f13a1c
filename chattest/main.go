package chattest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
)

// shared is the server that Main started, or nil. It is a global variable because Main also sets
// environment variables with the address of the server, and these variables are global too.
var shared atomic.Pointer[Server]

// Main starts a server, runs the tests of a package, and closes the server; m is the *testing.M.
// While the tests run, the environment variables CONFAB_ENDPOINT, CONFAB_CONNECTION_STRING and
// CONFAB_CA_FILE describe the server; Main sets the first two also under the names that
// Microsoft's samples use. Shared returns the server. Main returns the result of m.Run:
//
//	func TestMain(m *testing.M) { chattest.Main(m) }
//
// is sufficient; os.Exit(chattest.Main(m)) has the same effect. If the server cannot be started or
// does not stop cleanly, Main prints the error and exits the process. Options.Log has no effect,
// because there is no test whose log could receive the lines.
func Main(m interface{ Run() int }, options ...*Options) (code int) {
	stop, err := share(options)
	if err != nil {
		fmt.Fprintf(os.Stderr, "chattest: start a server: %v\n", err)
		os.Exit(1) // exit here, because the caller may ignore the exit code that Main returns
	}
	defer func() {
		if err := stop(); err != nil {
			fmt.Fprintf(os.Stderr, "chattest: close the server: %v\n", err)
			if code == 0 {
				os.Exit(1) // exit with 1, because go test would otherwise report success after all tests have passed
			}
		}
	}()
	return m.Run()
}

// share starts the server of Main and sets the environment variables that contain its address. The
// returned function stop restores the variables and closes the server.
func share(options []*Options) (stop func() error, err error) {
	o, err := one(options)
	if err != nil {
		return nil, err
	}
	s, err := start(o, server.Options{Access: func(rest.Record) {}})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "chattest-")
	if err != nil {
		return nil, err
	}
	caFile := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(caFile, s.CA(), 0o600); err != nil {
		return nil, err
	}
	info := s.server.Info()
	vars := clientenv.Server{Endpoint: info.Endpoint, AccessKey: info.AccessKey}.Vars(os.Getenv)
	vars = append(vars, clientenv.Var{Name: clientenv.CAFile, Value: caFile})
	restore := make([]func() error, 0, len(vars))
	for _, v := range vars {
		restore = append(restore, setenv(v.Name, v.Value))
	}
	before := shared.Swap(s)
	return func() error {
		shared.Store(before)
		for _, undo := range restore {
			undo()
		}
		os.RemoveAll(dir)
		return s.close()
	}, nil
}

// setenv sets an environment variable. The returned function undo restores its previous value.
func setenv(name, value string) (undo func() error) {
	old, was := os.LookupEnv(name)
	os.Setenv(name, value)
	if was {
		return func() error { return os.Setenv(name, old) }
	}
	return func() error { return os.Unsetenv(name) }
}

// Shared returns the server that Main started. A method of the server that fails calls t.Fatalf.
// Shared itself fails t if Main was not called. All tests of the package share the users, the clock
// and the faults of the server: a test that moves the clock or adds a fault affects tests that run
// in parallel, and should start its own server.
func Shared(t testing.TB) *Server {
	t.Helper()
	s := shared.Load()
	if s == nil {
		t.Fatal("chattest: there is no shared server: call chattest.Main in TestMain")
	}
	return s.of(t)
}
