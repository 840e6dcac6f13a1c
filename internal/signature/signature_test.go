package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// The key, the parts of requests and the hashes that the test signatures of
// docs/contract/identity.md §4.2 use.
const (
	testKey         = "c2VjcmV0LWtleS1mb3ItdGVzdA=="
	vectorDate      = "Sat, 21 Nov 2026 20:31:40 GMT"
	vectorHost      = "localhost:18443"
	vectorBody      = `{"scopes":["chat"]}`
	vectorBodyHash  = "J+doRQjtFVYLx3qOvzptwBLjQWqy6OEWEEk1TY1+rT4="
	vectorEmptyHash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	createTarget    = "/identities?api-version=2023-10-01"
	issueTarget     = "/identities/8%3Aacs%3Aaaaaaaaa-368b-45b4-ab52-8493fb117652_00000005-14a2-493b-8a72-5a3a0d000081/:issueAccessToken?api-version=2023-10-01"
	issueDecoded    = "/identities/8:acs:aaaaaaaa-368b-45b4-ab52-8493fb117652_00000005-14a2-493b-8a72-5a3a0d000081/:issueAccessToken?api-version=2023-10-01"
)

var vectorTime = time.Date(2026, 11, 21, 20, 31, 40, 0, time.UTC)

func mustKey(t testing.TB, text string) communication.AccessKey {
	t.Helper()
	k, err := communication.NewAccessKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signature computes a signature with the standard library alone, without calling Sign or
// Verify.
func signature(t testing.TB, key, method, pathAndQuery, values string) string {
	t.Helper()
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(method + "\n" + pathAndQuery + "\n" + values))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// request returns a request as a server receives it, with the hash of vectorBody.
func request(target, host, auth string) Request {
	header := http.Header{}
	header.Set("Authorization", auth)
	header.Set("x-ms-date", vectorDate)
	header.Set("x-ms-content-sha256", vectorBodyHash)
	return Request{
		Method: "POST",
		Target: target,
		Host:   host,
		Header: header.Get,
		TLS:    true,
	}
}

func authorize(signedHeaders, signature string) string {
	return "HMAC-SHA256 SignedHeaders=" + signedHeaders + "&Signature=" + signature
}

const usualHeaders = "x-ms-date;host;x-ms-content-sha256"

// signed returns a correctly signed request.
func signed(t testing.TB) Request {
	t.Helper()
	return request(issueTarget, vectorHost, authorize(usualHeaders,
		signature(t, testKey, "POST", issueTarget, vectorDate+";"+vectorHost+";"+vectorBodyHash)))
}

// with sets a header of r and returns r. If value is empty, it removes the header.
func (r Request) with(name, value string) Request {
	header := r.Header
	r.Header = func(n string) string {
		if strings.EqualFold(n, name) {
			return value
		}
		return header(n)
	}
	return r
}

func verify(t testing.TB, r Request) (int, error) {
	t.Helper()
	return Verify(r, []communication.AccessKey{mustKey(t, testKey)}, vectorTime)
}

func wantReason(t *testing.T, what string, err error, want Reason) {
	t.Helper()
	var refused *Error
	if !errors.As(err, &refused) || refused.Reason != want {
		t.Errorf("%s: error %v, want reason %d", what, err, want)
	}
}

// TestVerifyRefusesEveryChange changes each byte of a signed request in turn and checks that Verify
// refuses the changed request.
func TestVerifyRefusesEveryChange(t *testing.T) {
	r := signed(t)
	if _, err := verify(t, r); err != nil {
		t.Fatal(err)
	}
	// altered returns copies of s, each with one byte replaced. Every byte is replaced by several
	// characters in turn.
	altered := func(s string) (list []string) {
		for i := range len(s) {
			for _, c := range []byte("aZ09+/;=& %\n\x00\xff") {
				if s[i] != c {
					list = append(list, s[:i]+string([]byte{c})+s[i+1:])
				}
			}
		}
		return append(list, s+"x", s[1:], s[:len(s)-1])
	}
	refused := func(what, value string, r Request) {
		t.Helper()
		var bad *Error
		if key, err := verify(t, r); !errors.As(err, &bad) || key != -1 {
			t.Errorf("%s %q: key %d, %v, want a refusal", what, value, key, err)
		}
	}
	for _, s := range altered(r.Method) {
		changed := r
		changed.Method = s
		refused("method", s, changed)
	}
	for _, s := range altered(r.Target) {
		changed := r
		changed.Target = s
		refused("target", s, changed)
	}
	for _, s := range altered(r.Host) {
		if strings.HasPrefix(s, vectorHost) {
			continue
		}
		changed := r
		changed.Host = s
		refused("host", s, changed)
	}
	for _, name := range []string{"x-ms-date", "x-ms-content-sha256"} {
		for _, s := range altered(r.Header(name)) {
			refused(name, s, r.with(name, s))
		}
	}
	auth := r.Header("Authorization")
	sig := auth[strings.LastIndex(auth, "&Signature=")+len("&Signature="):]
	for _, s := range altered(sig) {
		if strings.TrimSpace(s) == sig {
			continue
		}
		refused("signature", s, r.with("Authorization", authorize(usualHeaders, s)))
	}
	if err := r.CheckBody([]byte(vectorBody)); err != nil {
		t.Error(err)
	}
	for _, body := range append(altered(vectorBody), "") {
		wantReason(t, "body "+body, r.CheckBody([]byte(body)), BadContentHash)
	}
	// Replace the body and its hash header, but not the signature.
	changed := r.with("x-ms-content-sha256", vectorEmptyHash)
	_, err := verify(t, changed)
	wantReason(t, "other body", err, BadSignature)
}

func TestVerifyAuthorizationHeader(t *testing.T) {
	good := signed(t).Header("Authorization")
	sig := good[strings.LastIndex(good, "=")-43:]
	tests := []struct {
		auth string
		want Reason // 0: Verify must accept the request
	}{
		{good, 0},
		{strings.Replace(good, "HMAC-SHA256", "hmac-sha256", 1), 0},
		{strings.Replace(good, "HMAC-SHA256 ", "HMAC-SHA256   ", 1), 0},
		{strings.Replace(strings.Replace(good, "SignedHeaders", "signedheaders", 1), "Signature", "signature", 1), 0},

		{"", BadScheme},
		{"Bearer eyJ", BadScheme},
		{"HMAC-SHA512 SignedHeaders=" + usualHeaders + "&Signature=" + sig, BadScheme},
		{"HMAC-SHA2560 " + sig, BadScheme},
		{" " + good, BadScheme},

		{"HMAC-SHA256", BadHeader},
		{"HMAC-SHA256 ", BadHeader},
		{"HMAC-SHA256 " + sig, BadHeader},
		{"HMAC-SHA256 Signature=" + sig, BadHeader},
		{"HMAC-SHA256 SignedHeaders=" + usualHeaders, BadHeader},
		{"HMAC-SHA256 Signature=" + sig + "&SignedHeaders=" + usualHeaders, BadHeader},
		{"HMAC-SHA256 Credential=x&SignedHeaders=" + usualHeaders + "&Signature=" + sig, BadHeader},
		{good + "&Signature=" + sig, BadHeader},
		{good + "&", BadHeader},
		{authorize(usualHeaders, ""), BadHeader},
		{authorize(usualHeaders, sig[:40]), BadHeader},
		{authorize(usualHeaders, sig+"AAAA"), BadHeader},
		{authorize(usualHeaders, strings.Repeat("A", 44)), BadHeader},
		// The last character of the signature has bits that do not belong to the signature's last
		// byte.
		{authorize(usualHeaders, strings.Repeat("A", 42)+"B="), BadHeader},
		{authorize(usualHeaders, strings.Repeat("A", 40)+"\n\n\n="), BadHeader},
		{authorize("", sig), BadHeader},
		{authorize("host;x-ms-content-sha256", sig), BadHeader},
		{authorize("x-ms-date;host", sig), BadHeader},
		{authorize("x-ms-date;x-ms-content-sha256", sig), BadHeader},
		{authorize("x-ms-date;date;host;x-ms-content-sha256", sig), BadHeader},
		{authorize("x-ms-date;date;host", sig), BadHeader},
		{authorize("x-ms-date;host;host", sig), BadHeader},
		{authorize(usualHeaders+";", sig), BadHeader},
		{authorize(usualHeaders+";x-extra", sig), BadHeader},
		{authorize(" x-ms-date;host;x-ms-content-sha256", sig), BadHeader},
		{authorize("x-ms-date,host,x-ms-content-sha256", sig), BadHeader},

		{authorize("x-ms-content-sha256;host;x-ms-date", sig), BadSignature},
		{authorize(usualHeaders, strings.Repeat("A", 43)+"="), BadSignature},
		{authorize("date;host;x-ms-content-sha256", sig), BadDate}, // the request has no header date
	}
	for _, tt := range tests {
		key, err := verify(t, signed(t).with("Authorization", tt.auth))
		if tt.want == 0 {
			if key != 0 || err != nil {
				t.Errorf("%q: key %d, %v, want acceptance", tt.auth, key, err)
			}
			continue
		}
		wantReason(t, tt.auth, err, tt.want)
		if err != nil && strings.Contains(err.Error(), sig) {
			t.Errorf("%q: error %q repeats the signature", tt.auth, err)
		}
	}
}

// TestVerifyDate checks that Verify accepts a date that differs from the server's time by at most
// MaxSkew, and refuses other dates. Unverified: that the real service allows 15 minutes.
func TestVerifyDate(t *testing.T) {
	const minute = time.Minute
	tests := []struct {
		name string
		now  time.Duration // the server's time, counted from the signed date
		ok   bool
	}{
		{"now", 0, true},
		{"late, at the edge", 15 * minute, true},
		{"late, beyond", 15*minute + 1, false},
		{"early, at the edge", -15 * minute, true},
		{"early, beyond", -15*minute - 1, false},
		{"centuries", 290 * 365 * 24 * time.Hour, false},
	}
	for _, tt := range tests {
		_, err := Verify(signed(t), []communication.AccessKey{mustKey(t, testKey)}, vectorTime.Add(tt.now))
		if tt.ok && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if !tt.ok {
			wantReason(t, tt.name, err, BadDate)
		}
	}
	for _, date := range []string{
		"", "now", "1795293100", "2026-11-21T20:31:40Z", "Sat, 21 Nov 2026 20:31:40 UTC",
		"Sat, 21 Nov 2026 20:31:40 +0000", "Saturday, 21-Nov-26 20:31:40 GMT", "Sat Nov 21 20:31:40 2026",
		"Sat, 31 Feb 2026 20:31:40 GMT", vectorDate + ";" + vectorHost, "Sat, 21 Nov 9999 20:31:40 GMT",
	} {
		_, err := verify(t, signed(t).with("x-ms-date", date))
		wantReason(t, "date "+date, err, BadDate)
	}
	// The difference between the signed date and the zero time is too large for a time.Duration.
	_, err := Verify(signed(t), []communication.AccessKey{mustKey(t, testKey)}, time.Time{})
	wantReason(t, "zero now", err, BadDate)
}

// TestVerifyUsesTheSignedDate checks that Verify checks only the signed date header if a request
// has two date headers.
func TestVerifyUsesTheSignedDate(t *testing.T) {
	if _, err := verify(t, signed(t).with("Date", "yesterday")); err != nil {
		t.Errorf("x-ms-date is signed, and Date was looked at: %v", err)
	}
	r := request(issueTarget, vectorHost, authorize("date;host;x-ms-content-sha256",
		signature(t, testKey, "POST", issueTarget, vectorDate+";"+vectorHost+";"+vectorBodyHash)))
	if _, err := verify(t, r.with("Date", vectorDate).with("x-ms-date", "yesterday")); err != nil {
		t.Errorf("date is signed, and x-ms-date was looked at: %v", err)
	}
}

func TestVerifyContentHash(t *testing.T) {
	for _, hash := range []string{"", vectorBodyHash + " ", strings.TrimRight(vectorBodyHash, "="), "x"} {
		_, err := verify(t, signed(t).with("x-ms-content-sha256", hash))
		wantReason(t, "hash "+hash, err, BadContentHash)
	}
	// The hash in the header is the hash of another body than the signed one.
	r := signed(t).with("x-ms-content-sha256", vectorEmptyHash)
	_, err := verify(t, r)
	wantReason(t, "another hash", err, BadSignature)
}

// TestVerifyNeedsNoBody checks that Verify accepts a signature without the body, and that
// CheckBody then refuses a body that does not have the signed hash.
func TestVerifyNeedsNoBody(t *testing.T) {
	for _, hash := range []string{vectorBodyHash, vectorEmptyHash, strings.Repeat("x", 44)} {
		r := request(issueTarget, vectorHost, authorize(usualHeaders,
			signature(t, testKey, "POST", issueTarget, vectorDate+";"+vectorHost+";"+hash))).with("x-ms-content-sha256", hash)
		if key, err := verify(t, r); key != 0 || err != nil {
			t.Errorf("hash %q: key %d, %v; want it accepted before the body is known", hash, key, err)
		}
		if err := r.CheckBody([]byte(vectorBody)); (err == nil) != (hash == vectorBodyHash) {
			t.Errorf("hash %q: the body is judged %v", hash, err)
		}
	}
}

// TestDateSaysHowFar checks that the error for a wrong date says by how much the date is before
// or after the server's time.
func TestDateSaysHowFar(t *testing.T) {
	for off, want := range map[time.Duration]string{
		20*time.Minute + 5*time.Second: "signed date is 20m5s behind the server's clock, more than 15m0s",
		-3 * time.Hour:                 "signed date is 3h0m0s ahead of the server's clock, more than 15m0s",
	} {
		_, err := Verify(signed(t), []communication.AccessKey{mustKey(t, testKey)}, vectorTime.Add(off))
		var refused *Error
		if !errors.As(err, &refused) || refused.Detail() != want {
			t.Errorf("off by %v: %v, want %q", off, err, want)
		}
	}
}

func TestVerifySaysWhichKey(t *testing.T) {
	key, other := mustKey(t, testKey), mustKey(t, "AAAA")
	tests := []struct {
		name string
		keys []communication.AccessKey
		want int
	}{
		{"primary", []communication.AccessKey{key, other}, 0},
		{"secondary", []communication.AccessKey{other, key}, 1},
		{"both the same", []communication.AccessKey{key, key}, 0},
		{"unset primary", []communication.AccessKey{{}, key}, 1},
		{"neither", []communication.AccessKey{other, other}, -1},
		{"none", nil, -1},
	}
	for _, tt := range tests {
		got, err := Verify(signed(t), tt.keys, vectorTime)
		if got != tt.want || (err == nil) != (tt.want >= 0) {
			t.Errorf("%s: key %d, %v, want %d", tt.name, got, err, tt.want)
		}
	}
}

// TestVerifyEmptyKeyMatchesNothing makes a signature with an empty key, which anybody can do. It
// checks that Verify does not accept the signature for an access key that is not set.
func TestVerifyEmptyKeyMatchesNothing(t *testing.T) {
	r := request(issueTarget, vectorHost, authorize(usualHeaders,
		signature(t, "", "POST", issueTarget, vectorDate+";"+vectorHost+";"+vectorBodyHash)))
	_, err := Verify(r, []communication.AccessKey{{}, {}}, vectorTime)
	wantReason(t, "empty key", err, BadSignature)
}

func TestVerifyMethodInLowerCase(t *testing.T) {
	r := signed(t)
	r.Method = "post" // clients sign the method in upper case
	if _, err := verify(t, r); err != nil {
		t.Error(err)
	}
}

func TestVerifyTriesFewSpellings(t *testing.T) {
	r := signed(t)
	r.TLS = false
	auth, err := parseAuthorization(r.Header("Authorization"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.spellings(auth, vectorDate, vectorBodyHash)); n > 20 {
		t.Errorf("%d spellings, want at most 20 (docs/contract/identity.md §4.4)", n)
	}
}

func FuzzVerify(f *testing.F) {
	good := signed(f)
	f.Add(good.Header("Authorization"), vectorDate, issueTarget, vectorHost, false)
	f.Add("HMAC-SHA256 SignedHeaders=date;host;x-ms-content-sha256&Signature=", "", "http://h", "[::1]:1:1", true)
	f.Add("HMAC-SHA256 &", "x", "%zz", "[", false)
	f.Add("Bearer x", "", "", ":", false)
	key := mustKey(f, testKey)
	f.Fuzz(func(t *testing.T, auth, date, target, host string, tls bool) {
		r := request(target, host, auth).with("x-ms-date", date)
		r.TLS, r.Authorities = tls, []string{host, ""}
		got, err := Verify(r, []communication.AccessKey{{}, key}, vectorTime)
		var refused *Error
		switch {
		case err == nil && got == 1:
			// Only the first input of the fuzz test has a valid signature, and only for its own
			// request.
			if !strings.Contains(auth, "jCdnKUuGEV7/I3ilavKFbVrECzVHdRCDi832YmTx7mc=") {
				t.Fatalf("forged: %q %q %q %q", auth, date, target, host)
			}
		case got != -1 || !errors.As(err, &refused) || refused.Reason == 0:
			t.Fatalf("key %d, error %v", got, err)
		}
	})
}
