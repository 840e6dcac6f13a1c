// Command confab is a chat server that speaks the protocol of Azure
// Communication Services, with the tools to operate it:
//
//   - serve starts the server;
//   - run and env give its address, access key and certificates to other programs;
//   - token, user, thread and keys manage a running server;
//   - console, requests, why, audit and limits show what it does;
//   - backup, restore, export and import copy its data, and check verifies it;
//   - config, doctor, health, trust, bench and completion check and configure the machine.
//
// Results are written to stdout, messages to stderr. A failure prints the
// problem on one line and a remedy on the next. The exit code is 1, or 2 for a
// wrong command line; run exits with the code of its program.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/tty"
)

func main() { os.Exit(execute(os.Args[1:])) }

func execute(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	return report(os.Stderr, root.Execute())
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "confab",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: programName()},
		Short:         "A chat server that speaks the Azure Communication Services protocol",
		Version:       versionLine(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(os.Stdout)
	root.SetErr(os.Stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp())
	root.AddCommand(newServe(), newRun(), newEnv(), newToken(), newUser(), newThread(), newKeys(),
		newConsole(), newRequests(), newWhy(), newAuditRows(), newLimits(),
		newBackup(), newRestore(), newExport(), newImport(), newCheck(),
		newConfig(), newDoctor(), newHealth(), newTrust(), newBench(), newCompletion(), newVersion(), newProbe())
	return root
}

// failure is an error message for the user: the problem, and a remedy or "".
type failure struct {
	what, next string
	code       int // 0 means 1
	cause      error
}

func (f *failure) Error() string { return f.what }
func (f *failure) Unwrap() error { return f.cause }

// remedied is implemented by errors of other packages that contain a remedy for the user.
type remedied interface {
	error
	Remedy() string
}

// exitCode is an error that prints nothing and sets the exit code of this program: 130
// after a signal, for example, or the exit code of the program that `confab run` started.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usage returns the error for a wrong command line. The remedy in the error is the command line
// that prints the command's help.
func usage(cmd *cobra.Command, what string) error {
	return &failure{what: what, next: "See: " + cmd.CommandPath() + " --help", code: 2}
}

// noArgs returns an error if the command has arguments, as cobra.NoArgs does.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Sprintf("%s takes no arguments, but got %q", cmd.Name(), args[0]))
	}
	return nil
}

// examples formats command lines for a help text. It puts the name of this program before each
// line.
func examples(lines ...string) string {
	return "  " + programName() + " " + strings.Join(lines, "\n  "+programName()+" ")
}

// report prints err for the user and returns the exit code of this program.
func report(w io.Writer, err error) int {
	var code exitCode
	var f *failure
	var settings config.Errors
	var setting *config.Error
	var mendable remedied
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &f):
		say(w, f.what, f.next)
		return max(f.code, 1)
	// Print each mistake in the settings as a separate message. Do not split other errors that wrap
	// several errors, because fmt.Errorf with two %w has put these into one message.
	case errors.As(err, &settings):
		for _, err := range settings {
			report(w, err)
		}
	case errors.As(err, &setting):
		say(w, setting.Error(), setting.Next)
	case errors.As(err, &mendable): // an error with a remedy, such as the error about a damaged store
		say(w, mendable.Error(), mendable.Remedy())
	default:
		say(w, oneLine(err), "")
	}
	return 1
}

// say prints a problem, the text in what, on one line. It prints the remedy, the text in next, on
// the following line unless next is empty. It replaces control characters, because both texts may
// contain text from clients.
func say(w io.Writer, what, next string) {
	what, next = cleanLines(what), cleanLines(next)
	text := "confab: " + what + stop(what) + "\n"
	if next != "" {
		r, n := utf8.DecodeRuneInString(next)
		text += "        " + string(unicode.ToUpper(r)) + next[n:]
		if !strings.Contains(next, ": ") { // text after a colon is a command, which gets no full stop
			text += stop(next)
		}
		text += "\n"
	}
	io.WriteString(w, text) // write all lines at once, so that they stay together; ignore the error, because there is no place to show it
}

// cleanLines replaces the unprintable characters in text, except line breaks.
func cleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = tty.Clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

// stop returns the full stop to append to s: ".", or "" if s already ends with a
// punctuation mark.
func stop(s string) string {
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") || strings.HasSuffix(s, "!") {
		return ""
	}
	return "."
}
