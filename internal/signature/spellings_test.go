package signature

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/confab-chat/confab/sdk/communication"
)

// TestVerifyVectors checks that Verify accepts the signatures listed in docs/contract/identity.md
// §4.2, which other programs have computed.
func TestVerifyVectors(t *testing.T) {
	tests := []struct {
		target, host, body, signature string
		tls                           bool
	}{
		{createTarget, vectorHost, "", "r+kdsugSR+FImVN/3GD/vBPlncIJ9hVP4/FyDp92uU8=", true},
		{issueTarget, vectorHost, vectorBody, "jCdnKUuGEV7/I3ilavKFbVrECzVHdRCDi832YmTx7mc=", true},
		{issueDecoded, vectorHost, vectorBody, "1nmq3lb8plnjvceCHR60hwDvMPDKN6lr0lSl86vgsvQ=", true},
		{issueTarget, "localhost", vectorBody, "ttYzRyO+6h0qFWp7joodXCsQ+auVtNRgE4uvzfUYetQ=", true},
		{issueTarget, vectorHost, vectorBody, "Sy65rpRM3nga/ny6wTVBnKdxlgnTBPsQez1icmjiuYo=", false},
	}
	for i, tt := range tests {
		sum := sha256.Sum256([]byte(tt.body))
		r := request(tt.target, tt.host, authorize(usualHeaders, tt.signature)).
			with("x-ms-content-sha256", base64.StdEncoding.EncodeToString(sum[:]))
		r.TLS = tt.tls
		if key, err := verify(t, r); key != 0 || err != nil {
			t.Errorf("vector %d: key %d, %v", i+1, key, err)
		}
		if err := r.CheckBody([]byte(tt.body)); err != nil {
			t.Errorf("vector %d: %v", i+1, err)
		}
	}
}

// TestVerifySDKs checks that Verify accepts requests as each official SDK signs them and as a
// server receives them (docs/contract/identity.md §4.3).
func TestVerifySDKs(t *testing.T) {
	const (
		date    = "date;host;x-ms-content-sha256"
		slashes = "/identities/8%3Aacs%3Aa/%2F%20x?api-version=2023-10-01&q=a%20b"
	)
	tests := []struct {
		name                     string
		target, host             string // as the server receives them
		signedTarget, signedHost string
		signedHeaders            string
		plain                    bool
		authorities              []string
	}{
		{name: "Python sync", target: issueTarget, host: vectorHost, signedTarget: issueTarget, signedHost: vectorHost},
		{name: "Python sync over http", target: issueTarget, host: vectorHost,
			signedTarget: issueTarget[1:], signedHost: vectorHost, plain: true},
		{name: "Python async", target: issueDecoded, host: vectorHost, signedTarget: issueDecoded, signedHost: vectorHost},
		{name: "Python async, encoded again on the way", target: issueTarget, host: vectorHost,
			signedTarget: issueDecoded, signedHost: vectorHost},
		{name: "Python async over http", target: issueTarget, host: vectorHost,
			signedTarget: issueDecoded[1:], signedHost: vectorHost, plain: true},
		{name: "Python 1.0.0b5", target: issueTarget, host: vectorHost,
			signedTarget: issueTarget, signedHost: vectorHost, signedHeaders: date},
		{name: "JavaScript 1.0.0", target: issueTarget, host: vectorHost,
			signedTarget: issueTarget, signedHost: vectorHost, signedHeaders: date},
		{name: "JavaScript 1.1.0", target: issueTarget, host: vectorHost, signedTarget: issueTarget, signedHost: vectorHost},
		{name: "JavaScript 2.3.1", target: issueTarget, host: "localhost:18443:18443",
			signedTarget: issueTarget, signedHost: "localhost:18443:18443"},
		{name: "JavaScript 2.3.1, Host repaired on the way", target: issueTarget, host: vectorHost,
			signedTarget: issueTarget, signedHost: "localhost:18443:18443"},
		{name: "JavaScript 2.5.0, usual port", target: issueTarget, host: "chat.example",
			signedTarget: issueTarget, signedHost: "chat.example"},
		{name: "JavaScript 2.5.0 behind a Host of two ports", target: issueTarget, host: "localhost:18443:18443",
			signedTarget: issueTarget, signedHost: vectorHost},
		{name: ".NET", target: issueTarget, host: vectorHost, signedTarget: issueTarget, signedHost: vectorHost},
		{name: "Java", target: issueTarget, host: "localhost", signedTarget: issueTarget, signedHost: "localhost"},
		{name: "Java, Host with port", target: issueTarget, host: vectorHost,
			signedTarget: issueTarget, signedHost: "localhost"},
		{name: "Java, IPv6", target: issueTarget, host: "[::1]:18443", signedTarget: issueTarget, signedHost: "[::1]"},
		{name: "JavaScript 2.3.1, IPv6", target: issueTarget, host: "[::1]:18443",
			signedTarget: issueTarget, signedHost: "[::1]:18443:18443"},
		{name: "IPv6 without port", target: issueTarget, host: "[::1]", signedTarget: issueTarget, signedHost: "[::1]"},
		{name: "escaped blanks and slashes", target: slashes, host: vectorHost,
			signedTarget: "/identities/8:acs:a// x?api-version=2023-10-01&q=a b", signedHost: vectorHost},
		{name: "doubled slash", target: "//access/entra/:exchangeAccessToken?api-version=2025-03-02-preview", host: vectorHost,
			signedTarget: "//access/entra/:exchangeAccessToken?api-version=2025-03-02-preview", signedHost: vectorHost},
		{name: "bad escape", target: "/a%zz", host: vectorHost, signedTarget: "/a%zz", signedHost: vectorHost},
		{name: "through a forward proxy", target: "http://localhost:18443" + issueTarget, host: vectorHost,
			signedTarget: issueTarget, signedHost: vectorHost, plain: true},
		{name: "through a forward proxy, no path", target: "http://localhost:18443?a=b", host: vectorHost,
			signedTarget: "/?a=b", signedHost: vectorHost, plain: true},
		{name: "through a forward proxy, nothing", target: "http://localhost:18443", host: vectorHost,
			signedTarget: "/", signedHost: vectorHost, plain: true},
		{name: "behind a reverse proxy", target: issueTarget, host: "10.0.0.7:8080", authorities: []string{"other.example", "chat.example:444"},
			signedTarget: issueTarget, signedHost: "chat.example:444"},
		{name: "Java behind a reverse proxy", target: issueTarget, host: "10.0.0.7:8080", authorities: []string{"chat.example:444"},
			signedTarget: issueTarget, signedHost: "chat.example"},
		{name: "no Host at all", target: issueTarget, authorities: []string{"chat.example"},
			signedTarget: issueTarget, signedHost: "chat.example"},
		{name: "other order", target: issueTarget, host: vectorHost,
			signedTarget: issueTarget, signedHost: vectorHost, signedHeaders: "host;x-ms-content-sha256;x-ms-date"},
		{name: "header names in capitals", target: issueTarget, host: vectorHost,
			signedTarget: issueTarget, signedHost: vectorHost, signedHeaders: "X-MS-Date;Host;X-MS-Content-SHA256"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.signedHeaders == "" {
				tt.signedHeaders = usualHeaders
			}
			values := strings.NewReplacer("x-ms-date", vectorDate, "date", vectorDate,
				"x-ms-content-sha256", vectorBodyHash, "host", tt.signedHost).Replace(strings.ToLower(tt.signedHeaders))
			r := request(tt.target, tt.host, authorize(tt.signedHeaders,
				signature(t, testKey, "POST", tt.signedTarget, values)))
			r.TLS, r.Authorities = !tt.plain, tt.authorities
			if tt.signedHeaders == date {
				r = r.with("Date", vectorDate).with("x-ms-date", "")
			}
			keys := []communication.AccessKey{mustKey(t, "AAAA"), mustKey(t, testKey)}
			if key, err := Verify(r, keys, vectorTime); key != 1 || err != nil {
				t.Errorf("key %d, %v, want key 1", key, err)
			}
		})
	}
}

func TestVerifyRefusesOtherSpellings(t *testing.T) {
	tests := []struct {
		name, target, host, signedTarget, signedHost string
		tls                                          bool
	}{
		{"no first slash over TLS", issueTarget, vectorHost, issueTarget[1:], vectorHost, true},
		{"no first slash over TLS, decoded", issueTarget, vectorHost, issueDecoded[1:], vectorHost, true},
		{"two slashes less", "//a", vectorHost, "a", vectorHost, false},
		{"decoded twice", "/a%253A", vectorHost, "/a:", vectorHost, true},
		{"encoded", issueDecoded, vectorHost, issueTarget, vectorHost, true},
		{"slash after the host", issueTarget, vectorHost, issueTarget, vectorHost + "/", true},
		{"other port", issueTarget, vectorHost, issueTarget, "localhost:18444", true},
		{"other host", issueTarget, vectorHost, issueTarget, "localhorst:18443", true},
		{"port where there is none", issueTarget, "localhost", issueTarget, vectorHost, true},
		{"no host", issueTarget, vectorHost, issueTarget, "", true},
		{"no host received", issueTarget, "", issueTarget, "", true},
		{"three ports", issueTarget, vectorHost, issueTarget, "localhost:18443:18443:18443", true},
		{"query missing", issueTarget, vectorHost, strings.Split(issueTarget, "?")[0], vectorHost, true},
	}
	for _, tt := range tests {
		r := request(tt.target, tt.host, authorize(usualHeaders,
			signature(t, testKey, "POST", tt.signedTarget, vectorDate+";"+tt.signedHost+";"+vectorBodyHash)))
		r.TLS = tt.tls
		_, err := verify(t, r)
		wantReason(t, tt.name, err, BadSignature)
	}
}

// TestVerifyLetterCase verifies requests whose host was signed in another letter case than it was
// sent. It checks that Verify tries no other letter cases for a request with a long target.
func TestVerifyLetterCase(t *testing.T) {
	names := []string{"Anns-MacBook.local", "ÄÖ", ""}
	for _, tt := range []struct {
		host, signed string
		tls, ok      bool
	}{
		{"localhost:18443", "LOCALHOST:18443", true, true},
		{"localhost:18443", "LocalHost", true, true},
		{"LOCALHOST:18443", "localhost:18443", true, true},
		{"chat.example", "Chat.Example", true, true},
		{"chat.example", "CHAT.EXAMPLE:443", true, true},
		{"chat.example", "Chat.example:80", false, true},
		{"[fe80::a]:1", "[FE80::A]:1", true, true},
		{"anns-macbook.local:18443", "Anns-MacBook.local:18443", true, true},
		{"anns-macbook.local.evil", "Anns-MacBook.local.evil", true, false},
		{"localhost:18443", "LOCALHOST:18444", true, false},
		{"localhost", "LOCALHOSTS", true, false},
		{"\xff\xfe", "\xfe\xff", true, false},
	} {
		for _, target := range []string{issueTarget, issueTarget + "&q=" + strings.Repeat("x", maxTried)} {
			r := request(target, tt.host, authorize(usualHeaders,
				signature(t, testKey, "POST", target, vectorDate+";"+tt.signed+";"+vectorBodyHash)))
			r.TLS, r.Names = tt.tls, names
			_, err := verify(t, r)
			if want := tt.ok && target == issueTarget; (err == nil) != want {
				t.Errorf("host %q, signed %q, target of %d bytes: %v, want accepted %v", tt.host, tt.signed, len(target), err, want)
			}
		}
	}
}

// TestVerifyNamesTheSignedHost checks which hosts the error of Verify names, and that Verify
// calls Others only if it refuses the signature.
func TestVerifyNamesTheSignedHost(t *testing.T) {
	asked := 0
	others := func() []string { asked++; return []string{"", "a.example", "chat.example:444"} }
	for _, tt := range []struct{ signed, want string }{
		{"10.0.0.7:8080", ""},
		{"public.example", ""},
		{"chat.example:444", `the host "chat.example:444" was signed, and the request came for the host "10.0.0.7:8080" or "public.example"`},
		{"chat.example", `the host "chat.example:444" was signed, and the request came for the host "10.0.0.7:8080" or "public.example"`}, // as Java signs it
		{"nobody.example", `signature matches no key for the host "10.0.0.7:8080" or "public.example"`},
	} {
		asked = 0
		r := request(issueTarget, "10.0.0.7:8080", authorize(usualHeaders,
			signature(t, testKey, "POST", issueTarget, vectorDate+";"+tt.signed+";"+vectorBodyHash)))
		r.TLS, r.Authorities, r.Others = true, []string{"public.example"}, others
		_, err := verify(t, r)
		if tt.want == "" {
			if err != nil || asked != 0 {
				t.Errorf("signed for %s: %v, after %d calls of Others", tt.signed, err, asked)
			}
			continue
		}
		wantReason(t, tt.signed, err, BadSignature)
		if err != nil && err.Error() != "verify request signature: "+tt.want {
			t.Errorf("signed for %s: %v, want %s", tt.signed, err, tt.want)
		}
	}
}
