package core

// Queue describes the changes that wait to be committed, in all lanes together.
type Queue struct {
	Changes int
	Bytes   int // about the memory of the changes
}

// Queue returns the number and size of the changes that wait to be committed. Changes that the
// store is already applying do not count.
func (s *Service) Queue() (q Queue) {
	for _, l := range s.commits.lanes {
		l.mu.Lock()
		q.Changes += len(l.queue)
		q.Bytes += l.bytes
		l.mu.Unlock()
	}
	return q
}
