package clientenv

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// Shell is a way to write variables down.
type Shell string

const (
	Sh         Shell = "sh" // and bash, zsh, dash, ksh
	Fish       Shell = "fish"
	PowerShell Shell = "powershell"
	Cmd        Shell = "cmd"    // a batch file
	Dotenv     Shell = "dotenv" // a .env file
)

// Shells are all there are, for help texts.
var Shells = []Shell{Sh, Fish, PowerShell, Cmd, Dotenv}

// ParseShell reads the name of a shell, or of one that speaks the same.
func ParseShell(name string) (Shell, error) {
	switch name {
	case "sh", "bash", "zsh", "dash", "ash", "ksh":
		return Sh, nil
	case "pwsh", "powershell":
		return PowerShell, nil
	case "fish", "cmd", "dotenv":
		return Shell(name), nil
	}
	return "", fmt.Errorf("unknown shell %q: there are sh, fish, powershell, cmd and dotenv", name)
}

// GuessShell is the user's shell as far as the environment tells. goos is runtime.GOOS.
func GuessShell(getenv func(string) string, goos string) Shell {
	// Windows has SHELL only where a Unix shell set it.
	name := path.Base(strings.ReplaceAll(getenv("SHELL"), `\`, "/"))
	shell, err := ParseShell(strings.TrimSuffix(name, ".exe"))
	switch {
	case err == nil && shell != Dotenv:
		return shell
	case goos == "windows":
		return PowerShell
	}
	return Sh
}

// Format writes the variables for the shell, a line each.
func Format(shell Shell, vars []Var) (string, error) {
	var b strings.Builder
	for _, v := range vars {
		if strings.ContainsRune(v.Value, 0) {
			return "", fmt.Errorf("the value of %s holds a zero byte", v.Name)
		}
		switch shell {
		case Sh:
			b.WriteString("export " + v.Name + "=" + quoteSh(v.Value))
		case Fish:
			b.WriteString("set -gx " + v.Name + " " + quoteFish(v.Value))
		case PowerShell:
			b.WriteString("$Env:" + v.Name + " = " + quotePowerShell(v.Value))
		case Cmd, Dotenv:
			if strings.ContainsAny(v.Value, "\r\n") {
				return "", fmt.Errorf("the value of %s holds a line break, which %s cannot", v.Name, shell)
			}
			if shell == Cmd {
				b.WriteString(`set "` + v.Name + "=" + escapeCmd(v.Value) + `"`)
			} else {
				b.WriteString(v.Name + "=" + quoteDotenv(v.Value))
			}
		default:
			return "", fmt.Errorf("unknown shell %q", shell)
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// JSON writes the variables as an object.
func JSON(vars []Var) (string, error) {
	m := make(map[string]string, len(vars))
	for _, v := range vars {
		m[v.Name] = v.Value
	}
	text, err := json.MarshalIndent(m, "", "  ")
	return string(text) + "\n", err
}

func quoteSh(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// In fish a backslash inside quotes escapes itself and the quote, nothing else.
func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// PowerShell ends such a string at typographic quotes too; doubled, each stands for itself.
func quotePowerShell(s string) string {
	return "'" + strings.NewReplacer("'", "''", "‘", "‘‘", "’", "’’", "‚", "‚‚", "‛", "‛‛").Replace(s) + "'"
}

// escapeCmd writes s for set "NAME=s" in a batch file: percent signs are
// doubled, and what an inner quote lays bare is escaped; set itself takes
// everything up to the last quote of the line.
//
// Unverified: no cmd.exe has read this yet.
func escapeCmd(s string) string {
	var b strings.Builder
	bare := false
	for _, c := range []byte(s) {
		switch {
		case c == '%':
			b.WriteByte('%')
		case c == '"':
			bare = !bare
		case bare && strings.IndexByte("&|<>()^", c) >= 0:
			b.WriteByte('^')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// quoteDotenv writes s so that the usual readers (Python, Node, Go, Ruby,
// Compose, and a shell that sources the file) agree on it: bare where nothing
// is special, else in single quotes, else in double ones with escapes. On
// backslashes that are doubled or come last they do not agree.
func quoteDotenv(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=,-"
	switch {
	case strings.Trim(s, plain) == "" && s != "":
		return s
	case !strings.Contains(s, "'"):
		return "'" + s + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(s) + `"`
}
