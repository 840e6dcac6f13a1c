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

// caFileVariable names, in the environment, a file of certificates to trust besides
// the system's. SSL_CERT_FILE does so on Linux only, and in place of the system's.
const caFileVariable = "CONFAB_CA_FILE"

// maxResponse bounds a response, in bytes, after decompression. The largest one that the
// contract knows, 200 messages of 28 KB, is a tenth of it.
const maxResponse = 64 << 20

// newTransport returns the transport of a client: the user's own, bounded, or one of
// net/http, which is reported by own.
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

// transports are the connections of the whole process, by the certificates they trust
// besides the system's: a program with a client for each of its users dials once, not
// once for each. http.DefaultTransport is shared for the same reason.
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
		// A connection that died without a word is found out by a ping: otherwise
		// every request would go into it until the system gives it up.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     90 * time.Second,
	}
	transports.byPEM[pem] = t
	return t, nil
}

// direct sends one request and follows nothing, without the copies that an
// http.Client makes for redirects that are not followed.
type direct struct{ *http.Transport }

// Do implements policy.Transporter.
func (d direct) Do(req *http.Request) (*http.Response, error) { return d.RoundTrip(req) }

// useLastResponse makes a redirect an answer like others. The services redirect
// nowhere; a signature covers the path, a POST would become a GET, and net/http takes
// the token along to subdomains and other ports.
func useLastResponse(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// withoutRedirects returns t, or a copy that does not follow redirects: an http.Client
// follows them, and other transporters are their owner's matter.
func withoutRedirects(t policy.Transporter) policy.Transporter {
	client, ok := t.(*http.Client)
	if !ok {
		return t
	}
	c := *client
	c.CheckRedirect = useLastResponse
	return &c
}

// bounded is a transport whose answers have an end. azcore reads each to its end, so
// the bound has to be beneath it.
type bounded struct{ policy.Transporter }

// Do implements policy.Transporter.
func (b bounded) Do(req *http.Request) (*http.Response, error) {
	resp, err := b.Transporter.Do(req)
	if err != nil {
		return resp, err
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
	// One more than the bound tells the answer that has just its size from a longer.
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
