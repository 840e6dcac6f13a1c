package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// confirm says what is going to happen and asks whether it may. Where nobody
// can be asked, it may not.
func confirm(cmd *cobra.Command, what string) error {
	if in, ok := cmd.InOrStdin().(*os.File); !ok || !term.IsTerminal(int(in.Fd())) {
		return &failure{what: what + " Nobody can be asked here, and nothing was done", next: "say so with --yes"}
	}
	return ask(cmd, what)
}

func ask(cmd *cobra.Command, what string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s\nGo on? [y/N] ", what)
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr()) // Ctrl-D leaves the cursor behind the question
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &failure{what: "nothing was done"}
}
