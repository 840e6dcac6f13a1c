package main

import "testing"

func TestJavaHookLine(t *testing.T) {
	got := javaHookLine("/usr/local/share/ca-certificates/Confab_local_CA_box_1a2b3c_77.crt")
	if want := "-/etc/ssl/certs/Confab_local_CA_box_1a2b3c_77.pem\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
