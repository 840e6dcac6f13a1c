package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/core"
	"github.com/confab-chat/confab/internal/store/pebble"
	"github.com/confab-chat/confab/internal/transfer"
)

// Checked is the result of Check. Salvaged is the result of Salvage.
type (
	Checked  = pebble.Checked
	Salvaged = pebble.Salvaged
)

// Check verifies the embedded store in the data folder, or in a backup's folder, and changes
// nothing in it; see pebble.CheckFolder. It calls report for each fault. It fails with
// *NoDataError if there is no store, with *UnfinishedError if the folder is unfinished, and with
// *DataInUseError if a server uses the store.
func Check(ctx context.Context, c config.Config, report func(fault string)) (Checked, error) {
	if err := mayRead(c); err != nil {
		return Checked{}, err
	}
	checked, err := pebble.CheckFolder(ctx, storeFolder(c.Data), pebble.Options{CacheSize: forExport.cache, MemTableSize: forExport.memTable}, report)
	return checked, inUse(c, err)
}

// Salvage writes the rows of the embedded store that can still be read to out, as an export; see
// pebble.Salvage. It uses the empty folder work, whose disk needs room for two copies of the
// rows. It changes nothing in the data folder. It fails in the same cases as Check.
func Salvage(ctx context.Context, c config.Config, out io.Writer, work string, o ExportOptions) (sum transfer.Summary, report Salvaged, err error) {
	if err := mayRead(c); err != nil {
		return sum, report, err
	}
	w := transfer.NewWriter(out, transfer.Options{Made: o.Now.UnixMilli(), Keys: o.Keys})
	report, err = pebble.Salvage(ctx, storeFolder(c.Data), pebble.Options{CacheSize: forExport.cache}, vfs.Default, work, func(r core.Record) error {
		o.Row()
		if err := w.Write(r); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		return nil
	})
	if err != nil {
		return sum, report, inUse(c, err)
	}
	sum, err = w.Close()
	return sum, report, err
}

// mayRead fails with *UnfinishedError if the data folder is unfinished, and with *NoDataError if
// it has no store.
func mayRead(c config.Config) error {
	if !c.InMemory() && c.Data != "" {
		if err := CheckFinished(c.Data); err != nil {
			return err
		}
	}
	if !hasStore(c) {
		return &NoDataError{Path: c.Data}
	}
	return nil
}

// inUse converts err to a *DataInUseError if err says that a server uses the store. It returns
// other errors unchanged.
func inUse(c config.Config, err error) error {
	if errors.Is(err, pebble.ErrInUse) {
		return &DataInUseError{Path: c.Data, Err: err}
	}
	return err
}
