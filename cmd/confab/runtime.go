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

// running describes a running server to the other commands. The server writes it to
// <data>/server.json and removes the file when it stops. Only the server's user may read
// the file, because it holds the access key and the operator's secret.
type running struct {
	PID              int       `json:"pid"`
	Version          string    `json:"version"`
	Started          time.Time `json:"started"`
	Dev              bool      `json:"dev"`
	Endpoint         string    `json:"endpoint"`      // for clients
	LocalEndpoint    string    `json:"localEndpoint"` // URL of the address on which the server listens
	HTTP             string    `json:"http,omitempty"`
	Chat             string    `json:"chat,omitempty"`    // URL of the chat page
	Console          string    `json:"console,omitempty"` // URL of the operator's console
	Ops              string    `json:"ops,omitempty"`
	AdminSocket      string    `json:"adminSocket,omitempty"` // path of the socket of the operator's API
	Admin            string    `json:"admin,omitempty"`       // TCP address of the operator's API, or empty
	AdminSecret      string    `json:"adminSecret,omitempty"` // the secret that a request to the operator's API over TCP must contain
	Data             string    `json:"data"`
	AccessKey        string    `json:"accessKey"`
	ConnectionString string    `json:"connectionString"`
	CAFile           string    `json:"caFile,omitempty"`
	BundleFile       string    `json:"bundleFile,omitempty"`
	TrustStoreFile   string    `json:"trustStoreFile,omitempty"`
	CertFile         string    `json:"certFile,omitempty"` // path of the certificate that the user provided (setting tls-cert); "" for a local certificate
}

func newRunning(i server.Info, started time.Time) running {
	r := running{
		PID: i.PID, Version: buildVersion(), Started: started.UTC().Truncate(time.Second), Dev: i.Dev,
		Endpoint: i.Endpoint, LocalEndpoint: i.LocalEndpoint, HTTP: i.HTTP, Chat: i.Chat, Console: withoutCode(i.Console), Ops: i.Ops, Data: i.Data,
		AdminSocket: i.AdminSocket, Admin: i.Admin, AdminSecret: i.AdminSecret,
		CAFile: i.CAFile, BundleFile: i.BundleFile, TrustStoreFile: i.TrustStoreFile, CertFile: i.CertFile,
	}
	if i.Memory {
		r.Data = config.Memory
	}
	return r.withKey(i.AccessKey)
}

// withoutCode returns the URL of the operator's console without the code with which a browser
// signs in. Only the terminal shows the code: it must not appear in a log or in the output of
// `confab env`.
func withoutCode(console string) string {
	if i := strings.IndexAny(console, "?#"); i >= 0 {
		return console[:i]
	}
	return console
}

// client returns the facts about the server that package clientenv needs to configure clients.
func (r running) client() clientenv.Server {
	return clientenv.Server{Endpoint: r.Endpoint, AccessKey: r.AccessKey, CAFile: r.CAFile, BundleFile: r.BundleFile, TrustStoreFile: r.TrustStoreFile}
}

const runtimeFile = "server.json"

// announcement writes the files that describe a running server to other commands, updates them
// when a key is rotated, and removes them. The zero value is ready to use.
type announcement struct {
	mu    sync.Mutex // guards the fields below, and the files that describe the server
	r     running
	key   string   // the primary access key after a rotation; empty if it was not rotated
	path  string   // path of the file that describes the server; empty while there is no such file
	notes []string // paths of the files that contain a portNote
}

// publish writes the file that describes the server r to other commands; runtimePath
// returns the file's name. For a development server publish also writes a portNote for each port.
// If another Confab server finds the port in use, it reads the note to tell the user which server
// has the port.
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
		for _, address := range []string{r.LocalEndpoint, r.HTTP, r.Ops, r.Admin} {
			if u, err := url.Parse(address); err == nil && u.Port() != "" {
				note := filepath.Join(dir, u.Port()+".json")
				if writeJSON(note, portNote{PID: r.PID, Data: r.Data}) == nil { // ignore an error, because the server works without the note about its port
					a.notes = append(a.notes, note)
				}
			}
		}
	}
	return nil
}

// rotated writes a new primary access key to the file that describes the server. If publish has not
// written the file yet, rotated only stores the key for publish, because a client can rotate a key
// before publish runs.
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

// withdraw removes the files that publish wrote.
func (a *announcement) withdraw() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range append(a.notes, a.path) {
		os.Remove(f)
	}
	a.path, a.notes = "", nil
}

// withKey returns r with another access key and the connection string that contains it.
func (r running) withKey(key string) running {
	r.AccessKey = key
	r.ConnectionString = r.client().ConnectionString()
	return r
}

// portNote is the content of a file that says which development server uses a port.
type portNote struct {
	PID  int    `json:"pid"`
	Data string `json:"data"`
}

// whoHas returns the note about the server that listens on an address. ok is false if no running
// server has written a note about the address. whoHas removes the note of a server that has ended.
func whoHas(address string) (n portNote, ok bool) {
	_, port, err := net.SplitHostPort(address)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || n == 0 || noteFolder() == "" {
		return portNote{}, false
	}
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

// noteFolder returns the folder in the user's cache folder for the notes about used ports,
// or "" if the user has no cache folder.
func noteFolder() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "confab", "running")
}

// runtimePath returns the path of the file that describes a running server. The file is in
// the data folder or, for a server in memory, in the folder of port notes.
func runtimePath(data string, pid int) (string, error) {
	if data != config.Memory {
		return filepath.Join(data, runtimeFile), nil
	}
	dir := noteFolder()
	if dir == "" {
		return "", errors.New("there is no cache folder for the file that describes the server: set HOME")
	}
	return filepath.Join(dir, fmt.Sprintf("memory-%d.json", pid)), nil
}

// findRunning returns the server that runs on a data folder or, for config.Memory, the
// server in memory that started last. ok is false if no server runs. findRunning removes
// the files that describe servers that have ended.
func findRunning(data string) (r running, ok bool) {
	paths := []string{filepath.Join(data, runtimeFile)}
	if data == config.Memory {
		paths, _ = filepath.Glob(filepath.Join(noteFolder(), "memory-*.json")) // ignore the error, because Glob fails only for an invalid pattern
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
		// Check that the server answers: another program may have its process id by now,
		// especially in containers.
		if r.Started.After(newest.Started) && answers(r.LocalEndpoint) {
			newest = r
		}
	}
	return newest, newest.PID != 0
}

// answers reports whether a TLS server listens at the endpoint. It completes the handshake, because
// the server would log an incomplete handshake. It does not verify the certificate, because clients
// verify it later.
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

// writeJSON writes v to a file that only the user may read. It replaces the file atomically. It
// does not flush the file to the disk, because the content is no longer valid after a crash of the
// machine.
func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".confab-*") // CreateTemp makes a file that only the user may read
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

// findServer returns the running server on the command's data folder. If no flag or setting
// names a folder, it looks in the development server's folder. It fails if no server runs.
func findServer(cmd clientCommand) (running, error) {
	data, err := cmd.dataFolder()
	if err != nil {
		return running{}, err
	}
	if r, ok := findRunning(data); ok {
		return r, nil
	}
	what := "no server runs on " + tilde(data)
	if err := server.CheckFinished(data); data != config.Memory && explainFolder(err) != nil {
		return running{}, explainFolder(err)
	}
	if data == config.Memory {
		what = "no server that keeps its data in memory runs"
	}
	path := filepath.Join(data, runtimeFile)
	if _, err := os.ReadFile(path); data != config.Memory && errors.Is(err, fs.ErrPermission) {
		return running{}, &failure{what: "the server's " + tilde(path) + " may not be read by this user", next: "run this as the user of the server"}
	}
	return running{}, &failure{what: what, next: "start one: " + programName() + " serve" + cmd.serveFlags(data)}
}

// clientCommand holds the sources of the settings of a command that looks for a running server.
type clientCommand struct{ in config.Input }

// dataFolder returns the data folder that the settings name. If they name none, it returns the
// folder of the development server.
func (c clientCommand) dataFolder() (string, error) {
	cfg, err := c.settings()
	return cfg.Data, err
}

// settings loads only the settings that name the data folder: dev and data.
func (c clientCommand) settings() (config.Config, error) {
	c.in.Defaults = map[string]string{"dev": "true"}
	c.in.Only = []string{"dev", "data"}
	return config.Load(c.in)
}

// serveFlags returns the flags of `confab serve` for a hint that says how to start a server on the
// folder data. The flags start a production server if the user named the folder, the folder exists,
// and dev is not set. Otherwise the flags include --dev.
func (c clientCommand) serveFlags(data string) string {
	cfg, err := c.settings()
	production := err == nil && cfg.Explicit("data") && !cfg.InMemory() && !(cfg.Explicit("dev") && cfg.Dev)
	if _, err := os.Stat(data); production && err == nil {
		return c.dataFlag()
	}
	return " --dev" + c.dataFlag()
}

// line returns a command line for a hint to the user, such as "confab token --data d". It contains
// the given subcommand and the --data flag of the running command.
func (c clientCommand) line(name string) string { return programName() + " " + name + c.dataFlag() }

// dataFlag returns the flag --data for a command line in a hint to the user. It returns " --data
// FOLDER" if the running command has the flag, and "" otherwise.
func (c clientCommand) dataFlag() string {
	if f := c.in.Flags.Lookup("data"); f != nil && f.Changed && strings.TrimSpace(f.Value.String()) != "" {
		return " --data " + shellWord(f.Value.String())
	}
	return ""
}
