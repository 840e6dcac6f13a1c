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

// The names of the headers of a signed request (docs/contract/identity.md §4.1).
const (
	signatureScheme   = "HMAC-SHA256"
	hostHeader        = "host"
	msDateHeader      = "x-ms-date"
	contentHashHeader = "x-ms-content-sha256"
)

// Sign authorizes req with the key (docs/contract/identity.md §4.1): it sets the headers x-ms-date
// (to now), x-ms-content-sha256 and Authorization, and replaces their old values. Sign last:
// changing the method, URL, Host, body or these headers later invalidates the signature. A server
// accepts a signature only for some minutes before and after now, so sign again before every retry.
//
// Sign reads the whole body. It rewinds a body that is an io.Seeker and reads a copy if req has
// GetBody. Otherwise it keeps the content in memory and sets Body, GetBody and ContentLength.
//
// Sign fails, and does not change the headers of req, if the key is zero, if req has no URL or no
// host, or if the body cannot be read. Hosts must be in ASCII form. Sign does not check the scheme
// of the URL: a signature does not encrypt a request that is sent over http.
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
	host = strings.TrimSuffix(host, ":") // net/http removes a colon that no port follows
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

// hashBody returns the SHA-256 hash of the body of req. The body can still be sent afterwards.
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
