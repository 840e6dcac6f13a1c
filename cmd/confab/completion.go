package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// completions lists the shells for which the command completion prints a script, in the order in
// which its help names them.
var completions = []struct {
	shell string
	write func(root *cobra.Command, w io.Writer) error
}{
	{"bash", func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) }},
	{"zsh", func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) }},
	{"fish", func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) }},
	{"powershell", func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) }},
}

// newCompletion returns the command that prints completion scripts. It replaces the completion
// command of package cobra, whose help mentions flags and files that some users do not have.
func newCompletion() *cobra.Command {
	var shells []string
	for _, c := range completions {
		shells = append(shells, c.shell)
	}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes commands and flags in a shell",
		Long: `Print a script that lets the Tab key complete the commands and flags of confab. It
works for a confab that is on PATH. In a running shell:

  bash        source <(confab completion bash)
  zsh         autoload -Uz compinit && compinit && source <(confab completion zsh)
  fish        confab completion fish | source
  powershell  confab completion powershell | Out-String | Invoke-Expression

To have it in each shell, put the line into the file that the shell reads at its
start, such as ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish.`,
		DisableFlagsInUseLine: true,
		ValidArgs:             shells,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return usage(cmd, fmt.Sprintf("completion needs the name of a shell: %s or %s", strings.Join(shells[:len(shells)-1], ", "), shells[len(shells)-1]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, c := range completions {
				if c.shell == args[0] {
					return c.write(cmd.Root(), cmd.OutOrStdout())
				}
			}
			return nil
		},
	}
}
