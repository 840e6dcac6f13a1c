package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// CheckName returns nil if name is an IP address or a DNS name, which may begin with a
// wildcard label "*". It returns an error for everything else, such as a name with a scheme or
// a port.
func CheckName(name string) error {
	if net.ParseIP(name) != nil {
		return nil
	}
	if name == "" || len(name) > 253 {
		return fmt.Errorf("%q is not a host name or an IP address", name)
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(name, "*."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, labelChars) != "" {
			return fmt.Errorf("%q is not a host name or an IP address", name)
		}
	}
	return nil
}

const labelChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// hostName returns the machine's name, or "" if the name is not valid in a certificate.
func hostName() string {
	host, err := os.Hostname()
	if err != nil || CheckName(host) != nil {
		return ""
	}
	return host
}

// allNames returns the names for the server certificate in lower case, without duplicates:
// localhost, the loopback addresses and the names in extra that are not empty.
func allNames(extra ...string) []string {
	all := []string{"localhost", "127.0.0.1", "::1"}
	for _, name := range extra {
		if ip := net.ParseIP(name); ip != nil {
			name = ip.String()
		}
		if name = strings.ToLower(name); name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// holds reports whether cert lists name itself. A wildcard in cert that matches name does not
// count.
func holds(cert *x509.Certificate, name string) bool {
	if ip := net.ParseIP(name); ip != nil {
		return slices.ContainsFunc(cert.IPAddresses, ip.Equal)
	}
	return slices.Contains(cert.DNSNames, name)
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// loopback holds the addresses for which every authority may sign.
var loopback = []*net.IPNet{
	{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
	{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
}

// constrain limits an authority to names, their subdomains, and loopback addresses. The limit is
// critical, so a client that does not understand the limit rejects the authority. A machine that
// trusts the authority therefore does not trust it for other sites, even if its key is stolen.
func constrain(template *x509.Certificate, names []string) {
	template.PermittedDNSDomainsCritical = true
	template.PermittedIPRanges = slices.Clone(loopback)
	for _, name := range names {
		ip := net.ParseIP(name)
		switch ip4 := ip.To4(); {
		case ip.IsLoopback():
		case ip4 != nil:
			template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{IP: ip4, Mask: net.CIDRMask(32, 32)})
		case ip != nil:
			template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{IP: ip, Mask: net.CIDRMask(128, 128)})
		default:
			if name = strings.TrimPrefix(name, "*."); !slices.Contains(template.PermittedDNSDomains, name) {
				template.PermittedDNSDomains = append(template.PermittedDNSDomains, name)
			}
		}
	}
}

// constrained reports whether an authority may sign only for some names and addresses.
func constrained(ca *x509.Certificate) bool {
	return ca.PermittedDNSDomainsCritical && len(ca.PermittedDNSDomains) > 0 && len(ca.PermittedIPRanges) > 0
}

// permits reports whether an authority may sign for a name. The name must be in lower case.
func permits(ca *x509.Certificate, name string) bool {
	if ip := net.ParseIP(name); ip != nil {
		return slices.ContainsFunc(ca.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(ip) })
	}
	name = strings.TrimPrefix(name, "*.")
	return slices.ContainsFunc(ca.PermittedDNSDomains, func(domain string) bool {
		return name == domain || strings.HasSuffix(name, "."+domain)
	})
}

// signCA returns the self-signed certificate of a new authority, in DER. The authority may sign for
// names and loopback addresses only. The name in the certificate has a random part, so that a user
// can distinguish several authorities of one machine in a trust store.
func signCA(key *ecdsa.PrivateKey, host string, names []string, now time.Time) ([]byte, error) {
	if host == "" {
		host = "localhost"
	}
	var tag [3]byte
	if _, err := rand.Read(tag[:]); err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	// A common name may have at most 64 characters; some readers refuse longer names.
	name := "Confab local CA " + host[:min(len(host), 40)] + " " + hex.EncodeToString(tag[:])
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Confab"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(-backdate).Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, // not for signed programs or mail
	}
	constrain(template, names)
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}

// signServer returns a server certificate for the names, in DER, signed by the authority ca. The
// certificate expires after 397 days, or together with the authority if that is earlier.
func signServer(ca *x509.Certificate, caKey, key *ecdsa.PrivateKey, names []string, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "localhost", Organization: []string{"Confab"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(-backdate).Add(serverLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	// Some clients refuse a certificate that expires after its authority.
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func readCert(path string) (*x509.Certificate, error) {
	block, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(block)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return cert, nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	block, err := readPEM(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is not an ECDSA key", path)
	}
	return ec, nil
}

func readPEM(path, kind string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s is damaged: it holds no %q block", path, kind)
	}
	return block.Bytes, nil
}

func (a *Authority) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return a.writeFile(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func (a *Authority) writeCert(name string, der []byte) error {
	return a.writeFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}
