package config

import "cmp"

// Explained is a setting with its value, the source of the value, and the purpose of the
// setting.
type Explained struct {
	Name    string `json:"name"`
	Value   string `json:"value"`  // the value, or "hidden" for a secret that is set
	Source  string `json:"source"` // the word flag, environment, file, default or dev default
	Default string `json:"default"`
	Secret  bool   `json:"secret"`
	Help    string `json:"help"`
}

// Explain returns all settings in the order of Settings, without secrets.
func (c Config) Explain() []Explained {
	all := make([]Explained, 0, len(Settings))
	for _, s := range Settings {
		v := c.values[s.Name]
		e := Explained{Name: s.Name, Value: v.shown(s), Default: s.Default, Secret: s.Secret, Help: s.Help, Source: "default"}
		switch {
		case v.source == fromFlag:
			e.Source = "flag"
		case v.source == fromEnv:
			e.Source = "environment"
		case v.source == fromFile:
			e.Source = "file"
		case c.Dev && s.DevDefault != "":
			e.Source = "dev default"
		}
		if c.Dev {
			e.Default = cmp.Or(s.DevDefault, s.Default)
		}
		if s.Secret && v.source > fromCommand {
			e.Value = "hidden"
		}
		all = append(all, e)
	}
	return all
}
