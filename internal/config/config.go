// Package config reads the server's settings: one struct, one table that describes each
// setting, and one loader.
//
// A setting has four sources: the flag, the variable CONFAB_ plus the flag's name in
// capitals with _ for -, the file confab.yaml, the default. A key or variable that is
// not a setting is an error that suggests the nearest one, so that a typing error never
// leaves a default in force unnoticed.
//
// Secrets have no flag of their own, because every user of the machine can
// read a command line. Beside the variable and the key in the file there is a
// -file form in all three places, which names a file that holds the secret:
// --access-key-file, CONFAB_ACCESS_KEY_FILE, access-key-file.
package config

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/sdk/communication"
)

// Config is the effective settings, made by Load. The zero value is invalid.
type Config struct {
	Dev  bool
	Data string // an absolute path, or Memory

	Database string // postgres://..., or empty: the embedded store. It may hold a password.

	Listen     string // host:port of https
	ListenHTTP string // host:port of plain http, or empty: off
	ListenOps  string // host:port of metrics and health, or empty: off

	TLSNames        []string // extra names and addresses for the local certificate
	TLSCert, TLSKey string   // paths of an own certificate, both or none
	PublicEndpoint  string   // the URL that clients use, without a final slash, or empty

	AccessKey, AccessKeySecondary communication.AccessKey // at least 32 bytes, or zero

	ResourceID string // GUID to move in with, or empty
	Limits     limits.Profile

	LogLevel  slog.Level
	LogFormat LogFormat

	MinFreeSpace    int64 // bytes; writes are refused below; 0: never
	MaxBodySize     int64 // bytes
	ThreadCache     int64 // bytes
	BodyTimeout     time.Duration
	RequestTimeout  time.Duration
	DeletionGrace   time.Duration
	ShutdownTimeout time.Duration

	values map[string]value // by setting; the texts of secrets are not kept
}

// Memory as Data means that nothing outlives the process.
const Memory = "memory:"

// LogFormat says how logs are written.
type LogFormat string

const (
	LogAuto LogFormat = "auto" // for people on a terminal, else text
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// InMemory reports whether nothing outlives the process.
func (c Config) InMemory() bool { return c.Data == Memory }

// Explicit reports whether the setting was set; false means that the default holds.
func (c Config) Explicit(setting string) bool {
	return c.values[setting].source > fromCommand
}

// Origin returns the source of the setting's value in words: "flag --listen",
// "variable CONFAB_LISTEN", "confab.yaml:3", "default".
func (c Config) Origin(setting string) string { return c.values[setting].origin }

// Shown is a setting as it may be shown to anybody.
type Shown struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // as from Config.Origin
}

// Shown returns all settings and their origins. Secrets are hidden.
func (c Config) Shown() []Shown {
	var all []Shown
	for _, s := range Settings {
		v := c.values[s.Name]
		all = append(all, Shown{s.Name, v.shown(s), v.origin})
	}
	return all
}

// String shows every setting and where it comes from, a line each. Secrets are hidden.
func (c Config) String() string {
	var b strings.Builder
	for _, s := range c.Shown() {
		fmt.Fprintf(&b, "%-44s # %s\n", strings.TrimRight(s.Name+": "+s.Value, " "), s.Origin)
	}
	return b.String()
}

// LogValue returns the settings as a group, secrets hidden.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, s := range c.Shown() {
		attrs = append(attrs, slog.String(s.Name, s.Value))
	}
	return slog.GroupValue(attrs...)
}

// Loopback reports whether a listener on addr can be reached from this machine alone.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
