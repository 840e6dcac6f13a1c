package server

import (
	"net/http"
	"strings"

	"github.com/confab-chat/confab/internal/record"
)

// recordTo returns a handler that records what passes through next in the folder of the setting
// record. It returns next without that setting.
func (s *Server) recordTo(o Options, next http.Handler) (http.Handler, error) {
	if o.Config.Record == "" {
		return next, nil
	}
	var err error
	s.recorder, err = record.New(record.Options{
		Folder: o.Config.Record, Source: "Confab " + o.Version, Now: o.Now, Logger: s.log,
		// The paths and bodies of the live protocols hold secrets, and their connections last for
		// hours. The pages for browsers are the same for everybody.
		Bare: func(path string) bool {
			return path == "/" || strings.HasPrefix(path, threadPages) || strings.HasPrefix(path, chatAssets) || isEvents(path) || s.trouter.Handles(path)
		},
		Path: withoutSecrets,
	})
	if err != nil {
		return nil, err
	}
	s.info.Record = s.recorder.Folder()
	s.log.Warn("every request and its answer is recorded, with what users write", "folder", s.info.Record)
	return s.recorder.Handler(next), nil
}
