package clientenv

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// Shell is a syntax for assigning environment variables.
type Shell string

const (
	Sh         Shell = "sh" // the syntax of sh, bash, zsh, dash and ksh
	Fish       Shell = "fish"
	PowerShell Shell = "powershell"
	Cmd        Shell = "cmd"    // a batch file
	Dotenv     Shell = "dotenv" // a .env file
)

// Shells lists all the syntaxes that Format supports.
var Shells = []Shell{Sh, Fish, PowerShell, Cmd, Dotenv}

// ParseShell returns the syntax of the shell with this name, such as Sh for bash or zsh. It
// fails for unknown names.
func ParseShell(name string) (Shell, error) {
	switch name {
	case "sh", "bash", "zsh", "dash", "ash", "ksh":
		return Sh, nil
	case "pwsh", "powershell":
		return PowerShell, nil
	case "fish", "cmd", "dotenv":
		return Shell(name), nil
	}
	return "", fmt.Errorf("unknown shell %q: use sh, fish, powershell, cmd or dotenv", name)
}

// GuessShell returns the syntax of the shell that the variable SHELL names. If SHELL is unset or
// names an unknown shell, it returns the usual syntax of the operating system goos, a value of
// runtime.GOOS.
func GuessShell(getenv func(string) string, goos string) Shell {
	// Windows itself does not set SHELL. On Windows, a Unix shell such as Git's bash has set it.
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

// Format returns, for each variable, a line that sets it in the shell. It fails if a value
// contains a zero byte or, for Cmd and Dotenv, a line break.
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

// FormatUnset returns, for each name, a line that removes the variable from the shell. It fails
// for Dotenv, which cannot remove a variable.
func FormatUnset(shell Shell, names []string) (string, error) {
	var b strings.Builder
	for _, name := range names {
		switch shell {
		case Sh:
			b.WriteString("unset " + name)
		case Fish:
			b.WriteString("set -e " + name)
		case PowerShell:
			b.WriteString("$Env:" + name + " = $null")
		case Cmd:
			b.WriteString(`set "` + name + `="`)
		default:
			return "", fmt.Errorf("%s cannot remove a variable", shell)
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// JSON returns the variables as an indented JSON object.
func JSON(vars []Var) (string, error) {
	m := make(map[string]string, len(vars))
	for _, v := range vars {
		m[v.Name] = v.Value
	}
	text, err := json.MarshalIndent(m, "", "  ")
	return string(text) + "\n", err
}

func quoteSh(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quoteFish returns s in single quotes for the shell fish. Inside quotes, fish treats only
// \\ and \' as escapes.
func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

// quotePowerShell returns s in single quotes for PowerShell. PowerShell also ends such a
// string at a typographic quote, so each quote of any kind is doubled.
func quotePowerShell(s string) string {
	return "'" + strings.NewReplacer("'", "''", "‘", "‘‘", "’", "’’", "‚", "‚‚", "‛", "‛‛").Replace(s) + "'"
}

// escapeCmd escapes s for the command set "NAME=s" in a Windows batch file. It doubles each percent
// sign. If s contains quotes, some characters of s are outside of quotes. escapeCmd then puts ^
// before operators outside of quotes. The command set takes everything up to the last quote of the
// line.
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

// quoteDotenv quotes s for a .env file so that the usual readers (Python, Node, Go, Ruby, Compose,
// and a shell that sources the file) read the same value. It uses no quotes if no character is
// special, otherwise single quotes if possible, and otherwise double quotes with escapes. The
// readers differ only on a doubled backslash and on a backslash at the end.
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
