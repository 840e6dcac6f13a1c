package config

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Setting is a row of the table: all that flags, the loader and the
// documentation know of a setting.
type Setting struct {
	Name       string
	Default    string // as one would write it
	DevDefault string // with dev, where it differs
	Value      string // what a value looks like, in one word
	Help       string
	Secret     bool
	redact     func(string) string // what may be shown of the value; nil: all of it

	set func(*Config, value) error
}

// Settings are all settings, in the order they are shown.
var Settings = []Setting{
	{Name: "dev", Default: "false", Value: "bool", set: setDev,
		Help: "development server: a well-known access key, plain http for the browser, data in your own folder"},
	{Name: "data", Value: "folder", DevDefault: "your data folder, confab/dev in it", set: setData,
		Help: "folder that holds everything, or memory: to keep nothing"},
	{Name: "database", Value: "url", set: setDatabase, redact: redactURL,
		Help: "postgres://... to keep chats there, for several servers; empty: the embedded store in the data folder"},
	{Name: "listen", Default: "localhost:8443", Value: "host:port", set: setListen,
		Help: "https listener for the SDKs; port 0 takes a free one"},
	{Name: "listen-http", Default: "off", DevDefault: "localhost:8080", Value: "host:port", set: setListenHTTP,
		Help: "plain http listener for the browser on this machine or a proxy, or off"},
	{Name: "listen-ops", Default: "localhost:8081", Value: "host:port", set: setListenOps,
		Help: "http listener for metrics, health and profiles, or off"},
	{Name: "tls-names", Value: "names", set: setTLSNames,
		Help: "names and addresses, separated by commas, that the local certificate holds beside localhost and the host's name"},
	{Name: "tls-cert", Value: "file", set: setTLSCert,
		Help: "certificate chain (PEM) to use in place of the local one; needs tls-key"},
	{Name: "tls-key", Value: "file", set: setTLSKey,
		Help: "private key (PEM) of tls-cert"},
	{Name: "public-endpoint", Value: "url", set: setPublicEndpoint,
		Help: "address that clients use, where it is not the listener's, for example behind a proxy"},
	{Name: "access-key", Value: "key", Secret: true, set: setAccessKey,
		Help: "primary access key, base64 of at least 32 bytes"},
	{Name: "access-key-secondary", Value: "key", Secret: true, set: setAccessKeySecondary,
		Help: "secondary access key, so that the primary can be changed while clients run"},
	{Name: "resource-id", Value: "guid", set: setResourceID,
		Help: "GUID of an Azure resource to move in from: its stored user ids go on to work"},
	{Name: "limits", Default: "fair", Value: "profile", set: setLimits,
		Help: "azure (the service's ceilings and 429s), fair (fairness between users) or off (benchmarks)"},
	{Name: "deletion-grace", Default: "30s", Value: "duration", set: setDeletionGrace,
		Help: "time in which a deleted user's tokens may still delete threads and leave them"},
	{Name: "log-level", Default: "info", Value: "level", set: setLogLevel,
		Help: "debug, info, warn or error"},
	{Name: "log-format", Default: "auto", Value: "format", set: setLogFormat,
		Help: "auto (for people on a terminal, else text), text or json"},
	{Name: "min-free-space", Default: "64MiB", Value: "size", set: setMinFreeSpace,
		Help: "writes are refused when the disk has less than this left; 0 never refuses"},
	{Name: "max-body-size", Default: "1MiB", Value: "size", set: setMaxBodySize,
		Help: "largest request body"},
	{Name: "body-timeout", Default: "30s", Value: "duration", set: setBodyTimeout,
		Help: "time a client has to send a request"},
	{Name: "request-timeout", Default: "10s", Value: "duration", set: setRequestTimeout,
		Help: "time after which a change of rows that others keep changing is refused with 503"},
	{Name: "thread-cache", Default: "64MiB", Value: "size", set: setThreadCache,
		Help: "memory for threads that were used last"},
	{Name: "shutdown-timeout", Default: "10s", Value: "duration", set: setShutdownTimeout,
		Help: "time that requests in progress have to end when the server stops"},
}

const fileSuffix = "-file"

// find returns the row of a setting. file reports that key is the -file form of a secret.
func find(key string) (s Setting, file, ok bool) {
	for _, s := range Settings {
		switch {
		case s.Name == key:
			return s, false, true
		case s.Secret && s.Name+fileSuffix == key:
			return s, true, true
		}
	}
	return Setting{}, false, false
}

// keys are the names that may stand in a file.
func keys() []string {
	var all []string
	for _, s := range Settings {
		all = append(all, s.Name)
		if s.Secret {
			all = append(all, s.Name+fileSuffix)
		}
	}
	return all
}

// AddFlags gives fs the flag --config and those of the settings named, or of
// all when none is named.
func AddFlags(fs *pflag.FlagSet, settings ...string) {
	fs.Var(&textFlag{kind: "file"}, configFlag, "file with settings (default confab.yaml in the working folder, if there is one)")
	for _, s := range Settings {
		if len(settings) > 0 && !slices.Contains(settings, s.Name) {
			continue
		}
		switch {
		case s.Secret:
			what, _, _ := strings.Cut(s.Help, ",")
			fs.Var(&textFlag{kind: "file"}, s.Name+fileSuffix, "file that holds the "+what)
		case s.Value == "bool":
			fs.Bool(s.Name, false, s.Help)
		default:
			fs.Var(&textFlag{kind: s.Value}, s.Name, s.Help+s.defaults())
		}
	}
}

// textFlag is a flag's text; the loader reads it. The kind stands in the help.
type textFlag struct{ text, kind string }

func (f *textFlag) String() string { return f.text }
func (f *textFlag) Type() string   { return f.kind }
func (f *textFlag) Set(text string) error {
	if f.kind == "names" && f.text != "" { // a list may be given piece by piece
		text = f.text + "," + text
	}
	f.text = text
	return nil
}

// defaults is the end of a help text.
func (s Setting) defaults() string {
	switch {
	case s.DevDefault != "" && s.Default != "":
		return fmt.Sprintf(" (default %s, with --dev %s)", s.Default, s.DevDefault)
	case s.DevDefault != "":
		return fmt.Sprintf(" (with --dev by default %s)", s.DevDefault)
	case s.Default != "":
		return fmt.Sprintf(" (default %s)", s.Default)
	}
	return ""
}

// WriteExample writes a confab.yaml with every setting, commented out, at its default.
func WriteExample(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Settings of Confab. A flag (--listen) or a variable (CONFAB_LISTEN) comes before what stands here.\n")
	for _, s := range Settings {
		fmt.Fprintf(&b, "\n# %s%s\n", s.Help, s.defaults())
		if s.Secret {
			fmt.Fprintf(&b, "# (better in a file of its own: %s%s)\n", s.Name, fileSuffix)
		}
		fmt.Fprintf(&b, "#%s: %s\n", s.Name, s.Default)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// EnvName is the variable of a setting.
func EnvName(setting string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}
