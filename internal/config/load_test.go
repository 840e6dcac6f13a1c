package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/sdk/communication"
)

const (
	key1 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" // 32 bytes
	key2 = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
)

// place holds the sources of settings for a test, such as the text of confab.yaml, flags
// and environment variables.
type place struct {
	yaml  string
	env   []string
	flags []string
	own   map[string]string
	files map[string]string
}

func (p place) load(t *testing.T) (Config, string, error) {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{}
	for name, text := range p.files {
		files[name] = text
	}
	if p.yaml != "" {
		files[FileName] = p.yaml
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(fs)
	fs.String("other", "", "a flag of the command that is no setting")
	if err := fs.Parse(p.flags); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Input{Flags: fs, Environ: append([]string{"HOME=" + dir + "/home"}, p.env...), Dir: dir, Defaults: p.own})
	return c, dir, err
}

func accessKey(t *testing.T, text string) communication.AccessKey {
	t.Helper()
	key, err := communication.NewAccessKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestSizes checks the limits of sizes for each profile, and that max-content and max-participants
// replace the limits of the profile.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		flags []string
		want  core.Limits
	}{
		{nil, core.Limits{Content: 64 << 10}},
		{[]string{"--limits=off"}, core.Limits{}},
		{[]string{"--limits=azure"}, core.Limits{Participants: 250, PerRequest: 200, Content: 28 << 10, Metadata: 1 << 10, Receipts: 20}},
		{[]string{"--max-content=1MiB", "--max-participants=7"}, core.Limits{Content: 1 << 20, Participants: 7}},
	} {
		got, _, err := place{flags: append(c.flags, "--dev")}.load(t)
		if err != nil || got.Sizes() != c.want {
			t.Errorf("%v: %+v, %v; want %+v", c.flags, got.Sizes(), err, c.want)
		}
	}
}

var ignoreOrigins = cmp.Options{cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateComparable(netip.Prefix{})}

func TestDefaults(t *testing.T) {
	production := Config{
		Listen: "localhost:8443", ListenOps: "localhost:8081", LogFormat: LogAuto, LogLevel: slog.LevelInfo, AccessLog: AccessErrors, HTMLImages: true, RepeatSends: RepeatsByRequestID,
		CORSOrigins: []string{"all"}, Web: WebAuto,
		MinFreeSpace: 64 << 20, MaxBodySize: 1 << 20, WrittenPerHour: 64 << 20, AnswerMemory: 64 << 20, ThreadCache: 64 << 20, LiveQueue: 64 << 20,
		ConnectionsPerAddress: 256, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("::1/128")},
		BodyTimeout: 30 * time.Second, RequestTimeout: 10 * time.Second, DeletionGrace: 30 * time.Second, EventsKept: 7, AuditKept: 400,
		ShutdownDelay: 5 * time.Second, ShutdownTimeout: 10 * time.Second,
	}
	got, dir, err := place{flags: []string{"--data", "d"}}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	want := production
	want.Data = filepath.Join(dir, "d")
	if diff := cmp.Diff(want, got, ignoreOrigins); diff != "" {
		t.Errorf("production (-want +got):\n%s", diff)
	}

	got, dir, err = place{flags: []string{"--dev"}, env: []string{"XDG_DATA_HOME=/x/data"}}.load(t)
	if err != nil {
		t.Fatal(err)
	}
	want = production
	want.Dev, want.ListenHTTP, want.Data, want.CORSOrigins = true, "localhost:8080", got.Data, []string{"loopback"}
	want.NewerVersions, want.AccessLog = true, AccessAll
	want.ListenAdmin, want.AdminReadsMessages, want.ShutdownDelay = "localhost:8082", true, 0
	if diff := cmp.Diff(want, got, ignoreOrigins); diff != "" {
		t.Errorf("development (-want +got):\n%s", diff)
	}
	if got.Data == "" || strings.HasPrefix(got.Data, dir+"/d") {
		t.Errorf("development data in %q", got.Data)
	}
	if got.Explicit("listen") || !got.Explicit("dev") || got.Explicit("data") {
		t.Error("Explicit does not tell a choice from a default")
	}
}

// TestNothingAround loads settings without flags, variables and files. It checks that Load
// returns the defaults that the caller passed.
func TestNothingAround(t *testing.T) {
	c, err := Load(Input{Defaults: map[string]string{"dev": "true", "data": Memory, "listen": "localhost:0", "listen-http": "off", "listen-ops": "off"}})
	if err != nil {
		t.Fatal(err)
	}
	if !c.Dev || !c.InMemory() || c.Listen != "localhost:0" || c.ListenHTTP != "" || c.ListenOps != "" {
		t.Errorf("got\n%v", c)
	}
	if c.Explicit("listen") {
		t.Error("a command's default counts as a choice")
	}
}

// TestOnly loads only the settings of the data folder. It checks that mistakes in other
// settings are ignored and that an unknown variable is still an error.
func TestOnly(t *testing.T) {
	dir := t.TempDir()
	yaml := "data: /srv/chat\naccess-key-file: /nowhere\ntls-cert: c.pem\nlisten: 1"
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	in := Input{Dir: dir, Only: []string{"dev", "data"}, Environ: []string{"CONFAB_LOG_LEVEL=loud"}}
	c, err := Load(in)
	if err != nil || c.Data != "/srv/chat" {
		t.Errorf("got %q, %v", c.Data, err)
	}
	in.Environ = []string{"CONFAB_LOGLEVEL=info"}
	if _, err := Load(in); err == nil || !strings.Contains(err.Error(), "CONFAB_LOGLEVEL") {
		t.Errorf("got %v, want an error about the unknown variable", err)
	}
}

func TestListInFile(t *testing.T) {
	for _, yaml := range []string{"tls-names: [a.lan, b.lan]", "tls-names: a.lan, b.lan", "tls-names:\n- a.lan\n- b.lan"} {
		c, _, err := place{flags: []string{"--data=d"}, yaml: yaml}.load(t)
		if err != nil || strings.Join(c.TLSNames, " ") != "a.lan b.lan" {
			t.Errorf("%q: got %q, %v", yaml, c.TLSNames, err)
		}
	}
}

func TestPrecedence(t *testing.T) {
	tests := []struct {
		name         string
		p            place
		want, origin string
	}{
		{"command", place{own: map[string]string{"listen": "localhost:1"}}, "localhost:1", "default"},
		{"file", place{yaml: "\n# ports\nlisten: localhost:2\n", own: map[string]string{"listen": "localhost:1"}}, "localhost:2", "confab.yaml:3"},
		{"variable", place{yaml: "listen: localhost:2", env: []string{"CONFAB_LISTEN=localhost:3"}}, "localhost:3", "variable CONFAB_LISTEN"},
		{"flag", place{yaml: "listen: localhost:2", env: []string{"CONFAB_LISTEN=localhost:3"}, flags: []string{"--listen", "localhost:4"}}, "localhost:4", "flag --listen"},
		{"empty variable", place{yaml: "listen: localhost:2", env: []string{"CONFAB_LISTEN="}}, "localhost:2", "confab.yaml:1"},
		{"key without value", place{yaml: "listen:\n"}, "localhost:8443", "default"},
		{"named file", place{files: map[string]string{"etc/c.yaml": "listen: localhost:5"}, flags: []string{"--config", "etc/c.yaml"}}, "localhost:5", "etc/c.yaml:1"},
		{"file named by variable", place{yaml: "listen: localhost:2", files: map[string]string{"c.yaml": "listen: localhost:6"}, env: []string{"CONFAB_CONFIG=c.yaml"}}, "localhost:6", "c.yaml:1"},
		{"empty file", place{yaml: "# nothing\n"}, "localhost:8443", "default"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.p.flags = append(tt.p.flags, "--data=d")
			c, _, err := tt.p.load(t)
			if err != nil {
				t.Fatal(err)
			}
			if c.Listen != tt.want || c.Origin("listen") != tt.origin {
				t.Errorf("got %s from %q, want %s from %q", c.Listen, c.Origin("listen"), tt.want, tt.origin)
			}
		})
	}
}

func TestValues(t *testing.T) {
	p := place{
		yaml: `
dev: true
data: ~/chat
listen: 0.0.0.0:9443
listen-http: off
listen-ops: "[::1]:0"
tls-names: [other.lan]
cors-origins: [https://App.example.com:443, "http://10.0.0.7:3000", loopback]
tls-cert: tls/cert.pem
public-endpoint: https://chat.example.com/
log-level: WARN
log-format: json
min-free-space: 1048576
max-body-size: 2 MiB
body-timeout: 1m30s
request-timeout: 3s
thread-cache: 8MiB
live-sessions: 300
live-queue: 16MiB
access-key-file: secrets/key
resource-id: A5BA7870-ef05-4e2b-9901-7751faa29e20
cloud: gcch
limits: azure
deletion-grace: 1h
events-kept: 30
audit-kept: 3650d
access-log: errors
html-images: off
newer-api-versions: newest
repeat-sends: by-token
connections-per-address: 40
trusted-proxies: [10.0.0.7, 192.168.5.9/16]
max-content: 128KiB
max-participants: 500
written-per-hour: off
answer-memory: 128MiB
listen-admin: 127.0.0.1:0
admin-reads-messages: false
pprof: true
record: bug
web: on
web-token-url: https://App.example.com/chat-token?app=1
`,
		env:   []string{"CONFAB_CONFIG=confab.yaml", "CONFAB_TLS_KEY=tls/key.pem", "CONFAB_ACCESS_KEY_SECONDARY=" + key2},
		flags: []string{"--shutdown-timeout=500ms", "--shutdown-delay=2m", "--other=x", "--tls-names", "chat.lan", "--tls-names=10.0.0.7,::1"},
		files: map[string]string{"secrets/key": key1 + "\r\n"},
	}
	got, dir, err := p.load(t)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Dev: true, Data: filepath.Join(dir, "home", "chat"), Listen: "0.0.0.0:9443", ListenOps: "[::1]:0", ListenAdmin: "127.0.0.1:0", Pprof: true, Record: filepath.Join(dir, "bug"),
		TLSNames: []string{"chat.lan", "10.0.0.7", "::1"}, TLSCert: filepath.Join(dir, "tls", "cert.pem"), TLSKey: filepath.Join(dir, "tls", "key.pem"),
		CORSOrigins: []string{"https://app.example.com", "http://10.0.0.7:3000", "loopback"},
		Web:         WebOn, WebTokenURL: "https://App.example.com/chat-token?app=1",
		PublicEndpoint: "https://chat.example.com", LogLevel: slog.LevelWarn, LogFormat: LogJSON, AccessLog: AccessErrors, RepeatSends: RepeatsByToken,
		MinFreeSpace: 1 << 20, MaxBodySize: 2 << 20, ThreadCache: 8 << 20, LiveSessions: 300, LiveQueue: 16 << 20,
		ConnectionsPerAddress: 40, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32"), netip.MustParsePrefix("192.168.0.0/16")},
		BodyTimeout: 90 * time.Second, RequestTimeout: 3 * time.Second, DeletionGrace: time.Hour, EventsKept: 30, AuditKept: 3650, ShutdownDelay: 2 * time.Minute, ShutdownTimeout: 500 * time.Millisecond,
		NewerVersions: true,
		ResourceID:    "a5ba7870-ef05-4e2b-9901-7751faa29e20", Cloud: communication.CloudGCCH, Limits: limits.Azure,
		MaxContent: 128 << 10, MaxParticipants: 500, AnswerMemory: 128 << 20,
		AccessKey: accessKey(t, key1), AccessKeySecondary: accessKey(t, key2),
	}
	if diff := cmp.Diff(want, got, ignoreOrigins); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got, want := got.Origin("access-key"), "confab.yaml:20"; got != want {
		t.Errorf("origin of the key %q, want %q", got, want)
	}
}

// TestForeignVariables checks that Load ignores variables that start with CONFAB_ but are not
// settings of the server: variables of clients, of tests and of Kubernetes.
func TestForeignVariables(t *testing.T) {
	_, _, err := place{flags: []string{"--dev"}, env: []string{
		"CONFAB_ENDPOINT=https://localhost:8443", "CONFAB_CONNECTION_STRING=x", "CONFAB_CA_FILE=/x",
		"CONFAB_TEST_POSTGRES=postgres://localhost",
		"CONFAB_SERVICE_HOST=10.0.0.1", "CONFAB_SERVICE_PORT=8443", "CONFAB_SERVICE_PORT_HTTPS=8443",
		"CONFAB_PORT=tcp://10.0.0.1:8443", "CONFAB_PORT_8443_TCP=tcp://10.0.0.1:8443", "CONFAB_PORT_8443_TCP_PROTO=tcp",
		"CONFAB_PORT_8443_TCP_PORT=8443", "CONFAB_PORT_8443_TCP_ADDR=10.0.0.1", "CONFAB_OPS_SERVICE_HOST=10.0.0.2",
		"CONFABULATE=x", "confab_listen=x",
	}}.load(t)
	if err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	const tokenURL = "write an https URL, such as https://app.example.com/chat-token, or an http URL of this machine"
	flag := func(words ...string) place { return place{flags: append([]string{"--dev"}, words...)} }
	yaml := func(text string) place { return place{flags: []string{"--dev"}, yaml: text} }
	env := func(pairs ...string) place { return place{flags: []string{"--dev"}, env: pairs} }
	tests := []struct {
		name string
		p    place
		want []Error
	}{
		{"production without data", place{}, []Error{{"data", "default", "no data folder is set", "name one with --data FOLDER, or start a development server with --dev"}}},
		{"a record in production", place{flags: []string{"--data=d", "--record=r"}}, []Error{{"record", "flag --record", "a record holds what users write, so only a development server makes one", "add --dev, or use --access-log, which has a line for each request"}}},
		{"data is a URL", flag("--data=postgres://x"), []Error{{"data", "flag --data", `"postgres://x" is a URL`, "name a folder, or memory: to keep nothing"}}},
		{"unknown key", yaml("\nlisen: x"), []Error{{"", "confab.yaml:2", `there is no setting "lisen"`, "did you mean listen?"}}},
		{"nested key", yaml("tls:\n  cert: x"), []Error{{"", "confab.yaml:1", `there is no setting "tls.cert"`, "did you mean tls-cert?"}}},
		{"key of another world", yaml("replicas: 3"), []Error{{"", "confab.yaml:1", `there is no setting "replicas"`, "the settings are " + strings.Join(keys(), ", ")}}},
		{"unknown variable", env("CONFAB_DATADIR=/secret"), []Error{{"", "variable CONFAB_DATADIR", "there is no setting of this name", "did you mean CONFAB_DATA?"}}},
		{"near variable", env("CONFAB_LOGLEVEL=info"), []Error{{"", "variable CONFAB_LOGLEVEL", "there is no setting of this name", "did you mean CONFAB_LOG_LEVEL?"}}},
		{"a port by hand", env("CONFAB_PORT=8080"), []Error{{"", "variable CONFAB_PORT", "there is no setting of this name", "the settings are " + strings.Join(keys(), ", ")}}},
		{"-file of no secret", yaml("listen-file: x"), []Error{{"", "confab.yaml:1", `there is no setting "listen-file"`, "did you mean listen?"}}},
		{"two at once", place{yaml: "dev: maybe\nlog-level: loud", env: []string{"CONFAB_DATA=/d"}}, []Error{
			{"dev", "confab.yaml:1", `"maybe" is neither true nor false`, "write true or false"},
			{"log-level", "confab.yaml:2", `"loud" is not a level`, "write debug, info, warn or error"},
		}},
		{"repeats by something else", flag("--repeat-sends=off"), []Error{{"repeat-sends", "flag --repeat-sends", `"off" does not say how a repeated send is recognized`, "write by-request-id or by-token"}}},
		{"port alone", flag("--listen=8443"), []Error{{"listen", "flag --listen", `"8443" is a port without a host`, "write host:port, such as localhost:8443 or 0.0.0.0:8443"}}},
		{"host alone", flag("--listen=localhost"), []Error{{"listen", "flag --listen", `"localhost" is not host:port`, "write host:port, such as localhost:8443 or 0.0.0.0:8443"}}},
		{"listen cannot be off", flag("--listen=off"), []Error{{"listen", "flag --listen", `"off" is not host:port`, "write host:port, such as localhost:8443 or 0.0.0.0:8443"}}},
		{"port too high", env("CONFAB_LISTEN_OPS=localhost:70000"), []Error{{"listen-ops", "variable CONFAB_LISTEN_OPS", `"localhost:70000" has no port between 0 and 65535`, "write host:port, such as localhost:8081, or off"}}},
		{"port by name", flag("--listen-http=localhost:http"), []Error{{"listen-http", "flag --listen-http", `"localhost:http" has no port between 0 and 65535`, "write host:port, such as localhost:8080, or off"}}},
		{"operator's API for other machines", flag("--listen-admin=0.0.0.0:8082"), []Error{{"listen-admin", "flag --listen-admin", "can be reached from other machines, and without tls-cert the operator's secret would cross the network unprotected", "set tls-cert and tls-key, or write an address of this machine, such as localhost:8082; from another machine use a tunnel: ssh -L 8082:localhost:8082 HOST"}}},
		{"short secret of viewers", env("CONFAB_VIEWER_SECRET=short"), []Error{{"viewer-secret", "variable CONFAB_VIEWER_SECRET", "it is not at least 20 printable characters without blanks", "make one: openssl rand -base64 24"}}},
		{"profiles or not", env("CONFAB_PPROF=perhaps"), []Error{{"pprof", "variable CONFAB_PPROF", `"perhaps" is neither true nor false`, "write true or false"}}},
		{"host with blanks", flag("--listen=a b:1"), []Error{{"listen", "flag --listen", `"a b:1" has a host that is neither a name nor an address`, "write host:port, such as localhost:8443 or 0.0.0.0:8443"}}},
		{"tls name with port", flag("--tls-names=chat.lan:8443"), []Error{{"tls-names", "flag --tls-names", `"chat.lan:8443" is not a host name or an IP address`, "write names and addresses without scheme and port: chat.lan,192.168.1.20"}}},
		{"certificate without key", flag("--tls-cert=c.pem"), []Error{{"tls-cert", "flag --tls-cert", "it is set without tls-key", "set both, or none to use the local certificate"}}},
		{"key without certificate", flag("--tls-key=k.pem"), []Error{{"tls-key", "flag --tls-key", "it is set without tls-cert", "set both, or none to use the local certificate"}}},
		{"endpoint with path", flag("--public-endpoint=https://a.example/chat"), []Error{{"public-endpoint", "flag --public-endpoint", "the URL has more than a host and a port", "write https://chat.example.com, without a path"}}},
		{"chat page somewhere", flag("--web=localhost"), []Error{{"web", "flag --web", `"localhost" does not say where the chat page is`, "write on, off or auto"}}},
		{"tokens over plain http", flag("--web-token-url=http://app.example.com/token"), []Error{{"web-token-url", "flag --web-token-url", `"http://app.example.com/token" would send tokens over the network in plain http`, tokenURL}}},
		{"tokens from a file", flag("--web-token-url=file:///token"), []Error{{"web-token-url", "flag --web-token-url", `"file:///token" is not the URL of a web server`, tokenURL}}},
		{"tokens from an address of IPv6", flag("--web-token-url=http://[::1]:3000/token"), []Error{{"web-token-url", "flag --web-token-url", `"http://[::1]:3000/token" is not the URL of a web server`, tokenURL}}},
		{"tokens from a host that ends a header", flag("--web-token-url=https://a;b/"), []Error{{"web-token-url", "flag --web-token-url", `"https://a;b/" is not the URL of a web server`, tokenURL}}},
		{"tokens for a password", flag("--web-token-url=https://a:secret@app.example.com/"), []Error{{"web-token-url", "flag --web-token-url", "the URL has a user name, which everybody who opens the page could read", tokenURL}}},
		{"tokens for a password in plain http", flag("--web-token-url=http://a:secret@app.example.com/"), []Error{{"web-token-url", "flag --web-token-url", `"http://a:xxxxx@app.example.com/" would send tokens over the network in plain http`, tokenURL}}},
		{"tokens with a fragment", flag("--web-token-url=https://app.example.com/#x"), []Error{{"web-token-url", "flag --web-token-url", "the URL has a part after #, which no server gets", tokenURL}}},
		{"tokens without a page", place{flags: []string{"--data=d", "--web-token-url=https://app.example.com/"}}, []Error{{"web-token-url", "flag --web-token-url", "it is for the chat page, which no listener serves", "add --web on"}}},
		{"tokens without a listener of the page", flag("--listen-http=off", "--web-token-url=https://app.example.com/"), []Error{{"web-token-url", "flag --web-token-url", "it is for the chat page, which no listener serves", "add --web on"}}},
		{"endpoint without scheme", flag("--public-endpoint=a.example"), []Error{{"public-endpoint", "flag --public-endpoint", `"a.example" is not the URL of a server`, "write https://chat.example.com, without a path"}}},
		{"origin with path", flag("--cors-origins=https://a.example/x"), []Error{{"cors-origins", "flag --cors-origins", `"https://a.example/x" is not the origin of a web page`, corsNext}}},
		{"origin with a mistyped scheme", flag("--cors-origins=htps://app.example.com"), []Error{{"cors-origins", "flag --cors-origins", `"htps://app.example.com" is not the origin of a web page`, corsNext}}},
		{"origin of every file", flag("--cors-origins=null"), []Error{{"cors-origins", "flag --cors-origins", `"null" is not the origin of a web page`, corsNext}}},
		{"short key", env("CONFAB_ACCESS_KEY=c2hvcnQ="), []Error{{"access-key", "variable CONFAB_ACCESS_KEY", "the key has 5 bytes, and needs at least 32", "make one with: openssl rand -base64 48"}}},
		{"key not base64", env("CONFAB_ACCESS_KEY=hunter2!hunter2!hunter2!hunter2!hunter2!hunter2!"), []Error{{"access-key", "variable CONFAB_ACCESS_KEY", "the key is not base64 in one line", "make one with: openssl rand -base64 48"}}},
		{"key in two lines", place{flags: []string{"--dev", "--access-key-file=k"}, files: map[string]string{"k": key1[:20] + "\n" + key1[20:]}}, []Error{{"access-key", "flag --access-key-file", "the key is not base64 in one line", "make one with: openssl rand -base64 48"}}},
		{"same keys", env("CONFAB_ACCESS_KEY="+key1, "CONFAB_ACCESS_KEY_SECONDARY="+key1), []Error{{"access-key-secondary", "variable CONFAB_ACCESS_KEY_SECONDARY", "it equals the primary key", "set a different key, or none"}}},
		{"key twice", env("CONFAB_ACCESS_KEY="+key1, "CONFAB_ACCESS_KEY_FILE=k"), []Error{{"access-key", "variable CONFAB_ACCESS_KEY_FILE", "the secret is set twice, by value and by file", "keep one of the two"}}},
		{"key file empty", place{flags: []string{"--dev"}, yaml: "access-key-file: k", files: map[string]string{"k": "\n"}}, []Error{{"access-key", "confab.yaml:1", "the file of the secret is empty", "put the secret into it"}}},
		{"format", flag("--log-format=xml"), []Error{{"log-format", "flag --log-format", `"xml" is not a format`, "write auto, text or json"}}},
		{"size", flag("--min-free-space=10parsec"), []Error{{"min-free-space", "flag --min-free-space", `"10parsec" is not an allowed size`, "write a number from 0 up, with or without a unit: 500MB, 64MiB, 2GiB"}}},
		{"no body", flag("--max-body-size=0"), []Error{{"max-body-size", "flag --max-body-size", `"0" is not an allowed size`, "write a number from 1 up, with or without a unit: 500MB, 64MiB, 2GiB; or auto"}}},
		{"body below content", flag("--max-body-size=1MiB", "--max-content=1MiB"), []Error{{"max-body-size", "flag --max-body-size", "a message of max-content (1048576 bytes, flag --max-content) does not fit into a body of 1048576 bytes",
			"leave max-body-size out or set it to auto, or lower max-content"}}},
		{"duration", yaml("body-timeout: 30"), []Error{{"body-timeout", "confab.yaml:1", `"30" is not an allowed duration`, "write a number above 0 with a unit: 500ms, 30s, 2m"}}},
		{"negative duration", yaml("body-timeout: -3s"), []Error{{"body-timeout", "confab.yaml:1", `"-3s" is not an allowed duration`, "write a number above 0 with a unit: 500ms, 30s, 2m"}}},
		{"resource id of a user", flag("--resource-id=8:acs:x"), []Error{{"resource-id", "flag --resource-id", `"8:acs:x" is not a GUID`, "write the part of a user id between 8:acs: and _, such as a5ba7870-ef05-4e2b-9901-7751faa29e20"}}},
		{"limits", env("CONFAB_LIMITS=Fair"), []Error{{"limits", "variable CONFAB_LIMITS", `"Fair" is not a profile of limits`, "write azure, fair or off"}}},
		{"large content", flag("--max-content=2MiB"), []Error{{"max-content", "flag --max-content", `"2MiB" is not an allowed size of a message`, "write a size from 1 to 1MiB, or auto"}}},
		{"no participants", flag("--max-participants=0"), []Error{{"max-participants", "flag --max-participants", `"0" is not an allowed number of participants`, "write a whole number from 1 to 100000, or auto"}}},
		{"nothing written", flag("--written-per-hour=0"), []Error{{"written-per-hour", "flag --written-per-hour", `"0" is not an allowed size`, "write a number from 1 up, with or without a unit: 500MB, 64MiB, 2GiB; or off"}}},
		{"little for answers", flag("--answer-memory=1MiB"), []Error{{"answer-memory", "flag --answer-memory", `"1MiB" is not an allowed size`, "write a number from 33554432 up, with or without a unit: 500MB, 64MiB, 2GiB"}}},
		{"no live sessions", flag("--live-sessions=0"), []Error{{"live-sessions", "flag --live-sessions", `"0" is not a number of connections`, "write a whole number from 1, or auto"}}},
		{"negative connections", flag("--connections-per-address=-1"), []Error{{"connections-per-address", "flag --connections-per-address", `"-1" is not a number of connections`, "write a whole number from 1, or 0 for no limit"}}},
		{"unknown cloud", flag("--cloud=china"), []Error{{"cloud", "flag --cloud", `"china" is not a cloud of Azure`, "write public, gcch or dod"}}},
		{"proxy by name", flag("--trusted-proxies=proxy.lan"), []Error{{"trusted-proxies", "flag --trusted-proxies", `"proxy.lan" is not a list of addresses`, "write addresses or networks, separated by commas: 10.0.0.7,192.168.0.0/16, or off"}}},
		{"events of one day", flag("--events-kept=1"), []Error{{"events-kept", "flag --events-kept", `"1" is not an allowed number of days`, "write a whole number from 2 to 36500"}}},
		{"events for ever", flag("--events-kept=4294967296"), []Error{{"events-kept", "flag --events-kept", `"4294967296" is not an allowed number of days`, "write a whole number from 2 to 36500"}}},
		{"events of a duration", flag("--events-kept=48h"), []Error{{"events-kept", "flag --events-kept", `"48h" is not an allowed number of days`, "write a whole number from 2 to 36500"}}},
		{"audit rows of no day", flag("--audit-kept=0d"), []Error{{"audit-kept", "flag --audit-kept", `"0d" is not an allowed number of days`, "write a whole number from 1d to 3650d, with the letter d"}}},
		{"audit rows of eleven years", flag("--audit-kept=4015d"), []Error{{"audit-kept", "flag --audit-kept", `"4015d" is not an allowed number of days`, "write a whole number from 1d to 3650d, with the letter d"}}},
		{"audit rows without a unit", flag("--audit-kept=400"), []Error{{"audit-kept", "flag --audit-kept", `"400" is not an allowed number of days`, "write a whole number from 1d to 3650d, with the letter d"}}},
		{"audit rows of hours", flag("--audit-kept=48h"), []Error{{"audit-kept", "flag --audit-kept", `"48h" is not an allowed number of days`, "write a whole number from 1d to 3650d, with the letter d"}}},
		{"negative delay", flag("--shutdown-delay=-5s"), []Error{{"shutdown-delay", "flag --shutdown-delay", `"-5s" is not an allowed duration`, "write 0, or a number with a unit: 500ms, 5s, 1m"}}},
		{"negative grace", flag("--deletion-grace=-1s"), []Error{{"deletion-grace", "flag --deletion-grace", `"-1s" is not an allowed duration`, "write 0, or a number with a unit: 500ms, 30s, 2m"}}},
		{"map", yaml("listen: {host: a}"), []Error{{"", "confab.yaml:1", `there is no setting "listen.host"`, "did you mean listen-http?"}}},
		{"list of numbers", yaml("tls-names: [1]"), []Error{{"tls-names", "confab.yaml:1", "the list holds something other than text", "write tls-names: names"}}},
		{"no settings", yaml("just words"), []Error{{"", "confab.yaml", "line 1: this is not a list of settings", "write one setting a line, name: value"}}},
		{"broken file", yaml("a: b: c"), []Error{{"", "confab.yaml", "yaml: mapping values are not allowed in this context", "write one setting a line, name: value"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := tt.p.load(t)
			if err == nil {
				t.Fatal("no error")
			}
			var got []Error
			for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("%v is not an *Error", err)
				}
				got = append(got, *e)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			for _, secret := range []string{"c2hvcnQ", "hunter2", key1, "/secret"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows a value: %v", err)
				}
			}
		})
	}
}

const corsNext = "write scheme and host, and the port if there is one, without a path: https://app.example.com,http://192.168.1.20:3000; or that of an app: capacitor://localhost,chrome-extension://ID"

// TestThePublicKeyStaysOnThisMachine checks that a development server with a well-known access key
// may listen only on loopback addresses. It may listen on other addresses if the user sets both
// keys.
func TestThePublicKeyStaysOnThisMachine(t *testing.T) {
	own := []string{"CONFAB_ACCESS_KEY=" + key1, "CONFAB_ACCESS_KEY_SECONDARY=" + key2}
	for _, tt := range []struct {
		flags   []string
		env     []string
		refused string // the setting that the error must name; empty: Load must succeed
	}{
		{[]string{"--dev", "--listen=0.0.0.0:8443"}, nil, "listen"},
		{[]string{"--dev", "--listen=:8443"}, nil, "listen"},
		{[]string{"--dev", "--listen=[::]:8443"}, nil, "listen"},
		{[]string{"--dev", "--listen=192.168.1.20:8443"}, nil, "listen"},
		{[]string{"--dev", "--listen=chat.lan:8443"}, nil, "listen"},
		{[]string{"--dev", "--listen-http=0.0.0.0:8080"}, nil, "listen-http"},
		{[]string{"--dev", "--listen=0.0.0.0:8443"}, own[:1], "listen"}, // the secondary key is well known
		{[]string{"--dev", "--listen=0.0.0.0:8443"}, own[1:], "listen"},
		{[]string{"--dev", "--listen=0.0.0.0:8443", "--listen-http=:8080"}, own, ""},
		{[]string{"--dev", "--listen=127.0.0.2:8443", "--listen-http=[::1]:8080"}, nil, ""},
		// Allowed, because a server that is not a development server makes random keys.
		{[]string{"--data=d", "--listen=0.0.0.0:8443"}, nil, ""},
	} {
		_, _, err := place{flags: tt.flags, env: tt.env}.load(t)
		if tt.refused == "" {
			if err != nil {
				t.Errorf("%v: %v", tt.flags, err)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Setting != tt.refused || !strings.Contains(e.Next, "--access-key-file") {
			t.Errorf("%v: got %v, want an error for %s that names --access-key-file", tt.flags, err, tt.refused)
		}
	}
}

// TestFoundFiles checks that a development server refuses some settings in a confab.yaml in its
// working folder. With these settings, the repository of a stranger could open the server to
// others, send its clients elsewhere or move its data.
func TestFoundFiles(t *testing.T) {
	sample := map[string]string{
		"data": "/elsewhere", "database": "postgres://db.evil.example/x", "listen": "localhost:1", "listen-http": "localhost:2", "listen-ops": "localhost:3",
		"tls-names": "evil.example", "tls-cert": "c.pem", "tls-key": "k.pem", "public-endpoint": "https://evil.example", "cors-origins": "https://evil.example",
		"listen-admin": "localhost:4", "viewer-secret": "a-secret-of-a-stranger", "admin-reads-messages": "true", "pprof": "true", "trusted-proxies": "10.0.0.0/8",
		"record": "r", "web": "on", "web-token-url": "https://evil.example/token",
	}
	for _, s := range Settings {
		text, ok := sample[s.Name]
		if s.InFolder == ok {
			t.Errorf("%s: InFolder is %v: say in this test whether a stranger's file may set it, and to what", s.Name, s.InFolder)
		}
		if !ok {
			continue
		}
		yaml := s.Name + ": " + text
		other := ""
		switch s.Name { // these settings must be set together
		case "tls-cert":
			other = "--tls-key=k"
		case "tls-key":
			other = "--tls-cert=c"
		case "web-token-url":
			other = "--web=on"
		default:
			other = "--log-level=info"
		}
		for what, p := range map[string]place{
			"flag":      {flags: []string{"--dev", other}, yaml: yaml},
			"variable":  {flags: []string{other}, env: []string{"CONFAB_DEV=true"}, yaml: yaml},
			"same file": {flags: []string{other}, yaml: "dev: true\n" + yaml},
			"command":   {flags: []string{other}, own: map[string]string{"dev": "true"}, yaml: yaml},
		} {
			_, _, err := p.load(t)
			var e *Error
			if !errors.As(err, &e) || e.Setting != s.Name || !strings.Contains(e.Next, "--config confab.yaml") {
				t.Errorf("%s, development by %s: got %v, want an error that says how to allow it", s.Name, what, err)
			}
		}
		for what, p := range map[string]place{
			"production":    {flags: []string{"--data=d", other}, yaml: yaml},
			"a named file":  {flags: []string{"--dev", "--config=confab.yaml", other}, yaml: yaml},
			"a better flag": {flags: []string{"--dev", other, "--" + s.Name + "=" + strings.ReplaceAll(text, "evil", "good")}, yaml: yaml},
		} {
			if what == "production" && s.Name == "record" { // refused for another reason: see TestRefused
				continue
			}
			if what == "a better flag" && s.Secret { // a secret has no flag
				p = place{flags: []string{"--dev", other}, env: []string{EnvName(s.Name) + "=" + text}, yaml: yaml}
			}
			if _, _, err := p.load(t); err != nil {
				t.Errorf("%s, %s: %v", s.Name, what, err)
			}
		}
	}
	// A command that looks for a running production server accepts the data folder from a
	// confab.yaml in the working folder.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte("data: /srv/chat"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(Input{Dir: dir, Only: []string{"dev", "data"}, Defaults: map[string]string{"dev": "true"}})
	if err != nil || c.Data != "/srv/chat" {
		t.Errorf("a client command: %q, %v", c.Data, err)
	}
}

func TestFileMissing(t *testing.T) {
	for _, p := range []place{
		{flags: []string{"--dev", "--config=none.yaml"}},
		{flags: []string{"--dev"}, env: []string{"CONFAB_CONFIG=none.yaml"}},
		{flags: []string{"--dev", "--access-key-file=none.yaml"}},
	} {
		_, dir, err := p.load(t)
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "none.yaml")) {
			t.Errorf("got %v, want an error that names the file", err)
		}
	}
}

func TestDevData(t *testing.T) {
	tests := []struct {
		goos string
		env  map[string]string
		want string
	}{
		{"linux", map[string]string{"HOME": "/home/a"}, "/home/a/.local/share/confab/dev"},
		{"linux", map[string]string{"HOME": "/home/a", "XDG_DATA_HOME": "/data"}, "/data/confab/dev"},
		{"linux", map[string]string{"HOME": "/home/a", "XDG_DATA_HOME": "data"}, "/home/a/.local/share/confab/dev"},
		{"linux", nil, ""},
		{"darwin", map[string]string{"HOME": "/Users/a", "XDG_DATA_HOME": "/data"}, "/Users/a/Library/Application Support/confab/dev"},
		{"windows", map[string]string{"LocalAppData": "/L"}, filepath.Join("/L", "confab", "dev")},
		{"windows", map[string]string{"HOME": "/x"}, ""},
	}
	for _, tt := range tests {
		if got := devData(tt.goos, func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("devData(%s, %v) = %q, want %q", tt.goos, tt.env, got, tt.want)
		}
	}
}

// TestBodySize checks that by default a body has room for the longest message, even if the client
// escapes every character, and that max-body-size replaces the default.
func TestBodySize(t *testing.T) {
	for _, tt := range []struct {
		settings map[string]string
		want     int64
	}{
		{nil, 1 << 20},
		{map[string]string{"max-content": "1MiB"}, 6<<20 + 64<<10},
		{map[string]string{"limits": "off"}, 6<<20 + 64<<10}, // without limits, the content of a message may have 1 MiB
		{map[string]string{"max-content": "200KiB"}, 6*200<<10 + 64<<10},
		{map[string]string{"max-content": "1MiB", "max-body-size": "2MiB"}, 2 << 20},
		// 32 KiB is less than the longest content that the profile allows.
		{map[string]string{"max-body-size": "32KiB"}, 32 << 10},
	} {
		own := map[string]string{"data": Memory}
		for name, text := range tt.settings {
			own[name] = text
		}
		c, err := Load(Input{Defaults: own})
		if err != nil || c.MaxBodySize != tt.want {
			t.Errorf("%v: %d, %v, want %d", tt.settings, c.MaxBodySize, err, tt.want)
		}
		if got := int64(c.Sizes().Content); tt.settings["max-body-size"] == "" && got*6 > c.MaxBodySize {
			t.Errorf("%v: content of %d bytes in a body of %d", tt.settings, got, c.MaxBodySize)
		}
	}
}

// TestChatPage checks which listeners serve the chat page.
func TestChatPage(t *testing.T) {
	for _, c := range []struct {
		flags       []string
		https, http bool
	}{
		{[]string{"--data=d"}, false, false},
		{[]string{"--data=d", "--web=on"}, true, true},
		{[]string{"--dev"}, false, true},
		{[]string{"--dev", "--web=on", "--web-token-url=http://localhost:3000/token"}, true, true},
		{[]string{"--dev", "--web=off"}, false, false},
	} {
		got, _, err := place{flags: c.flags}.load(t)
		if err != nil || got.ChatPage(true) != c.https || got.ChatPage(false) != c.http {
			t.Errorf("%v: https %v, http %v, %v; want %v and %v", c.flags, got.ChatPage(true), got.ChatPage(false), err, c.https, c.http)
		}
	}
}
