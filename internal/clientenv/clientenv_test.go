package clientenv

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var local = Server{
	Endpoint: "https://localhost:8443", AccessKey: "a2V5",
	CAFile: "/d/ca.pem", BundleFile: "/d/bundle.pem", TrustStoreFile: "/d/truststore.p12",
}

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestVars(t *testing.T) {
	const connect = "endpoint=https://localhost:8443/;accesskey=a2V5"
	want := []Var{
		{"CONFAB_ENDPOINT", "https://localhost:8443"},
		{"CONFAB_CONNECTION_STRING", connect},
		{"AZURE_COMMUNICATION_SERVICE_ENDPOINT", "https://localhost:8443"},
		{"COMMUNICATION_SAMPLES_CONNECTION_STRING", connect},
		{"AZURE_COMMUNICATION_SERVICE_CONNECTION_STRING", connect},
		{"NO_PROXY", "localhost,127.0.0.1,::1"},
		{"no_proxy", "localhost,127.0.0.1,::1"},
		{"CONFAB_CA_FILE", "/d/ca.pem"},
		{"REQUESTS_CA_BUNDLE", "/d/bundle.pem"},
		{"SSL_CERT_FILE", "/d/bundle.pem"},
		{"CURL_CA_BUNDLE", "/d/bundle.pem"},
		{"NODE_EXTRA_CA_CERTS", "/d/ca.pem"},
		{"JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=/d/truststore.p12 -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=changeit"},
		{"CONFAB_ENV_BEFORE", "none"},
	}
	if diff := cmp.Diff(want, local.Vars(env())); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	public := Server{Endpoint: "https://chat.example.com/", AccessKey: "a2V5"}
	want = []Var{
		{"CONFAB_ENDPOINT", "https://chat.example.com"},
		{"CONFAB_CONNECTION_STRING", "endpoint=https://chat.example.com/;accesskey=a2V5"},
		{"AZURE_COMMUNICATION_SERVICE_ENDPOINT", "https://chat.example.com"},
		{"COMMUNICATION_SAMPLES_CONNECTION_STRING", "endpoint=https://chat.example.com/;accesskey=a2V5"},
		{"AZURE_COMMUNICATION_SERVICE_CONNECTION_STRING", "endpoint=https://chat.example.com/;accesskey=a2V5"},
		{"NO_PROXY", "chat.example.com"},
		{"no_proxy", "chat.example.com"},
		{"CONFAB_ENV_BEFORE", "none"},
	}
	if diff := cmp.Diff(want, public.Vars(env())); diff != "" {
		t.Errorf("variables without a local authority (-want +got):\n%s", diff)
	}
}

func TestNodeExtra(t *testing.T) {
	for old, want := range map[string]string{
		"":               "/d/ca.pem",
		"/d/ca.pem":      "/d/ca.pem",
		"/etc/corp.pem":  "/d/bundle.pem",
		"/d/bundle.pem":  "/d/bundle.pem",
		"/other/one.pem": "/d/bundle.pem",
	} {
		if got := nodeExtraValue(old, local); got != want {
			t.Errorf("with %q there already: got %q, want %q", old, got, want)
		}
	}
}

func TestJavaOptions(t *testing.T) {
	const ours = "-Djavax.net.ssl.trustStore=/d/t.p12 -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=changeit"
	tests := []struct{ name, old, want string }{
		{"empty", "", ours},
		{"kept", `-Xmx1g  -Dx="a b"`, `-Xmx1g -Dx="a b" ` + ours},
		{"twice", "-Xmx1g " + ours, "-Xmx1g " + ours},
		{"another store", `-Djavax.net.ssl.trustStore="/x y/z" -Xss1m "-Djavax.net.ssl.trustStoreType=JKS"`, "-Xss1m " + ours},
		{"unclosed quote", `-Dx="a b`, `-Dx="a b ` + ours}, // Java refuses an unclosed quote, with or without the added option
		{"other quote inside", `-Dx='a" b' -Dy=1`, `-Dx='a" b' -Dy=1 ` + ours},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := javaOptionsValue(tt.old, "/d/t.p12")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !strings.Contains(tt.old, `="a b`) && javaOptionsValue(got, "/d/t.p12") != got {
				t.Errorf("the value grows: %s", javaOptionsValue(got, "/d/t.p12"))
			}
		})
	}
}

// javaUnquote removes the quotes from a word as the Java VM does (parse_options_buffer in
// its arguments.cpp).
func javaUnquote(word string) string {
	var b strings.Builder
	var quote byte
	for _, c := range []byte(word) {
		switch {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && quote == c:
			quote = 0
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func FuzzJavaQuote(f *testing.F) {
	for _, s := range []string{"/a/b", "/Application Support/x", `C:\a b\c`, `it's`, `a"b`, `"'" '`, "\t", "é\u00a0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words := javaWords("-Xss1m -Dx=" + javaQuote(s) + " -Dy=1")
		if len(words) != 3 || javaUnquote(words[1]) != "-Dx="+s {
			t.Errorf("%q is read back as %q", s, words)
		}
	})
}

func TestMerge(t *testing.T) {
	got := Merge([]string{"PATH=/bin", "CONFAB_ENDPOINT=old", "CONFAB_ENDPOINT=older", "X="}, []Var{{"CONFAB_ENDPOINT", "new=1"}, {"Y", ""}})
	want := []string{"PATH=/bin", "X=", "CONFAB_ENDPOINT=new=1", "Y="}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
