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
this environment, and the source of each. Secrets are hidden. With --defaults,
print a confab.yaml that has every setting, commented out, with its default.`,
		Example: examples("config --dev", "config --defaults > confab.yaml"),
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if defaults {
				return config.WriteExample(cmd.OutOrStdout())
			}
			in, err := input(cmd)
			if err != nil {
				return err
			}
			cfg, err := config.Load(in)
			if err != nil {
				return err
			}
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
