package localca

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// maxRoots is the maximum number of bytes of certificates that Extend reads from a file or a
// folder.
const maxRoots = 16 << 20

// Extend returns files like those in t that also contain the certificates in files, such as the
// certificates of a company's proxy. An element of files may be a folder; Extend then reads all
// files in it, as Python's requests does. Extend writes a bundle and a trust store into a folder
// below dir, whose name depends on their content, unless the folder already has them. If files have
// no certificate that the bundle of t lacks, Extend writes nothing and returns t. unread has an
// error for each file that cannot be read or has no certificate; such files are skipped.
func (t Trust) Extend(dir string, files []string) (extended Trust, unread []error, err error) {
	bundle, err := os.ReadFile(t.BundleFile)
	if err != nil {
		return t, nil, err
	}
	known := map[string]bool{}
	for _, der := range certificatesOf(bundle) {
		known[string(der)] = true
	}
	before := len(bundle)
	for _, file := range files {
		text, err := readRoots(file)
		found := certificatesOf(text)
		if err == nil && len(found) == 0 {
			err = errors.New("it holds no certificate")
		}
		if err != nil {
			unread = append(unread, fmt.Errorf("%s: %w", file, err))
			continue
		}
		for _, der := range found {
			if !known[string(der)] {
				known[string(der)] = true
				bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
			}
		}
	}
	if len(bundle) == before {
		return t, unread, nil
	}
	extended, err = t.writeExtended(dir, bundle)
	return extended, unread, err
}

// writeExtended writes the given bundle and its trust store into a folder below dir, for
// Extend.
func (t Trust) writeExtended(dir string, bundle []byte) (Trust, error) {
	sum := sha256.Sum256(bundle)
	dir = filepath.Join(dir, hex.EncodeToString(sum[:8]))
	to := t
	to.BundleFile, to.TrustStoreFile = filepath.Join(dir, bundleFile), filepath.Join(dir, trustStoreFile)
	// The bundle is written last, so if it exists the trust store exists too.
	if _, err := os.Stat(to.BundleFile); err == nil {
		return to, nil
	}
	text, err := os.ReadFile(t.CAFile)
	if err != nil {
		return t, err
	}
	certs := certificatesOf(text)
	if len(certs) != 1 {
		return t, fmt.Errorf("%s does not hold one certificate", t.CAFile)
	}
	ca, err := x509.ParseCertificate(certs[0])
	if err != nil {
		return t, fmt.Errorf("%s: %w", t.CAFile, err)
	}
	store, err := trustStoreOf(bundle, ca)
	if err != nil {
		return t, fmt.Errorf("make %s: %w", to.TrustStoreFile, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return t, err
	}
	a := &Authority{dir: dir} // sync is false, so files are not flushed to disk, because they can be made again
	if err := a.writeFile(trustStoreFile, store, 0o644); err != nil {
		return t, err
	}
	return to, a.writeFile(bundleFile, bundle, 0o644)
}

// readRoots returns the content of a file, or of all files in a folder together.
func readRoots(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, plainError(err)
	}
	names := []string{path}
	if st.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, plainError(err)
		}
		names = nil
		for _, e := range entries {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	var all []byte
	for _, name := range names {
		st, err := os.Stat(name) // use Stat, which follows links, because folders with hashed names contain links
		switch {
		case err != nil, !st.Mode().IsRegular():
			continue
		case int64(len(all))+st.Size() > maxRoots:
			return nil, fmt.Errorf("it is larger than %d bytes", maxRoots)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, plainError(err)
		}
		all = append(append(all, text...), '\n')
	}
	return all, nil
}

// plainError returns the cause of a *fs.PathError, without the path.
func plainError(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// certificatesOf returns the certificates of a PEM text, encoded in DER.
func certificatesOf(text []byte) (certs [][]byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			certs = append(certs, bytes.Clone(block.Bytes))
		}
	}
	return certs
}
