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

// reloader reads the settings and the certificate of a running server again. It makes the server
// use the new certificate and the new settings of the log.
type reloader struct {
	in         config.Input  // the sources of the server's settings
	started    config.Config // the settings with which the server started
	srv        *server.Server
	log        *slog.Logger
	output     *logs.Output // the output of the server's log
	onTerminal bool         // whether the terminal shows the requests; logLevel uses it
}

// reloadable lists the settings that take effect upon a reload. Other settings take effect after a
// restart.
var reloadable = []string{"log-level", "log-format", "access-log"}

// upon calls reload for each SIGHUP. If terminalGone reports that the terminal was closed, upon
// stops the server instead, because nobody could stop it with a key any more: it sends the signal
// to the channel stop. It sends only one signal, because a second one would stop the server at
// once, and a closed window causes two: one from the shell and one from the kernel.
func (r *reloader) upon(hangups <-chan os.Signal, terminalGone func() bool, stop chan<- os.Signal) {
	passed := false
	for range hangups {
		switch {
		case passed:
		case terminalGone():
			passed = true
			select {
			case stop <- syscall.SIGHUP:
			default: // the channel stop is full, because the server has already got a signal to stop
			}
		default:
			r.reload()
		}
	}
}

// reload reads the settings and the certificate again. It applies the settings in reloadable and
// logs a warning that names other settings that have changed since the start. If the settings
// are invalid or the certificate cannot be used, the old settings or the old certificate stay in
// use, and the log says why.
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

// changedSettings returns the names of the settings whose values differ between a and b, except the
// settings in reloadable.
func changedSettings(a, b config.Config) (names []string) {
	shown := b.Shown()
	for i, s := range a.Shown() {
		if s.Value != shown[i].Value && !slices.Contains(reloadable, s.Name) {
			names = append(names, s.Name)
		}
	}
	if a.Database != b.Database && !slices.Contains(names, "database") { // compare whole addresses, because Shown hides the password in them
		names = append(names, "database")
	}
	if !a.AccessKey.Equal(b.AccessKey) { // compare the access keys themselves, because Shown hides them
		names = append(names, "access-key")
	}
	if !a.AccessKeySecondary.Equal(b.AccessKeySecondary) {
		names = append(names, "access-key-secondary")
	}
	return names
}
