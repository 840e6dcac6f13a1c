package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/sdk/communication"
)

// ask sends a request over plain http with the Host header host and the header lines headers. If
// signed is not empty, the request is signed for the host signed. Otherwise it has the token
// bearer, or no credential if bearer is empty.
func (r *running) ask(t *testing.T, method, path, host, headers, signed, bearer, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, r.HTTP+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if signed != "" {
		key, err := communication.NewAccessKey(r.AccessKey)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = signed
		if err := key.Sign(req, time.Now()); err != nil {
			t.Fatal(err)
		}
	} else if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
		req.Header.Set("X-Skypetoken", bearer)
	}
	req.Host = host
	for line := range strings.Lines(headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		req.Header.Add(name, value)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text strings.Builder
	if _, err := io.Copy(&text, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp, text.String()
}

// TestForwardedLinks checks that the links in all responses begin with the scheme and the host
// that a trusted proxy has put into its headers.
func TestForwardedLinks(t *testing.T) {
	const (
		https = "X-Forwarded-Proto: https\n"
		both  = https + "X-Forwarded-Host: Chat.Example:444\n"
	)
	for name, c := range map[string]struct {
		settings      []string
		host, headers string
		want          string
	}{
		"nothing":                        {nil, "10.0.0.7:8080", "", "http://10.0.0.7:8080"},
		"scheme and host":                {nil, "10.0.0.7:8080", both, "https://chat.example:444"},
		"scheme, and the Host passed on": {nil, "chat.example", https, "https://chat.example"},
		"RFC 7239":                       {nil, "10.0.0.7:8080", `Forwarded: for="[2001:db8::7]:4711";proto=https;host="chat.example:444"`, "https://chat.example:444"},
		"a client that makes things up":  {nil, "10.0.0.7:8080", "X-Forwarded-Proto: gopher, https\nX-Forwarded-Host: evil.example, chat.example", "https://chat.example"},
		"garbage":                        {nil, "10.0.0.7:8080", "X-Forwarded-Proto: https://evil\nX-Forwarded-Host: evil.example/\"<script>", "http://10.0.0.7:8080"},
		"too long":                       {nil, "10.0.0.7:8080", https + "X-Forwarded-Host: " + strings.Repeat("a", 8000), "https://10.0.0.7:8080"},
		"nobody is trusted":              {[]string{"trusted-proxies", "off"}, "10.0.0.7:8080", both, "http://10.0.0.7:8080"},
		"another is trusted":             {[]string{"trusted-proxies", "10.0.0.0/8"}, "10.0.0.7:8080", both + "Forwarded: proto=https;host=evil.example", "http://10.0.0.7:8080"},
		"public endpoint":                {[]string{"public-endpoint", "https://public.example"}, "10.0.0.7:8080", both, "https://public.example"},
		"public endpoint alone":          {[]string{"public-endpoint", "https://public.example"}, "10.0.0.7:8080", "", "https://public.example"},
	} {
		t.Run(name, func(t *testing.T) {
			s, out := logged(t, append([]string{"listen", "127.0.0.1:0", "listen-http", "127.0.0.1:0"}, c.settings...)...)
			s.Endpoint = s.LocalEndpoint // make the helpers send their requests to the local endpoint instead of the public one
			_, _, bearer := s.newUser(t, s.AccessKey)
			get := func(method, path, body string) (*http.Response, string) {
				t.Helper()
				resp, text := s.ask(t, method, path, c.host, c.headers, "", bearer, body)
				if strings.Contains(text, "evil") || strings.Contains(text, "<script>") {
					t.Errorf("%s %s repeats what the headers make up: %s", method, path, text)
				}
				return resp, text
			}
			leads := func(what, link string) {
				t.Helper()
				if rest, ok := strings.CutPrefix(link, c.want); !ok || rest != "" && !strings.ContainsAny(rest[:1], "/:") {
					t.Errorf("%s is %.300q, want it to begin with %s", what, link, c.want)
				}
			}
			resp, text := get("POST", "/chat/threads?api-version=2021-09-07", `{"topic":"lunch"}`)
			leads("Location of a thread", resp.Header.Get("Location"))
			var made struct{ ChatThread struct{ ID string } }
			if err := json.Unmarshal([]byte(text), &made); err != nil {
				t.Fatal(resp.Status, text, err)
			}
			thread := "/chat/threads/" + made.ChatThread.ID
			resp, _ = get("POST", thread+"/messages?api-version=2021-09-07", `{"content":"hello"}`)
			leads("Location of a message", resp.Header.Get("Location"))
			var page struct{ NextLink string }
			_, text = get("GET", thread+"/messages?maxPageSize=1&api-version=2021-09-07", "")
			if err := json.Unmarshal([]byte(text), &page); err != nil {
				t.Fatal(text, err)
			}
			leads("nextLink", page.NextLink)
			var config struct{ TrouterServiceURL, RegistrarServiceURL string }
			_, text = get("GET", "/chat/config/realTimeNotifications", "")
			if err := json.Unmarshal([]byte(text), &config); err != nil {
				t.Fatal(text, err)
			}
			leads("trouterServiceUrl", config.TrouterServiceURL)
			leads("registrarServiceUrl", config.RegistrarServiceURL)
			var live struct{ SocketIO, URL, SURL string }
			_, text = get("POST", "/v4/a?epid=11111111-2222-4333-8444-555555555555", "{}")
			if err := json.Unmarshal([]byte(text), &live); err != nil {
				t.Fatal(text, err)
			}
			leads("socketio", live.SocketIO)
			leads("url", live.URL)
			leads("surl", live.SURL)
			_, text = get("GET", "/chat/threads?api-version=1999-01-01", "")
			if !strings.Contains(text, "'"+c.want+"/chat/threads'") {
				t.Errorf("the refusal of an api-version is %s, want it to name %s", text, c.want)
			}
			s.stop(t)
			warnings := strings.Count(out.String(), "the links in answers")
			want := 0
			if strings.HasPrefix(c.want, "http:") {
				want = 1
			}
			if warnings != want {
				t.Errorf("%d warnings about links, want %d: %s", warnings, want, out)
			}
			ignored := strings.Contains(out.String(), "is not in --trusted-proxies")
			if wantIgnored := len(c.settings) > 0 && c.settings[0] == "trusted-proxies"; ignored != wantIgnored {
				t.Errorf("the warning speaks of a proxy that is not trusted: %v, want %v: %s", ignored, wantIgnored, out)
			}
		})
	}
}

// TestPlainWarning checks which requests cause the warning that links begin with http, and that
// the warning is logged only once.
func TestPlainWarning(t *testing.T) {
	for name, c := range map[string]struct {
		settings      []string
		host, headers string
		want          int
	}{
		"production":                           {nil, "localhost", "", 1},
		"development, own program":             {[]string{"dev", "true"}, "localhost:8080", "", 0},
		"development, a proxy without scheme":  {[]string{"dev", "true"}, "localhost:8080", "X-Forwarded-For: 203.0.113.9", 1},
		"development, a proxy that names Via":  {[]string{"dev", "true"}, "localhost:8080", "Via: 1.1 gate", 1},
		"development, by an address":           {[]string{"dev", "true"}, "192.168.1.2:8080", "", 1},
		"development, proxies are not trusted": {[]string{"dev", "true", "trusted-proxies", "off"}, "localhost:8080", "X-Forwarded-Proto: https", 1},
		"scheme is told":                       {nil, "localhost", "X-Forwarded-Proto: https", 0},
		"http is told":                         {nil, "localhost", "X-Forwarded-Proto: http", 0},
	} {
		s, out := logged(t, append([]string{"listen-http", "localhost:0"}, c.settings...)...)
		s.ask(t, "GET", "/", c.host, c.headers, "", "", "") // send a request without a credential, which must not cause the warning
		if strings.Contains(out.String(), "the links in answers") {
			t.Errorf("%s: a request without a token causes a warning", name)
		}
		for range 3 {
			s.ask(t, "GET", "/chat/threads?api-version=2021-09-07", c.host, c.headers, "", "x", "")
		}
		s.stop(t)
		if n := strings.Count(out.String(), "the links in answers"); n != c.want {
			t.Errorf("%s: %d warnings, want %d: %s", name, n, c.want, out)
		}
	}
}

// TestSignedHosts signs requests for other hosts than the one in the Host header. A signed host
// that differs only in letter case or by a default port must be accepted. A host in the headers of
// a trusted proxy must be accepted if the settings name the proxy or the host. For other hosts the
// log must say which host the request was sent to and, if that can be found out, which host was
// signed.
func TestSignedHosts(t *testing.T) {
	const create = "/identities?api-version=2023-10-01"
	named := []string{"trusted-proxies", "127.0.0.1,::1"}
	for name, c := range map[string]struct {
		settings              []string
		host, headers, signed string
		status                int
		reasons               []string // texts that the reason in the log must contain
	}{
		"capitals":                  {nil, "localhost:8443", "", "LOCALHOST:8443", 201, nil},
		"capitals, port left out":   {nil, "localhost:8443", "", "LOCALHOST", 201, nil},
		"capital at the beginning":  {nil, "localhost:8443", "", "Localhost:8443", 201, nil},
		"two capitals":              {nil, "localhost:8443", "", "LocalHost:8443", 201, nil},
		"capitals received":         {nil, "LOCALHOST:8443", "", "localhost:8443", 201, nil},
		"each word":                 {nil, "anns-laptop.example.com", "", "Anns-Laptop.Example.Com", 201, nil},
		"as in tls-names":           {[]string{"tls-names", "Anns-MacBook.local"}, "anns-macbook.local:8443", "", "Anns-MacBook.local:8443", 201, nil},
		"as in the public endpoint": {[]string{"public-endpoint", "https://Chat.MyCompany.com"}, "10.0.0.7:8080", "", "chat.mycompany.com", 201, nil},
		"public endpoint, spelled":  {[]string{"public-endpoint", "https://chat.mycompany.com"}, "10.0.0.7:8080", "", "CHAT.MYCOMPANY.COM", 201, nil},
		"public endpoint, verbatim": {[]string{"public-endpoint", "https://Chat.MyCompany.com"}, "chat.mycompany.com", "", "Chat.MyCompany.com", 201, nil},
		"default port signed":       {nil, "chat.example", "X-Forwarded-Proto: https", "chat.example:443", 201, nil},
		"default port, no proxy":    {nil, "chat.example", "", "Chat.Example:80", 201, nil},
		"default port received":     {nil, "chat.example:443", "X-Forwarded-Proto: https", "chat.example", 201, nil},
		"told host":                 {named, "10.0.0.7:8080", "X-Forwarded-Proto: https\nX-Forwarded-Host: chat.example", "chat.example", 201, nil},
		"told host in capitals":     {named, "10.0.0.7:8080", "X-Forwarded-Host: CHAT.example:444", "Chat.Example:444", 201, nil},
		"told host, RFC 7239":       {named, "10.0.0.7:8080", "Forwarded: host=chat.example;proto=https", "chat.example", 201, nil},

		"told host, in tls-names":       {[]string{"tls-names", "chat.example"}, "10.0.0.7:8080", "X-Forwarded-Host: chat.example:444", "chat.example:444", 201, nil},
		"told host, public endpoint":    {[]string{"public-endpoint", "https://chat.example"}, "10.0.0.7:8080", "X-Forwarded-Host: chat.example:444", "chat.example:444", 201, nil},
		"told host, of this machine":    {nil, "10.0.0.7:8080", "X-Forwarded-Host: localhost:444", "localhost:444", 201, nil},
		"told by a proxy not named":     {nil, "10.0.0.7:8080", "X-Forwarded-Host: chat.example", "chat.example", 401, []string{`"chat.example" was signed`, `"10.0.0.7:8080"`}},
		"passed on by a proxy":          {nil, "chat.example", "X-Forwarded-Proto: https\nX-Forwarded-Host: other.example", "other.example", 401, []string{`"other.example" was signed`, `"chat.example"`}},
		"passed on, RFC 7239":           {nil, "chat.example", "Forwarded: host=other.example;proto=https", "other.example", 401, []string{`"other.example" was signed`, `"chat.example"`}},
		"passed on, an address":         {nil, "chat.example", "X-Forwarded-Host: 10.0.0.8:8080", "10.0.0.8:8080", 401, []string{`"10.0.0.8:8080" was signed`, `"chat.example"`}},
		"passed on, with tls-names":     {[]string{"tls-names", "chat.example"}, "chat.example", "X-Forwarded-Host: other.example", "other.example", 401, []string{`"other.example" was signed`}},
		"passed on, the host was right": {nil, "chat.example", "X-Forwarded-Host: other.example", "chat.example", 201, nil},

		"told by a stranger": {[]string{"trusted-proxies", "off"}, "10.0.0.7:8080", "X-Forwarded-Host: chat.example", "chat.example", 401,
			[]string{`"chat.example" was signed`, `"10.0.0.7:8080"`}},
		"told by a stranger, RFC 7239": {[]string{"trusted-proxies", "off"}, "10.0.0.7:8080", `Forwarded: for=1.2.3.4;host="chat.example:444"`, "chat.example:444", 401,
			[]string{`"chat.example:444" was signed`, `"10.0.0.7:8080"`}},
		"a name of the server": {[]string{"tls-names", "chat.lan"}, "10.0.0.7:8080", "", "chat.lan", 401, []string{`"chat.lan" was signed`, `"10.0.0.7:8080"`}},
		"Java's own header": {nil, "10.0.0.7:8080",
			// the header below is the base64 of: POST\n/identities\nSat, 21 Nov 2026 20:31:40
			// GMT;Chat.Example;47DEQ=
			"X-Ms-Hmac-String-To-Sign-Base64: UE9TVAovaWRlbnRpdGllcwpTYXQsIDIxIE5vdiAyMDI2IDIwOjMxOjQwIEdNVDtDaGF0LkV4YW1wbGU7NDdERVE9", "Chat.Example", 401,
			[]string{`"Chat.Example" was signed`, `"10.0.0.7:8080"`}},
		"nobody knows": {nil, "10.0.0.7:8080", "", "chat.example", 401, []string{`matches no key for the host "10.0.0.7:8080"`}},
		"nobody knows, public endpoint": {[]string{"public-endpoint", "https://public.example"}, "10.0.0.7:8080", "", "chat.example", 401,
			[]string{`matches no key for the host "10.0.0.7:8080" or "public.example"`}},
		"a long Host": {nil, strings.Repeat("a", 3000), "", "chat.example", 401, []string{`matches no key for the host "aaaa`}},
	} {
		s, out := logged(t, append([]string{"listen-http", "127.0.0.1:0"}, c.settings...)...)
		resp, text := s.ask(t, "POST", create, c.host, c.headers, c.signed, "", "{}")
		if resp.StatusCode != c.status {
			t.Errorf("%s: %s %s, want %d", name, resp.Status, text, c.status)
		}
		s.stop(t)
		lines := accessLines(t, out)
		if len(lines) != 1 {
			t.Fatalf("%s: %d access lines: %s", name, len(lines), out)
		}
		for _, part := range c.reasons {
			if !strings.Contains(lines[0].Reason, part) {
				t.Errorf("%s: the reason is %q, want %q in it", name, lines[0].Reason, part)
			}
			if strings.Contains(text, strings.Trim(part, `"`)) {
				t.Errorf("%s: the client is told %q", name, part)
			}
		}
	}
}

// TestOriginsWithoutCase checks that the server compares origins without regard to letter case
// and to the default port.
func TestOriginsWithoutCase(t *testing.T) {
	for name, c := range map[string]struct {
		setting, host, headers, origin string
		allowed                        bool
	}{
		"capitals in the setting": {"https://App.Example.com:443", "localhost", "", "https://app.example.com", true},
		"capitals from a client":  {"https://app.example.com", "localhost", "", "HTTPS://APP.example.com:443", true},
		"own page":                {"https://app.example.com", "CHAT.example", "", "https://chat.example", true},
		"own page, default port":  {"https://app.example.com", "chat.example:443", "", "https://chat.example", true},
		"own page, told by proxy": {"https://app.example.com", "10.0.0.7:8080", "X-Forwarded-Host: Chat.Example:443\nX-Forwarded-Proto: https", "https://chat.example", true},
		"another port":            {"https://app.example.com", "localhost", "", "https://app.example.com:444", false},
		"another page":            {"https://app.example.com", "chat.example", "", "https://evil.example", false},
	} {
		s, _ := logged(t, "listen-http", "127.0.0.1:0", "cors-origins", c.setting)
		resp, _ := s.ask(t, "GET", "/chat/threads?api-version=2021-09-07", c.host, "Origin: "+c.origin+"\n"+c.headers, "", "x", "")
		if got := resp.Header.Get("Access-Control-Allow-Origin") != ""; got != c.allowed {
			t.Errorf("%s: allowed %v, want %v", name, got, c.allowed)
		}
		s.stop(t)
	}
}
