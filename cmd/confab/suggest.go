package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/confab-chat/confab/internal/config"
)

// unknownCommand returns an error that says that the first argument is not a command, and suggests
// the command with the nearest name. It returns nil if there are no arguments.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return suggest(usage(cmd, fmt.Sprintf("there is no command %q", args[0])), nearestCommand(cmd, args[0]))
}

// newHelp returns the command help, which prints the help of another command. Unlike the help
// command of package cobra, it fails if the other command does not exist.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Help about any command",
		Example: examples("help serve", "help user list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(found, rest)
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// nearestCommand returns the name of the subcommand that a user who typed word probably meant, or
// "".
func nearestCommand(cmd *cobra.Command, word string) string {
	cmd.SuggestionsMinimumDistance = 2
	names := cmd.SuggestionsFor(word) // in alphabetical order
	if len(names) == 0 {
		return ""
	}
	return cmp.Or(config.Nearest(strings.ToLower(word), names), names[0])
}

// flagError returns the error for a wrong flag. If the command has no flag with that name, the
// error suggests the flag with the nearest name.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usage(cmd, err.Error())
	}
	typed := cmp.Or(unknown.GetSpecifiedShortnames(), unknown.GetSpecifiedName()) // if the user typed "-listen" with one dash, GetSpecifiedShortnames returns "listen"
	typed, _, _ = strings.Cut(typed, "=")
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	near := ""
	if len(typed) > 1 {
		near = config.Nearest(strings.ToLower(typed), names)
	}
	if near != "" {
		near = "--" + near
	}
	return suggest(usage(cmd, err.Error()), near)
}

// suggest adds the question "Did you mean NEAR?" to the remedy of err and returns err. It adds
// nothing if near is empty.
func suggest(err error, near string) error {
	var f *failure
	if near != "" && errors.As(err, &f) {
		f.next = "Did you mean " + near + "? " + f.next
	}
	return err
}
