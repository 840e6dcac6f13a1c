package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/smallstep/truststore"
)

// systemHas reports whether the authority is in the system's certificate store.
func systemHas(ca *x509.Certificate) bool {
	_, err := os.Stat(systemFile(ca))
	return truststore.SystemTrustFilename != "" && err == nil
}

// addToSystem adds the authority to the system's certificate store.
func addToSystem(ca *x509.Certificate) (string, error) {
	return "added as " + systemFile(ca), truststore.Install(ca)
}

// debianJavaHook is the script with which Debian's package ca-certificates updates Java's
// certificate store.
const debianJavaHook = "/etc/ca-certificates/update.d/jks-keystore"

// removeFromSystem removes the authority from the system's certificate store and, on
// Debian, from Java's certificate store too. It returns a text about the result.
func removeFromSystem(ca *x509.Certificate) (string, error) {
	said := "removed " + systemFile(ca)
	// Without --fresh, update-ca-certificates leaves dangling links. It does not remove the
	// authority from Java's certificate store, so the code below removes it there.
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

// systemFile returns the path to which package truststore copies an authority, or "nothing" if
// truststore does not know this system.
func systemFile(ca *x509.Certificate) string {
	if truststore.SystemTrustFilename == "" {
		return "nothing"
	}
	return fmt.Sprintf(truststore.SystemTrustFilename, strings.ReplaceAll(storedName(ca), " ", "_"))
}

// javaHookLine returns the line that makes debianJavaHook, which reads it from stdin, remove the
// certificate file from Java's certificate store.
func javaHookLine(file string) string {
	return "-/etc/ssl/certs/" + strings.TrimSuffix(filepath.Base(file), ".crt") + ".pem\n"
}
