package main

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/confab-chat/confab/internal/clientenv"
)

// goRunBinary matches where go run puts the program: a work folder or, since
// Go 1.24, the build cache.
var goRunBinary = regexp.MustCompile(`[/\\](go-build\d+[/\\]b001[/\\]exe|[0-9a-f]{2}[/\\][0-9a-f]{64}-d)[/\\][^/\\]+$`)

const importPath = "github.com/confab-chat/confab/cmd/confab"

// programName is how the user starts this program again: go run, the path
// typed, or the bare name when the shell found it on PATH.
func programName() string {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	here := func(file string) bool {
		_, err := os.Stat(filepath.FromSlash(file))
		return err == nil
	}
	return nameFor(exe, os.Args[0], here)
}

func nameFor(exe, arg0 string, here func(file string) bool) string {
	switch {
	case !goRunBinary.MatchString(exe):
		return shellWord(strings.TrimSuffix(arg0, ".exe"))
	case here("cmd/confab/main.go"):
		return "go run ./cmd/confab"
	case here("main.go") && here("serve.go"):
		return "go run ."
	}
	return "go run " + importPath
}

// shellWord is s as one word of a command line to be copied.
func shellWord(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=,-~"
	switch {
	case s != "" && strings.Trim(s, plain) == "":
		return s
	case runtime.GOOS == "windows":
		if !strings.ContainsAny(s, " &|<>()^\"'") {
			return s
		}
		return `"` + s + `"`
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// evalHint is the line that puts the output of command into the shell's environment.
func evalHint(shell clientenv.Shell, command string) string {
	switch shell {
	case clientenv.Fish:
		return command + " | source"
	case clientenv.PowerShell:
		return command + " | Out-String | Invoke-Expression"
	case clientenv.Cmd:
		return command + " > confab-env.bat & call confab-env.bat"
	}
	return `eval "$(` + command + `)"`
}

// tilde shortens a path in the user's home folder, for showing only.
func tilde(path string) string {
	home, err := os.UserHomeDir()
	if err != nil || home == "" || home == "/" {
		return path
	}
	if rest, ok := strings.CutPrefix(path, home); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		return "~" + rest
	}
	return path
}
