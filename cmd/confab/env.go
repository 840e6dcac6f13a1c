package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/localca"
)

func newEnv() *cobra.Command {
	var shell string
	var asJSON, unset bool
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print environment variables for clients of the running server",
		Long: `Print environment variables for clients of the running server: the endpoint, the
connection string and certificate files, under the names that the SDKs, their
samples and the TLS libraries read. The endpoint's hosts are added to NO_PROXY and
no_proxy. Certificates that your REQUESTS_CA_BUNDLE, SSL_CERT_FILE, CURL_CA_BUNDLE
and NODE_EXTRA_CA_CERTS name stay trusted: the bundle has them too.

With --unset, print the lines that take the variables away again and bring back
what the variables for proxies and certificates were before. This needs no server.

The files of a server that keeps its data in memory end with it, so its variables
are not printed; --json still describes the server.`,
		Example: envExamples(),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if unset && asJSON {
				return usage(cmd, "--unset is for a shell, and --json for a program")
			}
			syntax, err := shellOf(cmd, shell)
			switch {
			case err != nil:
				return err
			case unset:
				return printUnset(cmd, syntax)
			}
			return printEnv(cmd, syntax, asJSON)
		},
	}
	cmd.Flags().BoolVar(&unset, "unset", false, "print lines that take the variables away")
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
	return b.String() + "  " + env + " --shell dotenv > .env\n  " + evalHint(clientenv.Sh, env+" --unset")
}

// shellOf returns the syntax of the named shell or, if the name is empty, of the user's shell.
func shellOf(cmd *cobra.Command, name string) (clientenv.Shell, error) {
	if name == "" {
		return clientenv.GuessShell(os.Getenv, runtime.GOOS), nil
	}
	shell, err := clientenv.ParseShell(name)
	if err != nil {
		return "", usage(cmd, err.Error())
	}
	return shell, nil
}

func printEnv(cmd *cobra.Command, shell clientenv.Shell, asJSON bool) error {
	in, err := input(cmd)
	if err != nil {
		return err
	}
	client := clientCommand{in}
	r, err := findServer(client)
	if err != nil {
		return err
	}
	if r.Data == config.Memory && !asJSON {
		return &failure{
			what: fmt.Sprintf("the server at %s keeps its data in memory, and its certificate files vanish with it, so the variables would soon name nothing", r.Endpoint),
			next: "start it with a data folder, or give a program a server of its own: " + programName() + " run --data memory: -- python app.py",
		}
	}
	server := r.client()
	if r.Data != config.Memory { // write no certificate bundle for a server in memory, because the file would remain after the server's end
		if server, err = withUserRoots(cmd, server, rootsFolder); err != nil {
			return err
		}
	}
	vars := server.Vars(os.Getenv)
	if asJSON || shell == clientenv.Dotenv { // store nothing for --unset, because no shell executes JSON and .env files
		vars = slices.DeleteFunc(vars, func(v clientenv.Var) bool { return v.Name == clientenv.Before })
	}
	if asJSON {
		return printEnvJSON(cmd.OutOrStdout(), r, vars)
	}
	text, err := clientenv.Format(shell, vars)
	if err != nil {
		return err
	}
	return printLines(cmd, shell, text, " env"+client.dataFlag())
}

// printLines prints the lines in text for a shell to execute. If stdout is a terminal, no shell
// executes the lines, so printLines also prints to stderr how to make the shell execute them.
// command is the subcommand of this program that prints the lines.
func printLines(cmd *cobra.Command, shell clientenv.Shell, text, command string) error {
	if term.IsTerminal(int(os.Stdout.Fd())) && shell != clientenv.Dotenv {
		fmt.Fprintf(cmd.ErrOrStderr(), "Printed, not executed. To execute these lines in this shell: %s\n\n", evalHint(shell, programName()+command))
	}
	_, err := io.WriteString(cmd.OutOrStdout(), text)
	return err
}

// printUnset prints the lines that undo `confab env` in a shell. The lines remove the variables
// that env had set, and restore the values that env had replaced.
func printUnset(cmd *cobra.Command, shell clientenv.Shell) error {
	if shell == clientenv.Dotenv {
		return usage(cmd, "a file cannot take variables away: remove it")
	}
	restore, remove := clientenv.Unset(os.Getenv)
	if len(restore)+len(remove) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing to take away: this environment has no variables of "+programName()+" env")
		return nil
	}
	removed, err := clientenv.FormatUnset(shell, remove)
	if err != nil {
		return err
	}
	restored, err := clientenv.Format(shell, restore)
	if err != nil {
		return err
	}
	return printLines(cmd, shell, removed+restored, " env --unset")
}

// withUserRoots returns c with bundles of root certificates that also contain the user's own, such
// as the certificates of a company. The user's environment variables named these certificates
// before `confab env` replaced the variables. If there are such certificates, withUserRoots calls
// dir and writes the bundles below the folder that it returns. It prints a warning for certificates
// that cannot be read.
func withUserRoots(cmd *cobra.Command, c clientenv.Server, dir func() (string, error)) (clientenv.Server, error) {
	files := clientenv.UserRoots(os.Getenv)
	if c.CAFile == "" || len(files) == 0 {
		return c, nil
	}
	folder, err := dir()
	if err != nil {
		return c, err
	}
	trust, unread, err := localca.Trust{CAFile: c.CAFile, BundleFile: c.BundleFile, TrustStoreFile: c.TrustStoreFile}.Extend(folder, files)
	for _, err := range unread {
		fmt.Fprintf(cmd.ErrOrStderr(), "confab: certificates that a variable names are left out of the bundle: %v\n", err)
	}
	c.BundleFile, c.TrustStoreFile = trust.BundleFile, trust.TrustStoreFile
	return c, err
}

// rootsFolder returns the folder in the user's cache folder in which env keeps bundles with
// the user's certificates.
func rootsFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", &failure{what: "there is no cache folder for a bundle with the certificates of your own: " + err.Error(), next: "set HOME", cause: err}
	}
	return filepath.Join(cache, "confab", "trust"), nil
}

func printEnvJSON(w io.Writer, r running, vars []clientenv.Var) error {
	env := make(map[string]string, len(vars))
	for _, v := range vars {
		env[v.Name] = v.Value
	}
	r.AdminSecret = "" // leave out the operator's secret: programs must not get it, and the operator's commands read it from server.json
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
