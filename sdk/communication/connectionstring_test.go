package communication

import (
	"strings"
	"testing"
)

func TestParseConnectionString(t *testing.T) {
	const endpoint = "https://localhost:8443"
	tests := []struct{ name, in, endpoint string }{
		{"canonical", "endpoint=https://localhost:8443/;accesskey=" + testKey, endpoint},
		{"no slash", "endpoint=https://localhost:8443;accesskey=" + testKey, endpoint},
		{"other case", "Endpoint=https://localhost:8443/;AccessKey=" + testKey, endpoint},
		{"capitals", "ENDPOINT=HTTPS://localhost:8443/;ACCESSKEY=" + testKey, endpoint},
		{"key first", "accesskey=" + testKey + ";endpoint=https://localhost:8443/", endpoint},
		{"trailing semicolon", "endpoint=https://localhost:8443/;accesskey=" + testKey + ";", endpoint},
		{"empty parts", ";;endpoint=https://localhost:8443/;;accesskey=" + testKey + ";;", endpoint},
		{"extra pair", "endpoint=https://localhost:8443/;region=eu=1;accesskey=" + testKey + ";x=y", endpoint},
		{"no pair", "endpoint=https://localhost:8443/;hello;accesskey=" + testKey, endpoint},
		{"blanks", " endpoint = https://localhost:8443/ ; accesskey = " + testKey + " ", endpoint},
		{"line end", "endpoint=https://localhost:8443/;accesskey=" + testKey + "\r\n", endpoint},
		{"last wins", "endpoint=ftp://x;accesskey=!;endpoint=https://localhost:8443/;accesskey=" + testKey, endpoint},
		{"http", "endpoint=http://localhost:8080/;accesskey=" + testKey, "http://localhost:8080"},
		{"no port", "endpoint=https://x.communication.azure.com/;accesskey=" + testKey, "https://x.communication.azure.com"},
		{"IPv4", "endpoint=https://127.0.0.1:1/;accesskey=" + testKey, "https://127.0.0.1:1"},
		{"IPv6", "endpoint=https://[::1]:8443/;accesskey=" + testKey, "https://[::1]:8443"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cs, err := ParseConnectionString(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if cs.Endpoint() != tt.endpoint || cs.AccessKey().Text() != testKey {
				t.Errorf("endpoint %q, key %q, want %q, %q", cs.Endpoint(), cs.AccessKey().Text(), tt.endpoint, testKey)
			}
			if want := "endpoint=" + tt.endpoint + "/;accesskey=" + testKey; cs.Text() != want {
				t.Errorf("Text = %q, want %q", cs.Text(), want)
			}
			again, err := ParseConnectionString(cs.Text())
			if err != nil || !again.Equal(cs) {
				t.Errorf("Text does not round trip: %v, %v", again, err)
			}
			if _, err := ParseConnectionString(cs.String()); err == nil {
				t.Error("the redacted text can be parsed")
			}
		})
	}
}

func TestParseConnectionStringErrors(t *testing.T) {
	const key = ";accesskey=" + testKey
	tests := []struct{ in, want string }{
		{"", "is empty"},
		{"endpoint=https://h/;accesskey=(redacted)", "use what ConnectionString.Text returns"},
		{testKey, "no endpoint"},
		{"accesskey=" + testKey, "no endpoint"},
		{"endpoint" + key, "no endpoint"},
		{`"endpoint=https://h/;accesskey=` + testKey + `"`, "no endpoint"},
		{"endpoint=https://h/", "no accesskey"},
		{"endpoint=https://h/;accesskey", "no accesskey"},
		{"endpoint=https://h/;key=" + testKey, "no accesskey"},
		{"endpoint=https://h/;accesskey=", "access key is empty"},
		{"endpoint=https://h/;accesskey=" + testKey + ";accesskey=", "access key is empty"},
		{"endpoint=https://h/;accesskey=" + testKey + "!", "not base64"},
		{"endpoint=https://h/;accesskey=" + strings.TrimRight(testKey, "="), "not base64"},
		{"endpoint=" + key, "endpoint is empty"},
		{"endpoint=h" + key, "not a URL"},
		{"endpoint=h:8443" + key, "not a URL"},
		{"endpoint=//h" + key, "not a URL"},
		{"endpoint=https:h" + key, "not a URL"},
		{"endpoint=https://" + key, "not a URL"},
		{"endpoint=ftp://h" + key, "not a URL"},
		{"endpoint=wss://h" + key, "not a URL"},
		{"endpoint=https://a b" + key, "not a URL"},
		{"endpoint=https://h:x" + key, "not a URL"},
		{"endpoint=" + testKey + ";accesskey=" + testKey, "not a URL"},
		{"endpoint=https://h/chat" + key, "path"},
		{"endpoint=https://h//" + key, "path"},
		{"endpoint=https://h/?accesskey=" + testKey + key, "query"},
		{"endpoint=https://h?" + key, "query"},
		{"endpoint=https://h/#" + key, "fragment"},
		{"endpoint=https://h/#x" + key, "fragment"},
		{"endpoint=https://u:" + testKey + "@h/" + key, "user name"},
		{"endpoint=https://h:" + key, "colon without a port"},
		{"endpoint=https://h:0" + key, "port"},
		{"endpoint=https://h:65536" + key, "port"},
		{"endpoint=https://:8443" + key, "no host"},
		{"endpoint=https://é" + key, "no host"},
		{"endpoint=https://h<x>" + key, "no host"},
		{"endpoint=https://[fe80::1%25eth0]" + key, "no host"},
	}
	for _, tt := range tests {
		cs, err := ParseConnectionString(tt.in)
		if err == nil {
			t.Errorf("ParseConnectionString(%q) = %q, want an error", tt.in, cs.Text())
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseConnectionString(%q): error %q, want one with %q", tt.in, err, tt.want)
		}
		if leaks(err.Error()) {
			t.Errorf("ParseConnectionString(%q): error %q contains the key", tt.in, err)
		}
		if !cs.IsZero() {
			t.Errorf("ParseConnectionString(%q) failed, but returned %v", tt.in, cs)
		}
	}
}

func TestNewConnectionString(t *testing.T) {
	cs, err := NewConnectionString("https://localhost:8443/", mustKey(t, testKey))
	if want := "endpoint=https://localhost:8443/;accesskey=" + testKey; err != nil || cs.Text() != want {
		t.Errorf("Text = %q, %v, want %q", cs.Text(), err, want)
	}
	if _, err := NewConnectionString("https://localhost:8443/", AccessKey{}); err == nil {
		t.Error("no error for the zero key")
	}
	if _, err := NewConnectionString("localhost", mustKey(t, testKey)); err == nil {
		t.Error("no error for a bad endpoint")
	}
	other, err := NewConnectionString("https://localhost:8443", mustKey(t, "AAAA"))
	if err != nil || cs.Equal(other) || cs.Equal(ConnectionString{}) {
		t.Errorf("unequal connection strings are equal (%v)", err)
	}
	if zero := (ConnectionString{}); !zero.IsZero() || zero.Text() != "" || zero.String() != "" {
		t.Errorf("zero: Text = %q, String = %q", zero.Text(), zero.String())
	}
}

func FuzzParseConnectionString(f *testing.F) {
	f.Add("endpoint=https://localhost:8443/;accesskey=" + testKey)
	f.Add("accesskey=" + testKey + ";;Endpoint = http://[::1]:80 ;x")
	f.Add("endpoint=https://h/?accesskey=" + testKey + ";accesskey=AA==")
	f.Add("endpoint=https://u:" + testKey + "@h/;accesskey=" + testKey)
	f.Fuzz(func(t *testing.T, s string) {
		cs, err := ParseConnectionString(s)
		if err != nil {
			if leaks(err.Error()) {
				t.Fatalf("ParseConnectionString(%q): error %q contains the key", s, err)
			}
			return
		}
		again, err := ParseConnectionString(cs.Text())
		if err != nil || !again.Equal(cs) || again.Text() != cs.Text() {
			t.Fatalf("%q: %q became %q, %v", s, cs.Text(), again.Text(), err)
		}
		key := cs.AccessKey().Text()
		if strings.Contains(cs.String(), "accesskey="+key) || !strings.HasSuffix(cs.String(), redacted) {
			t.Fatalf("%q: String shows the key: %q", s, cs)
		}
	})
}
