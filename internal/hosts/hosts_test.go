package hosts

import "testing"

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST:8443": true, "app.localhost:3000": true, "127.0.0.1": true, "127.9.9.9:1": true, "[::1]:8443": true, "::1": true,
		"[::ffff:127.0.0.1]:1": true,
		"":                     false, "localhost.evil.example": false, "evil-localhost": false, ".localhost": false, "0.0.0.0": false, "192.168.1.2": false, "[::]:1": false,
		"127.0.0.1.evil.example": false, "chat.lan:8443": false,
	} {
		if got := Loopback(host); got != want {
			t.Errorf("Loopback(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestKnown(t *testing.T) {
	names := []string{"chat.lan", "*.apps.lan", "My-Machine"}
	for host, want := range map[string]bool{
		"localhost:1": true, "localhost:8443:8443": true, "[::1]:1:1": true, "chat.lan:1:1": true, "evil.example:1:1": false, "192.168.1.2:8443": true, "[fe80::1]:1": true, "CHAT.lan": true, "a.apps.lan:80": true, "my-machine:1": true,
		"apps.lan": false, "a.b.apps.lan": false, "evil.example:8443": false, "": false, "chat.lan.evil.example": false,
	} {
		if got := Known(host, names); got != want {
			t.Errorf("Known(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestNamed(t *testing.T) {
	names := []string{"chat.lan", "*.apps.lan", "My-Machine", "10.0.0.7"}
	for host, want := range map[string]bool{
		"chat.lan": true, "CHAT.lan:1": true, "a.apps.lan:80": true, "my-machine:1:1": true, "10.0.0.7:80": true,
		"apps.lan": false, "evil.example": false, "10.0.0.8": false, "localhost": false, "127.0.0.1:1": false, "[::1]": false, "": false,
	} {
		if got := Named(host, names); got != want {
			t.Errorf("Named(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestOrigin(t *testing.T) {
	for text, want := range map[string]string{
		"https://App.Example": "https://app.example", "https://app.example:443": "https://app.example", "http://localhost:80": "http://localhost",
		"http://localhost:3000": "http://localhost:3000", "http://[::1]:5173": "http://[::1]:5173", "https://app.example:80": "https://app.example:80",
		"null": "", "": "", "*": "", "app.example": "", "https://": "", "https://a.example/": "", "https://u@a.example": "", "https://a.example?": "",
		"https://a.example#": "", "file://": "", "javascript://a": "", "https://a example": "",
	} {
		got, ok := Origin(text)
		if got != want || ok != (want != "") {
			t.Errorf("Origin(%q) = %q, %v, want %q", text, got, ok, want)
		}
	}
}

func TestAppOrigin(t *testing.T) {
	for text, want := range map[string]string{
		"capacitor://localhost": "capacitor://localhost", "Ionic://LocalHost": "ionic://localhost", "tauri://localhost": "tauri://localhost",
		"chrome-extension://abcdefghijklmnopabcdefghijklmnop":  "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
		"moz-extension://0a1b2c3d-0000-4000-8000-00000000000f": "moz-extension://0a1b2c3d-0000-4000-8000-00000000000f",
		"app://bundle": "app://bundle", "chat://localhost": "chat://localhost", "shop://localhost": "shop://localhost", "com.example.app://localhost": "com.example.app://localhost",
		"htps://app.example.com": "", "HTPS://app.example.com": "", "htp://a": "", "ttps://a": "", "httpss://a": "", "htttps://a": "", "htpts://a": "", "hptts://a": "", "ht://a": "", "httsp://a": "",
		"hhtp://a": "", "httpd://a": "", "gttps://a": "", "httos://a": "", "hytps://a": "", "xhttps://a": "",
		"https://app.example": "", "http://localhost": "", "null": "", "": "", "*": "", "localhost": "", "capacitor://": "", "capacitor:localhost": "",
		"capacitor://localhost/": "", "capacitor://localhost/x": "", "capacitor://localhost:80": "", "capacitor://a@localhost": "", "capacitor://localhost?x": "",
		"file://host": "", "javascript://a": "", "data://a": "", "blob://a": "", "://localhost": "", "1x://localhost": "",
	} {
		got, ok := AppOrigin(text)
		if got != want || ok != (want != "") {
			t.Errorf("AppOrigin(%q) = %q, %v, want %q", text, got, ok, want)
		}
	}
}

func TestLoopbackOrigin(t *testing.T) {
	for origin, want := range map[string]bool{
		"http://localhost:3000": true, "https://127.0.0.1:8443": true, "http://[::1]:1": true, "http://app.localhost": true,
		"null": false, "https://evil.example": false, "http://localhost.evil.example": false, "http://localhost@evil.example": false, "localhost": false,
		"http://192.168.1.5:3000": false, "chrome-extension://localhost": false,
	} {
		if got := LoopbackOrigin(origin); got != want {
			t.Errorf("LoopbackOrigin(%q) = %v, want %v", origin, got, want)
		}
	}
}

func TestRepair(t *testing.T) {
	for host, want := range map[string]string{
		"localhost": "localhost", "localhost:1": "localhost:1", "localhost:1:1": "localhost:1", "a:1:2": "a:1:2",
		"[::1]": "[::1]", "[::1]:8443": "[::1]:8443", "[::1]:8443:8443": "[::1]:8443", "": "",
	} {
		if got := Repair(host); got != want {
			t.Errorf("Repair(%q) = %q, want %q", host, got, want)
		}
	}
}
