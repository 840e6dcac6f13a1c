//go:build unix

package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
)

// TestFoldersOfOthers starts servers as a user who may not read the data folder or the TLS
// key, and checks the error messages.
func TestFoldersOfOthers(t *testing.T) {
	dir, err := os.MkdirTemp("", "confab-others-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bin := filepath.Join(dir, "confab") // name the copy confab, because TestMain then runs the program instead of the tests
	copyProgram(t, bin)
	locked, mine := filepath.Join(dir, "locked"), filepath.Join(dir, "mine")
	for name, mode := range map[string]os.FileMode{dir: 0o755, locked: 0o555, mine: 0o777} {
		if err := errors.Join(os.MkdirAll(name, 0o700), os.Chmod(name, mode)); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(dir, "secret.pem")
	if err := os.WriteFile(secret, nil, 0); err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct {
		args []string
		want string
	}{
		"a folder that may not be made": {[]string{"--data", filepath.Join(locked, "data")},
			"confab: make the data folder: mkdir " + locked + "/data: permission denied.\n        Make the data folder one that this user may write to, or choose another with --data.\n"},
		"a folder that may not be written": {[]string{"--data", locked},
			"confab: make the store's folder: mkdir " + locked + "/store: permission denied.\n        Make the data folder one that this user may write to, or choose another with --data.\n"},
		"a key that may not be read": {[]string{"--data", filepath.Join(mine, "data"), "--tls-cert", secret, "--tls-key", secret},
			"confab: tls-cert and tls-key do not load: " + secret + " may not be read by this user.\n        Let the server's user read it, for instance by a group.\n"},
	} {
		cmd := exec.Command(bin, append([]string{"serve", "--listen", "localhost:0", "--listen-ops", "off", "--log-level", "error"}, tt.args...)...)
		cmd.Dir, cmd.Env = mine, []string{"HOME=" + mine, "GORACE=atexit_sleep_ms=0"}
		if os.Getuid() == 0 {
			const nobody = 65534
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		var said bytes.Buffer
		cmd.Stderr = &said
		err := cmd.Run()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || said.String() != tt.want {
			t.Errorf("%s: %v and\n%s\nwant exit status 1 and\n%s", what, err, said.String(), tt.want)
		}
	}
}

// copyProgram copies the program of this test to a file that every user may execute.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	from, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestCannotListen checks the messages for a port below 1024 and for a host that does not
// resolve. The test makes both errors itself, because root may listen on any port, and a failing
// name lookup may take long.
func TestCannotListen(t *testing.T) {
	for want, e := range map[string]*server.ListenError{
		"confab: listen: this user may not listen on port 443.\n        Choose a port above 1023 with --listen, or allow it: AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit\n": {
			Setting: "listen", Address: "0.0.0.0:443", Err: os.NewSyscallError("bind", syscall.EACCES)},
		"confab: listen-ops: the host \"nowhere.invalid\" is not found: lookup nowhere.invalid: no such host.\n        Choose an address of this machine with --listen-ops.\n": {
			Setting: "listen-ops", Address: "nowhere.invalid:1", Err: &net.OpError{Op: "listen", Err: &net.DNSError{Err: "no such host", Name: "nowhere.invalid", IsNotFound: true}}},
	} {
		var out bytes.Buffer
		report(&out, explainStart(e, config.Config{}))
		if out.String() != want {
			t.Errorf("the message is\n%s\nwant\n%s", out.String(), want)
		}
	}
}
