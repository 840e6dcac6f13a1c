package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// TestCopyProfile takes a CPU profile of this process and copies it. It checks that go tool pprof
// lists the same functions for the copy, and that the copy contains no path of this program.
func TestCopyProfile(t *testing.T) {
	folder := t.TempDir()
	from, to := filepath.Join(folder, "a.pprof"), filepath.Join(folder, "b.pprof")
	var taken bytes.Buffer
	if err := pprof.StartCPUProfile(&taken); err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(200 * time.Millisecond); time.Now().Before(until); {
		bytes.Repeat([]byte("x"), 1<<16)
	}
	pprof.StopCPUProfile()
	if err := os.WriteFile(from, taken.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := copyProfile(from, to); err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(unpack(t, from), program) {
		t.Errorf("the profile does not name %s, so this test shows nothing", program)
	}
	if text := unpack(t, to); strings.Contains(text, program) {
		t.Errorf("the copy names %s", program)
	}
	traces := func(file string) string {
		out, err := exec.Command("go", "tool", "pprof", "-symbolize=none", "-traces", file).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// skip the text before the line, which contains the name of the program
		_, rest, _ := strings.Cut(string(out), "------")
		return rest
	}
	if a, b := traces(from), traces(to); a != b || !strings.Contains(a, "TestCopyProfile") {
		t.Errorf("the profile has\n%s\nthe copy has\n%s", a, b)
	}
}

func TestCopyProfileRefuses(t *testing.T) {
	folder := t.TempDir()
	from, to := filepath.Join(folder, "a.pprof"), filepath.Join(folder, "b.pprof")
	for name, content := range map[string][]byte{"text": []byte("no profile"), "cut": pack(t, []byte{stringTable<<3 | 2, 9, 'x'})} {
		if err := os.WriteFile(from, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := copyProfile(from, to); err == nil || !strings.Contains(err.Error(), "is no profile") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s: a copy was written", name)
		}
	}
}

func pack(t *testing.T, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpack(t *testing.T, file string) string {
	t.Helper()
	packed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	in, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
