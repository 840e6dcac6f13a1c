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

	"github.com/confab-chat/confab/sdk/communication"
)

// MaxSkew is how far the date of a signed request may be from the server's time,
// in either direction.
//
// Unverified: Azure states no number for Communication Services; this is that of
// App Configuration, whose scheme is the same (docs/contract/identity.md §4.5).
const MaxSkew = 15 * time.Minute

// The words of access key signing (docs/contract/identity.md §4.1). The SDK has its own copy: it
// exports nothing that a client does not need.
const (
	scheme            = "HMAC-SHA256"
	hostHeader        = "host"
	dateHeader        = "date" // signed by SDKs from before June 2021
	msDateHeader      = "x-ms-date"
	contentHashHeader = "x-ms-content-sha256"
)

// Request is a request as a server received it, before any router, proxy or
// cleaner of paths touched it: the client signed the bytes that it sent.
type Request struct {
	// Method is the verb, http.Request.Method.
	Method string
	// Target is the raw request target, http.Request.RequestURI.
	Target string
	// Host is the Host header or the :authority, http.Request.Host.
	Host string
	// Header returns the value of a header whatever the case of its name, or "" if
	// there is none: http.Header.Get. It must not be nil.
	Header func(name string) string
	// BodyHash is the SHA-256 of the body; that of no body is sha256.Sum256(nil).
	BodyHash [sha256.Size]byte
	// TLS is true when the client spoke https, maybe to a proxy. Some clients that
	// speak plain http sign a path without its first slash (docs/contract/identity.md §4.3); only
	// then is that accepted.
	TLS bool
	// Authorities are more names, host or host:port, that the client may have
	// signed: those of a proxy that puts another Host into requests.
	Authorities []string
}

// Of returns r, whose body is given, as a Request.
func Of(r *http.Request, body []byte) Request {
	return Request{
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header.Get,
		BodyHash: sha256.Sum256(body), TLS: r.TLS != nil,
	}
}

// Verify returns the index of the key that signed r, or -1 and an [*Error]. It
// tries the keys in their order, so give the primary key first. A zero key matches
// nothing, so an unset secondary key may stay in the list.
//
// The algorithm is that of docs/contract/identity.md §4.4. It reads the order of the signed
// headers from the Authorization header and accepts every spelling of path and host
// that the official SDKs of all years sign: the target as received and
// percent-decoded, the host as received, without its port, and with its port
// repeated. Signatures and hashes are compared in constant time.
func Verify(r Request, keys []communication.AccessKey, now time.Time) (int, error) {
	auth, err := parseAuthorization(r.Header("Authorization"))
	if err != nil {
		return -1, err
	}
	date := r.Header(auth.date)
	if err := checkDate(date, now); err != nil {
		return -1, err
	}
	contentHash := r.Header(contentHashHeader)
	want := base64.StdEncoding.EncodeToString(r.BodyHash[:])
	if subtle.ConstantTimeCompare([]byte(contentHash), []byte(want)) == 0 {
		return -1, refuse(BadContentHash, contentHashHeader+" is not the hash of the body")
	}

	messages := r.spellings(auth, date, contentHash)
	for i, key := range keys {
		if key.IsZero() {
			continue
		}
		mac := hmac.New(sha256.New, key.Bytes())
		var sum [sha256.Size]byte
		for _, message := range messages {
			mac.Reset()
			mac.Write(message)
			if hmac.Equal(mac.Sum(sum[:0]), auth.signature) {
				return i, nil
			}
		}
	}
	return -1, refuse(BadSignature, "signature matches no key")
}

// Reason says why a request was refused. The responses differ (docs/contract/identity.md §4.5).
type Reason uint8

// The reasons, in the order in which they are checked.
const (
	// BadScheme: there is no Authorization header, or one of another scheme, such
	// as Bearer. The request is not signed; nothing else was checked.
	BadScheme Reason = iota + 1
	// BadHeader: the Authorization header is not of the form of docs/contract/identity.md §4.1, or
	// does not sign exactly a date header, host and x-ms-content-sha256.
	BadHeader
	// BadDate: the signed date is missing, unreadable, or too far from now.
	BadDate
	// BadContentHash: x-ms-content-sha256 is missing or is not the hash of the
	// body.
	BadContentHash
	// BadSignature: no key makes this signature of this request.
	BadSignature
)

// Error is the refusal of a signed request. Its text is for the server's log: it
// repeats nothing that the client sent. A response to the client should say no more
// than the reason.
type Error struct {
	Reason Reason

	detail string
}

// Error says what was wrong, with the detail that Reason lacks.
func (e *Error) Error() string { return "verify request signature: " + e.detail }

func refuse(reason Reason, format string, args ...any) error {
	return &Error{Reason: reason, detail: fmt.Sprintf(format, args...)}
}

// authorization is a parsed Authorization header.
type authorization struct {
	headers   []string // lower case: date or x-ms-date, host, x-ms-content-sha256, in the client's order
	date      string   // which one of the two date headers is signed
	signature []byte
}

// parseAuthorization reads
// "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=BASE64".
func parseAuthorization(header string) (authorization, error) {
	got, params, _ := strings.Cut(header, " ")
	if !strings.EqualFold(got, scheme) {
		if header == "" {
			return authorization{}, refuse(BadScheme, "no authorization header")
		}
		return authorization{}, refuse(BadScheme, "authorization scheme is not "+scheme)
	}
	// Two parameters, each once: one more '&' would be in the second name or value.
	first, second, _ := strings.Cut(strings.TrimSpace(params), "&")
	signed, ok1 := cutParam(first, "SignedHeaders")
	signature, ok2 := cutParam(second, "Signature")
	if !ok1 || !ok2 {
		return authorization{}, refuse(BadHeader, "authorization is not SignedHeaders=...&Signature=...")
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
		return authorization{}, refuse(BadHeader,
			"signed headers are not a date header, host and "+contentHashHeader)
	}

	// Strict, and of the one length a SHA-256 has: one signature, one spelling.
	var err error
	if len(signature) == base64.StdEncoding.EncodedLen(sha256.Size) {
		a.signature, err = base64.StdEncoding.Strict().DecodeString(signature)
	}
	if err != nil || len(a.signature) != sha256.Size {
		return authorization{}, refuse(BadHeader, "signature is not the base64 of 32 bytes")
	}
	return a, nil
}

func cutParam(s, name string) (value string, ok bool) {
	got, value, ok := strings.Cut(s, "=")
	return value, ok && strings.EqualFold(got, name)
}

// checkDate reads the date as RFC 1123 with GMT, the only form any SDK sends.
func checkDate(date string, now time.Time) error {
	if date == "" {
		return refuse(BadDate, "signed date header is missing")
	}
	t, err := time.Parse(http.TimeFormat, date)
	if err != nil {
		return refuse(BadDate, "signed date is not of the form %q", http.TimeFormat)
	}
	if skew := now.Sub(t).Abs(); skew > MaxSkew {
		return refuse(BadDate, "signed date is off by %v, more than %v", skew, MaxSkew)
	}
	return nil
}

// spellings returns every string that a client may have signed for this request
// (docs/contract/identity.md §4.4), the likeliest first and none twice.
func (r Request) spellings(auth authorization, date, contentHash string) [][]byte {
	var hosts []string
	for _, authority := range append([]string{r.Host}, r.Authorities...) {
		hosts = appendNew(hosts, hostSpellings(authority)...)
	}
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

// targetSpellings returns the target as received and percent-decoded (Python's
// async client signs that), and over plain http both without the first slash
// (Python's sync client drops it there).
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

// originForm drops scheme and host from the target of a request that was sent to a
// forward proxy; clients sign path and query only.
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

// hostSpellings returns authority as it is, without its port (Java signs that),
// with its port, and with its port twice (JavaScript 2.0 to 2.4.0 sign and send
// that).
func hostSpellings(authority string) []string {
	if authority == "" {
		return nil
	}
	name, ports, _ := strings.Cut(authority, ":")
	if strings.HasPrefix(authority, "[") { // an IPv6 address keeps its colons
		end := strings.IndexByte(authority, ']') + 1
		name, ports = authority[:end], strings.TrimPrefix(authority[end:], ":")
	}
	port, _, _ := strings.Cut(ports, ":")
	if name == "" || port == "" {
		return []string{authority}
	}
	return appendNew([]string{authority}, name, name+":"+port, name+":"+port+":"+port)
}

// appendNew appends those of more that list does not have yet.
func appendNew(list []string, more ...string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}
