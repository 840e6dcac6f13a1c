package communication

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// The words of access key signing (docs/contract/identity.md §4.1).
const (
	signatureScheme   = "HMAC-SHA256"
	hostHeader        = "host"
	msDateHeader      = "x-ms-date"
	contentHashHeader = "x-ms-content-sha256"
)

// Sign authorizes req with the key, as docs/contract/identity.md §4.1 prescribes: it sets the headers
// x-ms-date (to now), x-ms-content-sha256 and Authorization, in place of any that
// are there. Sign last: a later change of method, URL, Host, body or of these
// headers breaks the signature. A server accepts it for some minutes around now,
// so sign anew before every retry.
//
// Sign has to read the whole body. It rewinds a body that is an io.Seeker, reads a
// copy of one that has GetBody, and otherwise keeps the content in memory and sets
// Body, GetBody and ContentLength.
//
// It is an error when the key is zero, when the request has no URL or names no
// host, and when the body cannot be read; req then has the headers it had. Hosts that are not
// ASCII must be given in their ASCII form. The scheme of the URL is not looked at:
// the signature keeps nobody from reading a request sent over http.
func (k AccessKey) Sign(req *http.Request, now time.Time) error {
	if k.IsZero() {
		return errors.New("sign request: access key is empty")
	}
	if req.URL == nil {
		return errors.New("sign request: no URL")
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	host = strings.TrimSuffix(host, ":") // net/http does not send an empty port
	if host == "" {
		return errors.New("sign request: no host")
	}
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	sum, err := hashBody(req)
	if err != nil {
		return fmt.Errorf("sign request: read body: %w", err)
	}

	date := now.UTC().Format(http.TimeFormat)
	contentHash := base64.StdEncoding.EncodeToString(sum[:])
	mac := hmac.New(sha256.New, k.bytes())
	io.WriteString(mac, strings.ToUpper(method)+"\n"+req.URL.RequestURI()+"\n"+date+";"+host+";"+contentHash)
	signature := base64.StdEncoding.EncodeToString(mac.Sum(nil))

	if req.Header == nil {
		req.Header = make(http.Header)
	}
	req.Header.Set(msDateHeader, date)
	req.Header.Set(contentHashHeader, contentHash)
	req.Header.Set("Authorization", signatureScheme+
		" SignedHeaders="+msDateHeader+";"+hostHeader+";"+contentHashHeader+
		"&Signature="+signature)
	return nil
}

// hashBody returns the SHA-256 of the body that req will send, and leaves req able
// to send it.
func hashBody(req *http.Request) (sum [sha256.Size]byte, err error) {
	if req.Body == nil || req.Body == http.NoBody {
		return sha256.Sum256(nil), nil
	}
	hash := sha256.New()
	if seeker, ok := req.Body.(io.Seeker); ok {
		start, err := seeker.Seek(0, io.SeekCurrent)
		if err != nil {
			return sum, err
		}
		if _, err := io.Copy(hash, req.Body); err != nil {
			return sum, err
		}
		if _, err := seeker.Seek(start, io.SeekStart); err != nil {
			return sum, err
		}
		return [sha256.Size]byte(hash.Sum(nil)), nil
	}
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return sum, err
		}
		_, err = io.Copy(hash, body)
		if err := errors.Join(err, body.Close()); err != nil {
			return sum, err
		}
		return [sha256.Size]byte(hash.Sum(nil)), nil
	}
	content, err := io.ReadAll(req.Body)
	if err := errors.Join(err, req.Body.Close()); err != nil {
		return sum, err
	}
	req.GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	req.Body, _ = req.GetBody()
	req.ContentLength = int64(len(content))
	return sha256.Sum256(content), nil
}
