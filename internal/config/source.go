package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// LookupEnv is os.LookupEnv, or a test's own environment.
type LookupEnv func(name string) (string, bool)

// FileFlag is the flag that names the YAML file, for a command that reads it.
type FileFlag struct {
	// Path of the YAML file. Empty means that PERSISTD_CONFIG names it, or that there is none.
	Path string `name:"config" short:"c" placeholder:"FILE" help:"YAML file with settings."`
}

// Flags is what a command embeds to take every setting; Complete makes a Config of it. It is a type without Validate on
// purpose: kong would call it before the secrets are read.
type Flags struct {
	FileFlag `embed:""`
	Settings flags `embed:""`
}

type flags Config

// Options makes kong read the settings: in any command of the grammar, a flag that has a setting's name is that setting,
// and is looked up in the environment and, where the command has a FileFlag, in the file it names. It is called once per
// parser.
func Options(env LookupEnv) []kong.Option {
	s := &sources{env: env, byFlag: map[string]Setting{}}
	for _, setting := range settings() {
		s.byFlag[setting.Flag] = setting
	}
	return []kong.Option{
		kong.PostBuild(s.describe),
		kong.ValueFormatter(s.help),
		kong.WithBeforeResolve(s.load),
		kong.Resolvers(kong.ResolverFunc(s.resolve)),
	}
}

// sources is the environment and the file; it is used by one parser, from one goroutine.
type sources struct {
	env    LookupEnv
	byFlag map[string]Setting
	file   map[string]string // path of the setting → its text
	loaded bool
}

func (s *sources) lookup(name string) (string, bool) {
	text, ok := s.env(name)
	return text, ok && text != ""
}

// load reads the file before anything is resolved, so that all that is wrong with it is said at once. kong calls it for
// each part of the command line.
func (s *sources) load(ctx *kong.Context) error {
	if s.loaded {
		return nil
	}
	s.loaded = true
	var errs []error
	for _, setting := range settings() {
		if text, ok := s.lookup(setting.Env); ok {
			if err := setting.check(text); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", setting.Env, err))
			}
		}
	}
	for _, flag := range ctx.Flags() {
		if flag.Name != "config" {
			continue
		}
		path, _ := ctx.FlagValue(flag).(string)
		if path == "" {
			path, _ = s.lookup(EnvPrefix + "CONFIG")
		}
		if path == "" {
			continue
		}
		text, err := os.ReadFile(path)
		if err == nil {
			s.file, err = parseFile(path, text)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// resolve is asked for each flag that is not on the command line; nil leaves the default.
func (s *sources) resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	setting, ok := s.byFlag[flag.Name]
	if !ok {
		return nil, nil
	}
	if text, ok := s.lookup(setting.Env); ok {
		return text, nil
	}
	if text, ok := s.file[setting.Path]; ok {
		return text, nil
	}
	return nil, nil
}

// describe gives each flag the comment of its field.
func (s *sources) describe(k *kong.Kong) error {
	return kong.Visit(k.Model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok && flag.Help == "" {
			flag.Help = s.byFlag[flag.Name].Help
		}
		return next(nil)
	})
}

// help adds the variable's name. kong's own formatter would need the variable in the field's tag, and would then read it
// itself, with the file above the environment.
func (s *sources) help(value *kong.Value) string {
	env := s.byFlag[value.Name].Env
	if value.Name == "config" {
		env = EnvPrefix + "CONFIG"
	}
	if value.Flag == nil || env == "" {
		return kong.DefaultHelpValueFormatter(value)
	}
	return strings.TrimSpace(value.Help + " ($" + env + ")")
}

// UnknownEnv lists, with a suggestion each, the variables of environ that look like a setting and are none. They are worth
// a warning and not more: in Kubernetes a Service called persistd puts PERSISTD_SERVICE_HOST and its like into every pod.
func UnknownEnv(environ []string) []string {
	known := []string{EnvPrefix + "CONFIG", EnvPrefix + "MARIADBD", EnvPrefix + "MYSQL_HOME"} // the last two are devstack's
	for _, s := range settings() {
		known = append(known, s.Env)
	}
	var unknown []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, EnvPrefix)
		if !ours || slices.Contains(known, name) || serviceLink(rest) || strings.HasPrefix(rest, "TEST_") {
			continue
		}
		unknown = append(unknown, name+suggest(name, known))
	}
	slices.Sort(unknown)
	return unknown
}

// serviceLink recognises the variables Kubernetes makes for a Service: SERVICE_HOST, SERVICE_PORT_HTTP, PORT_8080_TCP_ADDR.
func serviceLink(rest string) bool {
	return strings.Contains(rest, "SERVICE_HOST") || strings.Contains(rest, "SERVICE_PORT") ||
		rest == "PORT" || strings.HasPrefix(rest, "PORT_")
}
