package localca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"time"
)

// Temporary makes an authority and a server certificate in memory, for the server of a
// test. It returns the server's certificate with its key, and the authority's certificate
// in PEM. The key of the authority is discarded, so the certificate cannot be renewed.
// Temporary uses only the options Names and Now, and fails if a name is invalid.
func Temporary(o Options) (pair tls.Certificate, ca []byte, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, name := range o.Names {
		if err := CheckName(name); err != nil {
			return tls.Certificate{}, nil, err
		}
	}
	host := hostName()
	names := allNames(append([]string{host}, o.Names...)...)
	caKey, err := newKey()
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	caDER, err := signCA(caKey, host, names, o.Now())
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	caCert, err := x509.ParseCertificate(caDER)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	key, err := newKey()
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	der, err := signServer(caCert, caKey, key, names, o.Now())
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pair = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	return pair, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), nil
}
