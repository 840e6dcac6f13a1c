package hosts

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	long := strings.Repeat("a", 253)
	for text, want := range map[string]string{
		"chat.example.com": "chat.example.com", "Chat.Example.COM:8443": "chat.example.com:8443", "localhost:1:1": "localhost:1", "10.0.0.7:80": "10.0.0.7:80",
		"[2001:DB8::7]:8443": "[2001:db8::7]:8443", "[::1]": "[::1]", "my_host": "my_host", long + ":65535": long + ":65535",
		"": "", ":80": "", "a:": "", "a:0": "", "a:65536": "", "a:+80": "", "a:080": "", "a:80x": "", "a:1:2": "", "2001:db8::7": "", "[10.0.0.7]": "", "[fe80::1%eth0]": "",
		"[::1": "", "[]": "", "a b": "", "a/b": "", "a?b": "", "a#b": "", "a@b": "", "u:p@a": "", "a\\b": "", `a"b`: "", "a<b": "", "a,b": "", "a;b": "", "a\r\nb": "", "ä": "",
		"https://a": "", "a%41": "", long + "a:65535": "",
	} {
		got, ok := ParseHost(text)
		if ok != (want != "") || got != want {
			t.Errorf("ParseHost(%.40q) = %.40q, %v, want %.40q", text, got, ok, want)
		}
	}
}

func TestParseScheme(t *testing.T) {
	for text, want := range map[string]string{
		"https": "https", "HTTPS": "https", "http": "http", "wss": "https", "ws": "http", "": "", "ftp": "", "https,http": "", "javascript": "", " https": "", "https:": "",
	} {
		if got, ok := ParseScheme(text); got != want || ok != (want != "") {
			t.Errorf("ParseScheme(%q) = %q, %v, want %q", text, got, ok, want)
		}
	}
}

func TestBase(t *testing.T) {
	for _, c := range []struct {
		host string
		tls  bool
		told Address
		want string
	}{
		{"localhost:8443", true, Address{}, "https://localhost:8443"},
		{"localhost:8443:8443", true, Address{}, "https://localhost:8443"},
		{"10.0.0.7:8080", false, Address{}, "http://10.0.0.7:8080"},
		{"chat.example", false, Address{Scheme: "https"}, "https://chat.example"},
		{"10.0.0.7:8080", false, Address{Host: "chat.example:444"}, "http://chat.example:444"},
		{"10.0.0.7:8080", false, Address{Scheme: "https", Host: "chat.example:444"}, "https://chat.example:444"},
		{"10.0.0.7:8443", true, Address{Scheme: "http", Host: "chat.example"}, "http://chat.example"},
	} {
		r := &http.Request{Host: c.host}
		if c.tls {
			r.TLS = new(tls.ConnectionState)
		}
		if got := Base(WithAddress(r, c.told)); got != c.want {
			t.Errorf("Base of %s, TLS %v, told %+v: %s, want %s", c.host, c.tls, c.told, got, c.want)
		}
	}
}
