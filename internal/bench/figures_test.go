package bench_test

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/confab-chat/confab/internal/bench"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TEST_FILL_CHILD"); dir != "" {
		fillChild(dir)
	}
	if program := os.Getenv("TEST_PEER_CHILD"); program != "" {
		peerChild(program)
	}
	if os.Getenv("TEST_SERVE_CHILD") != "" {
		serveChild()
	}
	os.Exit(m.Run())
}

// TestStartFigures prints how long a server takes to start, for `make bench` and `make check`. It
// does not fail if a limit is missed, because the figures depend on the machine.
func TestStartFigures(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" {
		t.Skip("set TEST_FIGURES=1 to measure: it takes a minute")
	}
	figure := func(name string, took, bar time.Duration) {
		missed := ""
		if took > bar {
			missed = ", missed"
		}
		fmt.Printf("start %s: %v (bar %v%s)\n", name, took.Round(time.Millisecond), bar, missed)
	}
	dir, again := t.TempDir(), rounds(10)
	fmt.Println()
	figure("on an empty folder", start(t, dir), 60*time.Millisecond)
	figure("on it again", medianStart(t, dir, again), 30*time.Millisecond)
	fillAndKill(t, dir, 1_000_000)
	figure("with a million messages after a kill", start(t, dir), 500*time.Millisecond)
	figure("with a million messages after a clean stop", medianStart(t, dir, again), 100*time.Millisecond)
}

// TestSDKFigures prints the CPU time and the allocations of a client for each send with the Go SDK,
// for `make bench` and `make check`. It does not fail if a limit is missed.
func TestSDKFigures(t *testing.T) {
	if os.Getenv("TEST_FIGURES") == "" {
		t.Skip("set TEST_FIGURES=1 to measure: it takes half a minute")
	}
	missed, err := serveApart(t, bench.SDK{Rounds: rounds(11), Sends: 2000, Out: os.Stdout}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range missed {
		fmt.Println("bar missed:", m)
	}
}

// rounds returns the number of rounds in which a figure is measured: n, or n/5 if
// TEST_FIGURES=short, which make check sets to save time.
func rounds(n int) int {
	if os.Getenv("TEST_FIGURES") == "short" {
		return max(1, n/5)
	}
	return n
}

// database creates an empty database on the PostgreSQL server that scripts/postgres has
// started, and returns the database's URL. It returns "" if no such server runs.
func database(t *testing.T) string {
	t.Helper()
	address := os.Getenv("TEST_POSTGRES_URL")
	if address == "" {
		fmt.Println("PostgreSQL is not measured: TEST_POSTGRES_URL is not set")
		return ""
	}
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	name := fmt.Sprint("bench_", time.Now().UnixNano())
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = name
	return u.String()
}

// TestStartAfterKill kills a process that has stored a few messages and starts a server on its data
// folder. It checks only that this measurement works, not how long the start takes.
func TestStartAfterKill(t *testing.T) {
	dir := t.TempDir()
	fillAndKill(t, dir, 2000)
	start(t, dir)
}

// start starts a complete server on a data folder, closes it and returns how long the start
// took.
func start(t *testing.T, dir string) time.Duration {
	t.Helper()
	cfg, err := config.Load(config.Input{Defaults: map[string]string{
		"data": dir, "listen": "localhost:0", "listen-ops": "localhost:0", "connections-per-address": "0",
	}})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	s, err := server.Start(t.Context(), server.Options{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(before)
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return took
}

// medianStart starts a server n times and returns the median time.
func medianStart(t *testing.T, dir string, n int) time.Duration {
	t.Helper()
	took := make([]time.Duration, n)
	for i := range took {
		took[i] = start(t, dir)
	}
	return median(took)
}

// fillAndKill stores messages in a data folder with a child process. It kills the process
// as soon as all messages are stored.
func fillAndKill(t *testing.T, dir string, messages int) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "TEST_FILL_CHILD="+dir, fmt.Sprint("TEST_FILL_MESSAGES=", messages))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	filled, _ := bufio.NewReader(out).ReadString('\n')
	child.Process.Kill()
	child.Wait()
	if filled != "filled\n" {
		t.Fatalf("the child said %q", filled)
	}
}

func fillChild(dir string) {
	var n int
	fmt.Sscan(os.Getenv("TEST_FILL_MESSAGES"), &n)
	if err := bench.Fill(context.Background(), filepath.Join(dir, "store"), n); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("filled")
	select {}
}
