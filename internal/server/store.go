package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/metrics"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/store/postgres"
)

// openEmbedded opens the store in the data folder, or one in memory.
func (s *Server) openEmbedded(o Options, initial core.Resource) (core.Store, func() metrics.Storage, error) {
	po := pebble.Options{Initial: initial, MinFree: uint64(o.Config.MinFreeSpace), Logger: s.log, Fatal: s.fail}
	dir := filepath.Join(o.Config.Data, "store")
	if s.info.Memory {
		po.FS, dir, s.info.Fresh = pebble.NewMem(), "store", true
	} else {
		_, err := os.Stat(dir)
		s.info.Fresh = errors.Is(err, os.ErrNotExist)
	}
	if s.info.Fresh {
		s.info.DataState = "empty"
	}
	store, err := pebble.Open(dir, po)
	if errors.Is(err, pebble.ErrInUse) {
		return nil, nil, &DataInUseError{Path: o.Config.Data, Err: err}
	}
	if err != nil {
		return nil, nil, err
	}
	return store, func() metrics.Storage {
		st := store.Stats()
		return metrics.Storage{
			DiskBytes: float64(st.Disk), WrittenBytes: float64(st.Written),
			ReadAmp: float64(st.ReadAmp), LogSyncs: float64(st.Syncs),
		}
	}, nil
}

// openDatabase connects to PostgreSQL. The data folder then holds certificates
// alone, and each server has one of its own.
func (s *Server) openDatabase(ctx context.Context, o Options, initial core.Resource) (core.Store, error) {
	s.info.DataState, s.info.Database = "chats in PostgreSQL", true
	return postgres.Open(ctx, o.Config.Database, postgres.Options{Initial: initial, Logger: s.log, Now: o.Now})
}

// watchEvery is how often the keys of a shared store are read again.
const watchEvery = time.Second

// watchKeys takes over keys that another server has rotated.
func (s *Server) watchKeys(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r, err := s.store.Resource(ctx)
		if err == nil {
			err = s.keys.follow(r.Keys)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("the access keys could not be read again", "error", fmt.Sprint(err))
		}
	}
}
