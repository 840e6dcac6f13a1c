package server_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/server"
)

// program is a running program of the test, with the lines that the program prints.
type program struct {
	t     *testing.T
	lines *bufio.Scanner
}

// run starts a program with environment variables, and kills it at the end of the test.
func run(t *testing.T, env []string, name string, args ...string) *program {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait() // ignore the error, because the program was killed
	})
	return &program{t, bufio.NewScanner(out)}
}

// until reads the program's output up to the first line that matches a pattern, and returns the
// text of the first group in the pattern.
func (p *program) until(pattern string) (group string) {
	p.t.Helper()
	for p.lines.Scan() {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(p.lines.Text()); m != nil {
			return m[len(m)-1]
		}
	}
	p.t.Fatalf("the program has ended without a line like %s: %v", pattern, p.lines.Err())
	return ""
}

// TestCurlLines runs each curl line of docs/events.md against a server and checks that it
// prints events.
func TestCurlLines(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl")
	}
	doc, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, server.Options{Config: settings(t)})
	_, id, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	env := []string{"CONFAB_ENDPOINT=" + s.Endpoint, "TOKEN=" + bearer, "THREAD=" + thread, "CURL_CA_BUNDLE=" + s.CAFile}
	lines := regexp.MustCompile(`(?m)^curl .*$`).FindAllString(string(doc), -1)
	if len(lines) < 3 {
		t.Fatalf("docs/events.md has the lines %q", lines)
	}
	cursor := ""
	for _, line := range lines {
		p := run(t, append(env, "CURSOR="+cursor), "sh", "-c", "exec "+line)
		if got := p.until(`^data: \{"user":"([^"]+)"`); got != id {
			t.Errorf("%s: hello has the user %s, want %s", line, got, id)
		}
		if !strings.Contains(line, "CURSOR") || cursor == "" {
			s.chat(t, "POST", "/"+thread+"/messages", bearer, `{"content":"hello","type":"text"}`)
			if !strings.Contains(line, "threads=") {
				cursor = p.until(`^id: (.+)$`)
			}
		}
		p.until(`^event: chatMessageReceived$`)
		p.until(`^data: .*"threadId":"` + regexp.QuoteMeta(thread) + `"`)
	}
}

// TestPythonReader runs examples/events/reader.py against a server behind a proxy. After each
// message it cuts the connections of the proxy and sends the next message at once. It checks
// that the reader prints every message once and in order.
func TestPythonReader(t *testing.T) {
	s := start(t, server.Options{Config: settings(t)})
	_, _, bearer := s.newUser(t, s.AccessKey)
	thread := s.newThread(t, bearer)
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport, proxy.FlushInterval, proxy.ErrorLog = s.client.Transport, -1, slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	front := httptest.NewUnstartedServer(proxy)
	front.Config.ErrorLog = proxy.ErrorLog
	front.Start()
	t.Cleanup(front.Close)
	p := run(t, nil, "python3", "../../examples/events/reader.py", front.URL, bearer)
	p.until(`"event": "hello"`)
	for i := range 3 {
		want := fmt.Sprintf("message %d 안녕", i)
		s.chat(t, "POST", "/"+thread+"/messages", bearer, `{"content":"`+want+`","type":"text"}`)
		if got := p.until(`"message": "(.*?)"`); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		front.CloseClientConnections()
	}
}
