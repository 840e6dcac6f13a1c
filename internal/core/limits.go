package core

// Limits are the sizes that a profile allows. Zero is no limit beyond those
// that keep a row from growing without bound.
type Limits struct {
	Participants int // of a thread
	PerRequest   int // participants of one create or add
	Content      int // bytes of a message
	Metadata     int // bytes of all keys and values of one thread or participant
	// Receipts is how many participants a thread may have for its receipts to
	// be listed. Beyond, sending one still answers well (docs/contract/chat.md §4.3).
	Receipts int
}

// Bounds that hold in every profile.
const (
	maxContent  = 1 << 20 // bytes
	maxMetadata = 64 << 10
)

func (l Limits) checkCount(field string, n, most int) error {
	if most > 0 && n > most {
		return Invalid(field, "%d %s are too many: at most %d are allowed.", n, field, most)
	}
	return nil
}

// checkContent counts UTF-8 bytes. Unverified: the unit (docs/contract/chat.md §9).
func (l Limits) checkContent(content string) error {
	most := maxContent
	if l.Content > 0 {
		most = l.Content
	}
	if len(content) > most {
		return Invalid("content", "The content field has %d bytes; at most %d are allowed.", len(content), most)
	}
	return checkText("content", content, most)
}

func (l Limits) checkMetadata(field string, m map[string]string) error {
	size, most := 0, maxMetadata
	if l.Metadata > 0 {
		most = l.Metadata
	}
	for k, v := range m {
		for _, s := range []string{k, v} {
			if err := checkText(field, s, most); err != nil {
				return err
			}
		}
		size += len(k) + len(v)
	}
	if size > most {
		return Invalid(field, "The %s field has %d bytes in all; at most %d are allowed.", field, size, most)
	}
	return nil
}
