// Package localca implements a local certificate authority for one Confab server.
//
// Every official SDK refuses to send a token over plain http. A server that starts with one command
// therefore needs a certificate that clients can be told to trust. Open makes an authority and a
// server certificate in a folder, or loads them if the folder has them. It makes a new server
// certificate if the names change, and renews the certificate before it expires, also while the
// server runs. The authority may sign only for the server's names and for loopback addresses, and
// is valid for two years. A machine that trusts the authority therefore does not trust it for other
// sites. WriteTrust writes the files from which clients read their root certificates. The bundle
// also contains the system's roots, because variables that name such a file (SSL_CERT_FILE and
// others) replace the system's roots instead of adding to them.
//
//	ca, err := localca.Open(dir, localca.Options{Names: []string{"chat.lan"}})
//	ln := tls.NewListener(inner, ca.TLSConfig())
//	trust, err := ca.WriteTrust()
//
// Only one running server may use the folder. The caller must hold a lock, such as the lock of the
// data folder, while Open runs and as long as it uses the Authority. Files are replaced atomically,
// so readers need no lock.
package localca
