package admin_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/admin"
	"github.com/confab-chat/confab/internal/snippets"
)

// TestSnippetsRun sends a request for each of 14 chat operations. Then it requests, in every
// language, the program that repeats the operation, and runs the program with the variables of
// `confab env`. It checks that each program gets the same status as the request.
func TestSnippetsRun(t *testing.T) {
	p := start(t, "CONFAB_DEV=true", "CONFAB_LIMITS=off")
	ann, token := p.newUser()
	bob, _ := p.newUser()
	_, id := p.newThread(token)
	thread := "/chat/threads/" + url.PathEscape(id)
	var sent struct{ ID string }
	p.asUser(201, token, "POST", thread+"/messages", `{"content":"it's $HOME \"\\\\ 한글 😀 `+"`id`"+`","type":"text","senderDisplayName":"Ann"}`, &sent)
	p.asUser(200, token, "GET", thread+"/messages", "", nil)
	p.asUser(200, token, "GET", thread+"/messages/"+sent.ID, "", nil)
	p.asUser(204, token, "PATCH", thread+"/messages/"+sent.ID, `{"content":"edited"}`, nil)
	p.asUser(200, token, "GET", "/chat/threads", "", nil)
	p.asUser(200, token, "GET", thread, "", nil)
	p.asUser(204, token, "PATCH", thread, `{"topic":"dinner"}`, nil)
	p.asUser(200, token, "GET", thread+"/participants", "", nil)
	p.asUser(201, token, "POST", thread+"/participants/:add", `{"participants":[{"communicationIdentifier":{"communicationUser":{"id":"`+bob+`"}},"displayName":"Bob"}]}`, nil)
	p.asUser(200, token, "POST", thread+"/readReceipts", `{"chatMessageId":"`+sent.ID+`"}`, nil)
	p.asUser(200, token, "GET", thread+"/readReceipts", "", nil)
	p.asUser(200, token, "POST", thread+"/typing", `{"senderDisplayName":"Ann"}`, nil)
	p.want(200, "POST", "/identities/"+ann+"/:issueAccessToken?api-version=2023-10-01", `{"scopes":["chat"]}`, nil)

	p.waitKept("create thread", "send message", "list messages", "get message", "update message", "list threads", "get thread", "update thread",
		"list participants", "add participants", "send read receipt", "list read receipts", "send typing notification", "issue token")
	var page admin.Requests
	p.want(200, "GET", "/admin/v1/requests?limit=100", "", &page)
	requests := map[string]admin.Requests{}
	for _, r := range page.Requests {
		if r.Operation != "revoke tokens" && len(requests[r.Operation].Requests) == 0 {
			requests[r.Operation] = admin.Requests{Requests: append(requests[r.Operation].Requests, r)}
		}
	}
	if len(requests) < 14 {
		t.Fatalf("the server keeps requests of %d operations: %+v", len(requests), page)
	}
	environ := append(os.Environ(), "CONFAB_CONNECTION_STRING=endpoint="+p.info.Endpoint+"/;accesskey="+p.info.AccessKey,
		"SSL_CERT_FILE="+p.info.BundleFile, "CURL_CA_BUNDLE="+p.info.BundleFile, "NODE_EXTRA_CA_CERTS="+p.info.CAFile,
		"NO_PROXY=localhost", "no_proxy=localhost")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module pasted\n\ngo 1.24\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// run runs a program and returns its output.
	run := func(t *testing.T, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, environ
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	for _, language := range snippets.Languages() {
		t.Run(language, func(t *testing.T) {
			needs := map[string][]string{snippets.Curl: {"curl", "openssl"}, snippets.Python: {"python3"}, snippets.JavaScript: {"node"}, snippets.Go: {"go"}}[language]
			for _, program := range needs {
				if _, err := exec.LookPath(program); err != nil {
					t.Skipf("%s is not installed", program)
				}
			}
			programs := map[string]string{} // path of each program, by operation
			for operation, one := range requests {
				r := one.Requests[0]
				var s admin.Snippet
				p.want(200, "GET", "/admin/v1/requests/"+url.PathEscape(r.ID)+"/code?language="+language, "", &s)
				for _, secret := range []string{token, p.info.AccessKey, p.info.AdminSecret} {
					if strings.Contains(s.Code, secret) {
						t.Errorf("%s: the program has a credential", operation)
					}
				}
				name := strings.ReplaceAll(operation, " ", "")
				file := filepath.Join(dir, name+map[string]string{snippets.Curl: ".sh", snippets.Python: ".py", snippets.JavaScript: ".mjs", snippets.Go: "/main.go"}[language])
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(s.Code), 0o600); err != nil {
					t.Fatal(err)
				}
				programs[operation] = file
			}
			if language == snippets.Go {
				run(t, "go", "build", "-o", "bin/", "./...") // build all programs at once, which is faster than go run for each
			}
			for operation, file := range programs {
				var out string
				switch language {
				case snippets.Curl:
					out = run(t, "sh", file)
					_, out, _ = strings.Cut(out, " ") // remove "HTTP/2 " before the status
				case snippets.Python:
					out = run(t, "python3", file)
				case snippets.JavaScript:
					out = run(t, "node", file)
				case snippets.Go:
					out = run(t, filepath.Join(dir, "bin", filepath.Base(filepath.Dir(file))))
				}
				if want := strconv.Itoa(requests[operation].Requests[0].Status); !strings.HasPrefix(out, want) {
					t.Errorf("%s: got %s\nwant the status %s", operation, out, want)
				}
			}
		})
	}
}
