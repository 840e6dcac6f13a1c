package admin_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/sdk/communication"
)

const (
	otherKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	nobody   = "8:acs:11111111-1111-1111-1111-111111111111_22222222-2222-2222-2222-222222222222"
	nowhere  = "19:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA1@thread.v2"
)

// place is a running server with the clients and access keys that the tests use.
type place struct {
	*testing.T
	url     string // the endpoint for chat clients
	client  *http.Client
	server  *server.Server
	info    server.Info
	socket  *http.Client // HTTP client that connects to the operator's socket and ignores the host in the URL
	key     communication.AccessKey
	log     *lockedBuffer
	primary []communication.AccessKey // arguments of the calls of Options.PrimaryKey
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, environ ...string) *place {
	t.Helper()
	cfg, err := config.Load(config.Input{Environ: environ, Defaults: map[string]string{
		"data": config.Memory, "listen": "localhost:0", "listen-http": "off", "listen-ops": "localhost:0", "listen-admin": "localhost:0",
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := &place{T: t, log: new(lockedBuffer), client: &http.Client{Transport: &http.Transport{
		// Accept any certificate, because no test here checks the server's certificate.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}}
	s, err := server.Start(t.Context(), server.Options{
		Config:     cfg,
		Logger:     slog.New(slog.NewJSONHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		PrimaryKey: func(k communication.AccessKey) { p.primary = append(p.primary, k) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.client.CloseIdleConnections()
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	p.server, p.info, p.url = s, s.Info(), s.Info().Endpoint
	p.socket = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.info.AdminSocket)
	}}}
	t.Cleanup(p.socket.CloseIdleConnections) // runs before the server is closed
	p.key, err = communication.NewAccessKey(s.Info().AccessKey)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// call sends a request to the port for clients and returns the status and the body of the
// response. It signs the request unless key is zero.
func (p *place) call(key communication.AccessKey, method, path, body string, header ...string) (int, string) {
	p.Helper()
	return p.send(p.client, p.url, key, method, path, body, header...)
}

// operate sends a request to the operator's socket.
func (p *place) operate(method, path, body string) (int, string) {
	p.Helper()
	return p.send(p.socket, "http://localhost", communication.AccessKey{}, method, path, body)
}

// send sends a request to a server and returns the status and the body of the response. It signs
// the request unless key is zero. header is a list of header names, each followed by its value; the
// name Host sets the request's Host.
func (p *place) send(client *http.Client, base string, key communication.AccessKey, method, path, body string, header ...string) (int, string) {
	p.Helper()
	req, err := http.NewRequestWithContext(p.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if !key.IsZero() {
		if err := key.Sign(req, time.Now()); err != nil {
			p.Fatal(err)
		}
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Add(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		p.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.Fatal(err)
	}
	kind := "application/json; charset=utf-8"
	switch {
	case res.StatusCode == http.StatusNoContent:
		kind = ""
	case res.StatusCode >= 400:
		kind = "application/problem+json"
	}
	if ct := res.Header.Get("Content-Type"); client == p.socket && ct != kind {
		p.Errorf("%s %s: content type %q", method, path, ct)
	}
	return res.StatusCode, string(text)
}

// want sends a request and checks the status of the response. It sends a request for a path below
// admin.Prefix to the operator's socket, and any other request, signed with an access key, to the
// port for clients. want decodes the response into out and returns its body.
func (p *place) want(status int, method, path, body string, out any) string {
	p.Helper()
	got, text := 0, ""
	if strings.HasPrefix(path, admin.Prefix) {
		got, text = p.operate(method, path, body)
	} else {
		got, text = p.call(p.key, method, path, body)
	}
	if got != status {
		p.Fatalf("%s %s: status %d, want %d: %s", method, path, got, status, text)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			p.Fatalf("%s %s: %v: %s", method, path, err, text)
		}
	}
	return text
}

func (p *place) newUser() (id, token string) {
	p.Helper()
	var made struct {
		Identity    struct{ ID string }
		AccessToken struct{ Token string }
	}
	p.want(201, "POST", "/identities?api-version=2023-10-01", `{"createTokenWithScopes":["chat"]}`, &made)
	return made.Identity.ID, made.AccessToken.Token
}

// newThread creates a thread with a user's token. It returns the status of the response and the
// thread's id.
func (p *place) newThread(token string) (status int, id string) {
	p.Helper()
	status, text := p.call(communication.AccessKey{}, "POST", "/chat/threads?api-version=2021-09-07",
		`{"topic":"lunch","participants":[]}`, "Authorization", "Bearer "+token)
	var made struct{ ChatThread struct{ ID string } }
	json.Unmarshal([]byte(text), &made) // a refusal has no body
	return status, made.ChatThread.ID
}

func TestUsersAndThreads(t *testing.T) {
	p := start(t)
	id, token := p.newUser()
	var user admin.User
	p.want(200, "GET", "/admin/v1/users/"+id, "", &user)
	if user.TokenIssuedAt == "" {
		t.Errorf("a user with a token: %+v", user)
	}
	if user.TokenIssuedAt = ""; user != (admin.User{ID: id, State: "live"}) {
		diff := cmp.Diff(admin.User{ID: id, State: "live"}, user)
		t.Errorf("a new user (-want +got):\n%s", diff)
	}
	var list admin.Threads
	text := p.want(200, "GET", "/admin/v1/users/"+id+"/threads", "", &list)
	if len(list.Threads) != 0 || !strings.Contains(text, `"threads": []`) {
		t.Errorf("threads of a new user: %s", text)
	}

	status, threadID := p.newThread(token)
	if status != 201 {
		t.Fatalf("create thread: %d", status)
	}
	p.want(200, "GET", "/admin/v1/users/"+id+"/threads", "", &list)
	if len(list.Threads) != 1 || list.Threads[0].ID != threadID || list.Threads[0].Topic != "lunch" || list.Threads[0].LastMessageOn == "" {
		t.Errorf("got threads %+v", list)
	}
	var thread admin.Thread
	p.want(200, "GET", "/admin/v1/threads/"+url.PathEscape(threadID), "", &thread)
	if thread.ID != threadID || thread.Topic != "lunch" || thread.CreatedBy != id || thread.CreatedOn == "" || thread.LastSequence == 0 ||
		len(thread.Members) != 1 || thread.Members[0].ID != id || thread.Members[0].Left {
		t.Errorf("got thread %+v", thread)
	}

	p.want(204, "POST", "/identities/"+id+"/:revokeAccessTokens?api-version=2023-10-01", "", nil)
	p.want(200, "GET", "/admin/v1/users/"+id, "", &user)
	if user.Revoked != 1 {
		t.Errorf("revoked %d times, want 1", user.Revoked)
	}
	p.want(204, "DELETE", "/identities/"+id+"?api-version=2023-10-01", "", nil)
	p.want(200, "GET", "/admin/v1/users/"+id, "", &user)
	if user.State != "deleting" || user.DeletedAt == "" {
		t.Errorf("a deleted user: %+v", user)
	}
}

func TestUnknownIDs(t *testing.T) {
	p := start(t)
	for path, status := range map[string]int{
		"/admin/v1/users/8:acs:x":                        400,
		"/admin/v1/users/x/threads":                      400,
		"/admin/v1/users/" + nobody:                      404,
		"/admin/v1/users/" + nobody + "/threads":         404,
		"/admin/v1/users/":                               404,
		"/admin/v1/threads/x":                            400,
		"/admin/v1/threads/" + url.PathEscape(nowhere):   404,
		"/admin/v1/":                                     404,
		"/admin/v1/keys/primary":                         404,
		"/admin/v1/threads/" + strings.Repeat("9", 2000): 400,
	} {
		p.want(status, "GET", path, "", nil)
	}
	p.want(404, "POST", "/admin/v1/keys/third/rotate", "", nil)
	p.want(405, "POST", "/admin/v1/keys", "", nil)
	if s := p.log.String(); strings.Contains(s, "admin request failed") {
		t.Errorf("a refusal was logged as a failure:\n%s", s)
	}
}

func TestRotation(t *testing.T) {
	p := start(t)
	old := p.key
	_, token := p.newUser()
	p.newUser()
	var keys []admin.Key
	text := p.want(200, "GET", "/admin/v1/keys", "", &keys)
	want := []admin.Key{{Name: "primary", Serial: 1, LiveTokens: 2}, {Name: "secondary", Serial: 1}}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if strings.Contains(text, old.Text()) {
		t.Error("the list shows a key")
	}
	if status, _ := p.newThread(token); status != 201 {
		t.Fatalf("before the rotation: %d", status)
	}

	rotate := func(name string) admin.RotatedKey {
		t.Helper()
		var all admin.Rotation
		p.want(200, "POST", "/admin/v1/keys/"+name+"/rotate", "", &all)
		if len(all.Keys) != 1 || all.Failed != "" {
			t.Fatalf("rotate %s: %d keys, failed %q", name, len(all.Keys), all.Failed)
		}
		return all.Keys[0]
	}
	rotated := rotate("primary")
	if rotated.Name != "primary" || rotated.Serial != 2 || rotated.Ended != 2 || rotated.AccessKey == "" || rotated.AccessKey == old.Text() {
		t.Errorf("rotated %s, serial %d, ended %d", rotated.Name, rotated.Serial, rotated.Ended)
	}
	if status, _ := p.newThread(token); status != 401 {
		t.Errorf("a token of the old key: %d, want 401", status)
	}
	if status, _ := p.call(old, "POST", "/identities?api-version=2023-10-01", "{}"); status != 401 {
		t.Errorf("the old key itself: %d, want 401", status)
	}
	if len(p.primary) != 1 || p.primary[0].Text() != rotated.AccessKey {
		t.Error("the owner was not told of the new key")
	}
	var err error
	if p.key, err = communication.NewAccessKey(rotated.AccessKey); err != nil {
		t.Fatal(err)
	}

	// Rotating the secondary key must not invalidate the tokens of the primary key, and must not
	// call Options.PrimaryKey.
	_, token = p.newUser()
	second := rotate("secondary")
	if second.Ended != 0 || second.Serial != 2 || len(p.primary) != 1 {
		t.Errorf("rotated the secondary: serial %d, ended %d, told %d times", second.Serial, second.Ended, len(p.primary))
	}
	if status, _ := p.newThread(token); status != 201 {
		t.Errorf("a token of the primary key after the secondary was rotated: %d, want 201", status)
	}
	for _, secret := range []string{old.Text(), rotated.AccessKey, second.AccessKey, token} {
		if strings.Contains(p.log.String(), secret) {
			t.Error("the log shows a key or a token")
		}
	}
	if !strings.Contains(p.log.String(), `"msg":"access key rotated","name":"primary","serial":2,"ended":2`) {
		t.Errorf("the log does not tell of the rotation:\n%s", p.log)
	}
}

// TestConfiguredKeysStay checks that the server refuses to rotate an access key that is in its
// settings, because the next start would restore the old key.
func TestConfiguredKeysStay(t *testing.T) {
	p := start(t, "CONFAB_ACCESS_KEY="+otherKey)
	text := p.want(409, "POST", "/admin/v1/keys/primary/rotate", "", nil)
	if !strings.Contains(text, "stands in the server's settings") {
		t.Errorf("got %s", text)
	}
	p.want(200, "GET", "/admin/v1/keys", "", nil)
	before := p.want(200, "GET", "/admin/v1/keys", "", nil)
	if text := p.want(409, "POST", "/admin/v1/keys/both/rotate", "", nil); !strings.Contains(text, "nothing was changed: the primary key: this access key stands in the server's settings") {
		t.Errorf("got %s", text)
	}
	if after := p.want(200, "GET", "/admin/v1/keys", "", nil); after != before || !strings.Contains(after, `"configured": true`) {
		t.Errorf("keys before %s, and after a refused rotation of both %s", before, after)
	}
	p.want(200, "POST", "/admin/v1/keys/secondary/rotate", "", nil)
}

// TestBackupNeedsProof checks that the server refuses to write a backup to a folder to which the
// client cannot write.
func TestBackupNeedsProof(t *testing.T) {
	data := t.TempDir()
	p := start(t, "CONFAB_DATA="+data)
	order := func(to, proof string) string {
		text, err := json.Marshal(admin.BackupRequest{To: to, Proof: proof})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	folder := func(files ...string) string {
		dir := t.TempDir()
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("proof"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, tc := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"no body", "", http.StatusBadRequest, "the body is not a JSON object with to, proof and withoutCAKey"},
		{"another body", `{"folder":"/tmp"}`, http.StatusBadRequest, "the body is not a JSON object with to, proof and withoutCAKey"},
		{"a relative path", order("backup", "proof"), http.StatusConflict, "is not an absolute path"},
		{"a byte order mark", "\ufeff" + order("backup", "proof"), http.StatusConflict, "is not an absolute path"},
		{"a folder that is not there", order(filepath.Join(data, "none"), "proof"), http.StatusConflict, "does not find the proof"},
		{"no proof", order(folder(), "proof"), http.StatusConflict, "does not find the proof"},
		{"an empty proof", order(folder(admin.ProofFile), ""), http.StatusConflict, "does not find the proof"},
		{"another proof", order(folder(admin.ProofFile), "guess"), http.StatusConflict, "does not find the proof"},
		{"more in the folder", order(folder(admin.ProofFile, "file"), "proof"), http.StatusConflict, "is not empty"},
	} {
		if text := p.want(tc.status, http.MethodPost, "/admin/v1/backup", tc.body, nil); !strings.Contains(text, tc.says) {
			t.Errorf("%s: %s, want %q", tc.name, text, tc.says)
		}
	}
	status, text := p.send(p.socket, "http://localhost", communication.AccessKey{}, http.MethodPost, "/admin/v1/backup", order("backup", "proof"), "Content-Encoding", "gzip")
	if status != http.StatusUnsupportedMediaType || !strings.Contains(text, "The Content-Encoding gzip is not supported.") {
		t.Errorf("a compressed body: %d %s", status, text)
	}
	var made admin.Backup
	to := folder(admin.ProofFile)
	p.want(http.StatusOK, http.MethodPost, "/admin/v1/backup", order(to, "proof"), &made)
	if made.Folder != to || made.Resource == "" {
		t.Errorf("backup %+v", made)
	}
	if _, err := os.Stat(filepath.Join(to, "store")); err != nil {
		t.Error(err)
	}
	if text := start(t).want(http.StatusConflict, http.MethodPost, "/admin/v1/backup", order(folder(admin.ProofFile), "proof"), nil); !strings.Contains(text, "keeps its data in memory") {
		t.Errorf("in memory: %s", text)
	}
}
