package main

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/confab-chat/confab/internal/clientenv"
)

// goRunBinary matches the path of a program that `go run` built. The path lies in a
// temporary folder or, since Go 1.24, in the build cache.
var goRunBinary = regexp.MustCompile(`[/\\](go-build\d+[/\\]b001[/\\]exe|[0-9a-f]{2}[/\\][0-9a-f]{64}-d)[/\\][^/\\]+$`)

const importPath = "github.com/confab-chat/confab/cmd/confab"

// programName returns the command with which the user started this program, for command lines in
// hints. It is the path or the name as typed, or for example "go run ./cmd/confab".
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

// nameFor implements programName. exe is the path of the running program, and arg0 its name on the
// command line. The argument here is a function that reports whether a file exists in the working
// folder.
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

// shellWord quotes s, if needed, as one word of a command line for the system's shell.
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

// evalHint returns the command line with which a user makes the shell execute the lines that the
// given command prints.
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

// tilde replaces the user's home folder at the start of a path by ~, for display.
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
