package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// server is a running Confab server that compare measures.
type server struct {
	pid      int
	endpoint *url.URL
	key      string      // its primary access key
	tls      *tls.Config // trusts its certificate authority

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
}

// patience is the maximum time that a server may take to start, and to answer one request.
const patience = time.Minute

// start starts a Confab server from a built program, with a data folder below dir, and
// returns when the server is ready. It uses only flags that old builds have too. The server
// logs only warnings, because logging each request would distort the measurement. It
// writes its log to this process's stderr.
func start(ctx context.Context, program, dir, database string) (*server, error) {
	data := filepath.Join(dir, "data")
	s := &server{
		cmd:   exec.CommandContext(ctx, program, "serve", "--data", data, "--listen", "localhost:0", "--listen-ops", "off", "--limits", "off", "--log-level", "warn"),
		ended: make(chan struct{}),
	}
	s.cmd.Dir, s.cmd.Env, s.cmd.Stderr = dir, environment(), os.Stderr
	if database != "" {
		s.cmd.Env = append(s.cmd.Env, "CONFAB_DATABASE="+database) // not a flag: it may hold a password
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.pid = s.cmd.Process.Pid
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // an early end shows in the requests
	}()
	if err := s.ready(ctx, program, data); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// ready waits until the command `confab env` finds the server. It stores the endpoint, the
// access key and the CA certificate in s.
func (s *server) ready(ctx context.Context, program, data string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case <-s.ended:
			return errors.New("the server ended before it was ready")
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
		env := exec.CommandContext(ctx, program, "env", "--json", "--data", data)
		env.Dir, env.Env = s.cmd.Dir, environment()
		if text, err := env.Output(); err == nil {
			return s.know(text)
		}
	}
}

func (s *server) know(text []byte) error {
	var said struct{ Endpoint, AccessKey, CAFile string }
	if err := json.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("read the output of confab env: %w", err)
	}
	pem, err := os.ReadFile(said.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", said.CAFile)
	}
	s.key, s.tls = said.AccessKey, &tls.Config{RootCAs: roots}
	s.endpoint, err = url.Parse(said.Endpoint)
	return err
}

// stop kills the server process and waits for its end. A clean shutdown is not needed, because
// the data is not used again.
func (s *server) stop() {
	_ = s.cmd.Process.Kill() // fails if it has ended already
	<-s.ended
}

// environment returns the environment of this process without the variables whose names
// start with CONFAB_.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, "CONFAB_") })
}
