package admin_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/confab-chat/confab/internal/admin"
)

// TestOtherUsersAreRefused opens the permissions of the socket and its folder, and connects as
// another user. It checks that the server refuses the request.
func TestOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can connect as another user")
	}
	dir, err := os.MkdirTemp("", "confab-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	p := start(t, "CONFAB_DATA="+data)
	for name, mode := range map[string]os.FileMode{dir: 0o755, data: 0o755, p.info.AdminSocket: 0o666} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	type dialed struct {
		conn net.Conn
		err  error
	}
	connected := make(chan dialed)
	go func() {
		// Only this thread changes its user. The thread stays locked to the goroutine, so it ends
		// with the goroutine and no other code runs as the other user.
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			connected <- dialed{nil, errno}
			return
		}
		conn, err := net.Dial("unix", p.info.AdminSocket)
		connected <- dialed{conn, err}
	}()
	got := <-connected
	if got.err != nil {
		t.Fatalf("connect as user %d: %v", nobody, got.err)
	}
	defer got.conn.Close()
	fmt.Fprintf(got.conn, "POST /admin/v1/keys/primary/rotate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(got.conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 || len(p.primary) != 0 {
		t.Errorf("another user's request: %s, want 403", resp.Status)
	}
	records := p.records()
	if len(records) != 1 || !strings.HasPrefix(records[0].Who, fmt.Sprintf("uid %d, ", nobody)) || records[0].Status != 403 {
		t.Errorf("records %+v", records)
	}
}

// TestUnknownUsersAreRefused sends a request to the handler of the socket over a connection that is
// not a Unix socket. Linux does not report the user of such a connection. The test checks that the
// handler refuses the request.
func TestUnknownUsersAreRefused(t *testing.T) {
	var out lockedBuffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	srv := httptest.NewUnstartedServer(admin.New(admin.Options{Core: domain(t), Logger: log, Audit: log}).Socket())
	srv.Config.ConnContext = admin.ConnContext
	srv.Start()
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/admin/v1/nothing")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 || !strings.Contains(out.String(), `"who":"an unknown user"`) {
		t.Errorf("%s, want 403; the log says %s", resp.Status, &out)
	}
}
