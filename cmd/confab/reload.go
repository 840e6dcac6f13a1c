package main

import (
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/logs"
	"github.com/confab-chat/confab/internal/server"
)

// reloader reads the settings and the certificate of a running server again and applies the
// settings of the log and the certificate.
type reloader struct {
	in         config.Input  // from which the settings were read
	started    config.Config // with which the server started
	srv        *server.Server
	log        *slog.Logger
	output     *logs.Output // of the log
	onTerminal bool         // see logLevel
}

// reloadable names the settings that take effect upon a reload. The others need a restart.
var reloadable = []string{"log-level", "log-format", "access-log"}

// upon reloads upon each SIGHUP that arrives, until this process ends. If the terminal of the
// process has gone, the signal comes from that: the server must end, because nobody could stop
// it any more, and upon passes the first such signal to stop. The shell and the kernel both send
// one when a window is closed, and a second signal would stop the server at once.
func (r *reloader) upon(hangups <-chan os.Signal, terminalGone func() bool, stop chan<- os.Signal) {
	passed := false
	for range hangups {
		switch {
		case passed:
		case terminalGone():
			passed = true
			select {
			case stop <- syscall.SIGHUP:
			default: // the server is already about to stop
			}
		default:
			r.reload()
		}
	}
}

// reload reads the settings and the certificate again. It applies the settings in reloadable and
// logs a warning that names other settings that have changed since the start. If the settings
// are invalid or the certificate cannot be used, the old ones stay in use, and the log says why.
func (r *reloader) reload() {
	cfg, err := config.Load(r.in)
	if err != nil {
		r.log.Error("the settings cannot be read again, so the old ones stay", "error", oneLine(err))
	} else {
		r.output.Set(logLevel(cfg, r.onTerminal), cfg.LogFormat == config.LogJSON)
		r.srv.LogRequests(cfg.AccessLog)
		r.log.Info("settings of the log read again", "log-level", logLevel(cfg, r.onTerminal), "log-format", cfg.LogFormat, "access-log", cfg.AccessLog)
		if changed := changedSettings(r.started, cfg); len(changed) > 0 {
			r.log.Warn("settings have changed that are read at a start alone: start the server again", "settings", strings.Join(changed, ","))
		}
	}
	r.srv.ReloadCertificate()
}

// changedSettings returns the names of the settings whose values differ between a and b, except
// those in reloadable.
func changedSettings(a, b config.Config) (names []string) {
	shown := b.Shown()
	for i, s := range a.Shown() {
		if s.Value != shown[i].Value && !slices.Contains(reloadable, s.Name) {
			names = append(names, s.Name)
		}
	}
	if a.Database != b.Database && !slices.Contains(names, "database") { // Shown hides the password
		names = append(names, "database")
	}
	if !a.AccessKey.Equal(b.AccessKey) { // Shown hides them
		names = append(names, "access-key")
	}
	if !a.AccessKeySecondary.Equal(b.AccessKeySecondary) {
		names = append(names, "access-key-secondary")
	}
	return names
}
