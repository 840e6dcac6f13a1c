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

// shared is the server of Main. It belongs to the process as the variables in
// the environment do that lead to it.
var shared atomic.Pointer[Server]

// Main runs the tests of a package, of which m is the *testing.M, with one
// server for all of them. While they run the environment of the process has
// CONFAB_ENDPOINT, CONFAB_CONNECTION_STRING and CONFAB_CA_FILE, and the first
// two under the names that Microsoft's samples read; Shared is the server
// itself. Main returns what m.Run did:
//
//	func TestMain(m *testing.M) { chattest.Main(m) }
//
// is enough, and os.Exit(chattest.Main(m)) the same. If no server can be started,
// or it does not end well, Main says why and ends the process. Options.Log has no effect: there
// is no test yet whose log it could be.
func Main(m interface{ Run() int }, options ...*Options) (code int) {
	stop, err := share(options)
	if err != nil {
		fmt.Fprintf(os.Stderr, "chattest: start a server: %v\n", err)
		os.Exit(1) // a caller that ignores the code must not see a success
	}
	defer func() {
		if err := stop(); err != nil {
			fmt.Fprintf(os.Stderr, "chattest: close the server: %v\n", err)
			if code == 0 {
				os.Exit(1) // as above: go test ends with the code of m.Run otherwise
			}
		}
	}()
	return m.Run()
}

// share starts the server of Main and leads the environment to it.
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

// setenv sets a variable and returns what puts back what was there.
func setenv(name, value string) (undo func() error) {
	old, was := os.LookupEnv(name)
	os.Setenv(name, value)
	if was {
		return func() error { return os.Setenv(name, old) }
	}
	return func() error { return os.Unsetenv(name) }
}

// Shared is the server of Main, whose failures end t. Its users, its clock and
// its faults are shared by all tests of the package: a test that moves the
// clock or orders a fault does so for those that run in parallel too, and is
// better off with a server of its own.
func Shared(t testing.TB) *Server {
	t.Helper()
	s := shared.Load()
	if s == nil {
		t.Fatal("chattest: there is no shared server: call chattest.Main in TestMain")
	}
	return s.of(t)
}
