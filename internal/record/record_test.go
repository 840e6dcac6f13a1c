package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/exchange"
)

// start returns a recorder with the given bounds, and the buffer to which it logs.
func start(t *testing.T, o Options, b bounds) (*Recorder, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	o.Folder, o.Source = filepath.Join(t.TempDir(), "a", "b"), "Confab test"
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	r, err := newRecorder(o, b, put)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, log
}

// files closes the recorder and returns the content of its files by name. The test fails if Close
// fails.
func files(t *testing.T, r *Recorder) map[string]document {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	all := map[string]document{}
	for _, name := range names(t, r) {
		all[name] = read(t, filepath.Join(r.Folder(), name))
	}
	return all
}

func names(t *testing.T, r *Recorder) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(r.Folder())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func read(t *testing.T, path string) (d document) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, data)
	}
	return d
}

// answer returns a handler that reads the request's body and responds with the given status and
// body.
func answer(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		io.Copy(io.Discard, q.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

// TestForm checks the files of three exchanges: their names, modes and contents. The contents
// must have the form of the recordings of Microsoft's service, with the members of bodies in
// their order.
func TestForm(t *testing.T) {
	now := time.Date(2026, 11, 28, 22, 5, 3, 0, time.FixedZone("", 3600))
	r, _ := start(t, Options{Now: func() time.Time { return now }}, usual)
	if got, want := filepath.Base(r.Folder()), "20261128-210503"; got != want {
		t.Errorf("folder %s, want %s", got, want)
	}
	path := "/chat/threads/19%3Aabc%40thread.v2"
	in := `{"topic":"<b> & \"x\"", "participants":[{"z":1.50,"a":null}]}`
	server := httptest.NewServer(r.Handler(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case q.Method == "DELETE":
			panic(http.ErrAbortHandler)
		case q.Method == "GET":
			answer(200, `{"value":[true,false]}`).ServeHTTP(w, q)
		default:
			answer(201, `{"chatThread":{"z":"1","a":"2"}}`).ServeHTTP(w, q)
		}
	})))
	defer server.Close()
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/chat/threads?api-version=2021-09-07&x=1&x=2", in}, {"GET", path + "/participants/:add", ""}, {"DELETE", path, ""},
	} {
		q, err := http.NewRequest(c.method, server.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(q)
		if (err != nil) != (c.method == "DELETE") {
			t.Fatal(c.method, err)
		}
		if err == nil {
			res.Body.Close()
		}
	}
	got := files(t, r)
	want := map[string][]string{ // the exchange's name, bodies
		"000001-POST-chat-threads-201.json":                    {"000001 POST /chat/threads", `{"topic":"<b> & \"x\"","participants":[{"z":1.50,"a":null}]}`, `{"chatThread":{"z":"1","a":"2"}}`},
		"000002-GET-chat-threads-id-participants-add-200.json": {"000002 GET " + path + "/participants/:add", `null`, `{"value":[true,false]}`},
		"000003-DELETE-chat-threads-id-000.json":               {"000003 DELETE " + path, `null`, `null`},
	}
	for name, d := range got {
		w, ok := want[name]
		if !ok || len(d.Exchanges) != 1 {
			t.Errorf("file %s with %d exchanges", name, len(d.Exchanges))
			continue
		}
		delete(want, name)
		e := d.Exchanges[0]
		if diff := cmp.Diff(w, []string{d.Name, compact(t, e.Request.Body), compact(t, e.Response.Body)}); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		if d.Source != "Confab test" || !e.Time.Equal(now) || fmt.Sprintf("%03d", e.Response.Status) != strings.TrimSuffix(name[strings.LastIndex(name, "-")+1:], ".json") {
			t.Errorf("%s: %+v", name, d)
		}
		info, err := os.Stat(filepath.Join(r.Folder(), name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if info, err := os.Stat(r.o.Folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v %v", r.o.Folder, info, err)
	}
	e := got["000001-POST-chat-threads-201.json"].Exchanges[0]
	if diff := cmp.Diff(map[string]string{"api-version": "2021-09-07", "x": "1, 2"}, e.Request.Query); diff != "" {
		t.Errorf("query: -want +got:\n%s", diff)
	}
	if e.Request.Path != "/chat/threads" || e.Request.Headers["Host"] != strings.TrimPrefix(server.URL, "http://") || e.Response.Headers["Content-Type"] != "application/json" {
		t.Errorf("%+v", e)
	}
}

func compact(t *testing.T, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestSecretsStayOut records exchanges with secrets in all parts of a request and response in which
// clients and servers send secrets. It checks that no file contains a secret.
func TestSecretsStayOut(t *testing.T) {
	const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"
	token := "eyJhbGciOiJFZERTQSJ9.eyJza3lwZWlkIjoiYWNzIn0." + secret
	for _, c := range []struct {
		what, path, header, value, in, out string
	}{
		{what: "bearer", header: "Authorization", value: "Bearer " + secret},
		{what: "signature", header: "Authorization", value: "HMAC-SHA256 SignedHeaders=date;host&Signature=" + secret},
		{what: "other scheme", header: "Authorization", value: secret},
		{what: "token of live events", header: "X-Skypetoken", value: secret},
		{what: "string to sign", header: "X-Ms-Hmac-String-To-Sign-Base64", value: secret},
		{what: "cookie", header: "Cookie", value: "session=" + secret},
		{what: "unknown header", header: "X-Custom", value: secret},
		{what: "user agent with a token", header: "User-Agent", value: "app/" + token},
		{what: "query", path: "?token=" + secret},
		{what: "query with a token", path: "?x=" + token},
		{what: "name in the query", path: "?" + token},
		{what: "path", path: "/" + token},
		{what: "path of live events", path: "/v4/a/" + secret},
		{what: "issued token", out: `{"token":"` + secret + `","expiresOn":"2026-11-28T00:00:00+00:00"}`},
		{what: "created user", out: `{"identity":{"id":"8:acs:x"},"accessToken":{"token":"` + secret + `"}}`},
		{what: "exchange", in: `{"token":"` + secret + `","appId":"x"}`},
		{what: "in an array", in: `[[{"a":{"ACCESS_KEY":"` + secret + `"}}]]`},
		{what: "token in a message", in: `{"content":"see ` + token + `"}`},
		{what: "connection string in a message", in: `{"content":"endpoint=https://x/;accesskey=` + secret + `=="}`},
		{what: "header in a message", in: `{"content":"authorization: bearer ` + secret + `"}`},
		{what: "key of a member", in: `{"` + token + `":1}`},
		{what: "cut JSON", in: `{"token":"` + secret},
		{what: "malformed JSON", in: `{"token": "` + secret + `\"` + secret + `", x}`},
		{what: "form", in: `a=b&token=` + secret},
		{what: "text", in: `accesskey = ` + secret},
	} {
		t.Run(c.what, func(t *testing.T) {
			r, _ := start(t, Options{Path: func(p string) string { return strings.Replace(p, "/v4/a/"+secret, "/v4/a/...", 1) }}, usual)
			q := httptest.NewRequest("POST", "/chat"+c.path, strings.NewReader(c.in))
			if c.path != "" && c.path[0] == '/' {
				q = httptest.NewRequest("POST", c.path, strings.NewReader(c.in))
			}
			q.Header.Set("Content-Type", "application/json")
			if c.header != "" {
				q.Header.Set(c.header, c.value)
			}
			r.Handler(answer(200, c.out)).ServeHTTP(httptest.NewRecorder(), q)
			files(t, r)
			for _, name := range names(t, r) {
				data, err := os.ReadFile(filepath.Join(r.Folder(), name))
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(name+string(data), secret) {
					t.Errorf("%s has the secret:\n%s", name, data)
				}
				if !strings.Contains(string(data), exchange.Sanitized) && !strings.Contains(string(data), "/v4/a/...") {
					t.Errorf("%s does not say that something is missing:\n%s", name, data)
				}
				if !strings.Contains(string(data), `"Content-Type": "application/json"`) {
					t.Errorf("%s lacks a harmless header:\n%s", name, data)
				}
			}
		})
	}
}

// TestBare checks that the exchange of a live connection is written when the connection opens,
// without bodies, and with api-version as the only query parameter.
func TestBare(t *testing.T) {
	written := make(chan string, 1)
	r, err := newRecorder(Options{Folder: t.TempDir(), Bare: func(string) bool { return true }}, usual, func(path string, data []byte) error {
		defer func() { written <- filepath.Base(path) }()
		return put(path, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	opened, done := make(chan bool), make(chan bool)
	server := httptest.NewServer(r.Handler(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		defer close(done)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		<-opened
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
	})))
	defer server.Close()
	answered := make(chan error, 1)
	go func() {
		q, err := http.NewRequest("POST", server.URL+"/live?api-version=2024-09-01&ccid=hidden", strings.NewReader("hidden"))
		if err == nil {
			q.Header.Set("Upgrade", "websocket")
			var res *http.Response
			if res, err = http.DefaultClient.Do(q); err == nil {
				res.Body.Close()
			}
		}
		answered <- err
	}()
	select {
	case name := <-written:
		if name != "000001-POST-live-101.json" {
			t.Errorf("file %s", name)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing was written while the connection was open")
	}
	close(opened)
	<-done
	if err := <-answered; err != nil {
		t.Error(err)
	}
	d := files(t, r)["000001-POST-live-101.json"]
	if len(d.Exchanges) != 1 {
		t.Fatalf("%+v", d)
	}
	e := d.Exchanges[0]
	if diff := cmp.Diff(map[string]string{"api-version": "2024-09-01"}, e.Request.Query); diff != "" {
		t.Errorf("query: -want +got:\n%s", diff)
	}
	if string(e.Request.Body) != "null" || string(e.Response.Body) != "null" || e.Request.BodyCut {
		t.Errorf("%+v", e)
	}
}

// TestStarts checks that two starts within a second get different folders.
func TestStarts(t *testing.T) {
	now := time.Now()
	o := Options{Folder: t.TempDir(), Now: func() time.Time { return now }}
	var got []string
	for range 3 {
		r, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got = append(got, filepath.Base(r.Folder()))
	}
	base := now.UTC().Format("20060102-150405")
	if diff := cmp.Diff([]string{base, base + "-2", base + "-3"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestBounds reaches each bound. It checks which files are then missing or cut, and that the log
// and the file Incomplete name the bound.
func TestBounds(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(*bounds)
		files  int    // number of files of exchanges
		cut    bool   // whether the bodies are cut
		note   string // text that the file Incomplete and the log must contain
	}{
		{"body", func(b *bounds) { b.body = 5 }, 5, true, ""},
		{"memory", func(b *bounds) { b.held = 3 }, 5, true, ""},
		{"bytes", func(b *bounds) { b.bytes = 1200 }, 2, false, "it has 0 MiB, and a record has at most 0 MiB"},
		{"exchanges", func(b *bounds) { b.exchanges = 3 }, 3, false, "it has 3 exchanges, the most of a record"},
	} {
		t.Run(c.what, func(t *testing.T) {
			b := usual
			c.change(&b)
			r, log := start(t, Options{}, b)
			h := r.Handler(answer(200, `"0123456789"`))
			for range 5 {
				out := httptest.NewRecorder()
				h.ServeHTTP(out, httptest.NewRequest("POST", "/chat/threads", strings.NewReader(`"0123456789"`)))
				if out.Code != 200 || out.Body.String() != `"0123456789"` {
					t.Fatalf("%d %s", out.Code, out.Body)
				}
			}
			err := r.Close()
			if (err != nil) != (c.note != "") {
				t.Errorf("closed with %v", err)
			}
			all := names(t, r)
			var note string
			if i := slices.Index(all, Incomplete); i >= 0 {
				all = slices.Delete(all, i, i+1)
				data, err := os.ReadFile(filepath.Join(r.Folder(), Incomplete))
				if err != nil {
					t.Fatal(err)
				}
				note = string(data)
			}
			if len(all) != c.files {
				t.Errorf("%d files, want %d: %v", len(all), c.files, all)
			}
			if c.note == "" && note+log.String() != "" || !strings.Contains(note, c.note) || !strings.Contains(log.String(), c.note) {
				t.Errorf("noted %q, logged %q, want %q", note, log, c.note)
			}
			if c.note != "" && !strings.Contains(note, fmt.Sprintf("%d more came", 5-c.files)) {
				t.Errorf("noted %q", note)
			}
			for _, name := range all {
				e := read(t, filepath.Join(r.Folder(), name)).Exchanges[0]
				if e.Request.BodyCut != c.cut || e.Response.BodyCut != c.cut {
					t.Errorf("%s: %+v", name, e)
				}
			}
			if held := r.held.Load(); held != 0 {
				t.Errorf("%d bytes are still held", held)
			}
		})
	}
}

// TestSlowDisk blocks the disk. It checks that a request then waits for bounds.patience at most,
// and that the recorder reports the missing exchanges when the disk works again.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan bool)
		b := usual
		b.queue = 2
		r, err := newRecorder(Options{Folder: t.TempDir()}, b, func(path string, data []byte) error {
			<-stuck
			return put(path, data)
		})
		if err != nil {
			t.Fatal(err)
		}
		h := r.Handler(answer(200, "1"))
		began := time.Now()
		for i := range 5 {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/chat/threads", nil))
			synctest.Wait() // waits until the goroutine has taken the first exchange
			if got, want := time.Since(began), time.Duration(max(0, i-2))*b.patience; got != want {
				t.Errorf("request %d ended after %v, want %v", i, got, want)
			}
		}
		close(stuck)
		if err := r.Close(); err == nil {
			t.Error("closed without an error")
		}
		all := names(t, r)
		if len(all) != 4 || all[3] != Incomplete {
			t.Fatalf("files %v", all)
		}
		data, err := os.ReadFile(filepath.Join(r.Folder(), Incomplete))
		if want := "2 exchanges are missing, because the disk was too slow.\n"; err != nil || string(data) != want {
			t.Errorf("noted %q (%v), want %q", data, err, want)
		}
	})
}

// TestStuckDisk blocks the disk for ever. It checks that Close fails after closePatience.
func TestStuckDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan bool)
		r, err := newRecorder(Options{Folder: t.TempDir()}, usual, func(string, []byte) error { <-stuck; return nil })
		if err != nil {
			t.Fatal(err)
		}
		r.Handler(answer(200, "1")).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/chat/threads", nil))
		began := time.Now()
		if err := r.Close(); err == nil || time.Since(began) != closePatience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		close(stuck)
	})
}

// TestFailingDisk makes the disk fail. It checks that the recording ends, that the log names
// the reason, and that Close fails.
func TestFailingDisk(t *testing.T) {
	r, log := start(t, Options{}, usual)
	if err := os.RemoveAll(r.Folder()); err != nil {
		t.Fatal(err)
	}
	h := r.Handler(answer(200, "1"))
	for range 3 {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/chat/threads", nil))
	}
	if err := r.Close(); err == nil || !strings.Contains(log.String(), "the record ends here: it cannot be written: ") {
		t.Errorf("closed with %v, logged %s", err, log)
	}
}
