package pipeline

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// caFileVariable is the environment variable that names a file of certificates to trust in addition
// to the system's. Go supports SSL_CERT_FILE on Linux only, and it replaces the system's
// certificates.
const caFileVariable = "CONFAB_CA_FILE"

// maxResponse is the maximum size of a response in bytes, after decompression. It is ten times the
// largest response of the contract, 200 messages of 28 KB.
const maxResponse = 64 << 20

// newTransport returns the transport of a client, with a limit on the size of responses. It is the
// transport in the options, if any, and otherwise a transport of net/http that several clients
// share. own is true if newTransport returns the shared transport.
func newTransport(o Options) (_ policy.Transporter, own bool, _ error) {
	if o.Transport != nil {
		if o.CAFile != "" {
			return nil, false, errors.New("client options have a Transport and a CAFile: let the Transport trust the certificates of that file, or leave one of the two out")
		}
		return bounded{withoutRedirects(o.Transport)}, false, nil
	}
	var pem []byte
	name, file := "CAFile in the client options", o.CAFile
	if file == "" {
		name, file = caFileVariable+" in the environment", os.Getenv(caFileVariable)
	}
	if file != "" {
		var err error
		if pem, err = os.ReadFile(file); err != nil {
			return nil, false, fmt.Errorf("%s: %w", name, err)
		}
	}
	transport, err := sharedTransport(string(pem))
	if err != nil {
		return nil, false, fmt.Errorf("%s: %s: %w", name, file, err)
	}
	return bounded{direct{transport}}, true, nil
}

// transports holds the HTTP transports of the process, keyed by the certificates that they trust in
// addition to the system's. Clients share them, as they share http.DefaultTransport, so that a
// program with a client for each user does not open a connection for each client.
var transports struct {
	sync.Mutex
	byPEM map[string]*http.Transport
}

func sharedTransport(pem string) (*http.Transport, error) {
	transports.Lock()
	defer transports.Unlock()
	if t := transports.byPEM[pem]; t != nil {
		return t, nil
	}
	var roots *x509.CertPool // nil: the system's
	if pem != "" {
		var err error
		if roots, err = x509.SystemCertPool(); err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM([]byte(pem)) {
			return nil, errors.New("the file holds no certificate (PEM)")
		}
	}
	if transports.byPEM == nil {
		transports.byPEM = map[string]*http.Transport{}
	}
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// Detect a dead connection with HTTP/2 pings. Otherwise all requests would continue to use
		// the connection until the operating system closes it.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     90 * time.Second,
	}
	transports.byPEM[pem] = t
	return t, nil
}

// direct implements policy.Transporter with the method RoundTrip of net/http, which does not follow
// redirects and avoids the copies that an http.Client makes.
type direct struct{ *http.Transport }

// Do sends the request with RoundTrip. It implements policy.Transporter.
func (d direct) Do(req *http.Request) (*http.Response, error) { return d.RoundTrip(req) }

// useLastResponse makes an http.Client return a redirect as the response and not follow it. A
// redirect would be unsafe: a signature covers the path, a POST would become a GET, and net/http
// would send the token to subdomains and other ports. The services do not redirect.
func useLastResponse(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// withoutRedirects returns a copy of t that does not follow redirects if t is an *http.Client.
// Otherwise it returns t.
func withoutRedirects(t policy.Transporter) policy.Transporter {
	client, ok := t.(*http.Client)
	if !ok {
		return t
	}
	c := *client
	c.CheckRedirect = useLastResponse
	return &c
}

// bounded is a transport that limits the size of responses to maxResponse. The transport must apply
// the limit, because azcore reads each response of the transport to its end.
type bounded struct{ policy.Transporter }

// Do sends the request and limits the size of the response's body. A successful request of Open is
// an exception: Do calls call.keepStream, so that no policy of azcore reads the stream. Do
// implements policy.Transporter.
func (b bounded) Do(req *http.Request) (*http.Response, error) {
	resp, err := b.Transporter.Do(req)
	if err != nil {
		return resp, err
	}
	if c, ok := req.Context().Value(streamKey{}).(*call); ok && resp.StatusCode == http.StatusOK {
		c.keepStream(resp)
		return resp, nil
	}
	if resp.Body != nil {
		resp.Body = &boundedBody{resp.Body, maxResponse}
	}
	return resp, nil
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	// Read one byte more than the limit, to distinguish a response of exactly that size from a
	// larger one.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n, stop{fmt.Errorf("the answer is larger than %d bytes", maxResponse)}
	}
	return n, err
}
