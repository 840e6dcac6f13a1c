package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/smallstep/truststore"
)

func addToSystem(ca *x509.Certificate) (string, error) {
	return "added as " + systemFile(ca), truststore.Install(ca)
}

// debianJavaHook is how Debian's ca-certificates passes changes on to Java's store.
const debianJavaHook = "/etc/ca-certificates/update.d/jks-keystore"

func removeFromSystem(ca *x509.Certificate) (string, error) {
	said := "removed " + systemFile(ca)
	// By itself this program leaves links that dangle, and what its hook has put
	// into Java's store would stay trusted there.
	if c := truststore.SystemTrustCommand; len(c) == 1 && c[0] == "update-ca-certificates" {
		truststore.SystemTrustCommand = append(c, "--fresh")
	}
	if err := truststore.Uninstall(ca); err != nil {
		return said, err
	}
	if _, err := os.Stat(debianJavaHook); err != nil {
		return said, nil
	}
	hook := truststore.CommandWithSudo(debianJavaHook)
	hook.Stdin = strings.NewReader(javaHookLine(systemFile(ca)))
	if out, err := hook.CombinedOutput(); err != nil {
		return said, truststore.NewCmdError(err, hook, out)
	}
	return said + ", and from Java's store", nil
}

// systemFile is what truststore calls the file of an authority.
func systemFile(ca *x509.Certificate) string {
	if truststore.SystemTrustFilename == "" {
		return "nothing"
	}
	name := ca.Subject.CommonName + " " + ca.SerialNumber.String()
	return fmt.Sprintf(truststore.SystemTrustFilename, strings.ReplaceAll(name, " ", "_"))
}

// javaHookLine takes the file's copy among the system's certificates back.
func javaHookLine(file string) string {
	return "-/etc/ssl/certs/" + strings.TrimSuffix(filepath.Base(file), ".crt") + ".pem\n"
}
