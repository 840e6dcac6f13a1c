package core

// Queue is the size of what waits to be committed, in all lanes.
type Queue struct {
	Changes int
	Bytes   int // about the memory of the changes
}

// Queue returns what waits to be committed now. Changes of a batch that the store applies at
// this moment no longer wait.
func (s *Service) Queue() (q Queue) {
	for _, l := range s.commits.lanes {
		l.mu.Lock()
		q.Changes += len(l.queue)
		q.Bytes += l.bytes
		l.mu.Unlock()
	}
	return q
}
