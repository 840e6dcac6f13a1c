package server

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestFailedDiskEndsACommand runs, in another process, a command that is not the server and whose
// disk fails. It checks that the command prints one line and ends.
func TestFailedDiskEndsACommand(t *testing.T) {
	const child = "TEST_FAILED_DISK"
	if os.Getenv(child) != "" {
		endProcess(errors.New("no space left\na stack"))
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFailedDiskEndsACommand$")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	text := string(out)
	if cmd.ProcessState.ExitCode() != 1 || !strings.HasPrefix(text, "confab: the store failed: ") || strings.Count(text, "\n") != 1 {
		t.Errorf("%v, output %q; want exit code 1 and one line", err, text)
	}
}
