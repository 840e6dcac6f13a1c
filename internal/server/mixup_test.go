package server_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/rest"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/traffic"
)

// mixer is a user whose requests and texts contain a mark of this user. Nothing of another user
// contains the mark.
type mixer struct {
	mark, id, bearer, thread string
	client                   *http.Client
	base                     string
}

// TestRequestsDoNotMix sends requests of many users at a time, over HTTP/1.1 with and without TLS
// and over HTTP/2: short, large and chunked bodies, pages, refused and faulty requests, and
// requests whose clients do not wait for the response. The server reuses the memory of requests.
// So the test checks that each response, access record, stored request and recorded exchange
// contains texts of only one user. It is meant for the race detector.
func TestRequestsDoNotMix(t *testing.T) {
	var mixers []*mixer
	mixed := func(where string, m *mixer, texts ...string) {
		for _, text := range texts {
			for _, other := range mixers {
				if other != m && (strings.Contains(text, other.mark) || strings.Contains(text, other.id) || strings.Contains(text, other.thread)) {
					t.Errorf("%s of %s has a text of %s: %.300s", where, m.mark, other.mark, text)
				}
			}
		}
	}
	of := func(clientID string) *mixer {
		for _, m := range mixers {
			if clientID != "" && strings.HasPrefix(clientID, m.mark) {
				return m
			}
		}
		return nil
	}
	folder := t.TempDir()
	var seen sync.WaitGroup // counts the running calls of Access
	s := start(t, server.Options{
		Config: settings(t, "dev", "true", "listen-http", "localhost:0", "limits", "off", "request-timeout", "1s", "max-body-size", "16KB", "record", folder),
		Access: func(r rest.Record) {
			seen.Add(1)
			defer seen.Done()
			m := of(r.ClientID)
			if m == nil {
				return // ignore this record, because its request only prepares the test
			}
			mixed("a record", m, r.Path, r.User, r.Thread, r.Note, r.Reason, fmt.Sprint(r.Why), r.UserAgent, fmt.Sprint(r.Request.Header), r.Request.RequestURI, fmt.Sprint(r.Answer))
			if got := r.Request.Header.Get("X-Ms-Client-Request-Id"); got != r.ClientID || r.UserAgent != m.mark {
				t.Errorf("a record of %s by %s has the request of %s", r.ClientID, r.UserAgent, got)
			}
			if r.User != "" && r.User != m.id {
				t.Errorf("a record of %s has the user %s", r.ClientID, r.User)
			}
		},
	})
	for i, c := range []struct {
		base string
		http *http.Transport
	}{
		{s.HTTP, &http.Transport{}},
		{s.Endpoint, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}}},
		{s.Endpoint, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}, ForceAttemptHTTP2: true}},
	} {
		t.Cleanup(c.http.CloseIdleConnections)
		c.http.MaxIdleConnsPerHost = 4
		for n := range 4 {
			m := &mixer{mark: fmt.Sprintf("mark-%c%c-", 'a'+i, 'a'+n), client: &http.Client{Transport: c.http}, base: c.base}
			_, m.id, m.bearer = s.newUser(t, s.AccessKey)
			m.thread = s.newThread(t, m.bearer)
			mixers = append(mixers, m)
		}
	}
	for _, fault := range []string{
		`{"operation":"send message","delay":"2ms","times":30}`, `{"operation":"send message","drop":"after","times":10}`,
		`{"operation":"list messages","drop":"before","times":10}`, `{"operation":"list messages","status":503,"delay":"1ms","times":10}`,
	} {
		if status, body := s.post(t, s.Endpoint+"/dev/faults", fault); status != 200 && status != 201 {
			t.Fatalf("add a fault: %d %s", status, body)
		}
	}
	var all sync.WaitGroup
	for _, m := range mixers {
		for worker := range 3 {
			all.Go(func() {
				for n := range 20 {
					where, texts := m.ask(t, fmt.Sprintf("%s%d-%d", m.mark, worker, n))
					mixed(where, m, texts...)
				}
			})
		}
	}
	all.Wait()
	page, _ := s.Traffic().Page(traffic.Filter{}, 0, 2000)
	kept := 0
	for _, q := range page {
		if m := of(q.ClientID); m != nil {
			d, _ := s.Traffic().Get(q.ID)
			text, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			mixed("a kept request", m, string(text))
			kept++
		}
	}
	if kept == 0 {
		t.Error("no request was kept")
	}
	s.stop(t)
	seen.Wait()
	files, err := filepath.Glob(filepath.Join(folder, "*", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	recorded := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, id, _ := strings.Cut(string(text), `"X-Ms-Client-Request-Id": "`)
		if m := of(id); m != nil {
			mixed("a recorded exchange", m, string(text))
			recorded++
		}
	}
	if recorded == 0 {
		t.Error("no exchange was recorded")
	}
	t.Logf("%d requests were kept, and %d exchanges recorded", kept, recorded)
}

// ask sends a request of a random kind with an id, and returns the texts in the response, or no
// texts if there was no response.
func (m *mixer) ask(t *testing.T, id string) (where string, texts []string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	method, path, body := "POST", messagesOf(m.thread)+speedVersion, io.Reader(nil)
	content := func(bytes int) string { return `{"content":"` + strings.Repeat(m.mark, bytes/len(m.mark)+1) + `"}` }
	cancels := false
	switch kind := rand.N(10); kind {
	case 0, 1:
		body = strings.NewReader(content(20 << rand.N(8)))
	case 2: // a chunked body
		body = io.MultiReader(strings.NewReader(content(5000)), strings.NewReader(" "))
	case 3, 4, 5:
		method, path = "GET", path+"&maxPageSize=4"
	case 6: // the body of this request is too large
		body = strings.NewReader(content(16 << 10))
	case 7: // request a path that does not exist, because a request for another user's path would contain that user's mark
		method, path = "GET", "/chat/threads/"+m.mark+"%3A/messages"+speedVersion
	case 8, 9:
		body, cancels = strings.NewReader(content(2000)), true
		if kind == 9 {
			method, path, body = "GET", path+"&maxPageSize=4", nil
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, m.base+path, body)
	if err != nil {
		t.Error(err)
		return "", nil
	}
	r.Header.Set("Authorization", "Bearer "+m.bearer)
	r.Header.Set("User-Agent", m.mark)
	r.Header.Set("X-Ms-Client-Request-Id", id)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if cancels {
		time.AfterFunc(time.Duration(rand.N(3000))*time.Microsecond, cancel)
	}
	where = fmt.Sprintf("the response over %s to %s %s", m.base, method, id)
	answer, err := m.client.Do(r)
	if err != nil {
		return where, nil // there are no texts: the request was dropped or cancelled, or its body was too large
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if got := answer.Header.Get("X-Ms-Client-Request-Id"); got != id {
		t.Errorf("%s is that to %s", where, got)
	}
	if location := answer.Header.Get("Location"); err == nil && location != "" {
		var out struct{ ID string }
		if err := json.Unmarshal(text, &out); err != nil || !strings.HasSuffix(location, "/messages/"+out.ID) {
			t.Errorf("%s has Location %s and body %s, %v", where, location, text, err)
		}
	}
	return where, []string{string(text), fmt.Sprint(answer.Header)}
}
