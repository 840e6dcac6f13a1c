//go:build !linux

package main

import (
	"crypto/x509"

	"github.com/smallstep/truststore"
)

// systemHas always returns true. On this system, only removing the authority shows whether it
// was in the system's certificate store.
func systemHas(*x509.Certificate) bool { return true }

// addToSystem adds the authority to the system's certificate store and returns "added".
func addToSystem(ca *x509.Certificate) (string, error) { return "added", truststore.Install(ca) }

// removeFromSystem removes the authority from the system's certificate store.
func removeFromSystem(ca *x509.Certificate) (string, error) {
	return "removed", truststore.Uninstall(ca)
}
