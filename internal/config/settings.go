package config

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Setting describes one setting of the server. The flags, the function Load and the help
// texts use it.
type Setting struct {
	Name       string
	Default    string // default value in the syntax of a flag; empty if the setting has none
	DevDefault string // default value for a development server (--dev); empty if it is the same as Default
	Value      string // placeholder for the value in help texts, such as "host:port"
	Help       string
	Secret     bool
	InFile     bool // the value can be in a file that the setting NAME-file names; true for each secret
	// InFolder means that a development server takes the setting from a confab.yaml in its working
	// folder. Such a file may come with a repository of somebody else, so it must not decide where
	// the server listens, who may use it or where its data is.
	InFolder bool
	redact   func(string) string // removes secrets from the value before it is shown; nil shows the whole value

	set func(*Config, value) error
}

// Settings lists all settings in the order in which they are shown and applied.
var Settings = []Setting{
	{Name: "dev", Default: "false", Value: "bool", InFolder: true, set: setDev,
		Help: "start a development server: a well-known access key, plain http for the browser, data in your own folder"},
	{Name: "data", Value: "folder", DevDefault: "your data folder, confab/dev in it", set: setData,
		Help: "folder for all data, or memory: to keep everything in memory"},
	{Name: "database", Value: "url", InFile: true, set: setDatabase, redact: redactURL,
		Help: "PostgreSQL database (postgres://...) for chats, shared by several servers; empty: the embedded store in the data folder; put a password into CONFAB_DATABASE or a file"},
	{Name: "listen", Default: "localhost:8443", Value: "host:port", set: setListen,
		Help: "https listener for the SDKs; port 0 picks a free port"},
	{Name: "listen-http", Default: "off", DevDefault: "localhost:8080", Value: "host:port", set: setListenHTTP,
		Help: "plain http listener for the browser on this machine or a proxy, or off"},
	{Name: "listen-ops", Default: "localhost:8081", Value: "host:port", set: setListenOps,
		Help: "http listener for metrics and health checks, or off"},
	{Name: "listen-admin", Default: "off", DevDefault: "localhost:8082", Value: "host:port", set: setListenAdmin,
		Help: "http listener for the operator's API and console, beside the socket admin.sock, or off; where other machines reach it, it speaks https with tls-cert"},
	{Name: "viewer-secret", Value: "secret", Secret: true, set: setViewerSecret,
		Help: "what viewers of the operator's API send as bearer, 20 characters or more: they see what the operator sees and change nothing"},
	{Name: "admin-reads-messages", Default: "false", DevDefault: "true", Value: "bool", set: setAdminReadsMessages,
		Help: "let the operator's API show the content of messages (default true with --dev, else false)"},
	{Name: "pprof", Default: "false", Value: "bool", set: setPprof,
		Help: "serve profiles of the process (/debug/pprof/) on listen-ops"},
	{Name: "tls-names", Value: "names", set: setTLSNames,
		Help: "more names and IP addresses for the local certificate, separated by commas, beside localhost and the host's name"},
	{Name: "tls-cert", Value: "file", set: setTLSCert,
		Help: "certificate chain (PEM) to use instead of the local certificate; needs tls-key"},
	{Name: "tls-key", Value: "file", set: setTLSKey,
		Help: "private key (PEM) of tls-cert"},
	{Name: "public-endpoint", Value: "url", set: setPublicEndpoint,
		Help: "URL that clients use if it is not the listener's, for example behind a proxy"},
	{Name: "cors-origins", Default: AnyOrigin, DevDefault: LoopbackOrigins, Value: "origins", set: setCORSOrigins,
		Help: "origins of the web pages that may use the API, separated by commas: https://app.example.com, capacitor://localhost, all, or loopback for pages of this machine, which --dev always allows"},
	{Name: "web", Default: "auto", Value: "where", set: setWeb,
		Help: "the chat page at / for browsers: on (of listen and listen-http), off, or auto (with --dev on listen-http, else off)"},
	{Name: "web-token-url", Value: "url", set: setWebTokenURL,
		Help: "URL of your application at which the chat page gets the token of its user (docs/web.md); without it, people paste a token"},
	{Name: "access-key", Value: "key", Secret: true, InFolder: true, set: setAccessKey,
		Help: "primary access key, base64 of at least 32 bytes"},
	{Name: "access-key-secondary", Value: "key", Secret: true, InFolder: true, set: setAccessKeySecondary,
		Help: "secondary access key, so that the primary can be changed while clients run"},
	{Name: "resource-id", Value: "guid", InFolder: true, set: setResourceID,
		Help: "GUID of the Azure resource that the app moves from: user ids stored by the app stay valid, each from its first use"},
	{Name: "cloud", Default: "public", Value: "cloud", InFolder: true, set: setCloud,
		Help: "Azure cloud of the resource that the app moves from: public, gcch (user ids begin with 8:gcch-acs:) or dod (8:dod-acs:)"},
	{Name: "limits", Default: "fair", Value: "profile", InFolder: true, set: setLimits,
		Help: "azure (the service's ceilings and 429s), fair (fairness between users) or off (benchmarks)"},
	{Name: "max-content", Default: "auto", Value: "size", InFolder: true, set: setMaxContent,
		Help: "largest content of a message, up to 1MiB; auto: 64KiB with --limits fair, 28KiB with azure, 1MiB with off"},
	{Name: "max-participants", Default: "auto", Value: "number", InFolder: true, set: setMaxParticipants,
		Help: "most participants of a thread; auto: 10000, with --limits azure 250"},
	{Name: "written-per-hour", Default: "64MiB", Value: "size", InFolder: true, set: setWrittenPerHour,
		Help: "bytes that a user may write in an hour with --limits fair, or off"},
	{Name: "deletion-grace", Default: "30s", Value: "duration", InFolder: true, set: setDeletionGrace,
		Help: "time after a user's deletion in which its tokens may still leave threads, and delete those that it created or is alone in; 0: none"},
	{Name: "events-kept", Default: "7", Value: "days", InFolder: true, set: setEventsKept,
		Help: "days for which the event log is kept; a client that was away for longer cannot resume"},
	{Name: "audit-kept", Default: "400d", Value: "days", InFolder: true, set: setAuditKept,
		Help: "days for which it is kept who did what through the operator's API, as in 400d; refused attempts are also limited to 64 MiB"},
	{Name: "log-level", Default: "info", Value: "level", InFolder: true, set: setLogLevel,
		Help: "debug, info, warn or error"},
	{Name: "log-format", Default: "auto", Value: "format", InFolder: true, set: setLogFormat,
		Help: "text, json or auto (text, but short lines for people from --dev on a terminal)"},
	{Name: "access-log", Default: "errors", DevDefault: "all", Value: "which", InFolder: true, set: setAccessLog,
		Help: "requests to log: all, errors (those with a status of 400 and above, without an answer, or signed with an access key) or off"},
	{Name: "record", Value: "folder", set: setRecord,
		Help: "folder in which a development server records every request and its answer, for bug reports: without tokens and keys, but with what users wrote"},
	{Name: "html-images", Default: "on", Value: "on|off", InFolder: true, set: setHTMLImages,
		Help: "images in HTML messages, which tell their owner who reads: on keeps those with an https address, off removes all"},
	{Name: "newer-api-versions", Default: "refuse", DevDefault: "newest", Value: "newest|refuse", InFolder: true, set: setNewerVersions,
		Help: "requests with an api-version that is newer than all known ones: newest answers them as the newest known one, refuse refuses them"},
	{Name: "repeat-sends", Default: "by-request-id", Value: "how", InFolder: true, set: setRepeatSends,
		Help: "how a repeated send is recognized, so that a lost answer does not double a message: by-request-id (also by the id that SDKs keep over the tries of a call) or by-token (by repeatability-request-id alone)"},
	{Name: "min-free-space", Default: "64MiB", Value: "size", InFolder: true, set: setMinFreeSpace,
		Help: "disk space to leave free: writes that could take it are refused; the default is less on a disk below 1 GiB"},
	{Name: "max-body-size", Default: "auto", Value: "size", InFolder: true, set: setMaxBodySize,
		Help: "largest request body; auto: 1MiB, or more if a message of max-content needs it in JSON"},
	{Name: "body-timeout", Default: "30s", Value: "duration", InFolder: true, set: setBodyTimeout,
		Help: "time that a client has to send the body of a request"},
	{Name: "request-timeout", Default: "10s", Value: "duration", InFolder: true, set: setRequestTimeout,
		Help: "time after which a change is refused with 503 if other requests keep changing the same rows"},
	{Name: "thread-cache", Default: "64MiB", Value: "size", InFolder: true, set: setThreadCache,
		Help: "memory for recently used threads"},
	{Name: "answer-memory", Default: "64MiB", Value: "size", InFolder: true, set: setAnswerMemory,
		Help: "memory for large answers in progress; a request that finds no room in it for 5s is refused with 503"},
	{Name: "live-sessions", Default: "auto", Value: "number", InFolder: true, set: setLiveSessions,
		Help: "most live connections at a time; auto: as many as the limit of open files allows"},
	{Name: "live-queue", Default: "64MiB", Value: "size", InFolder: true, set: setLiveQueue,
		Help: "memory for events that wait for slow live connections"},
	{Name: "connections-per-address", Default: "256", Value: "number", InFolder: true, set: setConnectionsPerAddress,
		Help: "most connections of one client address, more are closed at once; 0: no limit"},
	{Name: "trusted-proxies", Default: "127.0.0.1/32,::1/128", Value: "names", set: setTrustedProxies,
		Help: "addresses or networks of the proxies in front of the server, separated by commas, or off: their X-Forwarded and Forwarded headers count; those that you set are exempt from connections-per-address"},
	{Name: "shutdown-delay", Default: "5s", DevDefault: "0s", Value: "duration", InFolder: true, set: setShutdownDelay,
		Help: "time after SIGTERM for which the server goes on serving while /readyz fails, so that load balancers send clients elsewhere; 0: none"},
	{Name: "shutdown-timeout", Default: "10s", Value: "duration", InFolder: true, set: setShutdownTimeout,
		Help: "time that requests in progress have to finish when the server stops"},
}

const fileSuffix = "-file"

// find returns the setting that a key of confab.yaml or the name of a flag refers to. file is true
// if the key ends in -file and names the file of a value. ok is false for an unknown key.
func find(key string) (s Setting, file, ok bool) {
	for _, s := range Settings {
		switch {
		case s.Name == key:
			return s, false, true
		case s.inFile() && s.Name+fileSuffix == key:
			return s, true, true
		}
	}
	return Setting{}, false, false
}

// inFile reports whether the setting's value can be in a separate file.
func (s Setting) inFile() bool { return s.Secret || s.InFile }

// keys returns the keys that confab.yaml may have: the name of each setting and, if a file can
// hold the setting's value, also the name with -file at the end.
func keys() []string {
	var all []string
	for _, s := range Settings {
		all = append(all, s.Name)
		if s.inFile() {
			all = append(all, s.Name+fileSuffix)
		}
	}
	return all
}

// AddFlags adds to fs the flag --config and the flags of the named settings, or of all settings if
// no name is given. A command without the flag --dev uses the defaults of a development server, and
// its help says so.
func AddFlags(fs *pflag.FlagSet, settings ...string) {
	dev := len(settings) == 0 || slices.Contains(settings, "dev")
	fs.Var(&textFlag{kind: "file"}, configFlag, "file with settings (default confab.yaml in the working folder, if it exists)")
	for _, s := range Settings {
		if len(settings) > 0 && !slices.Contains(settings, s.Name) {
			continue
		}
		if s.inFile() {
			what, _, _ := strings.Cut(s.Help, ",")
			if !s.Secret {
				what = s.Value + " of --" + s.Name
			}
			fs.Var(&textFlag{kind: "file"}, s.Name+fileSuffix, "file that holds the "+what)
		}
		switch {
		case s.Secret:
		case s.Value == "bool":
			fs.Bool(s.Name, false, s.Help)
		default:
			fs.Var(&textFlag{kind: s.Value}, s.Name, s.Help+s.defaults(dev))
		}
	}
}

// textFlag is a pflag.Value that keeps the text of a flag without parsing it. The help text
// shows kind as the placeholder for the value.
type textFlag struct{ text, kind string }

func (f *textFlag) String() string { return f.text }
func (f *textFlag) Type() string   { return f.kind }
func (f *textFlag) Set(text string) error {
	if (f.kind == "names" || f.kind == "origins") && f.text != "" { // repeating the flag extends the list
		text = f.text + "," + text
	}
	f.text = text
	return nil
}

// defaults returns a text about the setting's default for the end of its help text, such as "
// (default 10s)". It returns "" if the setting has no default. If dev is false, the help is for a
// command without the flag --dev, and the text shows the default of a development server.
func (s Setting) defaults(dev bool) string {
	switch {
	case s.DevDefault != "" && !dev:
		return fmt.Sprintf(" (default %s)", s.DevDefault)
	case s.DevDefault != "" && s.Default != "":
		return fmt.Sprintf(" (default %s, with --dev %s)", s.Default, s.DevDefault)
	case s.DevDefault != "":
		return fmt.Sprintf(" (with --dev by default %s)", s.DevDefault)
	case s.Default != "":
		return fmt.Sprintf(" (default %s)", s.Default)
	}
	return ""
}

// WriteExample writes an example of confab.yaml to w. Every setting is a comment with its
// default value.
func WriteExample(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Settings of Confab. A flag (--listen) or a variable (CONFAB_LISTEN) overrides this file.\n")
	for _, s := range Settings {
		fmt.Fprintf(&b, "\n# %s%s\n", s.Help, s.defaults(true))
		if s.inFile() {
			fmt.Fprintf(&b, "# (better in a file of its own: %s%s)\n", s.Name, fileSuffix)
		}
		fmt.Fprintf(&b, "#%s: %s\n", s.Name, s.Default)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// EnvName returns the name of the environment variable for a setting, such as
// CONFAB_LISTEN_HTTP for listen-http.
func EnvName(setting string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}
