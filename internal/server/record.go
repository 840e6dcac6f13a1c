package server

import (
	"net/http"

	"github.com/confab-chat/confab/internal/record"
)

// recordTo returns a handler that passes requests to next and writes the requests and their
// responses to files in the folder of the setting record. It returns next itself if the setting is
// empty.
func (s *Server) recordTo(o Options, next http.Handler) (http.Handler, error) {
	if o.Config.Record == "" {
		return next, nil
	}
	var err error
	s.recorder, err = record.New(record.Options{
		Folder: o.Config.Record, Source: "Confab " + o.Version, Now: o.Now, Logger: s.log,
		Bare: s.bare,
		Path: withoutSecrets,
	})
	if err != nil {
		return nil, err
	}
	s.info.Record = s.recorder.Folder()
	s.log.Warn("every request and its answer is recorded, with what users write", "folder", s.info.Record)
	return s.recorder.Handler(next), nil
}
