package communication

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestRotate(t *testing.T) {
	const first, second = "Zmlyc3Q=", "c2Vjb25k"
	cs, err := ParseConnectionString("endpoint=https://localhost/;accesskey=" + first)
	if err != nil {
		t.Fatal(err)
	}
	key := cs.AccessKey()
	twin := key
	if err := key.Rotate(" " + second + "\n"); err != nil {
		t.Fatal(err)
	}
	if got := twin.Text(); got != second {
		t.Errorf("the copy has %s, want %s", got, second)
	}
	if got := cs.AccessKey().Text(); got != first {
		t.Errorf("the connection string has %s, want %s", got, first)
	}
	for _, garbage := range []string{"", "?"} {
		if err := key.Rotate(garbage); err == nil || key.Text() != second {
			t.Errorf("%q: got %v, and the key is %s", garbage, err, key.Text())
		}
	}
	if err := (AccessKey{}).Rotate(first); err == nil {
		t.Error("the zero key rotates")
	}
}

// TestRotateWhileSigning signs requests while another goroutine rotates the key between two
// secrets. Each signature must be valid for one of the two secrets.
func TestRotateWhileSigning(t *testing.T) {
	texts := []string{"Zmlyc3Q=", "c2Vjb25k"}
	var whole []string // the expected signature of the request for each of the two secrets
	for _, text := range texts {
		whole = append(whole, signature(t, text, "GET", "/identities", vectorDate+";localhost;"+vectorEmptyHash))
	}
	key := mustKey(t, texts[0])
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range 100 {
			if err := key.Rotate(texts[n%2]); err != nil {
				t.Error(err)
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			for range 100 {
				r := httptest.NewRequest(http.MethodGet, "https://localhost/identities", nil)
				if err := key.Sign(r, vectorTime); err != nil {
					t.Error(err)
					return
				}
				_, got, _ := strings.Cut(r.Header.Get("Authorization"), "&Signature=")
				if !slices.Contains(whole, got) {
					t.Errorf("signature %s is of neither secret", got)
				}
			}
		})
	}
	wg.Wait()
}
