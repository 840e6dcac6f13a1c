package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/config"
)

func newEnv() *cobra.Command {
	var shell string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print environment variables for clients of the running server",
		Long: `Print environment variables for clients of the running server: the endpoint, the
connection string and certificate files, under the names that the SDKs, their
samples and the TLS libraries read.`,
		Example: envExamples(),
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return printEnv(cmd, shell, asJSON) },
	}
	cmd.Flags().StringVar(&shell, "shell", "", "`shell` to print for: sh, fish, powershell, cmd or dotenv (default your shell)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything known about the server as JSON")
	config.AddFlags(cmd.Flags(), "data")
	return cmd
}

func envExamples() string {
	env := programName() + " env"
	var b strings.Builder
	for _, shell := range []clientenv.Shell{clientenv.Sh, clientenv.Fish, clientenv.PowerShell} {
		fmt.Fprintf(&b, "  %s# %s\n", pad(evalHint(shell, env), len(env)+36), shell)
	}
	return b.String() + "  " + env + " --shell dotenv > .env"
}

func printEnv(cmd *cobra.Command, shellName string, asJSON bool) error {
	shell := clientenv.GuessShell(os.Getenv, runtime.GOOS)
	if shellName != "" {
		var err error
		if shell, err = clientenv.ParseShell(shellName); err != nil {
			return usage(cmd, err.Error())
		}
	}
	in, err := input(cmd)
	if err != nil {
		return err
	}
	client := clientCommand{in}
	r, err := findServer(client)
	if err != nil {
		return err
	}
	vars := r.client().Vars(os.Getenv)
	if asJSON {
		return printEnvJSON(cmd.OutOrStdout(), r, vars)
	}
	text, err := clientenv.Format(shell, vars)
	if err != nil {
		return err
	}
	if term.IsTerminal(int(os.Stdout.Fd())) && shell != clientenv.Dotenv {
		fmt.Fprintf(cmd.ErrOrStderr(), "Printed, not set. To set these variables in this shell: %s\n\n", evalHint(shell, programName()+" env"+client.dataFlag()))
	}
	_, err = io.WriteString(cmd.OutOrStdout(), text)
	return err
}

func printEnvJSON(w io.Writer, r running, vars []clientenv.Var) error {
	env := make(map[string]string, len(vars))
	for _, v := range vars {
		env[v.Name] = v.Value
	}
	r.AdminSecret = "" // of use to the operator's commands only, which find it in server.json
	return printJSON(w, struct {
		running
		Env map[string]string `json:"env"`
	}{r, env})
}

// input returns the sources of a command's settings: its flags, the environment and the
// working folder. It fails if the working folder is unknown.
func input(cmd *cobra.Command) (config.Input, error) {
	dir, err := os.Getwd()
	return config.Input{Flags: cmd.Flags(), Environ: os.Environ(), Dir: dir}, err
}
