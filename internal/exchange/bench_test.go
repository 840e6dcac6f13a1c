package exchange

import "testing"

// BenchmarkText measures how long Text searches a URL path for secrets.
func BenchmarkText(b *testing.B) {
	for b.Loop() {
		Text("/chat/threads/19:f00dbeefcafe4b1e9a6b0c2d4e6f8a1b@thread.v2/messages/1732800000000/and/more")
	}
}
