package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/confab-chat/confab/internal/config"
)

func newConfig() *cobra.Command {
	var defaults, asJSON bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective settings, or a confab.yaml with the defaults",
		Long: `Print the settings that serve would use in this folder, with these flags and
this environment, and the source of each. Secrets are hidden. They are those of a
production server if a data folder is set and dev is not; otherwise those of a
development server. With --defaults, print a confab.yaml that has every setting,
commented out, with its default.`,
		Example: examples("config", "config --data /var/lib/confab", "config --defaults > confab.yaml"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if defaults {
				return config.WriteExample(cmd.OutOrStdout())
			}
			in, err := input(cmd)
			if err != nil {
				return err
			}
			cfg, err := settingsOf(in)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "the settings are "+kindOf(cfg))
			if asJSON {
				return printJSON(cmd.OutOrStdout(), cfg.Shown())
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), cfg.String())
			return err
		},
	}
	cmd.Flags().BoolVar(&defaults, "defaults", false, "print a commented file with the defaults")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the settings as JSON")
	config.AddFlags(cmd.Flags())
	return cmd
}

// settingsOf loads the settings that `confab serve` would use, for the commands config and doctor.
// It loads the settings of a production server if a data folder is set and dev is not. Otherwise it
// loads the settings of a development server.
func settingsOf(in config.Input) (config.Config, error) {
	in.Defaults, in.Only = map[string]string{"dev": "true"}, []string{"dev", "data"}
	c, err := config.Load(in)
	if err != nil {
		return c, err
	}
	if !c.Explicit("dev") && c.Explicit("data") {
		in.Defaults = nil
	}
	in.Only = nil
	return config.Load(in)
}

// kindOf returns a text that says whether the settings describe a production server or a
// development server, and why.
func kindOf(cfg config.Config) string {
	switch {
	case !cfg.Dev:
		return "those of a production server, since a data folder is set (" + cfg.Origin("data") + ")"
	case cfg.Explicit("dev"):
		return "those of a development server (" + cfg.Origin("dev") + ")"
	}
	return "those of a development server, since neither a data folder nor dev is set"
}
