// Command ask sends requests to the server of `confab run`, with every api-version that has an
// OpenAPI file. The server records its responses, and the command answers then checks the record.
// Some of these versions are used by no release of an SDK, so no other test sends requests with
// them.
//
//	confab run --data memory: --record FOLDER -- ask [-api FOLDER]
//
// ask sends at least one request for each operation of a version. For some operations it also sends
// malformed requests, and requests of users who are not in the thread. ask reads a response only if
// it needs an id from the response, and does not check whether the response is right.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	api := flag.String("api", "../../api", "`folder` with the OpenAPI files")
	flag.Parse()
	if err := run(*api); err != nil {
		fmt.Fprintln(os.Stderr, "ask:", err)
		os.Exit(1)
	}
}

func run(api string) error {
	c, err := newClient()
	if err != nil {
		return err
	}
	for _, family := range []struct {
		folder string
		ask    func(version string) error
	}{{"chat", c.askChat}, {"identity", c.askIdentity}} {
		files, err := filepath.Glob(filepath.Join(api, family.folder, "*.json"))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("no OpenAPI files in %s", filepath.Join(api, family.folder))
		}
		for _, file := range files {
			version := strings.TrimSuffix(filepath.Base(file), ".json")
			if err := family.ask(version); err != nil {
				return fmt.Errorf("%s %s: %w", family.folder, version, err)
			}
		}
		fmt.Printf("ask: %d versions of %s\n", len(files), family.folder)
	}
	return nil
}

// client sends requests to the server that `confab run` has started or found.
type client struct {
	http           http.Client
	endpoint, host string
	key            []byte
}

func newClient() (*client, error) {
	pem, err := os.ReadFile(os.Getenv("CONFAB_CA_FILE"))
	if err != nil {
		return nil, fmt.Errorf("run this under confab run: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c := &client{http: http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, Timeout: time.Minute}}
	for part := range strings.SplitSeq(os.Getenv("CONFAB_CONNECTION_STRING"), ";") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "endpoint":
			c.endpoint = strings.TrimSuffix(value, "/")
			c.host = strings.TrimPrefix(c.endpoint, "https://")
		case "accesskey":
			if c.key, err = base64.StdEncoding.DecodeString(value); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// user is a chat user of the server, with a token.
type user struct{ id, token string }

// send sends a request and returns the status and the body of the answer. It encodes body as JSON;
// if body is nil, the request has no body. If u is nil, the request is signed with the access key;
// otherwise it has the user's token.
func (c *client) send(u *user, version, method, path string, body any) (status int, answer []byte, err error) {
	var data []byte
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	path += separator + "api-version=" + version
	req, err := http.NewRequest(method, c.endpoint+path, bytes.NewReader(data))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	if u != nil {
		req.Header.Set("Authorization", "Bearer "+u.token)
	} else {
		c.sign(req, path, data)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// sign signs a request with the access key (docs/contract/identity.md §4).
func (c *client) sign(req *http.Request, path string, body []byte) {
	sum := sha256.Sum256(body)
	hash, date := base64.StdEncoding.EncodeToString(sum[:]), time.Now().UTC().Format(http.TimeFormat)
	mac := hmac.New(sha256.New, c.key)
	fmt.Fprintf(mac, "%s\n%s\n%s;%s;%s", req.Method, path, date, c.host, hash)
	req.Header.Set("X-Ms-Date", date)
	req.Header.Set("X-Ms-Content-Sha256", hash)
	req.Header.Set("Authorization", "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature="+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

func (c *client) newUser() (*user, error) {
	status, body, err := c.send(nil, "2023-10-01", "POST", "/identities", fields{"createTokenWithScopes": []string{"chat"}})
	var created struct {
		Identity    struct{ ID string }
		AccessToken struct{ Token string }
	}
	if err == nil {
		err = json.Unmarshal(body, &created)
	}
	if err != nil || status != http.StatusCreated {
		return nil, fmt.Errorf("create a user: %d %s %w", status, body, err)
	}
	return &user{created.Identity.ID, created.AccessToken.Token}, nil
}

// fields holds the members of a JSON object, by name.
type fields map[string]any

// request describes a request that sendAll sends.
type request struct {
	from         *user  // the user whose token the request has; nil: the request is signed with the access key
	method, path string // method and path of the request; sendAll puts a prefix in front of the path
	body         any
}

// sendAll sends requests one after another. The path of each request is relative to the path in the
// argument below. sendAll fails if a request gets no response or a 500.
func (c *client) sendAll(version, below string, all []request) error {
	for _, r := range all {
		status, body, err := c.send(r.from, version, r.method, below+r.path, r.body)
		if err != nil {
			return fmt.Errorf("%s %s: %w", r.method, r.path, err)
		}
		if status == http.StatusInternalServerError {
			return fmt.Errorf("%s %s: %d %s", r.method, r.path, status, body)
		}
	}
	return nil
}

// Names of api-versions whose request bodies have a different form than in all later versions.
const (
	withMembers = "2020-09-21-preview2"
	withTextIDs = "2020-11-01-preview3"
)

// unknownUser is the id of a user who belongs to another resource, so the server does not know the
// user.
const unknownUser = "8:acs:00000000-0000-0000-0000-000000000000_00000000-0000-0000-0000-000000000000"

// askChat sends requests for all operations of the chat API with one api-version. Some requests
// have JSON members that only other versions know, which the server must ignore.
func (c *client) askChat(version string) error {
	var users [4]*user
	for i := range users {
		var err error
		if users[i], err = c.newUser(); err != nil {
			return err
		}
	}
	owner, member, added, stranger := users[0], users[1], users[2], users[3]
	person := func(id string) fields {
		if version == withMembers || version == withTextIDs {
			return fields{"id": id}
		}
		return fields{"communicationIdentifier": fields{"rawId": id, "communicationUser": fields{"id": id}}}
	}
	named := person(owner.id)
	named["displayName"], named["metadata"], named["roleIds"] = "Ann", fields{"seat": "1"}, []string{"host"}
	people, list := "participants", "/participants"
	if version == withMembers {
		people, list = "members", "/members"
	}
	create := fields{
		"topic": "lunch", people: []fields{named, person(member.id), person(unknownUser)}, "metadata": fields{"room": "7"},
		"retentionPolicy": fields{"kind": "threadCreationDate", "deleteThreadAfterDays": 60},
	}
	_, body, err := c.send(owner, version, "POST", "/chat/threads", create)
	if err != nil {
		return err
	}
	var created struct {
		ChatThread     struct{ ID string }
		MultipleStatus []struct{ ID, Type string }
	}
	if err := json.Unmarshal(body, &created); err != nil {
		return fmt.Errorf("create a thread: %s: %w", body, err)
	}
	thread := created.ChatThread.ID
	for _, s := range created.MultipleStatus {
		if s.Type == "Thread" {
			thread = s.ID
		}
	}
	if thread == "" {
		return fmt.Errorf("create a thread: %s", body)
	}
	below := "/chat/threads/" + url.PathEscape(thread)
	_, body, err = c.send(owner, version, "POST", below+"/messages", fields{"content": "hello", "senderDisplayName": "Ann", "priority": "High", "metadata": fields{"a": "b"}})
	if err != nil {
		return err
	}
	var sent struct{ ID string }
	if err := json.Unmarshal(body, &sent); err != nil || sent.ID == "" {
		return fmt.Errorf("send a message: %s: %w", body, err)
	}
	message := "/messages/" + sent.ID
	remove := request{owner, "POST", "/participants/:remove", fields{"rawId": added.id, "communicationUser": fields{"id": added.id}}}
	add := "/participants/:add"
	switch version {
	case withMembers:
		remove, add = request{owner, "DELETE", "/members/" + url.PathEscape(added.id), nil}, "/members"
	case withTextIDs:
		remove = request{owner, "DELETE", "/participants/" + url.PathEscape(added.id), nil}
	}
	attachments := []fields{{"id": "1", "attachmentType": "image"}}
	if err := c.sendAll(version, below, slices.Concat(
		[]request{ // requests that the server accepts
			{owner, "GET", "", nil},
			{owner, "POST", add, fields{people: []fields{person(added.id), person(unknownUser)}}},
			{owner, "POST", add, fields{people: []fields{person(added.id)}}},
			{owner, "POST", "/participants", fields{people: []fields{person(added.id)}}},
			{owner, "POST", "/participants/:update", named},
			{owner, "GET", list, nil}, {owner, "GET", list + "?maxPageSize=1", nil},
			{owner, "PATCH", "", fields{"topic": "dinner", "metadata": fields{"room": "8"}}},
			{owner, "POST", "/messages", fields{"content": "<b>hello</b>", "type": "html"}},
			{owner, "GET", message, nil}, {owner, "PATCH", message, fields{"content": "hello!"}}, {owner, "GET", message, nil},
			{owner, "GET", "/messages", nil}, {owner, "GET", "/messages?maxPageSize=2", nil},
			{owner, "POST", "/readReceipts", fields{"chatMessageId": sent.ID}}, {owner, "GET", "/readReceipts", nil},
			{owner, "POST", "/readreceipts", fields{"chatMessageId": sent.ID}}, {owner, "GET", "/readreceipts", nil},
			{owner, "POST", "/typing", fields{"senderDisplayName": "Ann"}},
			{owner, "POST", "/images", nil}, {owner, "GET", "/images/1/view/small", nil}, {owner, "DELETE", "/images/1", nil},
			remove, {owner, "GET", "/messages", nil}, {owner, "DELETE", message, nil}, {owner, "GET", message, nil}, {owner, "GET", "/messages", nil},
		},
		[]request{ // requests that the server refuses
			{owner, "POST", "/messages", fields{"content": "x", "attachments": attachments}}, {owner, "POST", "/messages", fields{}},
			{owner, "POST", add, fields{people: []fields{person("8:acs:invalid")}}}, {owner, "PATCH", "", fields{"topic": 7}},
			{owner, "GET", "/messages/invalid", nil}, {owner, "GET", "/messages/1", nil}, {owner, "GET", "/messages?maxPageSize=none", nil},
			{owner, "POST", "/readReceipts", fields{"chatMessageId": "1"}}, {owner, "PUT", "", nil}, {owner, "GET", "/nothing", nil},
			{stranger, "GET", "", nil}, {stranger, "GET", "/messages", nil}, {stranger, "POST", "/messages", fields{"content": "x"}},
			{added, "GET", "/messages", nil}, {added, "GET", list, nil}, {&user{token: "none"}, "GET", "", nil},
		},
	)); err != nil {
		return err
	}
	return c.sendAll(version, "/chat/threads", []request{
		{owner, "GET", "", nil}, {owner, "GET", "?maxPageSize=1", nil}, {owner, "POST", "", fields{}}, {owner, "POST", "", fields{"topic": "x", people: []fields{person("8:acs:invalid")}}},
		{owner, "GET", "/invalid", nil}, {owner, "GET", "/19:" + strings.Repeat("0", 32) + "@thread.v2", nil},
		{owner, "DELETE", "/" + url.PathEscape(thread), nil}, {owner, "GET", "/" + url.PathEscape(thread), nil}, {owner, "GET", "", nil},
	})
}

// askIdentity sends requests for all operations of the identity API with one api-version.
func (c *client) askIdentity(version string) error {
	_, body, err := c.send(nil, version, "POST", "/identities", fields{"customId": "ann " + version})
	if err != nil {
		return err
	}
	var created struct {
		ID       string // the user's id in a response of the first api-version; responses of later versions have Identity
		Identity struct{ ID string }
	}
	if err := json.Unmarshal(body, &created); err != nil || created.ID+created.Identity.ID == "" {
		return fmt.Errorf("create a user: %s: %w", body, err)
	}
	one := "/identities/" + url.PathEscape(created.ID+created.Identity.ID)
	other := "/identities/" + url.PathEscape(unknownUser)
	scopes := fields{"scopes": []string{"chat", "voip"}}
	nobody := &user{token: "none"}
	return c.sendAll(version, "", []request{
		{nil, "POST", "/identities", fields{"customId": "ann " + version}}, {nil, "POST", "/identities", nil},
		{nil, "POST", "/identities", fields{"createTokenWithScopes": []string{"chat"}, "expiresInMinutes": 60}},
		{nil, "POST", "/identities", fields{"createTokenWithScopes": []string{"chat"}, "expiresInMinutes": 1}},
		{nil, "POST", "/identities", fields{"createTokenWithScopes": []string{"none"}}}, {nil, "POST", "/identities", 7},
		{nil, "POST", one + "/:issueAccessToken", scopes}, {nil, "POST", one + "/:issueAccessToken", fields{}}, {nil, "POST", one + "/:issueAccessToken", fields{"scopes": []string{}}},
		{nil, "POST", one + "/token", scopes}, {nil, "POST", one + "/token", fields{}},
		{nil, "GET", one, nil}, {nil, "POST", one + "/:revokeAccessTokens", nil}, {nil, "PATCH", one, fields{}},
		{nil, "POST", other + "/:issueAccessToken", scopes}, {nil, "POST", other + "/token", scopes}, {nil, "GET", other, nil}, {nil, "DELETE", other, nil},
		{nil, "POST", "/teamsUser/:exchangeAccessToken", fields{"token": "x", "appId": "a", "userId": "b"}}, {nil, "POST", "/teamsUser/:exchangeAccessToken", fields{}},
		{nobody, "POST", "/access/entra/:exchangeAccessToken", fields{}}, {nobody, "POST", "/access/teamsExtension/:exchangeAccessToken", fields{}},
		{nil, "GET", "/access/entra/assignments", nil}, {nil, "PATCH", "/access/entra/assignments", fields{}},
		{nil, "GET", "/access/entra/assignments/a", nil}, {nil, "PUT", "/access/entra/assignments/a", fields{}}, {nil, "DELETE", "/access/entra/assignments/a", nil},
		{nil, "GET", "/access/teamsExtension/tenants/t/assignments/a", nil}, {nil, "PUT", "/access/teamsExtension/tenants/t/assignments/a", fields{}},
		{nil, "DELETE", "/access/teamsExtension/tenants/t/assignments/a", nil},
		{nil, "PUT", "/identities", nil}, {nil, "GET", "/identities/a/b/c", nil}, {nobody, "POST", "/identities", nil},
		{nil, "DELETE", one, nil}, {nil, "DELETE", one, nil},
	})
}
