package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var flagInText = regexp.MustCompile(`--[a-z][a-z-]*[a-z]`)

// TestHelpNamesOwnFlags checks that the help of each command mentions only flags that the
// command has. It may mention a flag of another command if the name of that command stands
// before the flag on the same line.
func TestHelpNamesOwnFlags(t *testing.T) {
	root := newRoot()
	eachCommand(root, func(cmd *cobra.Command) {
		cmd.InitDefaultHelpFlag()
		cmd.InitDefaultVersionFlag()
		for _, line := range strings.Split(cmd.Long+"\n"+cmd.UsageString(), "\n") {
			for _, at := range flagInText.FindAllStringIndex(line, -1) {
				flag := line[at[0]+2 : at[1]]
				owners := append(commandsIn(root, line[:at[0]]), cmd)
				found := false
				for _, owner := range owners {
					found = found || owner.Flags().Lookup(flag) != nil
				}
				if !found {
					t.Errorf("the help of %s speaks of --%s, which it does not have:\n%s", cmd.CommandPath(), flag, line)
				}
			}
		}
	})
}

// eachCommand calls f for a command and all commands below it.
func eachCommand(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		eachCommand(c, f)
	}
}

// commandsIn returns the commands whose command line may be the end of text. After the name of a
// command, only its arguments may follow, as in an example.
func commandsIn(root *cobra.Command, text string) (all []*cobra.Command) {
	words := strings.Fields(text)
	for i := range words {
		if c, _, err := root.Find(words[i:]); err == nil && c != root {
			all = append(all, c)
		}
	}
	return all
}

// TestEveryCommandExplainsItself checks that each command has a short help text. It also checks
// that the help has an example that starts with the name of the command. Groups of subcommands,
// hidden commands, version and completion need no example.
func TestEveryCommandExplainsItself(t *testing.T) {
	root := newRoot()
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.Short == "" {
			t.Errorf("%s has no short help", cmd.CommandPath())
		}
		if cmd.HasSubCommands() || cmd.Hidden || cmd.Name() == "version" || cmd.Name() == "completion" {
			return
		}
		path := strings.TrimPrefix(cmd.CommandPath(), root.CommandPath())
		if !strings.Contains(cmd.Example, programName()+path) {
			t.Errorf("%s has no example of itself: %q", cmd.CommandPath(), cmd.Example)
		}
	})
}
