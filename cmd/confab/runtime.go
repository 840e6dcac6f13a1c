package main

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/sdk/communication"
)

// running is what a server tells the other commands of itself. It stands in
// <data>/server.json while the server runs, for its user's eyes alone: it
// holds the access key.
type running struct {
	PID              int       `json:"pid"`
	Version          string    `json:"version"`
	Started          time.Time `json:"started"`
	Dev              bool      `json:"dev"`
	Endpoint         string    `json:"endpoint"`      // for clients
	LocalEndpoint    string    `json:"localEndpoint"` // the listener's own address
	HTTP             string    `json:"http,omitempty"`
	Ops              string    `json:"ops,omitempty"`
	Data             string    `json:"data"`
	AccessKey        string    `json:"accessKey"`
	ConnectionString string    `json:"connectionString"`
	CAFile           string    `json:"caFile,omitempty"`
	BundleFile       string    `json:"bundleFile,omitempty"`
	TrustStoreFile   string    `json:"trustStoreFile,omitempty"`
	CertFile         string    `json:"certFile,omitempty"` // of a certificate of the user's own
}

func newRunning(i server.Info, started time.Time) running {
	r := running{
		PID: i.PID, Version: shortVersion(), Started: started.UTC().Truncate(time.Second), Dev: i.Dev,
		Endpoint: i.Endpoint, LocalEndpoint: i.LocalEndpoint, HTTP: i.HTTP, Ops: i.Ops, Data: i.Data,
		CAFile: i.CAFile, BundleFile: i.BundleFile, TrustStoreFile: i.TrustStoreFile, CertFile: i.CertFile,
	}
	if i.Memory {
		r.Data = config.Memory
	}
	return r.withKey(i.AccessKey)
}

// client is what a client of the server must know.
func (r running) client() clientenv.Server {
	return clientenv.Server{Endpoint: r.Endpoint, AccessKey: r.AccessKey, CAFile: r.CAFile, BundleFile: r.BundleFile, TrustStoreFile: r.TrustStoreFile}
}

const runtimeFile = "server.json"

// announcement is what a server says of itself in files while it runs.
type announcement struct {
	mu    sync.Mutex // guards what follows, and the files
	r     running
	key   string // a primary key that was rotated in, or empty
	path  string // of the runtime file; empty before and after
	notes []string
}

// publish writes the runtime file and, for each port, a note for whoever finds
// it taken.
func (a *announcement) publish(r running) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	path, err := runtimePath(r.Data, r.PID)
	if err != nil {
		return err
	}
	a.r = r.withKey(cmp.Or(a.key, r.AccessKey))
	if err := writeJSON(path, a.r); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	a.path = path
	if dir := noteFolder(); dir != "" && r.Dev {
		for _, address := range []string{r.LocalEndpoint, r.HTTP, r.Ops} {
			if u, err := url.Parse(address); err == nil && u.Port() != "" {
				note := filepath.Join(dir, u.Port()+".json")
				if writeJSON(note, portNote{PID: r.PID, Data: r.Data}) == nil { // a courtesy: the server does not depend on it
					a.notes = append(a.notes, note)
				}
			}
		}
	}
	return nil
}

// rotated puts the new primary key into the runtime file. A rotation may come
// before there is one: clients are served first.
func (a *announcement) rotated(key communication.AccessKey) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.key = key.Text()
	if a.path == "" {
		return nil
	}
	a.r = a.r.withKey(a.key)
	return writeJSON(a.path, a.r)
}

// withdraw takes all of it back.
func (a *announcement) withdraw() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range append(a.notes, a.path) {
		os.Remove(f)
	}
	a.path, a.notes = "", nil
}

func (r running) withKey(key string) running {
	r.AccessKey = key
	r.ConnectionString = r.client().ConnectionString()
	return r
}

// portNote says which development server has a port.
type portNote struct {
	PID  int    `json:"pid"`
	Data string `json:"data"`
}

// whoHas returns the note on a port. Notes of servers that are gone count for
// nothing and are removed.
func whoHas(address string) (portNote, bool) {
	_, port, err := net.SplitHostPort(address)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n == 0 || noteFolder() == "" {
		return portNote{}, false
	}
	var n portNote
	path := filepath.Join(noteFolder(), port+".json")
	if err := readJSON(path, &n); err != nil {
		return portNote{}, false
	}
	if n.PID <= 0 || !alive(n.PID) {
		os.Remove(path)
		return portNote{}, false
	}
	return n, true
}

// noteFolder is the user's folder of notes on running servers, or empty.
func noteFolder() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "confab", "running")
}

// runtimePath is where the runtime file of a server stands. One that keeps
// nothing has no data folder: its file lies among the notes.
func runtimePath(data string, pid int) (string, error) {
	if data != config.Memory {
		return filepath.Join(data, runtimeFile), nil
	}
	dir := noteFolder()
	if dir == "" {
		return "", errors.New("there is no cache folder to say in that the server runs: set HOME")
	}
	return filepath.Join(dir, fmt.Sprintf("memory-%d.json", pid)), nil
}

// findRunning returns the server that runs on a data folder, or on none for
// config.Memory. Files of servers that are gone are removed.
func findRunning(data string) (running, bool) {
	paths := []string{filepath.Join(data, runtimeFile)}
	if data == config.Memory {
		paths, _ = filepath.Glob(filepath.Join(noteFolder(), "memory-*.json")) // the pattern is well-formed
	}
	var newest running
	for _, path := range paths {
		var r running
		if err := readJSON(path, &r); err != nil || r.PID <= 0 {
			continue
		}
		if !alive(r.PID) {
			os.Remove(path)
			continue
		}
		// A process id may have come round to another program, in containers above all.
		if r.Started.After(newest.Started) && answers(r.LocalEndpoint) {
			newest = r
		}
	}
	return newest, newest.PID != 0
}

// answers reports whether a TLS server listens at the endpoint. The handshake
// is finished, since the server would log a broken one; who it is does not
// matter here, clients look at the certificate themselves.
func answers(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 2 * time.Second}, "tcp", u.Host, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func readJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// writeJSON replaces a file that only the user may read. It is not flushed to
// the disk: what it says ends with the process.
func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".confab-*") // made with 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// findServer returns the server that a client command means, by its --data,
// the settings around it, or the development server's folder.
func findServer(cmd clientCommand) (running, error) {
	data, err := cmd.dataFolder()
	if err != nil {
		return running{}, err
	}
	if r, ok := findRunning(data); ok {
		return r, nil
	}
	what := "no server runs on " + tilde(data)
	if data == config.Memory {
		what = "no server that keeps its data in memory runs"
	}
	path := filepath.Join(data, runtimeFile)
	if _, err := os.ReadFile(path); data != config.Memory && errors.Is(err, fs.ErrPermission) {
		return running{}, &failure{what: "the server's " + tilde(path) + " may not be read by this user", next: "run this as the user of the server"}
	}
	return running{}, &failure{what: what, next: "start one: " + programName() + " serve --dev" + cmd.dataFlag()}
}

// clientCommand is a command that looks for a running server.
type clientCommand struct{ in config.Input }

func (c clientCommand) dataFolder() (string, error) {
	c.in.Defaults = map[string]string{"dev": "true"}
	c.in.Only = []string{"dev", "data"}
	cfg, err := config.Load(c.in)
	return cfg.Data, err
}

// dataFlag is the --data that was given, to be repeated in a hint.
func (c clientCommand) dataFlag() string {
	if f := c.in.Flags.Lookup("data"); f != nil && f.Changed && strings.TrimSpace(f.Value.String()) != "" {
		return " --data " + shellWord(f.Value.String())
	}
	return ""
}
