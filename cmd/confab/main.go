// Command confab is a chat server that speaks the protocol of Azure
// Communication Services, and what one does with it from a shell: serve starts
// it, run and env hand its address, key and certificates to other programs,
// token, user, thread and keys ask and order the running server, backup,
// restore, export and import look after its data, and config, doctor, health
// and trust after the machine around it.
//
// Results go to stdout alone, words to stderr. A failure is one line of what
// and one of what next; the exit code is 1, or 2 when the command line itself
// is wrong. run has that of its program.
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
)

func main() { os.Exit(execute(os.Args[1:])) }

func execute(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	return report(os.Stderr, root.Execute())
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:               "confab",
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: programName()},
		Short:             "A chat server that speaks the Azure Communication Services protocol",
		Version:           versionLine(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              unknownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(os.Stdout)
	root.SetErr(os.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err.Error()) })
	root.AddCommand(newServe(), newRun(), newEnv(), newToken(), newUser(), newThread(), newKeys(),
		newBackup(), newRestore(), newExport(), newImport(),
		newConfig(), newDoctor(), newHealth(), newTrust(), newBench(), newVersion(), newProbe())
	return root
}

// failure is an error with what to do about it.
type failure struct {
	what, next string
	code       int // 0 means 1
	cause      error
}

func (f *failure) Error() string { return f.what }
func (f *failure) Unwrap() error { return f.cause }

// exitCode ends the process with the code of the program that run ran.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usage is a command line that is wrong.
func usage(cmd *cobra.Command, what string) error {
	return &failure{what: what, next: "See: " + cmd.CommandPath() + " --help", code: 2}
}

// noArgs is cobra.NoArgs in our words.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Sprintf("%s takes no arguments, and %q is one", cmd.Name(), args[0]))
	}
	return nil
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	f := usage(cmd, fmt.Sprintf("there is no command %q", args[0])).(*failure)
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		f.next = "Did you mean " + near[0] + "? " + f.next
	}
	return f
}

// examples are lines of a help text, with the name that this program is started by.
func examples(lines ...string) string {
	return "  " + programName() + " " + strings.Join(lines, "\n  "+programName()+" ")
}

// report prints err and returns the exit code.
func report(w io.Writer, err error) int {
	var code exitCode
	var f *failure
	var several interface{ Unwrap() []error }
	var setting *config.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &f):
		say(w, f.what, f.next)
		return max(f.code, 1)
	case errors.As(err, &several): // settings, all that are wrong
		for _, err := range several.Unwrap() {
			report(w, err)
		}
	case errors.As(err, &setting):
		say(w, setting.Error(), setting.Next)
	default:
		say(w, err.Error(), "")
	}
	return 1
}

// say prints a line of what is the matter and one of what to do.
func say(w io.Writer, what, next string) {
	text := "confab: " + what + stop(what) + "\n"
	if next != "" {
		r, n := utf8.DecodeRuneInString(next)
		text += "        " + string(unicode.ToUpper(r)) + next[n:]
		if !strings.Contains(next, ": ") { // what follows a colon is to be copied
			text += stop(next)
		}
		text += "\n"
	}
	io.WriteString(w, text) // in one piece; nothing can be done when stderr is gone
}

// stop is the full stop that s lacks.
func stop(s string) string {
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") || strings.HasSuffix(s, "!") {
		return ""
	}
	return "."
}
