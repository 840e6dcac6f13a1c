package hosts

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func proxies(t testing.TB, networks ...string) (p Proxies) {
	t.Helper()
	for _, n := range networks {
		network, err := netip.ParsePrefix(n)
		if err != nil {
			t.Fatal(err)
		}
		p = append(p, network)
	}
	return p
}

// TestRead checks what Read returns for proxy headers in requests from 127.0.0.1. The networks
// 127.0.0.0/8, 10.0.0.0/8 and fd00::/8 are trusted.
func TestRead(t *testing.T) {
	for name, c := range map[string]struct {
		headers string // the headers, one in each line
		want    Told
	}{
		"nothing":                       {"", Told{}},
		"scheme and host":               {"X-Forwarded-Proto: https\nX-Forwarded-Host: Chat.Example.com:444", Told{"", Address{"https", "chat.example.com:444"}}},
		"scheme alone":                  {"X-Forwarded-Proto: HTTPS", Told{"", Address{"https", ""}}},
		"WebSocket":                     {"X-Forwarded-Proto: wss", Told{"", Address{"https", ""}}},
		"client":                        {"X-Forwarded-For: 203.0.113.9", Told{"203.0.113.9", Address{}}},
		"a client that makes things up": {"X-Forwarded-For: 1.2.3.4, 203.0.113.9\nX-Forwarded-Proto: ftp, https\nX-Forwarded-Host: evil.example, chat.example", Told{"203.0.113.9", Address{"https", "chat.example"}}},
		"two proxies that append":       {"X-Forwarded-For: 1.2.3.4, 203.0.113.9, 10.1.2.3\nX-Forwarded-Proto: ftp, https, http\nX-Forwarded-Host: evil.example, chat.example, inner.example", Told{"203.0.113.9", Address{"https", "chat.example"}}},
		"two proxies, one appends":      {"X-Forwarded-For: 203.0.113.9, 10.1.2.3\nX-Forwarded-Proto: https\nX-Forwarded-Host: chat.example", Told{"203.0.113.9", Address{"https", "chat.example"}}},
		"two lines":                     {"X-Forwarded-Host: evil.example\nX-Forwarded-Host: chat.example", Told{"", Address{"", "chat.example"}}},
		"all hops trusted":              {"X-Forwarded-For: 10.1.2.4, 10.1.2.3\nX-Forwarded-Proto: https, http", Told{"10.1.2.4", Address{"https", ""}}},
		"garbage":                       {"X-Forwarded-For: made up\nX-Forwarded-Proto: java\nX-Forwarded-Host: a/b\"<script>", Told{}},
		"an empty host":                 {"X-Forwarded-Proto: https\nX-Forwarded-Host:", Told{"", Address{"https", ""}}},
		"a long host":                   {"X-Forwarded-Host: " + strings.Repeat("a", 5000), Told{}},
		"IPv6 client":                   {"X-Forwarded-For: [2001:db8::7]:5678", Told{"2001:db8::7", Address{}}},

		"RFC 7239":                  {`Forwarded: for=203.0.113.9;proto=https;host=Chat.Example:444;by=_gate`, Told{"203.0.113.9", Address{"https", "chat.example:444"}}},
		"RFC 7239, quoted":          {`Forwarded: For="[2001:db8::7]:4711"; Proto="https" ; Host="chat\.example:444"`, Told{"2001:db8::7", Address{"https", "chat.example:444"}}},
		"RFC 7239, client makes up": {`Forwarded: for=1.2.3.4;host=evil.example;proto=http, for=203.0.113.9;proto=https;host=chat.example`, Told{"203.0.113.9", Address{"https", "chat.example"}}},
		"RFC 7239, two proxies":     {`Forwarded: for=1.2.3.4;host=evil.example, for=203.0.113.9;proto=https;host=chat.example, for=10.1.2.3;proto=http;host=inner`, Told{"203.0.113.9", Address{"https", "chat.example"}}},
		"RFC 7239, two lines":       {"Forwarded: for=203.0.113.9;proto=https\nForwarded: for=10.1.2.3;host=inner", Told{"203.0.113.9", Address{"https", "inner"}}},
		"RFC 7239, unnamed":         {`Forwarded: for=1.2.3.4;proto=http, for=unknown;proto=https`, Told{"", Address{"https", ""}}},
		"RFC 7239, an open quote":   {`Forwarded: for="1.2.3.4, for=203.0.113.9;proto=https`, Told{"203.0.113.9", Address{"https", ""}}},
		"RFC 7239, quoted comma":    {`Forwarded: for=203.0.113.9;host="evil.example,for=1.2.3.4";proto=https`, Told{"203.0.113.9", Address{"https", ""}}},
		"RFC 7239, escaped quote":   {`Forwarded: for=203.0.113.9;x="\",for=1.2.3.4;\"";proto=https`, Told{"203.0.113.9", Address{"https", ""}}},
		"RFC 7239, garbage":         {`Forwarded: ;;==";"=",,,"\`, Told{}},
		"both kinds":                {"Forwarded: for=1.2.3.4;host=evil.example;proto=http\nX-Forwarded-Proto: https", Told{"", Address{"https", ""}}},
	} {
		r := &http.Request{RemoteAddr: "127.0.0.1:4711", Header: http.Header{}}
		for line := range strings.Lines(c.headers) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			r.Header.Add(name, strings.TrimSpace(value))
		}
		trusted := proxies(t, "127.0.0.0/8", "10.0.0.0/8", "fd00::/8")
		if got := trusted.Read(r); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		// If the request comes from an address that is not trusted, Read must ignore the proxy
		// headers.
		for _, peer := range []string{"203.0.113.7:4711", "[2001:db8::8]:4711", "@", ""} {
			r.RemoteAddr = peer
			if got := trusted.Read(r); got != (Told{}) {
				t.Errorf("%s, from %q: %+v, want nothing", name, peer, got)
			}
		}
		if r.RemoteAddr = "127.0.0.1:4711"; Proxies(nil).Read(r) != (Told{}) {
			t.Errorf("%s: something is told although no proxy is trusted", name)
		}
	}
}

func TestClaimed(t *testing.T) {
	h := http.Header{}
	h.Add("X-Forwarded-Host", "a.example, b.example:1, a.example, <script>, "+strings.Repeat("x", 1000))
	h.Add("X-Original-Host", "c.example")
	h.Add("Forwarded", `host="d.example";for=1.2.3.4, host=e.example, host=`)
	want := []string{"a.example", "b.example:1", "c.example", "e.example"}
	if got := Claimed(h); !slices.Equal(got, want) {
		t.Errorf("claimed %q, want %q", got, want)
	}
	if got := Claimed(http.Header{}); got != nil {
		t.Errorf("claimed %q without headers", got)
	}
}

// FuzzForwarded checks that Read and Claimed return only schemes, hosts and addresses that can
// stand in a URL, whatever the headers contain.
func FuzzForwarded(f *testing.F) {
	f.Add(`for="[2001:db8::7]:4711";proto=https;host="a\"b"`, "https, http", "chat.example:443", "1.2.3.4, 10.0.0.1")
	f.Add(`"`, "", "", "")
	trusted := proxies(f, "127.0.0.0/8", "10.0.0.0/8")
	f.Fuzz(func(t *testing.T, standard, proto, host, client string) {
		for _, h := range []http.Header{
			{"Forwarded": {standard}}, {"X-Forwarded-Proto": {proto}, "X-Forwarded-Host": {host}, "X-Forwarded-For": {client}},
		} {
			told := trusted.Read(&http.Request{RemoteAddr: "127.0.0.1:1", Header: h})
			if s := told.Address.Scheme; s != "" && s != "http" && s != "https" {
				t.Errorf("%q tells the scheme %q", h, s)
			}
			for _, host := range append(Claimed(h), told.Address.Host) {
				if strings.ContainsAny(host, "/\\?#@%\"'<>,; \t\r\n") || len(host) > maxHost {
					t.Errorf("%q tells the host %q", h, host)
				}
			}
			if told.Client != "" {
				if _, err := netip.ParseAddr(told.Client); err != nil {
					t.Errorf("%q tells the client %q", h, told.Client)
				}
			}
		}
	})
}
