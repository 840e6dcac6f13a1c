// Package signature verifies requests that are signed with an access key
// (docs/contract/identity.md §4). Clients sign with [communication.AccessKey.Sign]; only a server
// verifies, so this package is not part of the SDK.
package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/confab-chat/confab/internal/clip"
	"github.com/confab-chat/confab/internal/why"
	"github.com/confab-chat/confab/sdk/communication"
)

// MaxSkew is the largest difference between the date of a signed request and the server's time,
// in either direction.
//
// Unverified: Azure documents no value for Communication Services. This is the value of App
// Configuration, which uses the same signatures (docs/contract/identity.md §4.5).
const MaxSkew = 15 * time.Minute

// The scheme and the header names of requests that are signed with an access key
// (docs/contract/identity.md §4.1). Package communication has its own copy of them and does not
// export the copy.
const (
	scheme            = "HMAC-SHA256"
	hostHeader        = "host"
	dateHeader        = "date" // SDKs from before June 2021 sign the header date instead of x-ms-date
	msDateHeader      = "x-ms-date"
	contentHashHeader = "x-ms-content-sha256"
)

// Request holds the parts of an HTTP request that a signature covers. They must be as the server
// received them, before a router changes them, because the client signed the bytes that it sent.
type Request struct {
	// Method is http.Request.Method.
	Method string
	// Target is the raw request target, http.Request.RequestURI.
	Target string
	// Host is the Host header or :authority, http.Request.Host.
	Host string
	// Header returns the value of a header, or "" if the request does not have it, like
	// http.Header.Get. The name is case-insensitive. Header must not be nil.
	Header func(name string) string
	// TLS is true if the client used https, to the server or to a proxy. If TLS is false, Verify
	// also accepts a signature of the path without its first slash, which some clients make over
	// plain http (docs/contract/identity.md §4.3).
	TLS bool
	// Authorities lists further names, as host or host:port, that the client may have signed
	// instead of Host, because a proxy has changed the Host header.
	Authorities []string
	// Names lists host names of the server, without a port, in the letter case in which the
	// server's owner writes them. Verify also accepts a signature of one of these names if the name
	// differs from Host or an authority only in letter case.
	Names []string
	// Others returns hosts that Verify does not accept. If a client has signed one of these hosts,
	// the error of Verify says so. Verify calls Others only for a signature that matches no key. A
	// nil Others returns no hosts.
	Others func() []string
}

// Of returns the Request for r. It does not read the body.
func Of(r *http.Request) Request {
	return Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header.Get, TLS: r.TLS != nil}
}

// Verify returns the index in keys of the key that signed r. If none of the keys did, it fails with
// an [*Error] and the index -1. It tries the keys in order, and skips a zero key, such as a
// secondary key that is not set.
//
// Verify does not need the body: the signature covers the hash of the body that the client sends in
// x-ms-content-sha256. A server therefore need not read the body of a client that has no key. After
// Verify the caller must read the body and call [Request.CheckBody].
//
// Verify implements docs/contract/identity.md §4.4. It reads the order of the signed headers from
// the Authorization header. It accepts all forms of path and host that official SDKs sign: the
// target as received and percent-decoded; the host as received, without its port, with its port
// repeated, and with the default port that HTTP libraries leave out. Some clients sign the host in
// the letter case of the connection string and send it in lower case, so Verify also tries the
// usual letter cases of hosts (see cases). It compares signatures and hashes in constant time.
func Verify(r Request, keys []communication.AccessKey, now time.Time) (int, error) {
	auth, err := parseAuthorization(r.Header("Authorization"))
	if err != nil {
		return -1, err
	}
	date := r.Header(auth.date)
	if err := checkDate(auth.date, date, now); err != nil {
		return -1, err
	}
	contentHash := r.Header(contentHashHeader)
	if len(contentHash) != base64.StdEncoding.EncodedLen(sha256.Size) { // refuse before computing signatures
		return -1, refuse(BadContentHash, why.Because(why.ContentHash, "problem", "the base64 of a SHA-256"), contentHashHeader+" is not the base64 of a SHA-256")
	}

	if i := signer(keys, auth.signature, r.spellings(auth, date, contentHash)); i >= 0 {
		return i, nil
	}
	if i := signer(keys, auth.signature, r.messages(auth, date, contentHash, r.otherCases())); i >= 0 {
		return i, nil
	}
	return -1, r.refuseHost(keys, auth, date, contentHash)
}

// Explain returns the error with which Verify refuses a request, although Verify was called without
// r.Others. The error names the host in r.Others that the client signed, if any. Call it only after
// Verify has refused the signature: Explain does not verify it again.
func Explain(r Request, keys []communication.AccessKey) error {
	auth, err := parseAuthorization(r.Header("Authorization"))
	if err != nil {
		return err
	}
	return r.refuseHost(keys, auth, r.Header(auth.date), r.Header(contentHashHeader))
}

// signer returns the index in keys of the key that made the signature of one of the messages, or -1
// if no key did.
func signer(keys []communication.AccessKey, signature []byte, messages [][]byte) int {
	for i, key := range keys {
		if key.IsZero() {
			continue
		}
		mac := hmac.New(sha256.New, key.Bytes())
		var sum [sha256.Size]byte
		for _, message := range messages {
			mac.Reset()
			mac.Write(message)
			if hmac.Equal(mac.Sum(sum[:0]), signature) {
				return i
			}
		}
	}
	return -1
}

// refuseHost returns the error for a signature that matches no key. The error names the hosts
// for which Verify tried the signature. If the client signed one of r.Others instead, the error
// also names that host: in this case the key is right, but a proxy in front of the server has
// changed the Host header.
func (r Request) refuseHost(keys []communication.AccessKey, auth authorization, date, contentHash string) error {
	var asked []string
	for _, authority := range append([]string{r.Host}, r.Authorities...) {
		if authority != "" {
			asked = appendNew(asked, fmt.Sprintf("%q", authority[:min(len(authority), maxEcho)]))
		}
	}
	hosts := strings.Join(asked, " or ")
	if r.Others != nil && len(r.Host)+len(r.Target) <= maxTried {
		for _, other := range r.Others() {
			if signer(keys, auth.signature, r.messages(auth, date, contentHash, r.hostSpellings(other))) >= 0 {
				cause := why.Because(why.SignedHost, "other", fmt.Sprintf("%q", other), "host", hosts)
				return refuse(BadSignature, cause, "the host %q was signed, and the request came for the host %s", other, hosts)
			}
		}
	}
	cause := why.Because(why.WrongKey, "host", hosts, "signed", r.seen(auth, date, contentHash))
	return refuse(BadSignature, cause, "signature matches no key for the host %s", hosts)
}

// seen returns the text that the client should have signed, for the sentence that explains a
// refusal. The text contains no secret: its hash is the hash of the body.
func (r Request) seen(auth authorization, date, contentHash string) string {
	target := r
	target.Target = clip.Text(r.Target, maxEcho)
	return fmt.Sprintf("%q", target.messages(auth, clip.Text(date, maxEcho), contentHash, []string{clip.Text(r.Host, maxEcho)})[0])
}

// maxEcho is the maximum number of bytes of a Host header that an error repeats.
const maxEcho = 100

// CheckBody fails with an [*Error] whose reason is BadContentHash if the hash of the body differs
// from the hash that the request claims. Call it only after Verify has accepted the request,
// because only then is the claimed hash known to be signed.
func (r Request) CheckBody(body []byte) error {
	sum := sha256.Sum256(body)
	want := base64.StdEncoding.EncodeToString(sum[:])
	if subtle.ConstantTimeCompare([]byte(r.Header(contentHashHeader)), []byte(want)) == 0 {
		return refuse(BadContentHash, why.Because(why.ContentHash, "problem", "the hash of the body"), contentHashHeader+" is not the hash of the body")
	}
	return nil
}

// Reason says why a signed request was refused. Clients get different responses for different
// reasons (docs/contract/identity.md §4.5).
type Reason uint8

// The reasons, in the order in which Verify and CheckBody check them.
const (
	// BadScheme means that the request is not signed: it has no Authorization header,
	// or one with another scheme, such as Bearer.
	BadScheme Reason = iota + 1
	// BadHeader means that the Authorization header is malformed (docs/contract/identity.md
	// §4.1) or that the signed headers are not a date header, host and
	// x-ms-content-sha256.
	BadHeader
	// BadDate means that the signed date is missing, malformed, or differs from the current time by
	// more than MaxSkew.
	BadDate
	// BadContentHash means that x-ms-content-sha256 is missing or does not have the length of a
	// hash. As the reason of an error of CheckBody it means that the header is not the hash of
	// the body.
	BadContentHash
	// BadSignature means that the signature was made with none of the keys.
	BadSignature
)

// Error says why Verify or CheckBody refused a request. Its text is for the server's log. It
// contains hosts that the client sent, in quotation marks, and no other text of the client. Show
// the client only the reason.
type Error struct {
	Reason Reason
	Why    why.Cause // the cause of the refusal, for the log only

	detail string
}

// Error returns the details of the refusal in words, after "verify request signature: ".
func (e *Error) Error() string { return "verify request signature: " + e.detail }

// Detail returns the text of Error without "verify request signature: ", such as "signed date is
// 16m0s behind the server's clock, more than 15m0s".
func (e *Error) Detail() string { return e.detail }

func refuse(reason Reason, cause why.Cause, format string, args ...any) error {
	return &Error{Reason: reason, Why: cause, detail: fmt.Sprintf(format, args...)}
}

// badHeader returns the error for an Authorization header that is malformed.
func badHeader(problem string) error {
	return refuse(BadHeader, why.Because(why.SignatureHeader, "problem", problem), "%s", problem)
}

// authorization holds the parts of an Authorization header.
type authorization struct {
	headers   []string // names of the signed headers in lower case, in the client's order
	date      string   // the signed date header: x-ms-date or date
	signature []byte
}

// parseAuthorization parses an Authorization header of the form
// "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=BASE64".
// It fails with BadScheme or BadHeader.
func parseAuthorization(header string) (authorization, error) {
	got, params, _ := strings.Cut(header, " ")
	if !strings.EqualFold(got, scheme) {
		if header == "" {
			return authorization{}, refuse(BadScheme, why.Because(why.NotSigned, "problem", "it has no Authorization header"), "no authorization header")
		}
		return authorization{}, refuse(BadScheme, why.Because(why.NotSigned, "problem", "the scheme of its Authorization header is not "+scheme), "authorization scheme is not "+scheme)
	}
	// The header must have exactly two parameters. With a second '&', the second value is
	// not valid base64, so the header is refused.
	first, second, _ := strings.Cut(strings.TrimSpace(params), "&")
	signed, ok1 := cutParam(first, "SignedHeaders")
	signature, ok2 := cutParam(second, "Signature")
	if !ok1 || !ok2 {
		return authorization{}, badHeader("authorization is not SignedHeaders=...&Signature=...")
	}

	a := authorization{headers: strings.Split(strings.ToLower(signed), ";")}
	switch {
	case slices.Contains(a.headers, msDateHeader):
		a.date = msDateHeader
	case slices.Contains(a.headers, dateHeader):
		a.date = dateHeader
	}
	if len(a.headers) != 3 || a.date == "" ||
		!slices.Contains(a.headers, hostHeader) || !slices.Contains(a.headers, contentHashHeader) {
		return authorization{}, badHeader("signed headers are not a date header, host and " + contentHashHeader)
	}

	// Check the length and decode strictly, so that each signature has only one valid text.
	var err error
	if len(signature) == base64.StdEncoding.EncodedLen(sha256.Size) {
		a.signature, err = base64.StdEncoding.Strict().DecodeString(signature)
	}
	if err != nil || len(a.signature) != sha256.Size {
		return authorization{}, badHeader("signature is not the base64 of 32 bytes")
	}
	return a, nil
}

// cutParam returns value if s is "name=value", ignoring the letter case of the name. ok is false
// if s has another name or no '='.
func cutParam(s, name string) (value string, ok bool) {
	got, value, ok := strings.Cut(s, "=")
	return value, ok && strings.EqualFold(got, name)
}

// checkDate fails with BadDate unless the date, which is the value of header, is within MaxSkew of
// now. The date must have the format http.TimeFormat, the only one that SDKs send.
func checkDate(header, date string, now time.Time) error {
	if date == "" {
		return refuse(BadDate, why.Because(why.SignedDate, "header", header, "problem", "missing"), "signed date header is missing")
	}
	t, err := time.Parse(http.TimeFormat, date)
	if err != nil {
		return refuse(BadDate, why.Because(why.SignedDate, "header", header, "problem", "no HTTP date"), "signed date is not of the form %q", http.TimeFormat)
	}
	skew, side := now.Sub(t), "behind"
	if skew < 0 {
		skew, side = skew.Abs(), "ahead of"
	}
	if skew > MaxSkew {
		cause := why.Because(why.ClockOff, "header", header, "by", skew.Round(time.Second).String(), "side", side,
			"limit", MaxSkew.String(), "date", why.Time(t), "now", why.Time(now))
		return refuse(BadDate, cause, "signed date is %v %s the server's clock, more than %v", skew.Round(time.Millisecond), side, MaxSkew)
	}
	return nil
}

// spellings returns all texts that a client may have signed for the request, with the letter
// case of the hosts unchanged. The most likely text is first, and none is repeated
// (docs/contract/identity.md §4.4).
func (r Request) spellings(auth authorization, date, contentHash string) [][]byte {
	return r.messages(auth, date, contentHash, r.hosts())
}

// hosts returns all forms in which clients sign the request's hosts, with the letter case
// unchanged.
func (r Request) hosts() (hosts []string) {
	for _, authority := range append([]string{r.Host}, r.Authorities...) {
		hosts = appendNew(hosts, r.hostSpellings(authority)...)
	}
	return hosts
}

// maxTried is a limit for the length of a request's host and target together, in bytes. Above
// it, Verify tries no other letter cases and hosts, so that a client without a key cannot cause
// much work.
const maxTried = 2048

// otherCases returns the forms of the hosts that differ from those of r.hosts only in letter case.
// It returns none if the request is longer than maxTried.
func (r Request) otherCases() (others []string) {
	if len(r.Host)+len(r.Target) > maxTried {
		return nil
	}
	tried := r.hosts()
	for _, host := range tried {
		for _, other := range cases(host, r.Names) {
			if !slices.Contains(tried, other) {
				others = appendNew(others, other)
			}
		}
	}
	return others
}

// cases returns a host in the letter cases in which people write it: in lower case, in upper case,
// with a capital first letter, with a capital at the beginning of each word, and as an element of
// names spells it, if one equals the host except for case.
func cases(host string, names []string) []string {
	lower := strings.ToLower(host)
	words := []byte(lower)
	for i := range words {
		if i == 0 || strings.IndexByte(".-_[:", words[i-1]) >= 0 {
			words[i] = strings.ToUpper(string(words[i]))[0]
		}
	}
	all := []string{lower, strings.ToUpper(host), string(words)}
	if lower != "" {
		all = append(all, strings.ToUpper(lower[:1])+lower[1:])
	}
	for _, name := range append([]string{"LocalHost"}, names...) {
		if n := len(name); n <= len(host) && strings.EqualFold(host[:n], name) && (n == len(host) || host[n] == ':') {
			all = append(all, name+host[n:])
		}
	}
	return all
}

// messages returns the texts that a client may have signed for the request, if it signed one of
// the given hosts.
func (r Request) messages(auth authorization, date, contentHash string, hosts []string) [][]byte {
	var messages [][]byte
	values := make([]string, len(auth.headers))
	for _, target := range targetSpellings(r.Target, r.TLS) {
		for _, host := range hosts {
			for i, name := range auth.headers {
				switch name {
				case hostHeader:
					values[i] = host
				case contentHashHeader:
					values[i] = contentHash
				default:
					values[i] = date
				}
			}
			messages = append(messages, []byte(strings.ToUpper(r.Method)+"\n"+target+"\n"+strings.Join(values, ";")))
		}
	}
	return messages
}

// targetSpellings returns the forms in which clients sign a target: as received, and
// percent-decoded (Python's async client). Without TLS it also returns both forms without the first
// slash (Python's sync client).
func targetSpellings(target string, tls bool) []string {
	target = originForm(target)
	targets := []string{target}
	if decoded, err := url.PathUnescape(target); err == nil {
		targets = appendNew(targets, decoded)
	}
	if tls {
		return targets
	}
	for _, t := range slices.Clone(targets) {
		if bare, ok := strings.CutPrefix(t, "/"); ok {
			targets = appendNew(targets, bare)
		}
	}
	return targets
}

// originForm returns the path and the query of a target, which is the part that clients sign.
// The target of a request to a forward proxy also has a scheme and a host.
func originForm(target string) string {
	_, rest, ok := strings.Cut(target, "://")
	if !ok || strings.HasPrefix(target, "/") {
		return target
	}
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	}
	return rest[i:]
}

// hostSpellings returns the forms in which clients sign a host: as received, without its port
// (Java), with its port, and with its port twice (JavaScript 2.0 to 2.4.0). If the host has no
// port, it also returns the host with the default port, which Python signs but does not send.
func (r Request) hostSpellings(authority string) []string {
	if authority == "" {
		return nil
	}
	name, ports, _ := strings.Cut(authority, ":")
	if strings.HasPrefix(authority, "[") { // do not split an IPv6 address at its colons
		end := strings.IndexByte(authority, ']') + 1
		name, ports = authority[:end], strings.TrimPrefix(authority[end:], ":")
	}
	port, _, _ := strings.Cut(ports, ":")
	switch {
	case name == "" || port == "" && strings.HasSuffix(authority, ":"):
		return []string{authority}
	case port == "" && r.TLS:
		return []string{authority, name + ":443"}
	case port == "":
		// Both ports are possible, because a proxy may have removed TLS without saying so.
		return []string{authority, name + ":80", name + ":443"}
	}
	return appendNew([]string{authority}, name, name+":"+port, name+":"+port+":"+port)
}

// appendNew appends to list those elements of more that list does not contain.
func appendNew(list []string, more ...string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}
