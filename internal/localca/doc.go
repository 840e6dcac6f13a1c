// Package localca is the certificate authority of one Confab on one machine.
//
// Every official SDK refuses to send a token over plain http, so a server that
// is to be started with one command needs a certificate that clients can be
// told to trust. Open makes an authority and a server certificate in a folder
// on first start and finds them again later; the server certificate follows
// the names asked for and is renewed before it ends, also while the server
// runs. WriteTrust writes the files that clients take their roots from: each
// holds the system's roots beside our authority, because the variables that
// name such files (SSL_CERT_FILE and its kin) replace the system's roots
// instead of adding to them.
//
//	ca, err := localca.Open(dir, localca.Options{Names: []string{"chat.lan"}})
//	ln := tls.NewListener(inner, ca.TLSConfig())
//	trust, err := ca.WriteTrust()
//
// The folder is that of one running server: the caller holds a lock on it (the
// data folder's) while Open runs. Files are replaced whole, so readers need no
// lock.
package localca
