// Package config reads the settings of the server. The struct Config holds them, the table Settings
// describes each one, and Load reads them.
//
// A setting has four sources, the first of which wins: the flag; the environment variable CONFAB_
// plus the flag's name in capitals, with _ for -; the file confab.yaml; the default. An unknown key
// or CONFAB_ variable is an error that suggests the nearest setting, because otherwise the server
// would silently use the default after a typing error.
//
// A secret has no flag for its value, because every user of the machine can read a command line. A
// secret can be set by its variable, by its key in confab.yaml, or by the name of a file that holds
// it: --access-key-file, CONFAB_ACCESS_KEY_FILE or access-key-file in confab.yaml.
package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/sdk/communication"
)

// Config holds the effective settings of a server. Load returns one; the zero value is
// invalid.
type Config struct {
	Dev  bool
	Data string // absolute path of the data folder, or Memory if the server has none

	Database string // postgres://..., which may hold a password; empty selects the embedded store

	Listen     string // host:port of https
	ListenHTTP string // host:port at which the server listens for plain http; empty: it does not listen for it
	ListenOps  string // host:port at which the server serves metrics and health; empty: it does not serve them

	// ListenAdmin is the host:port of the operator's API and console, or empty if the server has
	// none. The listener uses TLS if other machines can reach it.
	ListenAdmin        string
	ViewerSecret       string // the secret that viewers of the operator's API send, or empty if there are no viewers
	AdminReadsMessages bool   // true if the operator's API shows the content of messages
	Pprof              bool   // ListenOps serves profiles too

	TLSNames        []string // extra DNS names and IP addresses for the local certificate
	TLSCert, TLSKey string   // paths of the files with the user's certificate and key; either both are set or none
	PublicEndpoint  string   // the URL that clients use, without a final slash, or empty
	CORSOrigins     []string // origins of web pages that may use the API, AnyOrigin or LoopbackOrigins

	Web         Web    // the listeners that serve the chat page
	WebTokenURL string // the URL from which the chat page gets its user's token, or empty

	AccessKey, AccessKeySecondary communication.AccessKey // the two access keys, each at least 32 bytes long; a key that is not set is the zero key

	ResourceID string              // GUID of the Azure resource whose user ids the server accepts, or empty
	Cloud      communication.Cloud // the Azure cloud that the resource is from
	Limits     limits.Profile

	LogLevel  slog.Level
	LogFormat LogFormat
	AccessLog AccessLog
	Record    string // folder for a record of requests and responses, or empty; only for a development server

	HTMLImages bool // true: keep images with an https address in HTML messages; false: remove all images

	NewerVersions bool // true: treat an api-version that is newer than all known ones as the newest known one
	RepeatSends   RepeatSends

	MinFreeSpace    int64 // number of bytes that the server leaves free on the disk; 0: only as many as the store itself needs
	MaxBodySize     int64 // most bytes of a request body
	MaxContent      int   // the greatest number of bytes of a message's content; 0 means the limit of the profile
	MaxParticipants int   // the greatest number of participants of a thread; 0 means the limit of the profile
	WrittenPerHour  int64 // the number of bytes that a user may write in an hour, with the profile fair; 0: any number
	AnswerMemory    int64 // the greatest number of bytes of large responses that are being written
	ThreadCache     int64 // the greatest number of bytes of the cache of threads
	LiveSessions    int   // the greatest number of live connections; 0: only the limit of open files bounds them
	LiveQueue       int64 // the greatest number of bytes of events that wait for live connections
	BodyTimeout     time.Duration
	RequestTimeout  time.Duration
	DeletionGrace   time.Duration
	EventsKept      int           // days for which events are kept
	AuditKept       int           // the number of days for which audit rows are kept
	ShutdownDelay   time.Duration // time from SIGTERM until the server closes its listeners; 0: none
	ShutdownTimeout time.Duration

	ConnectionsPerAddress int            // the greatest number of connections from one client address; 0: no limit
	TrustedProxies        []netip.Prefix // addresses of proxies in front of the server

	values map[string]value // the value of each setting, by the setting's name; the value of a secret has no text
	files  []string         // paths of the files that Load has read, with settings and secrets
}

// Memory is the value of Config.Data for a server that keeps all data in memory and loses
// it when the process ends.
const Memory = "memory:"

// Values of Config.CORSOrigins that stand for several origins: all origins, or the origins of this
// machine.
const (
	AnyOrigin       = "all"
	LoopbackOrigins = "loopback" // allows web pages of this machine, on any port
)

// Web says which listeners serve the chat page.
type Web string

const (
	WebAuto Web = "auto" // ListenHTTP of a development server
	WebOn   Web = "on"   // Listen and ListenHTTP
	WebOff  Web = "off"
)

// ChatPage reports whether a listener serves the chat page: the https listener if https is true, and
// the listener for plain http otherwise.
func (c Config) ChatPage(https bool) bool {
	return c.Web == WebOn || c.Web == WebAuto && c.Dev && !https
}

// PublicKey reports whether the server uses a well-known access key of development servers,
// so that everybody who can connect to it is its administrator.
func (c Config) PublicKey() bool {
	return c.Dev && (c.AccessKey.IsZero() || c.AccessKeySecondary.IsZero())
}

// LogFormat is the format of the log.
type LogFormat string

const (
	LogAuto LogFormat = "auto" // like LogText, but a development server on a terminal writes short lines for people
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// AccessLog says which requests are logged.
type AccessLog string

const (
	AccessAll    AccessLog = "all"
	AccessErrors AccessLog = "errors" // logs requests with a status of 400 or above, without an answer, or signed with an access key
	AccessOff    AccessLog = "off"
)

// RepeatSends says how the server recognizes a request that repeats a send whose answer was lost
// (docs/contract/chat.md §4.1).
type RepeatSends string

const (
	RepeatsByRequestID RepeatSends = "by-request-id" // a repeat has the same x-ms-client-request-id and command, or the same idempotency token
	RepeatsByToken     RepeatSends = "by-token"      // a repeat has the same repeatability-request-id
)

// InMemory reports whether the server keeps its data in memory only.
func (c Config) InMemory() bool { return c.Data == Memory }

// Explicit reports whether a flag, a variable or the configuration file sets the setting.
// It returns false if the setting has its default value.
func (c Config) Explicit(setting string) bool {
	return c.values[setting].source > fromCommand
}

// Files returns the paths of the files with settings and secrets that Load has read, and of the
// certificate and the key that the settings name.
func (c Config) Files() []string {
	all := slices.Clone(c.files)
	for _, path := range []string{c.TLSCert, c.TLSKey} {
		if path != "" {
			all = append(all, path)
		}
	}
	return all
}

// Found reports whether the setting's value is from a confab.yaml that Load has found in the
// working folder. It returns false if a flag or a variable names the confab.yaml.
func (c Config) Found(setting string) bool { return c.values[setting].found }

// Origin returns the source of the setting's value in words: "flag --listen",
// "variable CONFAB_LISTEN", "confab.yaml:3", "default".
func (c Config) Origin(setting string) string { return c.values[setting].origin }

// Shown is a setting in a form that may be printed: a secret is replaced.
type Shown struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // the source, as Config.Origin returns it
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

// String returns one line for each setting, with its value and its source. Secrets are
// hidden.
func (c Config) String() string {
	var b strings.Builder
	for _, s := range c.Shown() {
		fmt.Fprintf(&b, "%-44s # %s\n", strings.TrimRight(s.Name+": "+s.Value, " "), s.Origin)
	}
	return b.String()
}

// LogValue returns the settings as a slog group. Secrets are hidden.
func (c Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, s := range c.Shown() {
		attrs = append(attrs, slog.String(s.Name, s.Value))
	}
	return slog.GroupValue(attrs...)
}

// Sizes returns the limits of sizes, such as the longest message. They are the sizes of the limits
// profile, except for sizes that max-content and max-participants replace.
func (c Config) Sizes() core.Limits {
	l := c.Limits.Sizes()
	l.Content = cmp.Or(c.MaxContent, l.Content)
	l.Participants = cmp.Or(c.MaxParticipants, l.Participants)
	return l
}

// Loopback reports whether addr, a host:port, is a loopback address or localhost, so that
// only programs on this machine can connect to it.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
