package load

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

// Server is a running server in its own process.
type Server struct {
	PID      int // of the server itself
	Endpoint *url.URL
	Key      string      // primary access key of a Confab server
	TLS      *tls.Config // trusts the server's certificate authority
	Ops      string      // URL below which the server serves /metrics, or empty

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
}

// patience is the maximum time that a server may take to start, and to answer one request.
const patience = time.Minute

// Command says how to start a server.
type Command struct {
	Program string   // a built confab
	Args    []string // of the program
	Env     []string // further variables
	Dir     string   // working folder
	Stdout  *os.File // nil: discarded
	Stderr  *os.File // nil: discarded
	// SlowSync is the time by which each sync of the embedded store's files is prolonged. The
	// hidden command `bench serve` does this.
	SlowSync time.Duration
	Under    []string // a program, such as strace, that runs the server, and its arguments; nil if none does
}

// Serve starts a Confab server with the data folder dir/data and the given flags, and returns when
// the server is ready. If database is a URL, the server uses PostgreSQL. The server does not get
// this process's environment variables whose names begin with CONFAB_.
func Serve(ctx context.Context, c Command, database string) (*Server, error) {
	data := filepath.Join(c.Dir, "data")
	verb := []string{"serve"}
	if c.SlowSync > 0 {
		verb = []string{"bench", "serve", "--slow-sync", c.SlowSync.String()}
	}
	c.Args = slices.Concat(verb, []string{"--data", data, "--listen", "localhost:0"}, c.Args)
	if database != "" {
		// use a variable, because other users of the machine could read a flag, and the URL may
		// contain a password
		c.Env = append(c.Env, "CONFAB_DATABASE="+database)
	}
	s, err := Start(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx, c, data); err != nil {
		s.Kill()
		return nil, err
	}
	if len(c.Under) > 0 { // kill the server too, because the end of ctx kills only the program that runs it
		context.AfterFunc(ctx, s.Kill)
	}
	return s, nil
}

// Announcement is the line of JSON that a reference server prints to its stdout when it is ready.
type Announcement struct {
	Endpoint string // https URL
	CA       string // the certificate of the authority that has signed the server's certificate, in PEM
	Ops      string // URL below which the server serves /metrics
	World    World  // what requests can name
}

// Refer starts a reference, which is a server with which Confab is compared. The reference prints
// an Announcement when it is ready.
func Refer(ctx context.Context, c Command) (*Server, World, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, World{}, err
	}
	defer in.Close()
	c.Stdout = out
	s, err := Start(ctx, c)
	out.Close() // close this end, because the reference has its own copy: reading then ends when the reference ends
	if err != nil {
		return nil, World{}, err
	}
	var a Announcement
	if err = json.NewDecoder(in).Decode(&a); err == nil {
		err = s.trust([]byte(a.CA), a.Endpoint)
	}
	if err != nil {
		s.Kill()
		return nil, World{}, fmt.Errorf("the reference did not start: %w", err)
	}
	s.Ops = a.Ops
	return s, a.World, nil
}

// Start starts a server and does not wait until it is ready. Only PID of the result is set.
func Start(ctx context.Context, c Command) (*Server, error) {
	line := append(slices.Clone(c.Under), c.Program)
	line = append(line, c.Args...)
	s := &Server{cmd: exec.CommandContext(ctx, line[0], line[1:]...), ended: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env, s.cmd.Stderr = c.Dir, append(environment(), c.Env...), c.Stderr
	s.cmd.Stdout = c.Stdout
	// open a pipe, because a reference ends when its stdin ends, which happens when this process
	// ends
	if _, err := s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.PID = s.cmd.Process.Pid
	go func() {
		defer close(s.ended)
		_ = s.cmd.Wait() // ignore the error, because a server that ends early is noticed when its requests fail
	}()
	return s, nil
}

// ready waits until the command `confab env` finds the server. It stores the endpoint, the
// access key and the CA certificate in s.
func (s *Server) ready(ctx context.Context, c Command, data string) error {
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
		env := exec.CommandContext(ctx, c.Program, "env", "--json", "--data", data)
		env.Dir, env.Env = c.Dir, environment()
		if text, err := env.Output(); err == nil {
			return s.know(text)
		}
	}
}

func (s *Server) know(text []byte) error {
	var said struct {
		PID                              int
		Endpoint, AccessKey, CAFile, Ops string
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("read the output of confab env: %w", err)
	}
	pem, err := os.ReadFile(said.CAFile)
	if err != nil {
		return err
	}
	s.Key, s.Ops, s.PID = said.AccessKey, said.Ops, said.PID
	return s.trust(pem, said.Endpoint)
}

func (s *Server) trust(pem []byte, endpoint string) (err error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return errors.New("the server's authority has no certificate")
	}
	s.TLS = &tls.Config{RootCAs: roots}
	s.Endpoint, err = url.Parse(endpoint)
	return err
}

// Ended reports whether the process has ended.
func (s *Server) Ended() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Kill kills the server process and waits for its end. A clean shutdown is not needed, because
// the data is not used again.
func (s *Server) Kill() {
	if s.PID != s.cmd.Process.Pid { // a program of Command.Under runs the server, so kill the server first
		if p, err := os.FindProcess(s.PID); err == nil {
			_ = p.Kill()
		}
	}
	_ = s.cmd.Process.Kill() // ignore the error, which means that the process has already ended
	<-s.ended
}

// Stop interrupts the server process, on which the server shuts down cleanly, and waits for its
// end.
func (s *Server) Stop() error {
	p, err := os.FindProcess(s.PID)
	if err == nil {
		err = p.Signal(os.Interrupt)
	}
	if err != nil {
		s.Kill()
		return err
	}
	<-s.ended
	return nil
}

// environment returns the environment of this process without the variables whose names
// start with CONFAB_.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, "CONFAB_") })
}
