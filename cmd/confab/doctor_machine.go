package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/server"
)

// diskFindings checks the speed and the free space of the data folder's disk. It returns
// nil for data in memory.
func diskFindings(cfg config.Config) []finding {
	if cfg.InMemory() {
		return nil
	}
	dir := existing(cfg.Data)
	took, err := flushTime(dir)
	all := []finding{flushFinding(dir, took, err)}
	var f *failure
	if errors.As(explainFolder(server.CheckData(cfg)), &f) {
		all = append(all, finding{"data", broken, f.what, f.next})
	}
	usage, err := vfs.Default.GetDiskUsage(dir)
	floor, ferr := server.Floor(cfg)
	return append(all, spaceFinding(dir, usage.AvailBytes, floor, cmp.Or(err, ferr)))
}

// existing returns dir if it exists, and otherwise its nearest parent folder that exists.
func existing(dir string) string {
	for {
		up := filepath.Dir(dir)
		if st, err := os.Stat(dir); err == nil && st.IsDir() || up == dir {
			return dir
		}
		dir = up
	}
}

// flushTime returns the median time of writing a block of 4 KiB to a temporary file in dir
// and flushing it, as the store does before it acknowledges a write. It takes about a
// second at most.
func flushTime(dir string) (median time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".confab-doctor-")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	block := make([]byte, 4096)
	for began := time.Now(); len(took) < 30 && time.Since(began) < time.Second; {
		at := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

const (
	slowFlush  = 20 * time.Millisecond // doctor warns of a disk whose flush takes longer
	quickFlush = 20 * time.Microsecond // no disk flushes faster
)

func flushFinding(dir string, took time.Duration, err error) finding {
	f := finding{Check: "disk", State: fine, Found: fmt.Sprintf("a flush in %s takes %v", tilde(dir), took.Round(time.Microsecond))}
	switch {
	case err != nil:
		return finding{"disk", broken, "nothing can be written to " + tilde(dir) + ": " + rootCause(err).Error(),
			"make it a folder that this user may write to, run this as the server's user, or choose another with --data"}
	case took > slowFlush:
		f.State, f.Mend = warning, "each send waits for a flush: put the data folder on a local SSD"
	case took < quickFlush:
		f.State, f.Mend = warning, "this is memory, or a disk that does not flush: a power cut may lose acknowledged writes"
	}
	return f
}

func spaceFinding(dir string, free uint64, floor uint64, err error) finding {
	f := finding{Check: "space", State: fine, Found: sizeText(free) + " free in " + tilde(dir)}
	switch {
	case err != nil:
		return finding{"space", warning, "the free space of " + tilde(dir) + " is not known: " + rootCause(err).Error(), ""}
	case free < floor:
		f.State, f.Mend = broken, "writes are refused below "+sizeText(floor)+": free some space, or lower min-free-space"
	case free < 10*floor:
		f.State, f.Mend = warning, "writes will be refused below "+sizeText(floor)+": free some space"
	}
	return f
}

func sizeText(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

// clockFinding checks that the time now is not before built, the time of the commit from which this
// program was built, and that the system synchronizes the clock. Signed requests and tokens fail if
// the clock is wrong by some minutes. clockFinding asks no time server, because doctor must not use
// the network.
func clockFinding(now, built time.Time, synced, known bool) finding {
	f := finding{Check: "clock", State: fine, Found: now.UTC().Format(time.DateTime) + " UTC"}
	if now.Before(built) {
		return finding{"clock", broken, f.Found + " is before this program was built, " + built.UTC().Format(time.DateTime) + " UTC", "set the clock: tokens and certificates depend on it"}
	}
	switch {
	case synced:
		f.Found += ", synchronized by the system"
	case known:
		f.State, f.Mend = warning, "the system does not synchronize it: run an NTP client, for instance with: timedatectl set-ntp true"
	}
	return f
}

// builtAt returns the time of the commit from which this program was built, or the zero time if the
// commit is unknown.
func builtAt() time.Time {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value) // if the time cannot be parsed, Parse returns the zero time
			return t
		}
	}
	return time.Time{}
}

// fewFiles is the limit of open files below which `confab doctor` warns. It is enough for
// some hundred clients: each connection and each open file of the store takes a descriptor.
const fewFiles = 4096

// filesFinding checks whether this process may open enough files at once. known is false if
// the system sets no limit.
func filesFinding(limit uint64, known bool) finding {
	f := finding{Check: "files", State: fine, Found: fmt.Sprintf("this process may have %d files open, so that a server accepts %d connections", limit, server.Connections(limit))}
	switch {
	case !known:
		return finding{Check: "files", State: fine, Found: "this system sets no limit to open files and connections"}
	case limit < fewFiles:
		f.State, f.Mend = warning, "raise it for a server with many clients: ulimit -n 65536, or LimitNOFILE=65536 in its systemd unit"
	}
	return f
}
