package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/smallstep/truststore"
	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/localca"
	"github.com/confab-chat/confab/internal/server"
)

func newTrust() *cobra.Command {
	var remove, yes bool
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Make this machine's programs and browsers trust the server",
		Long: `Add the local certificate authority of a data folder to the certificate stores of
the system and of this user's browsers, or remove it with --remove. Browsers
need this, and programs that read the system's store. Python and Node do not look
there: they read variables instead, which run and env set. Java has its own certificate store: trust changes it only if the system
keeps it up to date, as Debian does; otherwise use run or env.`,
		Example: examples("trust", "trust --remove"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ca, path, err := authorityOf(cmd, remove)
			if err != nil {
				return err
			}
			stores := trustStores()
			if remove && !anyHas(stores, ca) {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "nothing to remove: %q is in none of the certificate stores\n", ca.Subject.CommonName)
				return err
			}
			if !yes {
				if err := confirm(cmd, trustQuestion(ca, path, remove, sudoAsks())); err != nil {
					return err
				}
			}
			return changeTrust(cmd.OutOrStdout(), stores, ca, remove)
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "remove the authority")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	config.AddFlags(cmd.Flags(), "data")
	return cmd
}

// authorityOf returns the certificate of the local certificate authority in the command's data
// folder, and its path. The server need not run. It fails for a server in memory, and if the
// server uses a certificate that the user provided. The argument remove is true if the caller is
// going to remove the authority from the certificate stores; only error messages depend on remove.
func authorityOf(cmd *cobra.Command, remove bool) (ca *x509.Certificate, path string, err error) {
	in, err := input(cmd)
	if err != nil {
		return nil, "", err
	}
	client := clientCommand{in}
	// Fail if the data folder comes from a confab.yaml in the working folder: in a repository
	// of a stranger, that file could name a folder with the stranger's certificate authority.
	if cfg, err := client.settings(); err == nil && cfg.Found("data") {
		return nil, "", &failure{what: "the data folder is named by " + cfg.Origin("data") + " in the working folder, which may be that of somebody else's repository", next: "name it yourself: " + programName() + " trust --data " + shellWord(cfg.Data)}
	}
	data, err := client.dataFolder()
	if err != nil {
		return nil, "", err
	}
	if data == config.Memory {
		return nil, "", &failure{what: "the authority of a server in memory ends with the server", next: "use run or env, or a server with a data folder"}
	}
	if r, ok := findRunning(data); ok && r.CAFile == "" {
		return nil, "", &failure{what: "the server has a certificate of your own (" + r.CertFile + ") and no local authority", next: "trust the authority that issued it"}
	}
	if err := server.CheckFinished(data); explainFolder(err) != nil {
		return nil, "", explainFolder(err)
	}
	path = localca.CAFile(server.TLSFolder(data))
	ca, err = truststore.ReadCertificate(path)
	if errors.Is(err, os.ErrNotExist) && remove {
		return nil, "", &failure{what: "there is no local authority in " + tilde(data) + ", so nothing was removed", next: "name the data folder whose authority to remove with --data", cause: err}
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, "", &failure{what: "there is no local authority in " + tilde(data), next: "the first start makes one: " + programName() + " serve" + client.serveFlags(data), cause: err}
	}
	return ca, path, err
}

// trustQuestion returns a text that tells the user which certificate stores the command
// trust is going to change.
func trustQuestion(ca *x509.Certificate, path string, remove, sudo bool) string {
	text := fmt.Sprintf("%q will be removed from the certificate stores of this system and of this user's browsers.", ca.Subject.CommonName)
	if !remove {
		text = fmt.Sprintf("%q will be added to the certificate stores of this system and of this user's browsers. "+
			"Anybody who has the key beside %s can then impersonate %s to them.", ca.Subject.CommonName, tilde(path), sitesOf(ca))
	}
	if sudo {
		text += " sudo may ask for your password."
	}
	return text
}

// sitesOf returns a text that lists the names and addresses for which the authority may sign
// certificates. It returns "any site" if the authority may sign for all names.
func sitesOf(ca *x509.Certificate) string {
	sites := slices.Clone(ca.PermittedDNSDomains)
	for _, n := range ca.PermittedIPRanges {
		sites = append(sites, strings.TrimSuffix(strings.TrimSuffix(n.String(), "/32"), "/128"))
	}
	if len(sites) == 0 || !ca.PermittedDNSDomainsCritical {
		return "any site"
	}
	return strings.Join(sites, ", ")
}

// sudoAsks reports whether this program has to use sudo to change the system's certificate
// store.
func sudoAsks() bool {
	_, err := exec.LookPath("sudo")
	return err == nil && runtime.GOOS != "windows" && os.Geteuid() != 0
}

// trustStore is one of the certificate stores that the command trust changes. The field has is a
// function that reports whether a certificate authority is or may be in the store. The fields add
// and remove are functions that add an authority to the store or remove it; they return a message
// to print, such as "added".
type trustStore struct {
	name        string
	has         func(*x509.Certificate) bool
	add, remove func(*x509.Certificate) (string, error)
}

// anyHas reports whether a certificate authority is in one of the stores.
func anyHas(stores []trustStore, ca *x509.Certificate) bool {
	return slices.ContainsFunc(stores, func(s trustStore) bool { return s.has(ca) })
}

func trustStores() []trustStore {
	return []trustStore{
		{"system", systemHas, addToSystem, removeFromSystem},
		{
			name: "browsers",
			has:  browsersHave,
			add: func(ca *x509.Certificate) (string, error) {
				return inBrowsers("added", func(o ...truststore.Option) error { return truststore.Install(ca, o...) })
			},
			remove: func(ca *x509.Certificate) (string, error) {
				return inBrowsers("removed", func(o ...truststore.Option) error { return truststore.Uninstall(ca, o...) })
			},
		},
	}
}

// inBrowsers calls change for the certificate stores of Firefox and, on Linux, of Chrome, and
// returns the text done. If there was nothing to change, it returns a text with the reason.
func inBrowsers(done string, change func(...truststore.Option) error) (string, error) {
	if runtime.GOOS == "windows" {
		return "they use the system's store (Firefox: security.enterprise_roots in about:config)", nil
	}
	nss, err := truststore.NewNSSTrust()
	if err != nil {
		return "not changed: certutil, which changes their stores, is not installed (package libnss3-tools or nss-tools)", nil
	}
	if nss.PreCheck() != nil {
		return "not changed: this user has no profile of Firefox or Chrome", nil
	}
	return done, change(truststore.WithNoSystem(), truststore.WithTrust(nss))
}

// browsersHave reports whether at least one profile of Firefox or Chrome trusts the
// certificate authority. Package truststore can only tell whether all profiles do.
func browsersHave(ca *x509.Certificate) bool {
	certutil, err := exec.LookPath("certutil")
	if err != nil || runtime.GOOS == "windows" { // give up on Windows, where certutil is a different program
		return false
	}
	profiles, _ := filepath.Glob(truststore.NSSProfile) // ignore the error, because Glob fails only for an invalid pattern
	for _, profile := range append(profiles, filepath.Join(os.Getenv("HOME"), ".pki", "nssdb")) {
		for file, kind := range map[string]string{"cert9.db": "sql:", "cert8.db": "dbm:"} {
			if _, err := os.Stat(filepath.Join(profile, file)); err != nil {
				continue
			}
			if exec.Command(certutil, "-L", "-d", kind+profile, "-n", storedName(ca)).Run() == nil {
				return true
			}
		}
	}
	return false
}

// storedName returns the name under which package truststore installs an authority.
func storedName(ca *x509.Certificate) string {
	return ca.Subject.CommonName + " " + ca.SerialNumber.String()
}

// changeTrust adds the authority ca to every certificate store, or removes it, and prints
// the result for each store. If one store fails, changeTrust continues with the other stores, and
// returns an error at the end.
func changeTrust(w io.Writer, stores []trustStore, ca *x509.Certificate, remove bool) error {
	var failed []string
	for _, s := range stores {
		change := s.add
		if remove {
			change = s.remove
		}
		if remove && !s.has(ca) {
			fmt.Fprintf(w, "%-10s nothing to remove\n", s.name)
			continue
		}
		said, err := change(ca)
		if err != nil {
			said = "failed: " + trustError(err)
			failed = append(failed, s.name)
		}
		fmt.Fprintf(w, "%-10s %s\n", s.name, said)
	}
	if len(failed) > 0 {
		return &failure{what: "not every store could be changed (" + strings.Join(failed, ", ") + ")", next: "the lines above say why; is this user allowed to change it?"}
	}
	return nil
}

// trustError returns the text of an error and, if a program failed, the last line of its
// output.
func trustError(err error) string {
	var ran *truststore.CmdError
	if !errors.As(err, &ran) {
		return err.Error()
	}
	text := filepath.Base(ran.Cmd().Path) + ": " + ran.Err().Error()
	if said := lastLine(string(ran.Out())); said != "" {
		text += ": " + said
	}
	return text
}

// lastLine returns the last line of text that is not empty, without unprintable characters
// and cut to a length for a terminal.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return printable(strings.TrimSpace(lines[len(lines)-1]), 300)
}
