package communication

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// Values that several examples of signatures in docs/contract/identity.md §4.2 have in common.
const (
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

// signature returns the expected signature of a request. It shares no code with Sign and uses only
// the standard library, so that it can check Sign.
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

func TestSignVectors(t *testing.T) {
	tests := []struct{ url, body, hash, signature string }{
		{"https://localhost:18443" + createTarget, "", vectorEmptyHash, "r+kdsugSR+FImVN/3GD/vBPlncIJ9hVP4/FyDp92uU8="},
		{"https://localhost:18443" + issueTarget, vectorBody, vectorBodyHash, "jCdnKUuGEV7/I3ilavKFbVrECzVHdRCDi832YmTx7mc="},
		{"https://localhost" + issueTarget, vectorBody, vectorBodyHash, "ttYzRyO+6h0qFWp7joodXCsQ+auVtNRgE4uvzfUYetQ="},
	}
	for _, tt := range tests {
		req, err := http.NewRequest("POST", tt.url, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		// Set headers as an earlier attempt would; Sign must replace them. Pass now in another time
		// zone, which must not matter.
		req.Header.Set("x-ms-date", "old")
		req.Header.Set("Authorization", "old")
		if err := mustKey(t, testKey).Sign(req, vectorTime.In(time.FixedZone("CET", 3600))); err != nil {
			t.Fatal(err)
		}
		want := http.Header{
			"X-Ms-Date":           {vectorDate},
			"X-Ms-Content-Sha256": {tt.hash},
			"Authorization":       {"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=" + tt.signature},
		}
		if !maps.EqualFunc(req.Header, want, func(a, b []string) bool { return strings.Join(a, "|") == strings.Join(b, "|") }) {
			t.Errorf("%s\ngot  %v\nwant %v", tt.url, req.Header, want)
		}
		if sent, _ := io.ReadAll(req.Body); string(sent) != tt.body {
			t.Errorf("body after signing = %q, want %q", sent, tt.body)
		}
	}
}

// seekable is a request body with a Seek method, like the bodies that azcore makes.
type seekable struct {
	*strings.Reader
	closed bool
}

func (s *seekable) Close() error { s.closed = true; return nil }

func TestSignLeavesBodyToSend(t *testing.T) {
	newRequest := func(body io.Reader) *http.Request {
		req, err := http.NewRequest("POST", "https://localhost:18443"+issueTarget, body)
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	offset := &seekable{Reader: strings.NewReader("skipped" + vectorBody)}
	offset.Seek(int64(len("skipped")), io.SeekStart)
	atOffset := newRequest(nil)
	atOffset.Body = offset

	tests := []struct {
		name string
		req  *http.Request
		body string
		hash string
	}{
		{"none", newRequest(nil), "", vectorEmptyHash},
		{"NoBody", newRequest(http.NoBody), "", vectorEmptyHash},
		{"GetBody", newRequest(bytes.NewReader([]byte(vectorBody))), vectorBody, vectorBodyHash},
		{"seeker", newRequest(&seekable{Reader: strings.NewReader(vectorBody)}), vectorBody, vectorBodyHash},
		{"seeker at an offset", atOffset, vectorBody, vectorBodyHash},
		{"stream", newRequest(iotest.OneByteReader(strings.NewReader(vectorBody))), vectorBody, vectorBodyHash},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // a retry signs again
				if err := mustKey(t, testKey).Sign(tt.req, vectorTime); err != nil {
					t.Fatal(err)
				}
				if got := tt.req.Header.Get("x-ms-content-sha256"); got != tt.hash {
					t.Errorf("hash = %q, want %q", got, tt.hash)
				}
			}
			if tt.req.Body == nil {
				return
			}
			if s, ok := tt.req.Body.(*seekable); ok && s.closed {
				t.Error("Sign closed the body")
			}
			sent, err := io.ReadAll(tt.req.Body)
			if err != nil || string(sent) != tt.body {
				t.Errorf("body after signing = %q, %v, want %q", sent, err, tt.body)
			}
			if tt.name == "stream" {
				again, _ := tt.req.GetBody()
				if content, _ := io.ReadAll(again); string(content) != tt.body || tt.req.ContentLength != int64(len(tt.body)) {
					t.Errorf("GetBody gives %q, ContentLength = %d", content, tt.req.ContentLength)
				}
			}
		})
	}
}

// noSeek is a request body whose method Seek fails, like the Seek of a pipe.
type noSeek struct{ io.Reader }

func (noSeek) Seek(int64, int) (int64, error) { return 0, errors.New("cannot seek") }
func (noSeek) Close() error                   { return nil }

func TestSignErrors(t *testing.T) {
	key := mustKey(t, testKey)
	newRequest := func(body io.Reader) *http.Request {
		req, err := http.NewRequest("POST", "https://localhost/", body)
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	noHost := newRequest(nil)
	noHost.Host, noHost.URL.Host = "", ""
	noURL := newRequest(nil)
	noURL.URL = nil
	badGetBody := newRequest(strings.NewReader("x"))
	badGetBody.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	tests := []struct {
		name string
		key  AccessKey
		req  *http.Request
		want string
	}{
		{"zero key", AccessKey{}, newRequest(nil), "access key is empty"},
		{"no host", key, noHost, "no host"},
		{"no URL", key, noURL, "no URL"},
		{"stream breaks", key, newRequest(iotest.ErrReader(errors.New("broken"))), "broken"},
		{"seeker breaks", key, newRequest(noSeek{strings.NewReader("x")}), "cannot seek"},
		{"GetBody breaks", key, badGetBody, "gone"},
	}
	for _, tt := range tests {
		err := tt.key.Sign(tt.req, vectorTime)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
		if len(tt.req.Header) != 0 {
			t.Errorf("%s: headers were set: %v", tt.name, tt.req.Header)
		}
	}
}

func TestSignFillsGaps(t *testing.T) {
	req, err := http.NewRequest("", "https://h:", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Method, req.Header = "", nil
	if err := mustKey(t, testKey).Sign(req, vectorTime); err != nil {
		t.Fatal(err)
	}
	want := signature(t, testKey, "GET", "/", vectorDate+";h;"+vectorEmptyHash)
	if got := req.Header.Get("Authorization"); !strings.HasSuffix(got, "&Signature="+want) {
		t.Errorf("Authorization = %q, want signature %q", got, want)
	}
}
