package load

import (
	"math/rand/v2"
	"strings"
)

var words = strings.Fields(`the be to of and a in that have it for not on with he as you do at this but his by from they we say
	her she or an will my one all would there their lunch train office meeting tomorrow yesterday please thanks question answer
	number ticket morning evening coffee report customer delivery address invoice weather weekend garden window kitchen`)

// Text returns a text of ordinary words with size bytes, which compresses about as well as a real
// message. It has no characters that JSON must escape.
func Text(random *rand.Rand, size int) string {
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(words[random.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()[:size-1] + "."
}
