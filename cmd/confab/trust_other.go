//go:build !linux

package main

import (
	"crypto/x509"

	"github.com/smallstep/truststore"
)

func addToSystem(ca *x509.Certificate) (string, error) { return "added", truststore.Install(ca) }

func removeFromSystem(ca *x509.Certificate) (string, error) {
	return "removed", truststore.Uninstall(ca)
}
