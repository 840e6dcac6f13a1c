package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/core"
)

const (
	// FileName is the name of the file of settings that is read from the working folder.
	FileName   = "confab.yaml"
	configFlag = "config"
	envPrefix  = "CONFAB_"
	byDefault  = "default"
)

// Input holds the sources that Load reads. All fields may be empty.
type Input struct {
	Flags   *pflag.FlagSet // flags added by AddFlags; flags that were not given are ignored
	Environ []string       // as returned by os.Environ
	Dir     string         // the working folder; if empty, no confab.yaml is read
	// Defaults replaces the default values of the settings that it names, for a command or
	// a test.
	Defaults map[string]string
	// Only names the settings to read; nil means all. A client command reads only the setting of
	// the data folder, because its user may not be allowed to open the file with the server's key.
	// An unknown key is an error, whatever Only names.
	Only []string
}

// Error describes one mistake in the settings to the user.
type Error struct {
	Setting string
	Origin  string // source of the setting, such as "flag --listen", "variable CONFAB_LISTEN" or "confab.yaml:3"
	Problem string // the mistake, without secrets
	Next    string // how to correct it
}

func (e *Error) Error() string {
	switch {
	case e.Setting == "":
		return fmt.Sprintf("%s: %s", e.Origin, e.Problem)
	case e.Origin == byDefault:
		return fmt.Sprintf("%s: %s", e.Setting, e.Problem)
	}
	return fmt.Sprintf("%s: %s (%s)", e.Setting, e.Problem, e.Origin)
}

// Errors are all mistakes in the settings, an *Error for each.
type Errors []error

// Error returns one line for each mistake.
func (e Errors) Error() string { return errors.Join(e...).Error() }

// Unwrap returns the mistakes.
func (e Errors) Unwrap() []error { return e }

// Load reads the settings from all sources and checks them. It reports all mistakes: the
// returned error is of type Errors.
func Load(in Input) (Config, error) {
	l := &loader{in: in, values: map[string]value{}}
	l.defaults(in.Defaults)
	l.file()
	l.environ()
	l.flags()
	c := Config{values: l.values, files: l.files}
	for _, s := range Settings {
		if l.reads(s) {
			l.apply(&c, s)
		}
	}
	l.deriveBodySize(&c)
	l.checkFound(c)
	l.checkCombinations(c)
	if len(l.errs) > 0 {
		return Config{}, Errors(l.errs)
	}
	return c, nil
}

type loader struct {
	in     Input
	values map[string]value
	errs   []error
	files  []string // paths of the files that were read
	found  bool     // the settings file is a confab.yaml in the working folder that no flag and no variable names
}

func (l *loader) reads(s Setting) bool {
	return l.in.Only == nil || slices.Contains(l.in.Only, s.Name)
}

func (l *loader) fail(e Error) { l.errs = append(l.errs, &e) }

func (l *loader) getenv(name string) string {
	for _, pair := range slices.Backward(l.in.Environ) {
		if n, v, _ := strings.Cut(pair, "="); n == name {
			return v
		}
	}
	return ""
}

func (l *loader) defaults(own map[string]string) {
	table, command := map[string]any{}, map[string]any{}
	for _, s := range Settings {
		table[s.Name] = s.Default
	}
	for name, text := range own {
		command[name] = text
	}
	origin := func(string) string { return byDefault }
	l.load(confmap.Provider(table, ""), fromDefault, l.in.Dir, origin)
	l.load(confmap.Provider(command, ""), fromCommand, l.in.Dir, origin)
}

// apply parses the value of the setting s and stores it in c. The default of some settings depends
// on c.Dev, so the setting dev must be applied first. The order of Settings ensures this.
func (l *loader) apply(c *Config, s Setting) {
	v := l.values[s.Name]
	if v.source == fromDefault && c.Dev && s.DevDefault != "" {
		v.text = s.DevDefault
		if s.Name == "data" {
			v.text = devData(runtime.GOOS, l.getenv)
		}
	}
	err := s.set(c, v)
	if s.Secret {
		v.text = ""
	}
	l.values[s.Name] = v
	l.failed(s, v, err)
}

// failed adds err to the errors that Load returns. err is a problem with the value v of the setting
// s. If err is nil, failed does nothing.
func (l *loader) failed(s Setting, v value, err error) {
	if p := (problem{}); errors.As(err, &p) {
		l.fail(Error{Setting: s.Name, Origin: v.origin, Problem: p.what, Next: p.allowed})
	}
}

// deriveBodySize sets Config.MaxBodySize if the setting is auto. A body then has room for the
// longest allowed message, even if the client escapes all of its text in JSON. If max-body-size
// and max-content are both set, deriveBodySize adds an error if the longest message does not fit
// into a body even without escapes.
func (l *loader) deriveBodySize(c *Config) {
	switch {
	case !l.reads(Setting{Name: "max-body-size"}) || len(l.errs) > 0:
	case c.MaxBodySize == 0:
		c.MaxBodySize = max(leastBody, int64(maxEscape*cmp.Or(c.Sizes().Content, core.MaxContent)+bodyRest))
	case c.MaxContent > 0 && c.Explicit("max-body-size") && c.MaxBodySize < int64(c.MaxContent)+1024:
		l.fail(Error{
			Setting: "max-body-size", Origin: c.Origin("max-body-size"),
			Problem: fmt.Sprintf("a message of max-content (%d bytes, %s) does not fit into a body of %d bytes", c.MaxContent, c.Origin("max-content"), c.MaxBodySize),
			Next:    "leave max-body-size out or set it to auto, or lower max-content",
		})
	}
}

// checkCombinations adds an error for settings that contradict each other: tls-cert without
// tls-key or the reverse, equal access keys, a record of a production server, or a well-known
// access key on a listener for other machines.
func (l *loader) checkCombinations(c Config) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		set, missing := "tls-cert", "tls-key"
		if c.TLSCert == "" {
			set, missing = missing, set
		}
		l.fail(Error{Setting: set, Origin: c.Origin(set), Problem: "it is set without " + missing, Next: "set both, or none to use the local certificate"})
	}
	if !c.AccessKeySecondary.IsZero() && c.AccessKey.Equal(c.AccessKeySecondary) {
		l.fail(Error{Setting: "access-key-secondary", Origin: c.Origin("access-key-secondary"), Problem: "it equals the primary key", Next: "set a different key, or none"})
	}
	if c.Record != "" && !c.Dev && l.in.Only == nil {
		l.fail(Error{Setting: "record", Origin: c.Origin("record"), Problem: "a record holds what users write, so only a development server makes one", Next: "add --dev, or use --access-log, which has a line for each request"})
	}
	if c.WebTokenURL != "" && l.in.Only == nil && !c.ChatPage(true) && (c.ListenHTTP == "" || !c.ChatPage(false)) {
		l.fail(Error{Setting: "web-token-url", Origin: c.Origin("web-token-url"), Problem: "it is for the chat page, which no listener serves", Next: "add --web on"})
	}
	if c.ListenAdmin != "" && !Loopback(c.ListenAdmin) && c.TLSCert == "" && l.in.Only == nil {
		l.fail(Error{
			Setting: "listen-admin", Origin: c.Origin("listen-admin"),
			Problem: "can be reached from other machines, and without tls-cert the operator's secret would cross the network unprotected",
			Next:    "set tls-cert and tls-key, or write an address of this machine, such as localhost:8082; from another machine use a tunnel: ssh -L 8082:localhost:8082 HOST",
		})
	}
	if !c.PublicKey() {
		return
	}
	for _, at := range []struct{ setting, address string }{{"listen", c.Listen}, {"listen-http", c.ListenHTTP}} {
		if at.address != "" && !Loopback(at.address) {
			l.fail(Error{
				Setting: at.setting, Origin: c.Origin(at.setting),
				Problem: fmt.Sprintf("%q can be reached from other machines, and the access key of this development server is well known", at.address),
				Next:    "listen on localhost, or give keys of your own with --access-key-file and --access-key-secondary-file",
			})
		}
	}
}

// checkFound adds an error for each setting that a development server must not take from a
// confab.yaml that Load has found in the working folder. For a command that reads only some
// settings, to find a running server, it does so only if the setting dev is given explicitly.
func (l *loader) checkFound(c Config) {
	if !c.Dev || l.in.Only != nil && !c.Explicit("dev") {
		return
	}
	for _, s := range Settings {
		if v := l.values[s.Name]; l.reads(s) && v.found && !s.InFolder {
			l.fail(Error{
				Setting: s.Name, Origin: v.origin,
				Problem: "a confab.yaml that lies in the working folder may not set it for a development server",
				Next:    fmt.Sprintf("use the flag --%s, or name the file: --%s %s", s.Name, configFlag, FileName),
			})
		}
	}
}

// devData returns the default data folder of a development server. It returns "" if the
// environment does not name the user's folder for data.
func devData(goos string, getenv func(string) string) string {
	home := getenv("HOME")
	var base string
	switch goos {
	case "windows":
		base = getenv("LocalAppData")
	case "darwin":
		if home != "" {
			base = home + "/Library/Application Support"
		}
	default:
		if base = getenv("XDG_DATA_HOME"); !filepath.IsAbs(base) && home != "" { // the XDG specification ignores relative paths
			base = home + "/.local/share"
		}
	}
	if base == "" {
		return ""
	}
	return filepath.Join(base, "confab", "dev")
}

// file loads the settings of confab.yaml in the working folder, or of the file that
// --config or CONFAB_CONFIG names. A missing confab.yaml is no error.
func (l *loader) file() {
	path, origin := "", ""
	if p := l.getenv(EnvName(configFlag)); p != "" {
		path, origin = p, "variable "+EnvName(configFlag)
	}
	if l.in.Flags != nil {
		if f := l.in.Flags.Lookup(configFlag); f != nil && f.Changed {
			path, origin = f.Value.String(), "flag --"+configFlag
		}
	}
	named := origin != ""
	l.found = !named
	if !named {
		if l.in.Dir == "" {
			return
		}
		path, origin = FileName, FileName
	}
	if named && onNetwork(path, runtime.GOOS) {
		l.fail(Error{Origin: origin, Problem: errOnNetwork.what, Next: errOnNetwork.allowed})
		return
	}
	shown := path
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.in.Dir, path)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return
	}
	if err != nil {
		l.fail(Error{Origin: origin, Problem: "the file of settings cannot be read: " + err.Error(), Next: "name a file that exists, or none"})
		return
	}
	l.files = append(l.files, path)
	m, lines, err := readYAML(text)
	if err != nil {
		l.fail(Error{Origin: shown, Problem: err.Error(), Next: "write one setting a line, name: value"})
		return
	}
	l.load(confmap.Provider(m, ""), fromFile, filepath.Dir(path), func(key string) string {
		top, _, _ := strings.Cut(key, ".")
		return fmt.Sprintf("%s:%d", shown, lines[top])
	})
}

// readYAML parses a YAML mapping. It returns the mapping and the line number of each
// top-level key. An empty document is an empty mapping; any other document is an error.
func readYAML(text []byte) (map[string]any, map[string]int, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, nil, err
	}
	m, lines := map[string]any{}, map[string]int{}
	if doc.Kind == 0 || len(doc.Content) == 1 && doc.Content[0].Tag == "!!null" { // empty, or comments alone
		return m, lines, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, nil, fmt.Errorf("line %d: this is not a list of settings", top.Line)
	}
	if err := top.Decode(&m); err != nil {
		return nil, nil, err
	}
	for i := 0; i < len(top.Content); i += 2 {
		lines[top.Content[i].Value] = top.Content[i].Line
	}
	return m, lines, nil
}

// otherVariable reports whether an environment variable with the prefix CONFAB_ is not a setting of
// the server. Such a variable is CONFAB_CONFIG, a variable for clients or tests, or one that
// Kubernetes sets in containers because a service's name starts with confab.
func otherVariable(name, value string) bool {
	switch name {
	case clientenv.Endpoint, clientenv.ConnectionString, clientenv.CAFile, clientenv.Before, EnvName(configFlag):
		return true
	}
	return strings.HasPrefix(name, envPrefix+"TEST_") ||
		serviceHost.MatchString(name) || servicePort.MatchString(name) && strings.Contains(value, "://") ||
		servicePortParts.MatchString(name)
}

var (
	serviceHost      = regexp.MustCompile(`_SERVICE_(HOST|PORT(_\w+)?)$`)
	servicePort      = regexp.MustCompile(`_PORT(_\d+_(TCP|UDP|SCTP))?$`) // the value is a URL
	servicePortParts = regexp.MustCompile(`_PORT_\d+_(TCP|UDP|SCTP)_(PROTO|PORT|ADDR)$`)
)

// environ loads the settings from the environment variables with the prefix CONFAB_. It
// ignores empty variables, because Compose and CI systems pass an undefined variable as an
// empty one.
func (l *loader) environ() {
	names := map[string]string{}
	p := env.Provider("", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return l.in.Environ },
		TransformFunc: func(name, text string) (string, any) {
			if text == "" || otherVariable(name, text) {
				return "", nil
			}
			key := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, envPrefix), "_", "-"))
			names[key] = name
			return key, text
		},
	})
	l.load(p, fromEnv, l.in.Dir, func(key string) string { return "variable " + names[key] })
}

func (l *loader) flags() {
	if l.in.Flags == nil {
		return
	}
	p := posflag.ProviderWithFlag(l.in.Flags, "", nil, func(f *pflag.Flag) (string, any) {
		// Skip flags that are not settings, such as --json. The package pflag has already
		// refused unknown flags.
		if _, _, ok := find(f.Name); !ok || !f.Changed {
			return "", nil
		}
		return f.Name, f.Value.String()
	})
	l.load(p, fromFlag, l.in.Dir, func(key string) string { return "flag --" + key })
}

// load reads the settings of one source, such as a file. They replace the values from sources that
// were loaded before. load adds an error for each unknown key.
func (l *loader) load(p koanf.Provider, from source, dir string, origin func(key string) string) {
	k := koanf.New(".")
	if err := k.Load(p, nil); err != nil {
		l.errs = append(l.errs, err)
		return
	}
	for _, key := range k.Keys() { // in alphabetical order
		s, file, ok := find(key)
		switch v := k.Get(key); {
		case !ok:
			l.unknown(key, from, origin(key))
		// A value is nil if a key in confab.yaml has no value.
		case v == nil || !l.reads(s):
		default:
			l.set(k, s, file, v, value{source: from, origin: origin(key), dir: dir, home: l.getenv("HOME"), goos: runtime.GOOS, found: from == fromFile && l.found})
		}
	}
}

func (l *loader) set(k *koanf.Koanf, s Setting, file bool, got any, v value) {
	text, err := textOf(got)
	if err != nil {
		l.fail(Error{Setting: s.Name, Origin: v.origin, Problem: err.Error(), Next: "write " + s.Name + ": " + s.Value})
		return
	}
	v.text = text
	if file {
		if k.Exists(s.Name) {
			l.fail(Error{Setting: s.Name, Origin: v.origin, Problem: "the secret is set twice, by value and by file", Next: "keep one of the two"})
			return
		}
		path, err := v.path()
		if err != nil {
			l.failed(s, v, err)
			return
		}
		secret, err := os.ReadFile(path)
		if err != nil {
			l.fail(Error{Setting: s.Name, Origin: v.origin, Problem: "the file of the secret cannot be read: " + err.Error(), Next: "name a file that exists"})
			return
		}
		l.files = append(l.files, path)
		v.text, v.inFile = strings.TrimSuffix(strings.TrimSuffix(string(secret), "\n"), "\r"), true
		if v.text == "" {
			l.fail(Error{Setting: s.Name, Origin: v.origin, Problem: "the file of the secret is empty", Next: "put the secret into it"})
			return
		}
	}
	l.values[s.Name] = v
}

// textOf returns a value from a source as the text that a flag would have. The texts of a
// list are joined by commas. It fails for a value that is no string, boolean, number or
// list.
func textOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v), nil
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v), nil
	case []any:
		var words []string
		for _, x := range v {
			s, ok := x.(string)
			if !ok {
				return "", errors.New("the list holds something other than text")
			}
			words = append(words, s)
		}
		return strings.Join(words, ","), nil
	}
	return "", fmt.Errorf("a %T is not a value", v)
}

// unknown adds an error for a key that is not a setting and suggests the nearest setting. It leaves
// out the key's value, which may be a secret.
func (l *loader) unknown(key string, from source, origin string) {
	e := Error{Origin: origin, Problem: fmt.Sprintf("there is no setting %q", key), Next: "the settings are " + strings.Join(keys(), ", ")}
	spell := func(k string) string { return k }
	if from == fromEnv {
		spell = EnvName
		e.Problem = "there is no setting of this name"
	}
	if near := Nearest(strings.ReplaceAll(key, ".", "-"), keys()); near != "" {
		e.Next = "did you mean " + spell(near) + "?"
	}
	l.fail(e)
}

// Nearest returns the word in words with the smallest edit distance to word, if the distance is at
// most a third of the length of word (at least 2). Otherwise it returns the longest element of
// words that is a prefix of word or begins with word (data for datadir, min-free-space for
// min-free). It returns "" if no element is similar.
func Nearest(word string, words []string) string {
	best, at := "", max(2, len(word)/3)+1
	for _, w := range words {
		if d := distance(word, w); d < at {
			best, at = w, d
		}
	}
	if best != "" {
		return best
	}
	for _, w := range words {
		if len(w) > len(best) && (strings.HasPrefix(word, w) || len(word) > 3 && strings.HasPrefix(w, word)) {
			best = w
		}
	}
	return best
}

// distance returns the Levenshtein distance between a and b in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
