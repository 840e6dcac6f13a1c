package confab_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSDKBringsAzcoreAlone runs `go mod tidy` for a new program that imports sdk/chat. The program
// may require only azcore, the modules that azcore itself requires, in the same versions, and one
// module for WebSockets.
func TestSDKBringsAzcoreAlone(t *testing.T) {
	sdk, err := filepath.Abs("sdk")
	if err != nil {
		t.Fatal(err)
	}
	const module = root + "/sdk"
	got := tidy(t, fmt.Sprintf("module fresh\n\ngo 1.25.0\n\nrequire %s v0.0.0\n\nreplace %[1]s => %s\n", module, sdk),
		"package main\n\nimport _ \""+module+"/chat\"\n\nfunc main() {}\n")
	if _, ok := got[module]; !ok {
		t.Fatalf("the program requires %v", got)
	}
	delete(got, module)
	const azcore = "github.com/Azure/azure-sdk-for-go/sdk/azcore"
	alone := tidy(t, fmt.Sprintf("module fresh\n\ngo 1.25.0\n\nrequire %s %s\n", azcore, got[azcore]),
		"package main\n\nimport (\n\t_ \""+azcore+"\"\n\t_ \""+azcore+"/runtime\"\n)\n\nfunc main() {}\n")
	for path, version := range got {
		switch {
		case slices.Contains([]string{"github.com/coder/websocket"}, path):
		case alone[path] == "":
			t.Errorf("the SDK brings %s %s, which azcore %s does not", path, version, got[azcore])
		case alone[path] != version:
			t.Errorf("the SDK raises %s from %s to %s", path, alone[path], version)
		}
	}
	if len(got) < len(alone) {
		t.Errorf("the SDK brings %v, azcore alone %v: this test looks at something else", got, alone)
	}
}

// tidy runs `go mod tidy` for a program. mod is the text of its go.mod, and program is the text of
// its main.go. It returns the required modules with their versions.
func tidy(t *testing.T, mod, program string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": mod, "main.go": program} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &said)
		}
		return out
	}
	run("mod", "tidy")
	var in struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(run("mod", "edit", "-json"), &in); err != nil {
		t.Fatal(err)
	}
	requires := map[string]string{}
	for _, r := range in.Require {
		requires[r.Path] = r.Version
	}
	return requires
}
