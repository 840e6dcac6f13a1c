package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/hosts"
	"github.com/confab-chat/confab/internal/limits"
	"github.com/confab-chat/confab/internal/localca"
	"github.com/confab-chat/confab/sdk/communication"
)

// source is the kind of source that a value is from, such as a file or a flag. A value of a higher
// source replaces a value of a lower one.
type source int

const (
	fromDefault source = iota // Setting.Default or Setting.DevDefault
	fromCommand               // Input.Defaults
	fromFile
	fromEnv
	fromFlag
)

// value is the unparsed text of a setting, with its source.
type value struct {
	text   string
	source source
	origin string // the source in words, as Config.Origin returns it
	dir    string // base folder of a relative path
	home   string // the user's home folder, which replaces a leading ~ in a path
	found  bool   // the value is from a confab.yaml that no flag and no variable names
	goos   string // runtime.GOOS
	inFile bool   // the text comes from a file that the setting names
}

// shown returns the value as a text that may be printed: "(hidden)" for a secret that was
// set, and a URL without its password.
func (v value) shown(s Setting) string {
	if s.Secret && v.source > fromCommand {
		return "(hidden)"
	}
	if s.redact != nil {
		return s.redact(v.text)
	}
	return v.text
}

// redactURL returns a URL without its passwords. If text is not a URL, it returns a text
// that says so.
func redactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(hidden: it is not a URL)"
	}
	query := u.Query()
	if query.Has("password") || query.Has("sslpassword") {
		query.Del("password")
		query.Del("sslpassword")
		u.RawQuery = query.Encode()
	}
	return u.Redacted()
}

// problem is the error for an invalid value. It says what is wrong and which values are
// allowed.
type problem struct{ what, allowed string }

func (p problem) Error() string { return p.what }

// bad returns the error for an invalid value. The error quotes the first 60 bytes of the
// value, followed by the text is.
func bad(v value, is, allowed string) error {
	return problem{fmt.Sprintf("%q %s", clipped(v.text), is), allowed}
}

func clipped(text string) string {
	if len(text) > 60 {
		return text[:60] + "..."
	}
	return text
}

func setDev(c *Config, v value) (err error) {
	c.Dev, err = v.bool()
	return err
}

func setData(c *Config, v value) (err error) {
	switch {
	case v.text == "":
		return problem{"no data folder is set", "name one with --data FOLDER, or start a development server with --dev"}
	case v.text == Memory:
		c.Data = Memory
	case strings.Contains(v.text, "://"):
		return bad(v, "is a URL", "name a folder, or memory: to keep nothing")
	default:
		c.Data, err = v.path()
	}
	return err
}

func setDatabase(c *Config, v value) error {
	if v.text == "" {
		return nil
	}
	u, err := url.Parse(v.text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return problem{"it is not the address of a database", "write postgres://user@host/name, or leave it empty for the embedded store"}
	}
	if v.source == fromFlag && !v.inFile && hasPassword(u) {
		return problem{"the address has a password, which every user of this machine could read in the list of processes",
			"name a file that holds the address with --database-file, or set CONFAB_DATABASE"}
	}
	c.Database = v.text
	return nil
}

// hasPassword reports whether the address of a database contains a password: the user's password,
// or the password of the private key of the client's certificate.
func hasPassword(u *url.URL) bool {
	password, _ := u.User.Password()
	query := u.Query()
	return password != "" || query.Get("password") != "" || query.Get("sslpassword") != ""
}

func setListen(c *Config, v value) (err error) {
	c.Listen, err = v.address("such as localhost:8443 or 0.0.0.0:8443")
	return err
}

func setListenHTTP(c *Config, v value) (err error) {
	if v.text != "off" {
		c.ListenHTTP, err = v.address("such as localhost:8080, or off")
	}
	return err
}

func setListenOps(c *Config, v value) (err error) {
	if v.text != "off" {
		c.ListenOps, err = v.address("such as localhost:8081, or off")
	}
	return err
}

func setListenAdmin(c *Config, v value) (err error) {
	if v.text == "off" {
		return nil
	}
	c.ListenAdmin, err = v.address("such as localhost:8082, or off")
	return err
}

// minSecret is the least number of characters of the viewer's secret, so that nobody guesses it.
const minSecret = 20

func setViewerSecret(c *Config, v value) error {
	if v.text == "" && v.source <= fromCommand {
		return nil
	}
	if len(v.text) < minSecret || strings.ContainsFunc(v.text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		// The error must not repeat the value, because the value is a secret.
		return problem{"it is not at least 20 printable characters without blanks", "make one: openssl rand -base64 24"}
	}
	c.ViewerSecret = v.text
	return nil
}

func setAdminReadsMessages(c *Config, v value) (err error) {
	c.AdminReadsMessages, err = v.bool()
	return err
}

func setPprof(c *Config, v value) (err error) {
	c.Pprof, err = v.bool()
	return err
}

func setRecord(c *Config, v value) (err error) {
	c.Record, err = v.path()
	return err
}

func setTLSNames(c *Config, v value) error {
	for name := range strings.SplitSeq(v.text, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if err := localca.CheckName(name); err != nil {
			return problem{err.Error(), "write names and addresses without scheme and port: chat.lan,192.168.1.20"}
		}
		c.TLSNames = append(c.TLSNames, name)
	}
	return nil
}

func setCORSOrigins(c *Config, v value) error {
	for text := range strings.SplitSeq(v.text, ",") {
		text = strings.TrimSpace(text)
		origin, ok := hosts.Origin(text)
		if !ok {
			origin, ok = hosts.AppOrigin(text)
		}
		switch {
		case text == "":
		case text == "*": // the origin * is accepted but not documented, because YAML needs quotes around it
			c.CORSOrigins = append(c.CORSOrigins, AnyOrigin)
		case text == AnyOrigin, text == LoopbackOrigins:
			c.CORSOrigins = append(c.CORSOrigins, text)
		case ok:
			c.CORSOrigins = append(c.CORSOrigins, origin)
		default:
			return problem{fmt.Sprintf("%q is not the origin of a web page", clipped(text)), "write scheme and host, and the port if there is one, without a path: https://app.example.com,http://192.168.1.20:3000; or that of an app: capacitor://localhost,chrome-extension://ID"}
		}
	}
	return nil
}

func setWeb(c *Config, v value) error {
	switch c.Web = Web(v.text); c.Web {
	case WebAuto, WebOn, WebOff:
		return nil
	}
	return bad(v, "does not say where the chat page is", "write on, off or auto")
}

// setWebTokenURL sets the URL from which the chat page gets its user's token. It refuses an
// IPv6 address, because a Content-Security-Policy cannot name one.
func setWebTokenURL(c *Config, v value) error {
	if v.text == "" {
		return nil
	}
	const write = "write an https URL, such as https://app.example.com/chat-token, or an http URL of this machine"
	u, err := url.Parse(v.text)
	if err != nil {
		return problem{"it is not a URL", write} // err is left out, because it may contain a password
	}
	_, valid := hosts.ParseHost(u.Host)
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || !valid || strings.HasPrefix(u.Host, "["):
		return bad(value{text: u.Redacted()}, "is not the URL of a web server", write)
	case u.Scheme == "http" && !hosts.Loopback(u.Host):
		return bad(value{text: u.Redacted()}, "would send tokens over the network in plain http", write)
	case u.User != nil:
		return problem{"the URL has a user name, which everybody who opens the page could read", write}
	case u.Fragment != "":
		return problem{"the URL has a part after #, which no server gets", write}
	}
	c.WebTokenURL = u.String()
	return nil
}

func setTLSCert(c *Config, v value) (err error) {
	c.TLSCert, err = v.path()
	return err
}

func setTLSKey(c *Config, v value) (err error) {
	c.TLSKey, err = v.path()
	return err
}

func setResourceID(c *Config, v value) error {
	if v.text == "" {
		return nil
	}
	id := strings.ToLower(v.text)
	if !communication.ValidUserID(communication.JoinUserID(id, "00000000-0000-0000-0000-000000000000")) {
		return bad(v, "is not a GUID", "write the part of a user id between 8:acs: and _, such as a5ba7870-ef05-4e2b-9901-7751faa29e20")
	}
	c.ResourceID = id
	return nil
}

func setCloud(c *Config, v value) (err error) {
	if c.Cloud, err = communication.ParseCloud(v.text); err != nil {
		return bad(v, "is not a cloud of Azure", "write public, gcch or dod")
	}
	return nil
}

func setLimits(c *Config, v value) (err error) {
	if c.Limits, err = limits.Parse(v.text); err != nil {
		return bad(v, "is not a profile of limits", "write azure, fair or off")
	}
	return nil
}

func setMaxContent(c *Config, v value) error {
	c.MaxContent = 0
	if v.text == "auto" {
		return nil
	}
	n, err := ParseSize(v.text)
	if err != nil || n < 1 || n > core.MaxContent {
		return bad(v, "is not an allowed size of a message", "write a size from 1 to 1MiB, or auto")
	}
	c.MaxContent = int(n)
	return nil
}

// mostParticipants is the greatest value of --max-participants. It bounds the cost of a change of a
// thread's members, which reads the rows of all of them.
const mostParticipants = 100_000

func setMaxParticipants(c *Config, v value) (err error) {
	c.MaxParticipants = 0
	if v.text == "auto" {
		return nil
	}
	if c.MaxParticipants, err = strconv.Atoi(v.text); err != nil || c.MaxParticipants < 1 || c.MaxParticipants > mostParticipants {
		return bad(v, "is not an allowed number of participants", fmt.Sprintf("write a whole number from 1 to %d, or auto", mostParticipants))
	}
	return nil
}

func setWrittenPerHour(c *Config, v value) (err error) {
	c.WrittenPerHour = 0
	if v.text == "off" {
		return nil
	}
	if c.WrittenPerHour, err = v.size(1); err != nil {
		return bad(v, "is not an allowed size", "write a number from 1 up, with or without a unit: 500MB, 64MiB, 2GiB; or off")
	}
	return nil
}

// leastAnswerMemory is the least value of --answer-memory, in bytes. It has room for two users,
// each with one full page in preparation and one full page being sent.
const leastAnswerMemory = 32 << 20

func setAnswerMemory(c *Config, v value) (err error) {
	c.AnswerMemory, err = v.size(leastAnswerMemory)
	return err
}

func setDeletionGrace(c *Config, v value) (err error) {
	if c.DeletionGrace, err = time.ParseDuration(v.text); err != nil || c.DeletionGrace < 0 {
		return bad(v, "is not an allowed duration", "write 0, or a number with a unit: 500ms, 30s, 2m")
	}
	return nil
}

func setEventsKept(c *Config, v value) (err error) {
	if c.EventsKept, err = strconv.Atoi(v.text); err != nil || c.EventsKept < core.MinEventsKept || c.EventsKept > core.MaxEventsKept {
		return bad(v, "is not an allowed number of days", fmt.Sprintf("write a whole number from %d to %d", core.MinEventsKept, core.MaxEventsKept))
	}
	return nil
}

func setAuditKept(c *Config, v value) (err error) {
	days, ok := strings.CutSuffix(v.text, "d")
	if c.AuditKept, err = strconv.Atoi(days); !ok || err != nil || c.AuditKept < core.MinAuditKept || c.AuditKept > core.MaxAuditKept {
		return bad(v, "is not an allowed number of days", fmt.Sprintf("write a whole number from %dd to %dd, with the letter d", core.MinAuditKept, core.MaxAuditKept))
	}
	return nil
}

func setPublicEndpoint(c *Config, v value) error {
	if v.text == "" {
		return nil
	}
	u, err := url.Parse(v.text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		return bad(v, "is not the URL of a server", "write https://chat.example.com, without a path")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		// The URL becomes part of a connection string, and the SDKs refuse one with a path
		// or a query.
		return problem{"the URL has more than a host and a port", "write https://chat.example.com, without a path"}
	}
	c.PublicEndpoint = u.Scheme + "://" + u.Host
	return nil
}

func setAccessKey(c *Config, v value) (err error) {
	c.AccessKey, err = v.accessKey()
	return err
}

func setAccessKeySecondary(c *Config, v value) (err error) {
	c.AccessKeySecondary, err = v.accessKey()
	return err
}

func setLogLevel(c *Config, v value) error {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(v.text, l.String()) {
			c.LogLevel = l
			return nil
		}
	}
	return bad(v, "is not a level", "write debug, info, warn or error")
}

func setLogFormat(c *Config, v value) error {
	switch f := LogFormat(v.text); f {
	case LogAuto, LogText, LogJSON:
		c.LogFormat = f
		return nil
	}
	return bad(v, "is not a format", "write auto, text or json")
}

func setAccessLog(c *Config, v value) error {
	switch a := AccessLog(v.text); a {
	case AccessAll, AccessErrors, AccessOff:
		c.AccessLog = a
		return nil
	}
	return bad(v, "does not say which requests to log", "write all, errors or off")
}

func setHTMLImages(c *Config, v value) error {
	if v.text != "on" && v.text != "off" {
		return bad(v, "is neither on nor off", "write on or off")
	}
	c.HTMLImages = v.text == "on"
	return nil
}

func setNewerVersions(c *Config, v value) error {
	if v.text != "newest" && v.text != "refuse" {
		return bad(v, "is neither newest nor refuse", "write newest or refuse")
	}
	c.NewerVersions = v.text == "newest"
	return nil
}

func setRepeatSends(c *Config, v value) error {
	switch r := RepeatSends(v.text); r {
	case RepeatsByRequestID, RepeatsByToken:
		c.RepeatSends = r
		return nil
	}
	return bad(v, "does not say how a repeated send is recognized", "write by-request-id or by-token")
}

func setMinFreeSpace(c *Config, v value) (err error) {
	c.MinFreeSpace, err = v.size(0)
	return err
}

// leastBody is the smallest limit, in bytes, that --max-body-size=auto can result in.
// bodyRest is the number of bytes for the parts of a message other than its content: metadata,
// names, and the JSON around them.
const (
	leastBody = 1 << 20
	bodyRest  = 64 << 10
)

// maxEscape is the greatest number of bytes that one byte of text takes in JSON, as in \u0000.
const maxEscape = 6

func setMaxBodySize(c *Config, v value) (err error) {
	c.MaxBodySize = 0
	if v.text == "auto" { // see deriveBodySize
		return nil
	}
	if c.MaxBodySize, err = v.size(1); err != nil {
		return bad(v, "is not an allowed size", "write a number from 1 up, with or without a unit: 500MB, 64MiB, 2GiB; or auto")
	}
	return nil
}

func setBodyTimeout(c *Config, v value) (err error) {
	c.BodyTimeout, err = v.duration()
	return err
}

func setRequestTimeout(c *Config, v value) (err error) {
	c.RequestTimeout, err = v.duration()
	return err
}

func setThreadCache(c *Config, v value) (err error) {
	c.ThreadCache, err = v.size(1)
	return err
}

func setLiveSessions(c *Config, v value) (err error) {
	if v.text == "auto" {
		c.LiveSessions = 0
		return nil
	}
	if c.LiveSessions, err = strconv.Atoi(v.text); err != nil || c.LiveSessions < 1 {
		return bad(v, "is not a number of connections", "write a whole number from 1, or auto")
	}
	return nil
}

func setLiveQueue(c *Config, v value) (err error) {
	c.LiveQueue, err = v.size(1)
	return err
}

func setConnectionsPerAddress(c *Config, v value) (err error) {
	if c.ConnectionsPerAddress, err = strconv.Atoi(v.text); err != nil || c.ConnectionsPerAddress < 0 {
		return bad(v, "is not a number of connections", "write a whole number from 1, or 0 for no limit")
	}
	return nil
}

func setTrustedProxies(c *Config, v value) error {
	if v.text == "off" {
		return nil
	}
	for text := range strings.SplitSeq(v.text, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		network, err := netip.ParsePrefix(text)
		if address, aerr := netip.ParseAddr(text); aerr == nil && address.Zone() == "" {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			return bad(v, "is not a list of addresses", "write addresses or networks, separated by commas: 10.0.0.7,192.168.0.0/16, or off")
		}
		c.TrustedProxies = append(c.TrustedProxies, network.Masked())
	}
	return nil
}

func setShutdownDelay(c *Config, v value) (err error) {
	if c.ShutdownDelay, err = time.ParseDuration(v.text); err != nil || c.ShutdownDelay < 0 {
		return bad(v, "is not an allowed duration", "write 0, or a number with a unit: 500ms, 5s, 1m")
	}
	return nil
}

func setShutdownTimeout(c *Config, v value) (err error) {
	c.ShutdownTimeout, err = v.duration()
	return err
}

// bool returns the value as a boolean.
func (v value) bool() (bool, error) {
	b, err := strconv.ParseBool(v.text)
	if err != nil {
		return false, bad(v, "is neither true nor false", "write true or false")
	}
	return b, nil
}

// path returns the value as an absolute path, or "" if the value is empty. A leading ~ stands for
// the home folder; a relative path starts at the folder v.dir. path fails for a path on the
// network.
func (v value) path() (string, error) {
	p := v.text
	if onNetwork(p, v.goos) {
		return "", errOnNetwork
	}
	// Replace ~ here, because a shell does not expand it in --data=~/x, and nothing expands it in a
	// confab.yaml.
	if rest, ok := strings.CutPrefix(p, "~"); ok && v.home != "" && (rest == "" || os.IsPathSeparator(rest[0])) {
		p = v.home + rest
	}
	if p == "" || filepath.IsAbs(p) {
		return p, nil
	}
	return filepath.Join(v.dir, p), nil
}

// errOnNetwork is the error for a path on the network.
var errOnNetwork = problem{"the path is on the network: Windows would sign in to the machine that it names", "name a file of this machine"}

// onNetwork reports whether a path is a UNC path of Windows, which begins with two slashes of
// either kind, such as \\host\share\key.pem. When a program opens such a path, Windows sends a
// proof of the user's password to the host, and a confab.yaml of somebody else could name any host.
// A path that begins with \\?\C: is on this machine and no UNC path.
func onNetwork(path, goos string) bool {
	slash := func(i int) bool { return len(path) > i && (path[i] == '\\' || path[i] == '/') }
	if goos != "windows" || !slash(0) || !slash(1) {
		return false
	}
	local := len(path) > 5 && path[2] == '?' && slash(3) && path[5] == ':'
	return !local
}

// address returns the value if it has the form host:port with a numeric port; the host may
// be empty. Otherwise it fails, and the error shows example as a correct address.
func (v value) address(example string) (string, error) {
	host, port, err := net.SplitHostPort(v.text)
	if err != nil {
		if _, err := strconv.ParseUint(strings.TrimPrefix(v.text, ":"), 10, 16); err == nil {
			return "", bad(v, "is a port without a host", "write host:port, "+example)
		}
		return "", bad(v, "is not host:port", "write host:port, "+example)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", bad(v, "has no port between 0 and 65535", "write host:port, "+example)
	}
	if host != "" && localca.CheckName(host) != nil {
		return "", bad(v, "has a host that is neither a name nor an address", "write host:port, "+example)
	}
	return v.text, nil
}

// minKeyBytes is the minimum length of a decoded access key in bytes.
const minKeyBytes = 32

// accessKey returns the value as an access key. It fails if the value is no key. The error tells
// only the length of the value, because the value may be secret.
func (v value) accessKey() (communication.AccessKey, error) {
	const mend = "make one with: openssl rand -base64 48"
	if v.text == "" {
		return communication.AccessKey{}, nil
	}
	key, err := communication.NewAccessKey(v.text)
	if err != nil || strings.ContainsAny(v.text, "\r\n") {
		return communication.AccessKey{}, problem{"the key is not base64 in one line", mend}
	}
	if n := len(key.Bytes()); n < minKeyBytes {
		return communication.AccessKey{}, problem{fmt.Sprintf("the key has %d bytes, and needs at least %d", n, minKeyBytes), mend}
	}
	return key, nil
}

// size returns the value as a number of bytes. It fails if the number is less than least.
func (v value) size(least int64) (int64, error) {
	n, err := ParseSize(v.text)
	if err != nil || n < least {
		return 0, bad(v, "is not an allowed size", fmt.Sprintf("write a number from %d up, with or without a unit: 500MB, 64MiB, 2GiB", least))
	}
	return n, nil
}

// duration returns the value as a duration. It fails unless the duration is positive.
func (v value) duration() (time.Duration, error) {
	d, err := time.ParseDuration(v.text)
	if err != nil || d <= 0 {
		return 0, bad(v, "is not an allowed duration", "write a number above 0 with a unit: 500ms, 30s, 2m")
	}
	return d, nil
}

var sizeUnits = map[string]int64{
	"": 1, "b": 1,
	"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}

// ParseSize parses a number of bytes with an optional unit in any case: 512, 64MiB, 2 GB.
// A single letter (64M) means a power of 1024. It fails for signs, fractions, unknown
// units and sizes above 1<<63 - 1.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, " ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
	unit, ok := sizeUnits[strings.ToLower(strings.TrimLeft(s[len(digits):], " "))]
	if !ok {
		return 0, fmt.Errorf("%q has an unknown unit", s)
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if errors.Is(err, strconv.ErrRange) || err == nil && int64(n) > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is too large", s)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return int64(n) * unit, nil
}
