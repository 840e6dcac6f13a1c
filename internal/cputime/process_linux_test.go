package cputime

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const line = "42 (a ) (b) S 1 42 42 0 -1 4194560 100 0 0 0 1234 66 7 8 20 0 9 0 100 200 300"
	if got, err := parseStat(line); err != nil || got != 13*time.Second {
		t.Errorf("%v, %v, want 13s", got, err)
	}
	for _, line := range []string{"", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 100 0 0 0 x 66 7"} {
		if got, err := parseStat(line); err == nil {
			t.Errorf("%q is read as %v", line, got)
		}
	}
}

func TestProcess(t *testing.T) {
	for before := time.Now(); ; {
		used, err := Process(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if used > 0 {
			break
		}
		if time.Since(before) > 10*time.Second {
			t.Fatal("ten seconds of work cost no CPU")
		}
	}
	if _, err := Process(-1); err == nil {
		t.Error("a process that does not exist has used CPU")
	}
}
