package communication

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// testKey is the access key in the examples of signatures in docs/contract/identity.md §4.2.
const testKey = "c2VjcmV0LWtleS1mb3ItdGVzdA=="

func mustKey(t testing.TB, text string) AccessKey {
	t.Helper()
	k, err := NewAccessKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestNewAccessKey(t *testing.T) {
	for _, text := range []string{testKey, "  " + testKey + "\r\n", "AA==", "+/+/"} {
		k, err := NewAccessKey(text)
		if err != nil {
			t.Errorf("NewAccessKey(%q): %v", text, err)
			continue
		}
		if want := strings.TrimSpace(text); k.Text() != want {
			t.Errorf("Text = %q, want %q", k.Text(), want)
		}
		if want, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(text)); !bytes.Equal(k.Bytes(), want) {
			t.Errorf("Bytes = %x, want %x", k.Bytes(), want)
		}
		if k.IsZero() {
			t.Errorf("NewAccessKey(%q) is zero", text)
		}
	}
	for _, text := range []string{"", "  ", "=", "c2VjcmV0", "c2VjcmV0LWtleS1mb3ItdGVzdA=", "-_-_", redacted, "c2Vj cmV0"} {
		_, err := NewAccessKey(text)
		if text == "c2VjcmV0" { // this key needs no padding, because the length of the text is a multiple of four
			if err != nil {
				t.Errorf("NewAccessKey(%q): %v", text, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("NewAccessKey(%q): no error", text)
		} else if t2 := strings.TrimSpace(text); len(t2) > 1 && strings.Contains(err.Error(), t2) {
			t.Errorf("NewAccessKey(%q): error %q contains the key", text, err)
		}
	}
}

func TestAccessKeyBytesIsACopy(t *testing.T) {
	k := mustKey(t, testKey)
	clear(k.Bytes())
	if k.Text() != testKey {
		t.Error("writing to the result of Bytes changed the key")
	}
}

func TestAccessKeyEqual(t *testing.T) {
	k := mustKey(t, testKey)
	tests := []struct {
		a, b AccessKey
		want bool
	}{
		{k, k, true},
		{k, mustKey(t, testKey), true},
		{k, mustKey(t, "AAAA"), false},
		{k, AccessKey{}, false},
		{AccessKey{}, AccessKey{}, true},
	}
	for i, tt := range tests {
		if got := tt.a.Equal(tt.b); got != tt.want {
			t.Errorf("%d: Equal = %v, want %v", i, got, tt.want)
		}
	}
	if (AccessKey{}).Text() != "" || (AccessKey{}).Bytes() != nil || !(AccessKey{}).IsZero() {
		t.Error("the zero AccessKey is not empty")
	}
}

// TestSecretsNeverPrint prints and encodes values that contain an access key in many ways. The key
// must not appear, except in the results of Text and Bytes.
func TestSecretsNeverPrint(t *testing.T) {
	key := mustKey(t, testKey)
	cs, err := ParseConnectionString("endpoint=https://localhost:8443/;accesskey=" + testKey)
	if err != nil {
		t.Fatal(err)
	}
	type inside struct { // a struct with an unexported key, because fmt does not call methods of unexported fields
		key  AccessKey
		cs   ConnectionString
		keys []AccessKey
		m    map[string]ConnectionString
		any  any
	}
	type Outside struct {
		Key  AccessKey
		Keys []*AccessKey
		CS   ConnectionString
	}
	values := map[string]any{
		"key": key, "*key": &key, "cs": cs, "*cs": &cs,
		"inside":   inside{key, cs, []AccessKey{key}, map[string]ConnectionString{"x": cs}, cs},
		"*inside":  &inside{key: key, cs: cs, any: key},
		"Outside":  Outside{key, []*AccessKey{&key}, cs},
		"slice":    []any{key, cs},
		"[]cs":     []ConnectionString{cs},
		"map":      map[string]AccessKey{"x": key},
		"wrapping": fmt.Errorf("failed with %v and %v", key, cs),
	}
	for name, v := range values {
		outputs := map[string]string{"Sprint": fmt.Sprint(v)}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%#x", "%d", "%o", "%c", "%U", "%b", "%e", "%t", "%p", "%T", "%w", "%z", "%10.3s"} {
			outputs[verb] = fmt.Sprintf(verb, v)
		}
		if text, err := json.Marshal(v); err == nil {
			outputs["json"] = string(text)
		}
		if text, err := xml.Marshal(v); err == nil {
			outputs["xml"] = string(text)
		}
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", v)
		outputs["slog"] = b.String()
		for how, out := range outputs {
			if leaks(out) {
				t.Errorf("%s of %s shows the key: %s", how, name, out)
			}
		}
	}
	for _, got := range []string{key.String(), key.GoString(), fmt.Sprintf("%+v", key), key.LogValue().String()} {
		if got != redacted {
			t.Errorf("got %q, want %q", got, redacted)
		}
	}
	const want = "endpoint=https://localhost:8443/;accesskey=(redacted)"
	for _, got := range []string{cs.String(), cs.GoString(), fmt.Sprintf("%d", cs), cs.LogValue().String()} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got, err := json.Marshal(cs); err != nil || string(got) != `"`+want+`"` {
		t.Errorf("json = %s, %v", got, err)
	}
}

// leaks reports whether a printed text contains the test key, as text or in an encoding such as
// hexadecimal.
func leaks(out string) bool {
	secret := []byte("secret-key-for-test")
	for _, s := range []string{
		strings.TrimRight(testKey, "="),
		string(secret),
		fmt.Sprintf("%x", secret),
		fmt.Sprintf("%X", secret),
		fmt.Sprintf("%x", testKey),
		strings.Trim(fmt.Sprint(secret), "[]"),
		strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}"),
		strings.Trim(fmt.Sprintf("% x", secret), "[]"),
		strings.Trim(fmt.Sprintf("%c", secret), "[]"),
		strings.Trim(fmt.Sprintf("%b", secret), "[]"),
		strings.Trim(fmt.Sprintf("%o", secret), "[]"),
	} {
		if strings.Contains(out, s) {
			return true
		}
	}
	return false
}

func TestLeaksFindsAKey(t *testing.T) {
	bare := struct{ secret []byte }{[]byte("secret-key-for-test")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "% x", "%c", "%b", "%o"} {
		if !leaks(fmt.Sprintf(verb, bare)) {
			t.Errorf("a bare key printed with %s is not found: %s", verb, fmt.Sprintf(verb, bare))
		}
	}
}
