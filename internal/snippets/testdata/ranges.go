// Run eval "$(confab env)" first, and this with go run main.go. It needs no modules.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

var endpoint, key = connection()

// connection returns the endpoint and the access key of the connection string.
func connection() (endpoint, key string) {
	for part := range strings.SplitSeq(os.Getenv("CONFAB_CONNECTION_STRING"), ";") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "endpoint":
			endpoint = strings.TrimSuffix(value, "/")
		case "accesskey":
			key = value
		}
	}
	return endpoint, key
}

// sign signs a request with the access key.
func sign(r *http.Request, body string) {
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		log.Fatal(err)
	}
	digest := sha256.Sum256([]byte(body))
	date, hash := time.Now().UTC().Format(http.TimeFormat), base64.StdEncoding.EncodeToString(digest[:])
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s\n%s\n%s;%s;%s", r.Method, r.URL.RequestURI(), date, r.URL.Host, hash)
	r.Header.Set("x-ms-date", date)
	r.Header.Set("x-ms-content-sha256", hash)
	r.Header.Set("Authorization", "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature="+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// send sends a request, with a token or signed, and returns the status and the body of the answer.
func send(method, path, body, kind, token string) (int, string) {
	r, err := http.NewRequest(method, endpoint+path, strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", kind)
	}
	if token == "" {
		sign(r, body)
	} else {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func main() {
	var issued struct{ Token string }
	status, text := send("POST", "/identities/8:acs:11111111-2222-4333-8444-555555555555_00000000-0000-0000-0000-000000000001/:issueAccessToken?api-version=2025-06-30", `{"scopes":["chat"]}`, "application/json", "")
	if json.Unmarshal([]byte(text), &issued) != nil || issued.Token == "" {
		log.Fatal("no token: ", status, " ", text)
	}
	status, text = send("GET", "/chat/../threads/[1-1000]?api-version=2025-03-15&a={b,c}", "", "application/json", issued.Token)
	fmt.Println(status)
	fmt.Println(text)
}
