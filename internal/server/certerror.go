package server

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// CertificateError means that the certificate that the settings tls-cert and tls-key name cannot
// be used. Its text is one line.
type CertificateError struct {
	What string // text that says what is wrong and names the file
	Next string // what the operator can do, as one sentence without a full stop
	Err  error  // the cause
}

// Error returns a message that says what is wrong with the certificate.
func (e *CertificateError) Error() string { return "tls-cert and tls-key do not load: " + e.What }

// Unwrap returns the cause.
func (e *CertificateError) Unwrap() error { return e.Err }

// Remedy returns what an operator can do about the error, as one sentence without a full stop.
func (e *CertificateError) Remedy() string { return e.Next }

// LoadCertificate loads a certificate chain and its key, both PEM. It fails with
// *CertificateError if they cannot be used.
func LoadCertificate(certFile, keyFile string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, unusable(certFile, keyFile, err)
	}
	return &pair, nil
}

// unusable converts err, the error of loading a certificate and its key from two files, to a
// *CertificateError that says which file is wrong and why.
func unusable(certFile, keyFile string, err error) error {
	var file *fs.PathError
	switch {
	case errors.As(err, &file) && errors.Is(err, fs.ErrNotExist):
		return &CertificateError{file.Path + " does not exist", "name a certificate chain and its key, both PEM, or neither of them to use a local certificate", err}
	case errors.As(err, &file) && errors.Is(err, fs.ErrPermission):
		return &CertificateError{file.Path + " may not be read by this user", "let the server's user read it, for instance by a group", err}
	case errors.As(err, &file):
		return &CertificateError{err.Error(), "name a certificate chain and its key, both PEM, that this user may read", err}
	}
	certs, keys := pemTypes(certFile), pemTypes(keyFile)
	switch {
	case !certs["CERTIFICATE"] && hasKey(certs):
		return &CertificateError{certFile + " holds a key and no certificate", "name the chain with tls-cert and the key with tls-key, not the other way round", err}
	case !certs["CERTIFICATE"]:
		return &CertificateError{certFile + " holds no certificate in PEM", "name the chain that the authority has sent, in PEM; from DER it is made with openssl x509 -inform der -in FILE", err}
	case keys["ENCRYPTED PRIVATE KEY"], keys[encrypted]:
		return &CertificateError{keyFile + " is encrypted, and nobody is there to give its password", "make a key file without one with openssl pkey -in FILE, which only the server's user may read", err}
	case !hasKey(keys):
		return &CertificateError{keyFile + " holds no private key in PEM", "name the key for which the certificate was made", err}
	case strings.Contains(err.Error(), "does not match"): // compare the text, because crypto/tls has no error type for a key that does not match the certificate
		return &CertificateError{fmt.Sprintf("the key %s does not belong to the certificate %s", keyFile, certFile), "name the key for which the certificate was made; the server's own certificate comes first in its file, before those of authorities", err}
	}
	return &CertificateError{err.Error(), "name a certificate chain and its key, both PEM", err}
}

// encrypted is the key that pemTypes adds to its result if the file contains a private key with a
// password in the old PEM format.
const encrypted = "Proc-Type"

// pemTypes returns the set of types of the PEM blocks in a file, and adds the key encrypted if a
// block has a password. The set is empty if the file cannot be read.
func pemTypes(name string) map[string]bool {
	types := map[string]bool{}
	text, err := os.ReadFile(name)
	if err != nil {
		return types
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		types[block.Type] = true
		if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			types[encrypted] = true
		}
	}
	return types
}

// hasKey reports whether the set of types of PEM blocks has the type of a private key.
func hasKey(types map[string]bool) bool {
	for t := range types {
		if strings.HasSuffix(t, "PRIVATE KEY") {
			return true
		}
	}
	return false
}
