package confab_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// runInContainer runs the program in the folder world under the conditions of the container: as the
// container's user, with world as the root of the file system. It checks that the container's
// health check succeeds and that the program ends when it is told to stop.
func runInContainer(t *testing.T, world, containerfile string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("the program is static, but was NOT started without other files: only root can do that")
	}
	const user = 65532
	if !strings.Contains(containerfile, "\nUSER 65532:65532\n") {
		t.Fatal("the container has another user than this test")
	}
	if err := os.Chmod(world, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(world, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(world, "data"), user, user); err != nil {
		t.Fatal(err)
	}
	// Create /etc/hosts, because every container engine adds this file to a container.
	if err := os.Mkdir(filepath.Join(world, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(world, "etc", "hosts"), []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command := func(words []string) *exec.Cmd {
		return &exec.Cmd{
			Path: words[0], Args: words, Dir: "/", Env: []string{"CONFAB_LISTEN_OPS=localhost:0"},
			SysProcAttr: &syscall.SysProcAttr{Chroot: world, Credential: &syscall.Credential{Uid: user, Gid: user}},
		}
	}
	serve := append(arguments(t, containerfile, "ENTRYPOINT"), arguments(t, containerfile, "CMD")...)
	for i := range serve {
		if serve[i] == ":8443" {
			serve[i] = freePort(t) // use a free port, because port 8443 of this machine may be in use
		}
	}
	server := command(serve)
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	server.Stdout, server.Stderr = in, in
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	ended := false
	defer func() {
		if !ended {
			server.Process.Kill()
			server.Wait()
		}
	}()
	if err := waitForLine(out, "msg=ready"); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	healthy, err := command(arguments(t, containerfile, "HEALTHCHECK CMD")).CombinedOutput()
	if err != nil || string(healthy) != "ready\n" {
		t.Errorf("the health check: %v, %s", err, healthy)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = server.Wait()
	if ended = true; err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	left, err := os.ReadDir(world)
	if err != nil || len(left) != 3 {
		t.Errorf("the program left %v, %v: want itself, data and etc", left, err)
	}
}
