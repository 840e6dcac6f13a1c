package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// confirm prints the description of a change and asks the user to agree to it. It returns an error
// if the user does not agree or if stdin is not a terminal.
func confirm(cmd *cobra.Command, what string) error {
	if in, ok := cmd.InOrStdin().(*os.File); !ok || !term.IsTerminal(int(in.Fd())) {
		return &failure{what: what + " Stdin is not a terminal, so you cannot be asked, and nothing was done", next: "agree with --yes"}
	}
	return ask(cmd, what)
}

// ask prints the description of a change and reads the user's answer. It returns an error unless
// the answer is y or yes.
func ask(cmd *cobra.Command, what string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s\nContinue? [y/N] ", what)
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr()) // print a line break, because Ctrl-D ends the user's input without one
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &failure{what: "nothing was done"}
}
