package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/smallstep/truststore"
	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/clientenv"
	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/localca"
	"github.com/confab-chat/confab/internal/server"
	"github.com/confab-chat/confab/internal/tty"
)

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine and say how to fix problems",
		Long: `Check what a server needs from this machine (settings, ports, clock, disk, file
descriptors, and the database if one is set), and whether clients trust it: each
installed interpreter makes a TLS request to the running server, or to a
temporary one in memory, with the variables of run and env. Each problem is
printed with a remedy. The exit code is 1 if something is broken; warnings do
not change it. As for config, the server is a production server if a data folder
is set and dev is not.`,
		Example: examples("doctor", "doctor --data /var/lib/confab --listen 0.0.0.0:8443"),
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return doctor(cmd, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	config.AddFlags(cmd.Flags())
	return cmd
}

// The results of a check of `confab doctor`, in the field State of a finding.
const (
	fine    = "ok"
	warning = "warning"
	broken  = "broken"
	skipped = "skipped"
)

// finding is the result of one check of `confab doctor`.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"`
	Found string `json:"found"`
	Mend  string `json:"mend,omitempty"` // the remedy
}

func doctor(cmd *cobra.Command, asJSON bool) error {
	in, err := input(cmd)
	if err != nil {
		return err
	}
	sigs := make(chan os.Signal, 2)
	signal.Notify(sigs, stopSignals()...)
	defer signal.Stop(sigs)
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()

	var all []finding
	cfg, err := settingsOf(in)
	all = append(all, settingFindings(cfg, err)...)
	r, runs := running{}, false
	if err == nil {
		r, runs = findRunning(cfg.Data)
		if !runs {
			all = append(all, portFindings(cfg)...)
			all = append(all, certFileFindings(cfg)...)
		}
		all = append(all, diskFindings(cfg)...)
		all = append(all, databaseFindings(ctx, cfg)...)
		all = append(all, addressFindings(cfg)...)
	}
	synced, known := clockSynced()
	all = append(all, clockFinding(time.Now(), builtAt(), synced, known), filesFinding(openFiles()))
	client := r.client()
	if !runs {
		srv, err := startForProgram(runOptions{}, sigs)
		if err != nil {
			all = append(all, finding{"server", broken, "a temporary one in memory does not start: " + oneLine(err), "the message says why"})
			return printFindings(cmd, all, asJSON)
		}
		defer srv.Close(context.Background())
		r = newRunning(srv.Info(), time.Now())
		client = r.client()
	}
	all = append(all, serverFinding(ctx, r, runs), certificateFinding(time.Now(), r))
	if cfg.TLSCert == "" && cfg.Data != "" && !cfg.InMemory() {
		all = append(all, authorityFindings(time.Now(), localca.CAFile(server.TLSFolder(cfg.Data)))...)
	}
	// If a signal arrives, cancel ctx. This also ends the programs that trustFindings starts.
	go func() {
		select {
		case <-sigs:
			cancel()
		case <-ctx.Done():
		}
	}()
	var roots tempFolder
	defer roots.remove()
	if client, err = withUserRoots(cmd, client, roots.make); err != nil {
		return err
	}
	all = append(all, trustFindings(ctx, client)...)
	if ctx.Err() != nil {
		return exitCode(130)
	}
	return printFindings(cmd, all, asJSON)
}

// settingFindings returns a finding for each error in err, which config.Load returned. If err is
// nil, it returns one finding, which says that the settings are valid and whether they describe a
// production or a development server.
func settingFindings(cfg config.Config, err error) []finding {
	if err == nil {
		return []finding{{Check: "settings", State: fine, Found: "they load; " + kindOf(cfg)}}
	}
	errs := []error{err}
	var several config.Errors
	if errors.As(err, &several) {
		errs = several
	}
	var all []finding
	for _, err := range errs {
		f := finding{Check: "settings", State: broken, Found: err.Error()}
		var setting *config.Error
		if errors.As(err, &setting) {
			f.Mend = setting.Next
		}
		all = append(all, f)
	}
	return all
}

// portFindings tries to listen on every address of the server and returns findings that say
// which addresses are free or in use.
func portFindings(cfg config.Config) []finding {
	var all []finding
	var free []string
	for _, p := range []struct{ setting, address string }{
		{"listen", cfg.Listen}, {"listen-http", cfg.ListenHTTP}, {"listen-ops", cfg.ListenOps}, {"listen-admin", cfg.ListenAdmin},
	} {
		if p.address == "" {
			continue
		}
		err := tryListen(p.address)
		var what *failure
		switch {
		case err == nil:
			free = append(free, p.address)
		case errors.Is(err, syscall.EADDRINUSE) && p.setting != "listen" && cfg.Dev && !cfg.Explicit(p.setting):
			free = append(free, "a free port instead of "+p.address+", which is in use")
		case errors.Is(err, syscall.EADDRINUSE) && errors.As(portInUse(&server.PortInUseError{Setting: p.setting, Address: p.address, Err: err}, cfg), &what):
			all = append(all, finding{"ports", broken, what.what, what.next})
		default:
			all = append(all, finding{"ports", broken, p.setting + ": " + oneLine(err), "choose another address with --" + p.setting})
		}
	}
	if len(free) > 0 {
		all = append(all, finding{Check: "ports", State: fine, Found: "free to listen on: " + strings.Join(free, ", ")})
	}
	return all
}

// tryListen listens on an address and closes the listener at once. For localhost it tries both
// loopback addresses, as `confab serve` does. It returns an error if it cannot listen.
func tryListen(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	hosts := []string{host}
	if strings.EqualFold(host, "localhost") {
		hosts = []string{"127.0.0.1", "::1"}
	}
	for i, h := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(h, port))
		if err != nil && (i == 0 || errors.Is(err, syscall.EADDRINUSE)) { // ignore other errors of the IPv6 address, which the machine may not have
			return err
		}
		if err == nil {
			l.Close()
		}
	}
	return nil
}

// certFileFindings loads the certificate and the key that the settings tls-cert and tls-key
// name, and reports whether that succeeds. It returns nil if the settings are empty.
func certFileFindings(cfg config.Config) []finding {
	if cfg.TLSCert == "" {
		return nil
	}
	pair, err := server.LoadCertificate(cfg.TLSCert, cfg.TLSKey)
	if err != nil {
		f := finding{Check: "certificate", State: broken, Found: oneLine(err)}
		var mendable remedied
		if errors.As(err, &mendable) {
			f.Mend = mendable.Remedy()
		}
		return []finding{f}
	}
	f := finding{Check: "certificate", State: fine, Found: "tls-cert and tls-key load: " + tilde(cfg.TLSCert)}
	return []finding{f.ending(time.Now(), server.ChainEnds(pair), "renew "+tilde(cfg.TLSCert))}
}

// ending completes f, the finding about a certificate that is valid until end, and returns it. If
// end has passed, the state of f becomes broken; if end is near, its state becomes warning. In both
// cases the text of f names the date, and the text mend becomes the remedy.
func (f finding) ending(now, end time.Time, mend string) finding {
	date := end.UTC().Format(time.DateOnly)
	switch {
	case !now.Before(end):
		f.State, f.Found, f.Mend = broken, f.Found+", but it ended on "+date, mend
	case now.After(end.Add(-server.ExpiryWarning)):
		f.State, f.Found, f.Mend = warning, f.Found+", but it ends on "+date, mend
	}
	return f
}

// authorityFindings reports whether the local authority's certificate in a PEM file is readable
// and whether it has expired or expires soon. It returns nil if there is no such file.
func authorityFindings(now time.Time, file string) []finding {
	ca, err := truststore.ReadCertificate(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	f := finding{Check: "authority", State: fine}
	if err != nil {
		return []finding{{f.Check, broken, tilde(file) + ": " + oneLine(err), "restore the folder from a backup, or remove it to have a new authority made"}}
	}
	f.Found = tilde(file) + " may sign for " + sitesOf(ca)
	return []finding{f.ending(now, ca.NotAfter, "stop the server, remove the file and ca.key beside it, start again, and let clients trust the new authority")}
}

// addressFindings warns if connections to the database do not verify the certificate of its
// host. It returns nil if no database is set.
func addressFindings(cfg config.Config) []finding {
	if cfg.Database == "" {
		return nil
	}
	if what := server.DatabaseWarning(cfg); what != "" {
		what, mend, _ := strings.Cut(what, ": ")
		return []finding{{"database", warning, what, mend}}
	}
	return []finding{{Check: "database", State: fine, Found: "its host is this machine, or its certificate is checked"}}
}

// databaseTimeout is the time limit of the check of the database.
const databaseTimeout = 15 * time.Second

// databaseFindings connects to the database and reports whether a server can use it. It returns
// nil if no database is set.
func databaseFindings(ctx context.Context, cfg config.Config) []finding {
	if cfg.Database == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	found, warn, err := server.InspectDatabase(ctx, cfg)
	switch {
	case err != nil:
		f := finding{Check: "database", State: broken, Found: oneLine(err)}
		var mendable remedied
		if errors.As(err, &mendable) {
			f.Mend = mendable.Remedy()
		}
		return []finding{f}
	case warn != "":
		return []finding{{"database", warning, found, warn}}
	}
	return []finding{{Check: "database", State: fine, Found: found}}
}

// serverFinding reports whether the server r is ready. If runs is false, r is a temporary server
// in memory, which doctor started because no other server runs.
func serverFinding(ctx context.Context, r running, runs bool) finding {
	if err := r.ready(ctx); err != nil {
		f := finding{"server", broken, r.LocalEndpoint + ": " + err.Error(), ""}
		var why *failure
		if errors.As(err, &why) {
			f.Mend = why.next
		}
		return f
	}
	if !runs {
		return finding{Check: "server", State: fine, Found: "none runs on this data folder; a temporary one in memory starts and answers"}
	}
	return finding{Check: "server", State: fine, Found: fmt.Sprintf("%s is ready (process %d, Confab %s)", r.LocalEndpoint, r.PID, plainVersion(r.Version))}
}

// certificateFinding connects to the server and checks that its certificate is valid now
// and does not expire soon.
func certificateFinding(now time.Time, r running) finding {
	f := finding{Check: "certificate", State: fine}
	u, err := url.Parse(r.LocalEndpoint)
	if err != nil {
		return finding{"certificate", broken, err.Error(), ""}
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: healthTimeout}, "tcp", u.Host, &tls.Config{InsecureSkipVerify: true}) // accept any certificate, because doctor checks only its dates here
	if err != nil {
		return finding{"certificate", broken, "no TLS with " + r.LocalEndpoint + ": " + rootCause(err).Error(), "the server's log says more"}
	}
	defer conn.Close()
	cert := conn.ConnectionState().PeerCertificates[0]
	f.Found = "valid until " + cert.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case now.After(cert.NotAfter):
		f.State, f.Found = broken, "it expired on "+cert.NotAfter.UTC().Format(time.DateOnly)
	case now.Before(cert.NotBefore):
		f.State, f.Found = broken, "it is not valid before "+cert.NotBefore.UTC().Format(time.DateTime)+" UTC"
	case now.After(cert.NotAfter.Add(-server.ExpiryWarning)):
		f.State = warning
	default:
		return f
	}
	f.Mend = "renew " + r.CertFile + "; the server reloads it"
	if r.CertFile == "" {
		f.Mend = "set the clock right, and start the server again; if its authority ends too, make a new one"
	}
	return f
}

// printFindings prints the findings as a table or as JSON. It returns an error if the state
// of a finding is broken.
func printFindings(cmd *cobra.Command, all []finding, asJSON bool) error {
	var err error
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), all)
	} else {
		_, err = io.WriteString(cmd.OutOrStdout(), findingsText(all, tty.Of(cmd.OutOrStdout())))
	}
	if err != nil {
		return err
	}
	n := 0
	for _, f := range all {
		if f.State == broken {
			n++
		}
	}
	if n > 0 {
		return &failure{what: count(n, "thing is", "things are") + " broken"}
	}
	return nil
}

// findingIndent is the column in which the text of a finding begins. The columns before it contain
// the state and the name of the finding.
const findingIndent = len("warning   certificate   ")

// stateColours maps states of findings to colours. All other states are printed without a colour.
var stateColours = map[string]tty.Colour{fine: tty.Green, warning: tty.Yellow, broken: tty.Red}

// findingsText formats the findings as a table for the terminal. Each finding has a line. If a
// finding has a remedy, the remedy is on the next line.
func findingsText(all []finding, on tty.Screen) string {
	var b strings.Builder
	for _, f := range all {
		state := tty.Pad(f.State, 8)
		if colour, ok := stateColours[f.State]; ok {
			state = on.Paint(colour, state)
		}
		fmt.Fprintf(&b, "%s  %s  %s\n", state, tty.Pad(f.Check, 12), on.Wrap(findingIndent, tty.Clean(f.Found)))
		if f.Mend != "" {
			fmt.Fprintf(&b, "%*s%s\n", findingIndent, "", on.Wrap(findingIndent, tty.Clean(f.Mend)))
		}
	}
	return b.String()
}

// trustFindings runs the probes of all languages at once and returns their findings. A
// single finding names all languages whose interpreters are not installed.
func trustFindings(ctx context.Context, client clientenv.Server) []finding {
	environ := clientenv.Merge(os.Environ(), client.Vars(os.Getenv))
	all := make([]finding, len(probes))
	done := make(chan struct{})
	for i, p := range probes {
		go func() {
			all[i] = p.try(ctx, client.Endpoint, environ)
			done <- struct{}{}
		}()
	}
	for range probes {
		<-done
	}
	var missing []string
	all = slices.DeleteFunc(all, func(f finding) bool {
		if f.State == skipped {
			missing = append(missing, f.Check)
		}
		return f.State == skipped
	})
	if len(missing) > 0 {
		all = append(all, finding{Check: "trust", State: skipped, Found: "not installed here, so not tried: " + strings.Join(missing, ", ")})
	}
	return all
}
