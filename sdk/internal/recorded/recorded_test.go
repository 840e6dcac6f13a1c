package recorded

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const recording = `{"exchanges":[{
	"request": {"method":"POST","path":"/a%3Ab/:do","query":{"api-version":"1"},"headers":{"content-type":"application/json","repeatability-request-id":"x"},"body":{"n":1}},
	"response": {"status":201,"headers":{"content-type":"application/json","content-length":"3"},"body":{"id":"a"}}
}]}`

func load(t *testing.T) *Transport {
	t.Helper()
	file := filepath.Join(t.TempDir(), "recording.json")
	if err := os.WriteFile(file, []byte(recording), 0o600); err != nil {
		t.Fatal(err)
	}
	traffic, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return traffic
}

func request(t *testing.T, method, target, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, "https://localhost"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("Repeatability-Request-Id", "y")
	return r
}

func TestReplay(t *testing.T) {
	traffic := load(t)
	if err := traffic.Done(); err == nil {
		t.Error("done before the first request")
	}
	resp, err := traffic.Do(request(t, "POST", "/a:b/:do?api-version=1", `{ "n": 1 }`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || !json.Valid(body) || resp.StatusCode != 201 || resp.Header.Get("Content-Length") != "" {
		t.Errorf("got %d %v %s, %v", resp.StatusCode, resp.Header, body, err)
	}
	if err := traffic.Done(); err != nil {
		t.Error(err)
	}
	if _, err := traffic.Do(request(t, "POST", "/a:b/:do?api-version=1", `{"n":1}`)); err == nil {
		t.Error("no error after the last exchange")
	}
}

func TestDifferences(t *testing.T) {
	for want, r := range map[string]*http.Request{
		"method: got GET, want POST":                 request(t, "GET", "/a:b/:do?api-version=1", `{"n":1}`),
		"path: got /a:c/:do, want /a:b/:do":          request(t, "POST", "/a:c/:do?api-version=1", `{"n":1}`),
		`query api-version: got ["2"], want "1"`:     request(t, "POST", "/a:b/:do?api-version=2", `{"n":1}`),
		`query more: got ["2"], want none`:           request(t, "POST", "/a:b/:do?api-version=1&more=2", `{"n":1}`),
		`body: got {"n":2}, want {"n":1}`:            request(t, "POST", "/a:b/:do?api-version=1", `{"n":2}`),
		`body: unexpected end of JSON input`:         request(t, "POST", "/a:b/:do?api-version=1", `{`),
		"content type: got , want application/json":  without(request(t, "POST", "/a:b/:do?api-version=1", `{"n":1}`), "Content-Type"),
		"header repeatability-request-id is missing": without(request(t, "POST", "/a:b/:do?api-version=1", `{"n":1}`), "Repeatability-Request-Id"),
	} {
		_, err := load(t).Do(r)
		if want := "recording: exchange 0: " + want; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	traffic := load(t)
	traffic.AnyVersion = true
	if _, err := traffic.Do(request(t, "POST", "/a:b/:do?api-version=2", `{"n":1}`)); err != nil {
		t.Error(err)
	}
}

func without(r *http.Request, header string) *http.Request {
	r.Header.Del(header)
	return r
}
