package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/spf13/cobra"
)

func newConsole() *cobra.Command {
	var viewer, printOnly bool
	cmd := clientOf(&cobra.Command{
		Use:   "console",
		Short: "Open the console in the browser, signed in",
		Long: `Open the console of the running server in the browser, signed in. The link works
once, within 60 seconds; the session lasts 12 hours.

With --print, the link is printed to stdout instead: for a browser on another
machine, whose port is forwarded here, or for somebody else. With --viewer, the
session may see everything that the console shows, and change nothing.`,
		Example: examples("console", "console --viewer --print"),
		Args:    noArgs,
	}, func(cmd *cobra.Command, _ []string, c *apiClient, asJSON bool) error {
		role := "operator"
		if viewer {
			role = "viewer"
		}
		return openConsole(cmd, c, role, printOnly, asJSON)
	}, true)
	cmd.Flags().BoolVar(&viewer, "viewer", false, "open it for somebody who changes nothing")
	cmd.Flags().BoolVar(&printOnly, "print", false, "print the link, and open no browser")
	return cmd
}

func openConsole(cmd *cobra.Command, c *apiClient, role string, printOnly, asJSON bool) error {
	var raw json.RawMessage
	if err := c.operate(cmd.Context(), http.MethodPost, "codes", map[string]string{"role": role}, &raw); err != nil {
		return err
	}
	var code struct{ URL string }
	if err := json.Unmarshal(raw, &code); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if code.URL == "" {
		return &failure{what: "this server has no console: its port for operators is off", next: "start it with " + programName() + " serve --listen-admin localhost:8082"}
	}
	if asJSON {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	if !printOnly {
		err := openBrowser(code.URL)
		if err == nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "opened the console of %s in the browser\n", c.server.Endpoint)
			return nil
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "no browser could be opened (%s); open this link\n", rootCause(err))
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), code.URL); err != nil {
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "the link works once, within 60 seconds")
	return nil
}

// browserTime is how long openBrowser waits to see whether the program that opens the browser
// fails. It does not wait until the program ends, because some of these programs run as long as the
// browser does.
const browserTime = 3 * time.Second

// openBrowser opens a URL in the user's browser. It uses the program in the environment variable
// BROWSER or, if that is not set, the system's program for URLs. It fails if the program cannot be
// started, or fails within browserTime.
func openBrowser(url string) error {
	args, err := opener()
	if err != nil {
		return err
	}
	browser := exec.Command(args[0], append(args[1:], url)...)
	if err := browser.Start(); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- browser.Wait() }()
	select {
	case err := <-failed:
		return err
	case <-time.After(browserTime):
		return nil
	}
}

// opener returns the command line, without the URL, of the program that opens a URL. It is the
// program in the variable BROWSER or, if that is not set, the system's program. opener fails if
// there is no display for a browser's window.
func opener() ([]string, error) {
	switch name := os.Getenv("BROWSER"); {
	case name != "":
		return []string{name}, nil
	case runtime.GOOS == "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}, nil
	case runtime.GOOS == "darwin":
		return []string{"open"}, nil
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "":
		return nil, errors.New("there is no display here") // fail, because without a display xdg-open would start a text browser in the terminal
	}
	return []string{"xdg-open"}, nil
}
